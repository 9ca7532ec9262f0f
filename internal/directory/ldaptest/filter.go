package ldaptest

import (
	"slices"
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// The rules of Active Directory for extensible matches.
const (
	allBits = "1.2.840.113556.1.4.803"
	inChain = "1.2.840.113556.1.4.1941"
)

// matches evaluates a filter (RFC 4511, 4.5.1.7). An attribute whose values are names of entries compares them as such.
func (s *Server) matches(e Entry, f *ber.Packet) bool {
	switch f.Tag {
	case ldap.FilterAnd:
		return !slices.ContainsFunc(f.Children, func(c *ber.Packet) bool { return !s.matches(e, c) })
	case ldap.FilterOr:
		return slices.ContainsFunc(f.Children, func(c *ber.Packet) bool { return s.matches(e, c) })
	case ldap.FilterNot:
		return !s.matches(e, f.Children[0])
	case ldap.FilterEqualityMatch:
		return has(e, f.Children[0].Value.(string), f.Children[1].Value.(string))
	case ldap.FilterPresent:
		return len(e.Attributes[f.Data.String()]) > 0
	case ldap.FilterSubstrings:
		return len(e.Attributes[f.Children[0].Value.(string)]) > 0 // whoever has it: the widest that a star could mean
	case ldap.FilterExtensibleMatch:
		return s.extensible(e, f)
	}
	return false
}

func (s *Server) extensible(e Entry, f *ber.Packet) bool {
	part := map[ber.Tag]string{}
	for _, c := range f.Children {
		part[c.Tag] = c.Data.String()
	}
	rule, attribute, value := part[1], part[2], part[3]
	switch rule {
	case allBits:
		mask, _ := strconv.ParseInt(value, 10, 64)
		return slices.ContainsFunc(e.Attributes[attribute], func(v string) bool {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n&mask == mask
		})
	case inChain:
		return s.contains(e, value, map[string]bool{})
	}
	return false
}

// contains reports whether a group has somebody among its members, or a group that has.
func (s *Server) contains(group Entry, member string, seen map[string]bool) bool {
	if seen[group.DN] {
		return false
	}
	seen[group.DN] = true
	if has(group, "member", member) {
		return true
	}
	return slices.ContainsFunc(s.entries, func(e Entry) bool { return has(group, "member", e.DN) && s.contains(e, member, seen) })
}

func has(e Entry, attribute, value string) bool {
	return slices.ContainsFunc(e.Attributes[attribute], func(v string) bool {
		return strings.EqualFold(v, value) || strings.Contains(v, "=") && same(v, value)
	})
}
