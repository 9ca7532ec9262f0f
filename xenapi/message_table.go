package xenapi

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
)

// Signature declares one message of a class, other than the implicit ones: what it takes, what it
// gives and the lowest role that may send it. The session parameter, which every message takes first
// unless NoSession is set, is left out.
type Signature struct {
	Class, Name string
	Params      []Param
	Result      string // XenAPI type, "void" for none
	Role        string // lowest role allowed; "local-root-only" is the local superuser alone
	Since       string
	NoAsync     bool   // there is no Async form
	NoSession   bool   // the first parameter is not a session
	Hidden      bool   // not listed by system.listMethods
	Lifecycle   string // "", "deprecated", "removed" or "prototyped"
	Replacement string // of a deprecated message: what to call instead
}

// Param is a parameter of a message. An optional one may be left off the end of the list.
type Param struct {
	Name, Type string
	Optional   bool
	Default    string // in the text of messages.txt; only for optional parameters
}

// FullName is "class.name".
func (s Signature) FullName() string { return s.Class + "." + s.Name }

// Required counts the parameters that must be given, without the session.
func (s Signature) Required() int {
	n := 0
	for _, p := range s.Params {
		if !p.Optional {
			n++
		}
	}
	return n
}

// messages.txt has one message a line:
//
//	class.name(param type, param type = default) result | role | release | Flags
//
//go:embed messages.txt
var messagesText string

// Signatures lists every declared message, class by class.
var Signatures = sync.OnceValue(func() []Signature {
	var all []Signature
	for line := range strings.Lines(messagesText) {
		s, err := parseSignature(strings.TrimSpace(line))
		if err != nil {
			panic(fmt.Sprintf("xenapi: messages.txt: %v", err))
		}
		all = append(all, s)
	}
	return all
})

func parseSignature(line string) (Signature, error) {
	columns := strings.Split(line, "|")
	for i := range columns {
		columns[i] = strings.TrimSpace(columns[i])
	}
	if len(columns) < 3 {
		return Signature{}, fmt.Errorf("%q has %d columns", line, len(columns))
	}
	name, rest, _ := strings.Cut(columns[0], "(")
	// A parameter's type may hold parentheses, a result's type too: the list ends at the
	// parenthesis that closes the first one.
	end := closing(rest)
	if end < 0 {
		return Signature{}, fmt.Errorf("%q: the parameter list has no end", line)
	}
	s := Signature{Result: strings.TrimSpace(rest[end+1:]), Role: columns[1], Since: columns[2]}
	s.Class, s.Name, _ = strings.Cut(name, ".")
	if end > 0 {
		for text := range strings.SplitSeq(rest[:end], ", ") {
			s.Params = append(s.Params, parseParam(text))
		}
	}
	if len(columns) > 3 {
		return s, s.setFlags(columns[3])
	}
	return s, nil
}

func closing(s string) int {
	depth := 1
	for i, c := range s {
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func parseParam(text string) Param {
	declared, value, optional := strings.Cut(text, " =")
	name, typ, _ := strings.Cut(declared, " ")
	return Param{Name: name, Type: typ, Optional: optional, Default: strings.TrimSpace(value)}
}

func (s *Signature) setFlags(flags string) error {
	for word := range strings.FieldsSeq(flags) {
		flag, value, _ := strings.Cut(word, "=")
		switch flag {
		case "NoAsync":
			s.NoAsync = true
		case "NoSession":
			s.NoSession = true
		case "Hidden":
			s.Hidden = true
		case "Deprecated", "Removed", "Prototyped":
			s.Lifecycle, s.Replacement = strings.ToLower(flag), value
		default:
			return fmt.Errorf("%s has the unknown flag %q", s.FullName(), word)
		}
	}
	return nil
}
