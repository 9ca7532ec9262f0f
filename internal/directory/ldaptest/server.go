// Package ldaptest is an LDAP server for tests: a few entries in memory, behind the real protocol.
//
// It is not for a daemon, and not a whole server: it can bind, search, and begin TLS. It fails the test that breaks a rule: a
// bind with a name and without a password, and a password over a connection that anybody can read. Start reading with New.
package ldaptest

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// Entry is one of the directory.
type Entry struct {
	DN         string
	Password   string
	Attributes map[string][]string
}

// Server serves entries until the test ends.
type Server struct {
	t       testing.TB
	tls     *tls.Config
	address string
	scheme  string

	mu       sync.Mutex
	entries  []Entry
	listener net.Listener
	open     map[net.Conn]bool
	serving  sync.WaitGroup
	binds    []string
	refers   bool
	results  map[string]uint16 // of a bind as somebody, in the place of the true one
}

// New serves entries at a scheme: ldapi, or ldap and ldaps with a certificate.
func New(t testing.TB, scheme string, config *tls.Config, entries ...Entry) *Server {
	t.Helper()
	s := &Server{t: t, tls: config, scheme: scheme, address: "127.0.0.1:0", entries: entries, open: map[net.Conn]bool{}, results: map[string]uint16{}}
	if scheme == "ldapi" {
		s.address = filepath.Join(t.TempDir(), "ldapi")
	}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start has the server answer, after Stop too.
func (s *Server) Start() {
	s.t.Helper()
	network := "tcp"
	if s.scheme == "ldapi" {
		network = "unix"
	}
	l, err := net.Listen(network, s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = l.Addr().String()
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	s.serving.Go(func() { s.accept(l) })
}

// Stop ends the server and its connections.
func (s *Server) Stop() {
	s.mu.Lock()
	s.listener.Close()
	for conn := range s.open {
		conn.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// URL is where the server is.
func (s *Server) URL() string {
	if s.scheme == "ldapi" {
		return "ldapi://" + url.PathEscape(s.address)
	}
	return s.scheme + "://" + s.address
}

// Put adds an entry, or replaces the one of its name.
func (s *Server) Put(e Entry) {
	s.Remove(e.DN)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = append(s.entries, e)
}

// Remove takes an entry out.
func (s *Server) Remove(dn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = slices.DeleteFunc(s.entries, func(e Entry) bool { return same(e.DN, dn) })
}

// Refer has every search answered with a reference to another server.
func (s *Server) Refer() { s.mu.Lock(); s.refers = true; s.mu.Unlock() }

// Answer has binds as somebody end with a result of LDAP.
func (s *Server) Answer(dn string, result uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results[dn] = result
}

// Binds lists who has tried to log in.
func (s *Server) Binds() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.binds)
}

func (s *Server) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.open[conn] = true
		s.mu.Unlock()
		s.serving.Go(func() {
			s.converse(conn)
			conn.Close()
			s.mu.Lock()
			delete(s.open, conn)
			s.mu.Unlock()
		})
	}
}

const (
	startTLS  = "1.3.6.1.4.1.1466.20037"
	reference = 19 // SearchResultReference
)

func (s *Server) converse(conn net.Conn) {
	private := s.scheme != "ldap"
	if s.scheme == "ldaps" {
		conn = tls.Server(conn, s.tls)
	}
	for {
		p, err := ber.ReadPacket(conn)
		if err != nil || len(p.Children) < 2 {
			return
		}
		id, op := p.Children[0].Value.(int64), p.Children[1]
		switch op.Tag {
		case ldap.ApplicationBindRequest:
			reply(conn, id, result(ldap.ApplicationBindResponse, s.bind(op, private)))
		case ldap.ApplicationSearchRequest:
			s.search(conn, id, op)
		case ldap.ApplicationExtendedRequest:
			if op.Children[0].Data.String() != startTLS || private || s.tls == nil {
				reply(conn, id, result(ldap.ApplicationExtendedResponse, ldap.LDAPResultProtocolError))
				continue
			}
			reply(conn, id, result(ldap.ApplicationExtendedResponse, ldap.LDAPResultSuccess))
			conn, private = tls.Server(conn, s.tls), true
		default:
			return
		}
	}
}

func (s *Server) bind(op *ber.Packet, private bool) uint16 {
	dn, password := op.Children[1].Value.(string), op.Children[2].Data.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.binds = append(s.binds, dn)
	if !private {
		s.t.Errorf("a bind as %q over a connection that is not private", dn)
	}
	if dn != "" && password == "" {
		s.t.Errorf("a bind as %q without a password: a server takes it for nobody's, and lets it in", dn)
	}
	if code, ok := s.results[dn]; ok {
		return code
	}
	if dn == "" && password == "" {
		return ldap.LDAPResultSuccess
	}
	for _, e := range s.entries {
		if (same(e.DN, dn) || slices.Contains(e.Attributes["userPrincipalName"], dn)) && e.Password != "" && e.Password == password {
			return ldap.LDAPResultSuccess
		}
	}
	return ldap.LDAPResultInvalidCredentials
}

func (s *Server) search(conn net.Conn, id int64, op *ber.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	base, scope, limit := op.Children[0].Value.(string), op.Children[1].Value.(int64), op.Children[3].Value.(int64)
	if s.refers {
		away := ber.Encode(ber.ClassApplication, ber.TypeConstructed, reference, nil, "")
		away.AppendChild(text("ldap://127.0.0.1:9/"))
		reply(conn, id, away)
		reply(conn, id, result(ldap.ApplicationSearchResultDone, ldap.LDAPResultSuccess))
		return
	}
	found, there := int64(0), false
	for _, e := range s.entries {
		if !below(e.DN, base) {
			continue
		}
		there = true
		if scope == ldap.ScopeBaseObject && !same(e.DN, base) || !s.matches(e, op.Children[6]) {
			continue
		}
		if found++; found > limit {
			reply(conn, id, result(ldap.ApplicationSearchResultDone, ldap.LDAPResultSizeLimitExceeded))
			return
		}
		reply(conn, id, shown(e, op.Children[7]))
	}
	code := ldap.LDAPResultSuccess
	if !there {
		code = ldap.LDAPResultNoSuchObject
	}
	reply(conn, id, result(ldap.ApplicationSearchResultDone, uint16(code)))
}

// shown is an entry with the attributes that were asked for.
func shown(e Entry, wanted *ber.Packet) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultEntry, nil, "")
	p.AppendChild(text(e.DN))
	attributes := ber.NewSequence("")
	for _, w := range wanted.Children {
		values := e.Attributes[w.Value.(string)]
		if len(values) == 0 {
			continue
		}
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for _, v := range values {
			set.AppendChild(text(v))
		}
		attribute := ber.NewSequence("")
		attribute.AppendChild(text(w.Value.(string)))
		attribute.AppendChild(set)
		attributes.AppendChild(attribute)
	}
	p.AppendChild(attributes)
	return p
}

func text(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func result(op ber.Tag, code uint16) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, op, nil, "")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(code), ""))
	p.AppendChild(text(""))
	p.AppendChild(text(""))
	return p
}

func reply(conn net.Conn, id int64, op *ber.Packet) {
	p := ber.NewSequence("")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	p.AppendChild(op)
	_, _ = conn.Write(p.Bytes()) // a client that is gone hears nothing
}

func parse(dn string) (*ldap.DN, error) {
	if dn == "" {
		return nil, errors.New("no name")
	}
	return ldap.ParseDN(dn)
}

func same(a, b string) bool {
	x, xerr := parse(a)
	y, yerr := parse(b)
	if xerr != nil || yerr != nil {
		return strings.EqualFold(a, b)
	}
	return x.EqualFold(y)
}

func below(dn, base string) bool {
	x, xerr := parse(base)
	y, yerr := parse(dn)
	return xerr == nil && yerr == nil && (x.EqualFold(y) || x.AncestorOfFold(y))
}
