package directory

import (
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"poolpatch/xenapi"
)

// The types of directory.
const (
	AD   = "AD"
	LDAP = "LDAP"
)

const (
	maxServers = 8
	// maxValue bounds a value of the configuration, in bytes.
	maxValue = 4096
	// maxDomain is the longest name of a domain (RFC 1035).
	maxDomain = 253
)

// passwordKey is the one key that is a secret.
const passwordKey = "pass"

// keys are what a configuration may have.
var keys = []string{"base", "domain", passwordKey, "servers", "short_domain", "user", "user_filter"}

// Config says how a directory is reached and read. Parse makes it.
type Config struct {
	Type   string // AD or LDAP
	Domain string

	servers     []server
	base        *ldap.DN
	user        string // that looks others up; "" is nobody, which many directories allow
	password    string
	userFilter  string // has %s where a name belongs
	shortDomain string // that stands before a backslash

	public map[string]string
}

// server is one that has the directory.
type server struct {
	url, scheme, network, address string
	name                          string // that its certificate must have
}

var domainName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

// Parse reads a configuration: the type of the directory, its domain, and the keys. Errors: AUTH_UNKNOWN_TYPE, INVALID_VALUE, which
// never has a value of a key that is none: it may be a password.
func Parse(authType, domain string, config map[string]string) (Config, error) {
	c := Config{Type: authType, Domain: domain, password: config[passwordKey]}
	if authType != AD && authType != LDAP {
		return c, xenapi.ErrAuthUnknownType(authType)
	}
	if len(domain) > maxDomain || !domainName.MatchString(domain) {
		return c, xenapi.ErrInvalidValue("service_name", domain)
	}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if !slices.Contains(keys, key) {
			return c, xenapi.ErrInvalidValue("config", "there is no key "+key+"; there are "+strings.Join(keys, ", "))
		}
		if len(config[key]) > maxValue {
			return c, invalid(key, "it is too long")
		}
	}
	c.public = maps.Clone(config)
	delete(c.public, passwordKey)
	for _, read := range []func(*Config, map[string]string) error{readDomain, readServers, readBase, readUser, readFilter} {
		if err := read(&c, config); err != nil {
			return c, err
		}
	}
	return c, nil
}

// Public is the configuration that anybody may read. With the password it is what Parse takes.
func (c Config) Public() map[string]string { return maps.Clone(c.public) }

// Password is the secret part of the configuration.
func (c Config) Password() string { return c.password }

// WithPassword adds its password to a public configuration.
func WithPassword(public map[string]string, password string) map[string]string {
	whole := map[string]string{}
	maps.Copy(whole, public)
	if password != "" {
		whole[passwordKey] = password
	}
	return whole
}

func invalid(key, why string) error { return xenapi.ErrInvalidValue("config:"+key, why) }

// readDomain takes the domain once more, as clients that have a host join one send it.
func readDomain(c *Config, config map[string]string) error {
	if domain, ok := config["domain"]; ok && !strings.EqualFold(domain, c.Domain) {
		return invalid("domain", "it is another one than service_name")
	}
	c.shortDomain, _, _ = strings.Cut(c.Domain, ".")
	if short, ok := config["short_domain"]; ok {
		c.shortDomain = short
	}
	return nil
}

func readServers(c *Config, config map[string]string) error {
	list := strings.Split(config["servers"], ",")
	if config["servers"] == "" {
		list = []string{c.Domain}
	}
	if len(list) > maxServers {
		return invalid("servers", "they are too many")
	}
	for _, text := range list {
		s, ok := parseServer(strings.TrimSpace(text))
		if !ok {
			return invalid("servers", "each is ldaps://NAME[:PORT], ldap://NAME[:PORT] or ldapi://PATH with %2F for /")
		}
		c.servers = append(c.servers, s)
	}
	return nil
}

// parseServer reads a URL, or a name alone. All but a socket of this machine are spoken to over TLS: with ldap:// it begins with StartTLS.
func parseServer(text string) (server, bool) {
	if path, ok := strings.CutPrefix(text, "ldapi://"); ok {
		path, err := url.PathUnescape(path)
		return server{url: text, scheme: "ldapi", network: "unix", address: path}, err == nil && strings.HasPrefix(path, "/")
	}
	if !strings.Contains(text, "://") {
		text = "ldaps://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "" {
		return server{}, false
	}
	port := map[string]string{"ldaps": ldap.DefaultLdapsPort, "ldap": ldap.DefaultLdapPort}[u.Scheme]
	if u.Port() != "" && port != "" {
		port = u.Port()
	}
	return server{url: text, scheme: u.Scheme, network: "tcp", address: net.JoinHostPort(u.Hostname(), port), name: u.Hostname()}, port != ""
}

func readBase(c *Config, config map[string]string) (err error) {
	base := config["base"]
	if base == "" {
		base = "DC=" + strings.ReplaceAll(c.Domain, ".", ",DC=")
	}
	if c.base, err = ldap.ParseDN(base); err != nil || len(c.base.RDNs) == 0 {
		return invalid("base", "it is no distinguished name")
	}
	return nil
}

// readUser checks who looks others up. Active Directory knows names of several forms, and answers nobody without one.
func readUser(c *Config, config map[string]string) error {
	c.user = config["user"]
	switch {
	case c.user == "" && c.password == "" && c.Type == LDAP:
		return nil
	case c.user == "":
		return invalid("user", "it is missing")
	case c.password == "":
		return invalid(passwordKey, "it is missing")
	case c.Type == AD:
		if !strings.ContainsAny(c.user, `@\=`) {
			c.user += "@" + c.Domain
		}
		return nil
	}
	if dn, err := ldap.ParseDN(c.user); err != nil || len(dn.RDNs) == 0 {
		return invalid("user", "it is no distinguished name")
	}
	return nil
}

func readFilter(c *Config, config map[string]string) error {
	c.userFilter = styles[c.Type].user
	if filter, ok := config["user_filter"]; ok {
		c.userFilter = filter
	}
	if _, err := ldap.CompileFilter(strings.ReplaceAll(c.userFilter, namePlace, "x")); err != nil || !strings.Contains(c.userFilter, namePlace) {
		return invalid("user_filter", "it is no filter, or has no "+namePlace+" where the name belongs")
	}
	return nil
}
