package api

import (
	"regexp"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// secretKey finds, by their names, fields and keys of maps whose values a person who is to help must not see. What is secret of itself, the
// hashes of passwords, keys, sessions, is on no record that clients see.
var secretKey = regexp.MustCompile(`(?i)passw|passphrase|secret|token|credential|private|chap|key$`)

// hidden stands in the place of such a value.
const hidden = "(hidden)"

// PublicRecords gives every object that clients can list, a line of JSON each, class by class, without what may be secret in it.
func (a *API) PublicRecords(each func(class string, line []byte) error) error {
	for _, class := range a.classes {
		if slices.Contains(unlisted, class.Name) || class.Name == "secret" {
			continue
		}
		var refs []string
		_ = a.view(func(tx *db.Tx) error { refs = tx.Refs(class.Name); return nil })
		for _, ref := range refs {
			line, err := a.publicLine(class, ref)
			if xenapi.CodeOf(err) == xenapi.CodeHandleInvalid {
				continue // it has gone meanwhile
			}
			if err == nil {
				err = each(class.Name, line)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *API) publicLine(class *xenapi.Class, ref string) ([]byte, error) {
	rec, err := inView(a, new(call), func(tx *db.Tx) (any, error) { return a.record(tx, class, ref) })
	if err != nil {
		return nil, err
	}
	v := rpc.ValueOf(rec)
	hide(&v)
	if class.Name == "task" {
		hideMember(&v, "result") // a token to join the pool may be one
	}
	return rpc.MarshalJSONValue(rpc.Value{Kind: rpc.Struct, Members: []rpc.Member{
		{Name: "ref", Value: rpc.Value{Kind: rpc.String, Text: ref}}, {Name: "record", Value: v},
	}}), nil
}

// hide replaces the texts whose names say that they are secret.
func hide(v *rpc.Value) {
	for i := range v.Members {
		m := &v.Members[i]
		if m.Value.Kind == rpc.String && m.Value.Text != "" && secretKey.MatchString(m.Name) {
			m.Value.Text = hidden
		}
		hide(&m.Value)
	}
	for i := range v.Items {
		hide(&v.Items[i])
	}
}

func hideMember(v *rpc.Value, name string) {
	for i := range v.Members {
		if v.Members[i].Name == name && v.Members[i].Value.Text != "" {
			v.Members[i].Value.Text = hidden
		}
	}
}
