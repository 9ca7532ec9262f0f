package rpc

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ParseXMLValue reads a <value> element.
func ParseXMLValue(text string) (Value, error) {
	p := newParser([]byte(text))
	if err := p.open("value"); err != nil {
		return Value{}, err
	}
	v, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	return v, p.end()
}

// parser reads XML-RPC off the tokens of encoding/xml.
type parser struct{ d *xml.Decoder }

func newParser(body []byte) *parser {
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff")))) // a byte order mark
	d.CharsetReader = func(charset string, input io.Reader) (io.Reader, error) {
		if strings.EqualFold(charset, "us-ascii") || strings.EqualFold(charset, "utf-8") {
			return input, nil
		}
		return nil, fmt.Errorf("charset %s is not served", charset)
	}
	return &parser{d}
}

// token gives the next start, end or text, passing over comments and the like. Text that is only white
// space is given too.
func (p *parser) token() (xml.Token, error) {
	for {
		t, err := p.d.Token()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement, xml.EndElement, xml.CharData:
			return t, nil
		case xml.Directive:
			return nil, errors.New("document types are refused")
		}
	}
}

// next gives the next start or end; text between elements must be white space.
func (p *parser) next() (xml.Token, error) {
	for {
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		text, ok := t.(xml.CharData)
		if !ok {
			return t, nil
		}
		if len(bytes.TrimSpace(text)) > 0 {
			return nil, fmt.Errorf("unexpected text %q", clip(text))
		}
	}
}

func clip(text []byte) string { return string(text[:min(len(text), 40)]) }

// open reads the start of an element.
func (p *parser) open(name string) error {
	t, err := p.next()
	if err != nil {
		return err
	}
	if start, ok := t.(xml.StartElement); !ok || start.Name.Local != name {
		return fmt.Errorf("expected <%s>, found %s", name, show(t))
	}
	return nil
}

// more reads the start of an element, or the end of the one around it.
func (p *parser) more(name string) (bool, error) {
	t, err := p.next()
	if err != nil {
		return false, err
	}
	switch t := t.(type) {
	case xml.EndElement:
		return false, nil
	case xml.StartElement:
		if t.Name.Local == name {
			return true, nil
		}
	}
	return false, fmt.Errorf("expected <%s>, found %s", name, show(t))
}

func (p *parser) close() error {
	t, err := p.next()
	if err != nil {
		return err
	}
	if _, ok := t.(xml.EndElement); !ok {
		return fmt.Errorf("expected the end of an element, found %s", show(t))
	}
	return nil
}

func (p *parser) end() error {
	if _, err := p.next(); err != io.EOF {
		return errors.New("something follows the end")
	}
	return nil
}

func show(t xml.Token) string {
	switch t := t.(type) {
	case xml.StartElement:
		return "<" + t.Name.Local + ">"
	case xml.EndElement:
		return "</" + t.Name.Local + ">"
	}
	return "text"
}

// text reads what is left of an element that holds text alone.
func (p *parser) text() (string, error) {
	var b strings.Builder
	for {
		t, err := p.token()
		if err != nil {
			return "", err
		}
		switch t := t.(type) {
		case xml.CharData:
			b.Write(t)
		case xml.EndElement:
			return b.String(), nil
		default:
			return "", fmt.Errorf("expected text, found %s", show(t))
		}
	}
}

func parseCall(body []byte) (method string, params []Value, err error) {
	p := newParser(body)
	if err := p.open("methodCall"); err != nil {
		return "", nil, err
	}
	if err := p.open("methodName"); err != nil {
		return "", nil, err
	}
	if method, err = p.text(); err != nil {
		return "", nil, err
	}
	method = strings.TrimSpace(method)
	has, err := p.more("params")
	if err != nil {
		return "", nil, err
	}
	if !has {
		return method, nil, p.end()
	}
	if params, err = p.params(); err != nil {
		return "", nil, err
	}
	if err := p.close(); err != nil {
		return "", nil, err
	}
	return method, params, p.end()
}

func (p *parser) params() ([]Value, error) {
	var params []Value
	for {
		has, err := p.more("param")
		if err != nil || !has {
			return params, err
		}
		if err := p.open("value"); err != nil {
			return nil, err
		}
		v, err := p.value(0)
		if err != nil {
			return nil, err
		}
		params = append(params, v)
		if err := p.close(); err != nil {
			return nil, err
		}
	}
}

// value reads what is left of a <value>: text alone is a string.
func (p *parser) value(depth int) (Value, error) {
	if depth > maxDepth {
		return Value{}, fmt.Errorf("values are nested more than %d deep", maxDepth)
	}
	var text strings.Builder
	for {
		t, err := p.token()
		if err != nil {
			return Value{}, err
		}
		switch t := t.(type) {
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			return Value{Kind: String, Text: text.String()}, nil
		case xml.StartElement:
			if strings.TrimSpace(text.String()) != "" {
				return Value{}, fmt.Errorf("text stands before <%s>", t.Name.Local)
			}
			v, err := p.typed(t.Name.Local, depth)
			if err != nil {
				return Value{}, err
			}
			return v, p.close()
		}
	}
}

func (p *parser) typed(name string, depth int) (Value, error) {
	switch name {
	case "array":
		return p.array(depth)
	case "struct":
		return p.members(depth)
	}
	text, err := p.text()
	if err != nil {
		return Value{}, err
	}
	if name == "string" {
		return Value{Kind: String, Text: text}, nil
	}
	return scalar(name, strings.TrimSpace(text))
}

func scalar(name, text string) (Value, error) {
	switch name {
	case "int", "i4", "i8":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return Value{Kind: Int, Int: n}, nil
		}
	case "boolean":
		if text == "0" || text == "1" {
			return Value{Kind: Bool, Bool: text == "1"}, nil
		}
	case "double":
		if f, ok := parseFloat(text); ok {
			return Value{Kind: Double, Double: f}, nil
		}
	case "dateTime.iso8601":
		if t, ok := parseTime(text); ok {
			return Value{Kind: Time, Time: t}, nil
		}
	case "nil":
		if text == "" {
			return Value{}, nil
		}
	default:
		return Value{}, fmt.Errorf("<%s> is no type of XML-RPC", name)
	}
	return Value{}, fmt.Errorf("%q is no %s", clip([]byte(text)), name)
}

func (p *parser) array(depth int) (Value, error) {
	if err := p.open("data"); err != nil {
		return Value{}, err
	}
	v := Value{Kind: Array}
	for {
		has, err := p.more("value")
		if err != nil {
			return Value{}, err
		}
		if !has {
			return v, p.close()
		}
		item, err := p.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		v.Items = append(v.Items, item)
	}
}

func (p *parser) members(depth int) (Value, error) {
	v := Value{Kind: Struct}
	for {
		has, err := p.more("member")
		if err != nil || !has {
			return v, err
		}
		if err := p.open("name"); err != nil {
			return Value{}, err
		}
		name, err := p.text()
		if err != nil {
			return Value{}, err
		}
		if err := p.open("value"); err != nil {
			return Value{}, err
		}
		member, err := p.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		v.Members = append(v.Members, Member{name, member})
		if err := p.close(); err != nil {
			return Value{}, err
		}
	}
}
