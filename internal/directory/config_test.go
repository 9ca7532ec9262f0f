package directory_test

import (
	"maps"
	"strings"
	"testing"

	"poolpatch/internal/directory"
	"poolpatch/xenapi"
)

func TestParse(t *testing.T) {
	t.Parallel()
	type config = map[string]string
	reads := config{"user": reader, "pass": "hunter2"}
	with := func(key, value string) config { c := maps.Clone(reads); c[key] = value; return c }
	for _, tt := range []struct {
		name, kind, domain string
		config             config
		code, field        string
	}{
		{"all that there is", directory.LDAP, domain, config{
			"servers": "ldaps://a, ldap://b:1389,ldapi://%2Frun%2Fldapi,c", "base": "o=x", "user": reader, "pass": "p", "user_filter": "(mail=%s)", "domain": "EXAMPLE.com", "short_domain": "EX",
		}, "", ""},
		{"nobody reads", directory.LDAP, domain, nil, "", ""},
		{"Active Directory", directory.AD, domain, config{"user": "svc", "pass": "p"}, "", ""},
		{"a type that is none", "PAM", domain, reads, xenapi.CodeAuthUnknownType, "PAM"},
		{"no type", "", domain, reads, xenapi.CodeAuthUnknownType, ""},
		{"no domain", directory.AD, "", reads, xenapi.CodeInvalidValue, "service_name"},
		{"a domain with a filter in it", directory.AD, "a)(b", reads, xenapi.CodeInvalidValue, "service_name"},
		{"a domain that is long", directory.AD, strings.Repeat("a", 254), reads, xenapi.CodeInvalidValue, "service_name"},
		{"a key that is none", directory.LDAP, domain, with("password", "hunter2"), xenapi.CodeInvalidValue, "config"},
		{"another domain", directory.LDAP, domain, with("domain", "other.com"), xenapi.CodeInvalidValue, "config:domain"},
		{"a scheme that is none", directory.LDAP, domain, with("servers", "https://a"), xenapi.CodeInvalidValue, "config:servers"},
		{"a password in a URL", directory.LDAP, domain, with("servers", "ldaps://u:hunter2@a"), xenapi.CodeInvalidValue, "config:servers"},
		{"a URL with a path", directory.LDAP, domain, with("servers", "ldaps://a/dc=x"), xenapi.CodeInvalidValue, "config:servers"},
		{"a socket that is none", directory.LDAP, domain, with("servers", "ldapi://run"), xenapi.CodeInvalidValue, "config:servers"},
		{"an empty server", directory.LDAP, domain, with("servers", "ldaps://a,"), xenapi.CodeInvalidValue, "config:servers"},
		{"many servers", directory.LDAP, domain, with("servers", strings.Repeat("a,", 8)+"a"), xenapi.CodeInvalidValue, "config:servers"},
		{"a base that is none", directory.LDAP, domain, with("base", "example"), xenapi.CodeInvalidValue, "config:base"},
		{"a user without a password", directory.LDAP, domain, config{"user": reader}, xenapi.CodeInvalidValue, "config:pass"},
		{"a password without a user", directory.LDAP, domain, config{"pass": "hunter2"}, xenapi.CodeInvalidValue, "config:user"},
		{"nobody, in Active Directory", directory.AD, domain, nil, xenapi.CodeInvalidValue, "config:user"},
		{"a user that is no DN", directory.LDAP, domain, with("user", "svc"), xenapi.CodeInvalidValue, "config:user"},
		{"a filter without a name", directory.LDAP, domain, with("user_filter", "(uid=ann)"), xenapi.CodeInvalidValue, "config:user_filter"},
		{"a filter that is none", directory.LDAP, domain, with("user_filter", "(uid=%s"), xenapi.CodeInvalidValue, "config:user_filter"},
		{"a long password", directory.LDAP, domain, with("pass", strings.Repeat("hunter2", 1000)), xenapi.CodeInvalidValue, "config:pass"},
	} {
		c, err := directory.Parse(tt.kind, tt.domain, tt.config)
		if got := xenapi.CodeOf(err); got != tt.code || err != nil && !strings.Contains(err.Error(), tt.field) || strings.Contains(errorText(err), "hunter2") {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if err != nil {
			continue
		}
		if _, there := c.Public()["pass"]; there || c.Password() != tt.config["pass"] {
			t.Errorf("%s: public %v, password %q", tt.name, c.Public(), c.Password())
		}
		if _, err := directory.Parse(tt.kind, tt.domain, directory.WithPassword(c.Public(), c.Password())); err != nil {
			t.Errorf("%s, read again: %v", tt.name, err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
