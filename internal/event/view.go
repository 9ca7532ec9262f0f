package event

import (
	"strings"
	"sync"

	"poolpatch/internal/db"
)

// Show makes the record of an object as clients see it. It must make the same of the same state for every client.
type Show func(tx *db.Tx, class, ref string) (any, error)

// maxShown bounds the records that a state keeps for the next client: enough for what a commit changes.
const maxShown = 1024

// view is a state, and what was worked out of it for one client already, for the next one.
type view struct {
	state db.State

	mu     sync.Mutex
	shown  map[object]any
	counts map[string]int64
}

func (v *view) has(o object) (ok bool) {
	_ = v.state.View(func(tx *db.Tx) error { _, ok = tx.Record(o.kind.class.Name, o.ref); return nil })
	return ok
}

// show gives the record of an object of the state.
func (v *view) show(o object, show Show) (rec any, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if rec, ok := v.shown[o]; ok {
		return rec, nil
	}
	err = v.state.View(func(tx *db.Tx) error {
		rec, err = show(tx, o.kind.class.Name, o.ref)
		return err
	})
	if err != nil {
		return nil, err
	}
	if v.shown == nil {
		v.shown = map[object]any{}
	}
	if len(v.shown) < maxShown {
		v.shown[o] = rec
	}
	return rec, nil
}

// count gives the number of objects of each class.
func (s *Service) count(v *view) map[string]int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.counts == nil {
		v.counts = map[string]int64{}
		_ = v.state.View(func(tx *db.Tx) error {
			for _, class := range s.options.Classes {
				v.counts[strings.ToLower(class.Name)] = int64(tx.Count(class.Name))
			}
			return nil
		})
	}
	return v.counts
}

// all lists the objects that are selected, class by class in the order of creation.
func (v *view) all(kinds []*kind, sel selection) (objects []object) {
	_ = v.state.View(func(tx *db.Tx) error {
		for _, k := range kinds {
			if (sel.whole|sel.some)&k.bit == 0 {
				continue
			}
			for _, ref := range tx.Refs(k.class.Name) {
				if o := (object{k, ref}); sel.has(o) {
					objects = append(objects, o)
				}
			}
		}
		return nil
	})
	return objects
}
