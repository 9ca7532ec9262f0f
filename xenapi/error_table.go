package xenapi

import (
	_ "embed"
	"strings"
	"sync"
)

// ErrorForm is a form in which poolpatch gives an error: a code that comes in two forms has two.
type ErrorForm struct {
	Code   string
	Params []string // in wire order; the last one may stand for any number and end in …
}

// errors.txt has one form a line, CODE(param, param). A test makes it of the constructors in codes.go, whose names of
// parameters a program does not see.
//
//go:embed errors.txt
var errorsText string

// ErrorForms lists every form in the order of codes.go.
var ErrorForms = sync.OnceValue(func() []ErrorForm {
	var all []ErrorForm
	for line := range strings.Lines(errorsText) {
		code, rest, _ := strings.Cut(strings.TrimSpace(line), "(")
		form := ErrorForm{Code: code}
		if params := strings.TrimSuffix(rest, ")"); params != "" {
			form.Params = strings.Split(params, ", ")
		}
		all = append(all, form)
	}
	return all
})
