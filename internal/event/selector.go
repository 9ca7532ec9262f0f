package event

import (
	"slices"
	"strings"

	"poolpatch/xenapi"
)

// kind is a class whose objects have events.
type kind struct {
	class *xenapi.Class
	name  string // in lower case
	bit   kinds
}

// kinds is a set of them.
type kinds uint64

// object is what an event is about.
type object struct {
	kind *kind
	ref  string
}

// selection is what a client wants to hear of.
type selection struct {
	whole   kinds               // classes
	objects map[object]struct{} // of other classes
	some    kinds               // the classes of objects
}

// selection reads class selectors: "*", a class, or a class and a ref with a slash between. Classes that are not known have
// no objects.
func (s *Service) selection(selectors []string) selection {
	var sel selection
	for _, text := range selectors {
		class, ref, one := strings.Cut(text, "/")
		k := s.kindOf(class)
		switch {
		case text == "*":
			sel.whole = ^kinds(0)
		case k == nil:
		case one:
			if sel.objects == nil {
				sel.objects = map[object]struct{}{}
			}
			sel.objects[object{k, ref}] = struct{}{}
			sel.some |= k.bit
		default:
			sel.whole |= k.bit
		}
	}
	return sel
}

// kindOf finds a class by its name in any case; nil where it has no events.
func (s *Service) kindOf(class string) *kind {
	i := slices.IndexFunc(s.kinds, func(k *kind) bool { return strings.EqualFold(k.name, class) })
	if i < 0 {
		return nil
	}
	return s.kinds[i]
}

func (sel selection) has(o object) bool {
	if sel.whole&o.kind.bit != 0 {
		return true
	}
	_, ok := sel.objects[o]
	return ok
}

// wants reports whether any of what an entry of the log tells is selected.
func (sel selection) wants(e *entry) bool {
	if sel.whole&e.kinds != 0 {
		return true
	}
	return sel.some&e.kinds != 0 && slices.ContainsFunc(e.changes, func(c change) bool { return sel.has(c.object) })
}

// within reports whether nothing outside a set is selected.
func (sel selection) within(set kinds) bool { return (sel.whole|sel.some)&^set == 0 }
