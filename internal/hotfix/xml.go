package hotfix

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxXMLDepth is deeper than any form of the contract.
const maxXMLDepth = 16

// element is XML as the forms of the contract look at it: comments, processing instructions and white space
// between elements do not count.
type element struct {
	name     string
	attrs    map[string]string
	children []*element
	text     []string // runs of text that are not all white space
}

// parseXML reads a document of one element. The errors are for the author of the patch.
func parseXML(text []byte) (*element, error) {
	d := xml.NewDecoder(bytes.NewReader(text))
	var root *element
	var open []*element
	for {
		token, err := d.RawToken()
		if err == io.EOF {
			return root, complete(root, open)
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			e, err := newElement(t)
			if err != nil {
				return nil, err
			}
			switch {
			case len(open) > 0:
				above := open[len(open)-1]
				above.children = append(above.children, e)
			case root != nil:
				return nil, fmt.Errorf("element %s follows the end of the document", e.name)
			default:
				root = e
			}
			if open = append(open, e); len(open) > maxXMLDepth {
				return nil, errors.New("elements are nested too deep")
			}
		case xml.EndElement:
			if len(open) == 0 || qualified(t.Name) != open[len(open)-1].name {
				return nil, fmt.Errorf("element %s is closed and not open", qualified(t.Name))
			}
			open = open[:len(open)-1]
		case xml.CharData:
			if len(bytes.TrimSpace(t)) == 0 {
				continue
			}
			if len(open) == 0 {
				return nil, errors.New("text stands outside of the document")
			}
			e := open[len(open)-1]
			e.text = append(e.text, string(t))
		case xml.Directive:
			return nil, errors.New("it has a document type, which is not allowed")
		}
	}
}

func complete(root *element, open []*element) error {
	switch {
	case root == nil:
		return errors.New("there is no XML")
	case len(open) > 0:
		return fmt.Errorf("element %s is not closed", open[len(open)-1].name)
	}
	return nil
}

func newElement(t xml.StartElement) (*element, error) {
	e := &element{name: qualified(t.Name), attrs: map[string]string{}}
	for _, a := range t.Attr {
		name := qualified(a.Name)
		if _, twice := e.attrs[name]; twice {
			return nil, fmt.Errorf("attribute %s stands twice", name)
		}
		e.attrs[name] = a.Value
	}
	return e, nil
}

// qualified is a name as it was written: the forms have no namespaces, so "x:info" is not "info".
func qualified(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

// content is the text of an element that holds one run of text and nothing else.
func (e *element) content() (string, bool) {
	if len(e.children) != 0 || len(e.text) != 1 {
		return "", false
	}
	return e.text[0], true
}

// child finds the one child of a name and gives its text.
func (e *element) child(name string) (string, bool) {
	var found *element
	for _, c := range e.children {
		if c.name != name {
			continue
		}
		if found != nil {
			return "", false
		}
		found = c
	}
	if found == nil {
		return "", false
	}
	text, ok := found.content()
	return strings.TrimSpace(text), ok
}
