package directory

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

const (
	// maxGroups is how many groups somebody may be in: Active Directory lets nobody log in who is in more.
	maxGroups = 1000
	// maxDepth is how deep groups may be in groups.
	maxDepth = 16
	// maxAsked is how many groups are asked for in one search what they are in.
	maxAsked = 50
)

// groups lists the identifiers of all groups that an entry is in, also by way of others.
func (c *conversation) groups(of *ldap.Entry) ([]string, error) {
	var found []*ldap.Entry
	var err error
	if c.Type == AD {
		found, err = c.chained(of)
	} else {
		found, err = c.nested(of)
	}
	if err != nil {
		return nil, fmt.Errorf("groups of %s: %w", of.DN, err)
	}
	identifiers := make([]string, 0, len(found))
	for _, group := range found {
		if id := c.identifier(group); id != "" {
			identifiers = append(identifiers, id)
		}
	}
	slices.Sort(identifiers)
	return slices.Compact(identifiers), nil
}

// chained has Active Directory follow the chain of groups itself. A user's primary group has the user among its members
// nowhere but in the user's own entry.
func (c *conversation) chained(of *ldap.Entry) ([]*ldap.Entry, error) {
	const inChain = "(member:1.2.840.113556.1.4.1941:=%s)"
	members := []string{of.DN}
	var primary []*ldap.Entry
	if sid := inDomain(of.GetEqualFoldRawAttributeValue("objectSid"), number(of, "primaryGroupID")); sid != nil {
		var err error
		if primary, err = c.search(1, "(objectSid="+escape(sid)+")"); err != nil {
			return nil, err
		}
		for _, group := range primary {
			members = append(members, group.DN)
		}
	}
	found, err := c.search(maxGroups, "(&"+styles[AD].groups+anyOf(inChain, members)+")")
	return append(found, primary...), err
}

// nested follows the chain of groups step by step: groups of names may have groups among their members.
func (c *conversation) nested(of *ldap.Entry) ([]*ldap.Entry, error) {
	seen := map[string]bool{normalDN(of.DN): true}
	var all []*ldap.Entry
	step := []*ldap.Entry{of}
	for range maxDepth {
		next, err := c.above(step)
		if err != nil {
			return nil, err
		}
		next = slices.DeleteFunc(next, func(e *ldap.Entry) bool {
			known := seen[normalDN(e.DN)]
			seen[normalDN(e.DN)] = true
			return known
		})
		all = append(all, next...)
		switch {
		case len(next) == 0:
			return all, nil
		case len(all) > maxGroups:
			return nil, fmt.Errorf("more than %d groups", maxGroups)
		}
		step = next
	}
	return nil, fmt.Errorf("groups in groups, more than %d deep", maxDepth)
}

// above lists the groups that have one of these among their members.
func (c *conversation) above(members []*ldap.Entry) (found []*ldap.Entry, err error) {
	for some := range slices.Chunk(members, maxAsked) {
		var has strings.Builder
		for _, e := range some {
			has.WriteString(membership(e))
		}
		groups, err := c.search(maxGroups, "(&"+styles[LDAP].groups+"(|"+has.String()+"))")
		if err != nil {
			return nil, err
		}
		found = append(found, groups...)
	}
	return found, nil
}

// membership is true of groups that have an entry among their members: by its distinguished name, or as a user of a POSIX
// system by its name or by the number of its own group.
func membership(e *ldap.Entry) string {
	dn := ldap.EscapeFilter(e.DN)
	filter := "(member=" + dn + ")(uniqueMember=" + dn + ")"
	if isGroup(e) {
		return filter
	}
	for _, uid := range e.GetEqualFoldAttributeValues("uid") {
		filter += "(memberUid=" + ldap.EscapeFilter(uid) + ")"
	}
	if gid := number(e, "gidNumber"); gid > 0 {
		filter += "(&(objectClass=posixGroup)(gidNumber=" + strconv.FormatInt(gid, 10) + "))"
	}
	return filter
}
