package api

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"poolpatch/xenapi"
)

// Limits of an expression that a client gives. Its length in bytes is bounded by the call's.
const maxExpressionDepth = 100 // of parentheses and nots within one another

// predicate says whether an object is meant. Its argument is the object's record.
type predicate func(rec reflect.Value) bool

// operand is one side of a comparison, as text.
type operand func(rec reflect.Value) string

// parseExpression reads what get_all_where and get_all_records_where take (facts, section 1):
//
//	expression = all { "or" all }
//	all        = one { "and" one }
//	one        = "not" one | "(" expression ")" | "true" | "false" | side "=" side
//	side       = "field" string | string
//
// A string is in double or single quotes; a backslash takes the next byte as it is. A field is named as on the wire, or
// with two underscores where XenAPI's database nests (name__label). Values are compared as text: numbers in decimal,
// datetimes as on the wire, sets as ('a' 'b') and maps as (('k' 'v')) in the order of keys.
//
// Errors: INVALID_VALUE, whose text says at which byte of the expression.
func parseExpression(class *xenapi.Class, text string) (predicate, error) {
	p := &expressionParser{class: class, text: text}
	parsed, err := p.alternatives()
	if err == nil && p.next() != "" {
		err = p.fault("the expression ends here")
	}
	if err != nil {
		return nil, xenapi.ErrInvalidValue("expr", err.Error())
	}
	return parsed, nil
}

type expressionParser struct {
	class *xenapi.Class
	text  string
	at    int // where the next token begins, or blanks before it
	depth int
}

// fault says what should stand at the next token.
func (p *expressionParser) fault(format string, args ...any) error {
	return fmt.Errorf("at byte %d: %s", p.at, fmt.Sprintf(format, args...))
}

// next shows the next token without taking it: a word, a sign, the quote that a string begins with, or "" at the end.
func (p *expressionParser) next() string {
	rest := strings.TrimLeft(p.text[p.at:], " \t\r\n")
	p.at = len(p.text) - len(rest)
	end := 0
	for end < len(rest) && 'a' <= rest[end] && rest[end] <= 'z' {
		end++
	}
	return rest[:max(end, min(1, len(rest)))]
}

// take takes the next token if it is the one that is given.
func (p *expressionParser) take(token string) bool {
	if p.next() != token {
		return false
	}
	p.at += len(token)
	return true
}

func (p *expressionParser) alternatives() (predicate, error) {
	some, err := p.list("or", p.conjunction)
	return func(rec reflect.Value) bool {
		return slices.ContainsFunc(some, func(p predicate) bool { return p(rec) })
	}, err
}

func (p *expressionParser) conjunction() (predicate, error) {
	all, err := p.list("and", p.one)
	return func(rec reflect.Value) bool {
		return !slices.ContainsFunc(all, func(p predicate) bool { return !p(rec) })
	}, err
}

func (p *expressionParser) list(separator string, element func() (predicate, error)) (list []predicate, err error) {
	for {
		one, err := element()
		if err != nil {
			return nil, err
		}
		list = append(list, one)
		if !p.take(separator) {
			return list, nil
		}
	}
}

func (p *expressionParser) one() (predicate, error) {
	if p.depth++; p.depth > maxExpressionDepth {
		return nil, p.fault("this is nested more than %d times", maxExpressionDepth)
	}
	defer func() { p.depth-- }()
	switch {
	case p.take("not"):
		one, err := p.one()
		return func(rec reflect.Value) bool { return !one(rec) }, err
	case p.take("("):
		inner, err := p.alternatives()
		if err == nil && !p.take(")") {
			err = p.fault("here must be a )")
		}
		return inner, err
	case p.take("true"):
		return func(reflect.Value) bool { return true }, nil
	case p.take("false"):
		return func(reflect.Value) bool { return false }, nil
	}
	return p.comparison()
}

func (p *expressionParser) comparison() (predicate, error) {
	left, err := p.side()
	if err != nil {
		return nil, err
	}
	if !p.take("=") {
		return nil, p.fault("here must be a =")
	}
	right, err := p.side()
	return func(rec reflect.Value) bool { return left(rec) == right(rec) }, err
}

func (p *expressionParser) side() (operand, error) {
	if !p.take("field") {
		text, err := p.quoted()
		return func(reflect.Value) string { return text }, err
	}
	p.next()
	begin := p.at
	name, err := p.quoted()
	if err != nil {
		return nil, err
	}
	f, ok := p.class.Field(strings.ReplaceAll(name, "__", "_"))
	if !ok || !f.Wire() {
		p.at = begin
		return nil, p.fault("%s has no field %q", p.class.Name, name)
	}
	return func(rec reflect.Value) string { return asText(rec.Field(f.Index)) }, nil
}

func (p *expressionParser) quoted() (string, error) {
	quote := p.next()
	if quote != `"` && quote != "'" {
		return "", p.fault("here must be field, a string in quotes, not, (, true or false")
	}
	var b strings.Builder
	for i := p.at + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == quote[0]:
			p.at = i + 1
			return b.String(), nil
		case c == '\\' && i+1 < len(p.text):
			i++
			b.WriteByte(p.text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", p.fault("the string that begins here has no end")
}

// asText is a field's value as an expression sees it.
func asText(v reflect.Value) string {
	if t, ok := v.Interface().(time.Time); ok {
		return t.UTC().Format("20060102T15:04:05Z")
	}
	switch v.Kind() {
	case reflect.Slice:
		words := make([]string, v.Len())
		for i := range words {
			words[i] = element(v.Index(i))
		}
		return "(" + strings.Join(words, " ") + ")"
	case reflect.Map:
		words := make([]string, 0, v.Len())
		for key, value := range v.Seq2() {
			words = append(words, "("+element(key)+" "+element(value)+")")
		}
		slices.Sort(words)
		return "(" + strings.Join(words, " ") + ")"
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}

func element(v reflect.Value) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(asText(v)) + "'"
}
