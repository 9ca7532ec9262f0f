package directory

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"
)

const (
	// maxName bounds a name that is looked for, maxPassword a password, in bytes.
	maxName     = 512
	maxPassword = 1024
	// searchSeconds is how long a server may search.
	searchSeconds = 10
)

// search lists at most so many entries below the base.
func (c *conversation) search(most int, filter string) ([]*ldap.Entry, error) {
	return c.searchAt(c.base.String(), ldap.ScopeWholeSubtree, most, filter)
}

// searchAt searches below an entry, or that entry alone. More entries than asked for are an error: who would be left out
// is not for the server to choose.
func (c *conversation) searchAt(base string, scope, most int, filter string) ([]*ldap.Entry, error) {
	r := ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, most+1, searchSeconds, false, filter, styles[c.Type].attributes, nil)
	r.EnforceSizeLimit = true
	found, err := c.Search(r)
	if err == nil && len(found.Entries) > most || ldap.IsErrorAnyOf(err, ldap.LDAPResultSizeLimitExceeded) || errors.Is(err, ldap.ErrSizeLimitExceeded) {
		return nil, fmt.Errorf("search: more than %d entries match %s", most, filter)
	}
	if err != nil {
		return nil, failed("search", err)
	}
	// Active Directory refers to its other partitions in each answer, and they have no users.
	if len(found.Entries) == 0 && len(found.Referrals) > 0 && c.Type != AD {
		return nil, unavailable(errors.New("search: the server refers to others, which is not followed"))
	}
	return found.Entries, nil
}

// one finds the entry that a filter is for. Errors: ErrNobody.
func (c *conversation) one(filter string) (*ldap.Entry, error) {
	entries, err := c.search(1, filter)
	if err == nil && len(entries) == 0 {
		err = ErrNobody
	}
	if err != nil {
		return nil, err
	}
	return entries[0], nil
}

// names are what an entry may be called that somebody calls so: NAME, DOMAIN\NAME, NAME@DOMAIN. None is of another domain.
func (c Config) names(called string) []string {
	if called == "" || len(called) > maxName {
		return nil
	}
	if domain, name, ok := strings.Cut(called, `\`); ok {
		if name == "" || !strings.EqualFold(domain, c.shortDomain) && !strings.EqualFold(domain, c.Domain) {
			return nil
		}
		return []string{name}
	}
	names := []string{called}
	if at := strings.LastIndexByte(called, '@'); at > 0 && strings.EqualFold(called[at+1:], c.Domain) {
		names = append(names, called[:at])
	}
	return names
}

// anyOf is a filter that is true of whoever has one of the names.
func anyOf(filter string, names []string) string {
	var b strings.Builder
	b.WriteString("(|")
	for _, name := range names {
		b.WriteString(strings.ReplaceAll(filter, namePlace, ldap.EscapeFilter(name)))
	}
	return b.String() + ")"
}

// userNamed finds a user by name. Errors: ErrNobody. That several are called so is an error too, of whoever keeps the directory.
func (c *conversation) userNamed(called string) (*ldap.Entry, error) {
	names := c.names(called)
	if names == nil {
		return nil, ErrNobody
	}
	return c.one(anyOf(c.userFilter, names))
}

// groupNamed finds a group by name. Errors: ErrNobody.
func (c *conversation) groupNamed(called string) (*ldap.Entry, error) {
	names := c.names(called)
	if names == nil {
		return nil, ErrNobody
	}
	return c.one("(&" + styles[c.Type].groups + anyOf(styles[c.Type].group, names) + ")")
}

// entryOf finds who has an identifier. Errors: ErrNobody.
func (c *conversation) entryOf(identifier string) (*ldap.Entry, error) {
	if len(identifier) > maxName {
		return nil, ErrNobody
	}
	if sid, ok := sidBytes(identifier); ok && c.Type == AD {
		return c.one("(objectSid=" + escape(sid) + ")")
	}
	if id, err := uuid.Parse(identifier); err == nil && c.Type == LDAP {
		return c.one("(entryUUID=" + id.String() + ")")
	}
	return c.entryAt(identifier)
}

// entryAt finds the entry of a distinguished name, below the base alone: what a directory holds besides is no user.
func (c *conversation) entryAt(name string) (*ldap.Entry, error) {
	dn, err := ldap.ParseDN(name)
	if err != nil || !c.base.AncestorOfFold(dn) {
		return nil, ErrNobody
	}
	entries, err := c.searchAt(dn.String(), ldap.ScopeBaseObject, 1, "(objectClass=*)")
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject) {
		if berr := c.hasBase(); berr != nil {
			return nil, berr // nobody is there for us: that says nothing of one
		}
		return nil, ErrNobody
	}
	if err == nil && len(entries) == 0 {
		err = ErrNobody
	}
	if err != nil {
		return nil, err
	}
	return entries[0], nil
}

// hasBase asks for the entry below which all others are.
func (c *conversation) hasBase() error {
	entries, err := c.searchAt(c.base.String(), ldap.ScopeBaseObject, 1, "(objectClass=*)")
	if err == nil && len(entries) == 0 {
		err = errors.New("it is not there, or not to be read")
	}
	if err != nil {
		return fmt.Errorf("base %s: %w", c.base, err)
	}
	return nil
}

// escape is how bytes stand in a filter.
func escape(value []byte) string {
	var b strings.Builder
	for _, c := range value {
		fmt.Fprintf(&b, `\%02x`, c)
	}
	return b.String()
}
