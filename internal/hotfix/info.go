package hotfix

import (
	"bytes"
	"slices"
	"strings"

	"poolpatch/xenapi"
)

// Info is what a patch says of itself (facts, section 7).
type Info struct {
	UUID               string // in lower case
	Version            string
	NameLabel          string
	NameDescription    string
	AfterApplyGuidance []xenapi.AfterApplyGuidance // without repetition
	XML                []byte                      // as the program printed it: the content of the patch's stamp
}

// ParseInfo reads what info prints, which is also what a stamp holds: an element info with the attributes
// uuid, version, name-label, name-description and after-apply-guidance. Other attributes, and children, may
// come with later versions and are ignored. Errors: INVALID_PATCH.
func ParseInfo(text []byte) (Info, error) {
	e, err := parseXML(text)
	if err != nil {
		return Info{}, wire(refusef("what the patch says of itself is not XML: %v", err))
	}
	info := Info{XML: bytes.Clone(text)}
	if err := info.read(e); err != nil {
		return Info{}, wire(err)
	}
	return info, nil
}

func (i *Info) read(e *element) error {
	if e.name != "info" {
		return refusef("what the patch says of itself is an element %s, not info", e.name)
	}
	var uuid, guidance string
	for _, a := range []struct {
		name string
		into *string
	}{
		{"uuid", &uuid}, {"version", &i.Version}, {"name-label", &i.NameLabel},
		{"name-description", &i.NameDescription}, {"after-apply-guidance", &guidance},
	} {
		value, ok := e.attrs[a.name]
		if !ok {
			return refusef("the patch's info has no attribute %s", a.name)
		}
		*a.into = value
	}
	var ok bool
	if i.UUID, ok = xenapi.ParseUUID(uuid); !ok {
		return refusef("the patch's uuid %q is not a UUID", uuid)
	}
	var err error
	i.AfterApplyGuidance, err = parseGuidance(strings.Fields(guidance))
	return err
}

func parseGuidance(words []string) ([]xenapi.AfterApplyGuidance, error) {
	var all []xenapi.AfterApplyGuidance
	for _, word := range words {
		g := xenapi.AfterApplyGuidance(word)
		if !slices.Contains(g.Values(), word) {
			return nil, refusef("the patch's after-apply-guidance %q is not one of %s", word, strings.Join(g.Values(), ", "))
		}
		if !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	return all, nil
}
