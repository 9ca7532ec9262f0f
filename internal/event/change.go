package event

import (
	"reflect"
	"slices"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// relation is a field that refers to objects which list the rows that refer to them: when a VDI moves its SR is another.
type relation struct {
	field xenapi.Field
	to    *kind
}

// relate finds the relations in the computed fields of all classes.
func (s *Service) relate() {
	for _, k := range s.kinds {
		for _, f := range k.class.Fields {
			i := slices.IndexFunc(s.options.Classes, func(c *xenapi.Class) bool { return f.Computed() && c.Name == f.InverseClass })
			if i < 0 {
				continue
			}
			back, _ := s.options.Classes[i].Field(f.InverseField)
			s.relations[f.InverseClass] = append(s.relations[f.InverseClass], relation{back, k})
		}
	}
}

// compare makes the entry of a state that follows another, and lists the sessions that were closed.
func (s *Service) compare(before, after db.State) (entry, []xenapi.Ref[xenapi.Session]) {
	e := entry{after: after.Revision() - 1, revision: after.Revision(), at: time.Now()}
	if after.Gap() {
		e.after = before.Revision()
	}
	var closed []xenapi.Ref[xenapi.Session]
	var related []object
	_ = after.View(func(tx *db.Tx) error {
		for c := range after.Since(before) {
			if k := s.kindOf(c.Class.Name); k != nil {
				e.add(object{k, c.Ref}, operation(c))
			}
			if _, ok := c.Before.(xenapi.Session); ok && c.After == nil {
				closed = append(closed, xenapi.Ref[xenapi.Session](c.Ref))
			}
			related = append(related, s.related(tx, c)...)
		}
		e.addRelated(tx, related)
		return nil
	})
	return e, closed
}

func operation(c db.RowChange) xenapi.EventOperation {
	switch {
	case c.Before == nil:
		return add
	case c.After == nil:
		return del
	}
	return mod
}

func (e *entry) add(o object, op xenapi.EventOperation) {
	e.changes = append(e.changes, change{o, op})
	e.kinds |= o.kind.bit
}

// addRelated adds the objects that are there and have not changed themselves, each once.
func (e *entry) addRelated(tx *db.Tx, related []object) {
	if len(related) == 0 {
		return
	}
	known := map[object]bool{}
	for _, c := range e.changes {
		known[c.object] = true
	}
	for _, o := range related {
		if known[o] {
			continue
		}
		known[o] = true
		if _, ok := tx.Record(o.kind.class.Name, o.ref); ok {
			e.add(o, mod)
		}
	}
}

// related lists the objects that look different because of a change of another.
func (s *Service) related(tx *db.Tx, c db.RowChange) (all []object) {
	for _, r := range s.relations[c.Class.Name] {
		before, after := targets(c.Before, r.field), targets(c.After, r.field)
		for _, ref := range slices.Concat(before, after) {
			if slices.Contains(before, ref) != slices.Contains(after, ref) {
				all = append(all, object{r.to, ref})
			}
		}
	}
	if s.options.Concerned == nil {
		return all
	}
	for _, o := range s.options.Concerned(tx, c) {
		if k := s.kindOf(o.Class); k != nil {
			all = append(all, object{k, o.Ref})
		}
	}
	return all
}

// targets lists what a field of a record, which may be nil, refers to.
func targets(rec any, f xenapi.Field) (refs []string) {
	if rec == nil {
		return nil
	}
	v := reflect.ValueOf(rec).Field(f.Index)
	if v.Kind() != reflect.Slice {
		return []string{v.String()}
	}
	for i := range v.Len() {
		refs = append(refs, v.Index(i).String())
	}
	return refs
}
