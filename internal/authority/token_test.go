package authority_test

import (
	"bytes"
	"crypto/tls"
	"encoding/gob"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/authority"
)

func TestLooksLikeToken(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"pp1.": true, " PP1.abc\n": true, "": false, "pp1": false, "a password": false, "xpp1.abc": false} {
		if got := authority.LooksLikeToken(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	now := time.Now()
	pool, other := newAuthority(t, now).Fingerprint(), newAuthority(t, now).Fingerprint()
	text, record := authority.NewToken(pool, now, time.Hour)
	another, anothers := authority.NewToken(pool, now, time.Hour)
	foreign, _ := authority.NewToken(other, now, time.Hour)
	tests := []struct {
		name   string
		text   string
		record authority.TokenRecord
		at     time.Time
		want   error
	}{
		{"the token", text, record, now, nil},
		{"as a person may write it", "\n " + strings.ToUpper(text) + " ", record, now, nil},
		{"at the last moment", text, record, now.Add(time.Hour - 1), nil},
		{"too late", text, record, now.Add(time.Hour), authority.ErrTokenExpired},
		{"another token of the pool", another, record, now, authority.ErrTokenUnknown},
		{"the record of another", text, anothers, now, authority.ErrTokenUnknown},
		{"another, and too late", another, record, now.Add(time.Hour), authority.ErrTokenUnknown},
		{"a token of another pool", foreign, record, now, authority.ErrTokenUnknown},
		{"the zero record", text, authority.TokenRecord{}, now, authority.ErrTokenUnknown},
		{"nothing", "", record, now, authority.ErrTokenMalformed},
		{"not all of it", text[:len(text)-1], record, now, authority.ErrTokenMalformed},
		{"more than it", text + "a", record, now, authority.ErrTokenMalformed},
		{"of another version", "pp2." + text[4:], record, now, authority.ErrTokenMalformed},
		{"with a letter that there is not", text[:20] + "1" + text[21:], record, now, authority.ErrTokenMalformed},
		{"with a line break in it", text[:20] + "\n" + text[21:], record, now, authority.ErrTokenMalformed},
		{"of line breaks", "pp1." + text[4:20] + strings.Repeat("\n", 60) + text[80:], record, now, authority.ErrTokenMalformed},
	}
	for _, test := range tests {
		if err := test.record.Check(test.text, test.at); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	if ca, err := authority.ParseToken(text); ca != pool || err != nil {
		t.Errorf("the token is of %s, %v; want %s", ca, err, pool)
	}
	if len(text) != 84 {
		t.Errorf("the token has %d letters", len(text))
	}
}

// Two letters of the secret are exchanged: a slip of the pen, which is not the pool's fault.
func TestMisspeltToken(t *testing.T) {
	t.Parallel()
	text, _ := authority.NewToken(authority.Fingerprint{1, 2, 3}, time.Now(), time.Hour)
	noticed, tried := 0, 0
	for i := 4; i+1 < len(text); i++ {
		if text[i] == text[i+1] {
			continue
		}
		tried++
		wrong := text[:i] + text[i+1:i+2] + text[i:i+1] + text[i+2:]
		if _, err := authority.ParseToken(wrong); errors.Is(err, authority.ErrTokenMalformed) {
			noticed++
		}
	}
	if noticed < tried-1 { // 16 bits miss one of 65536
		t.Errorf("%d of %d slips were noticed", noticed, tried)
	}
}

// The record is what somebody sees who reads the database.
func TestTokenRecord(t *testing.T) {
	t.Parallel()
	text, record := authority.NewToken(authority.Fingerprint{9}, time.Now(), time.Hour)
	stored, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(stored, []byte(text[len(text)-24:])) {
		t.Error("the record holds the secret")
	}
	var read authority.TokenRecord
	if err := json.Unmarshal(stored, &read); err != nil || read != record {
		t.Errorf("%v: stored %v, read %v", err, record, read)
	}
	if err := read.Check(text, time.Now()); err != nil {
		t.Error(err)
	}
}

func FuzzParseToken(f *testing.F) {
	text, _ := authority.NewToken(authority.Fingerprint{5}, time.Now(), time.Hour)
	f.Add(text)
	f.Add(strings.ToUpper(text))
	f.Add("pp1.")
	f.Add("pp1." + strings.Repeat("a", 80))
	f.Add("pp1." + strings.Repeat("=", 80))
	f.Fuzz(func(t *testing.T, text string) {
		ca, err := authority.ParseToken(text)
		if err != nil {
			if !errors.Is(err, authority.ErrTokenMalformed) || ca != (authority.Fingerprint{}) {
				t.Errorf("%v, %s", err, ca)
			}
			return
		}
		plain := strings.ToLower(strings.TrimSpace(text))
		if again, err := authority.ParseToken(plain); err != nil || again != ca || len(plain) != 84 {
			t.Errorf("%q is %s, and %q is %s, %v", text, ca, plain, again, err)
		}
	})
}

func TestJoinRefuses(t *testing.T) {
	t.Parallel()
	now := time.Now()
	pool, stranger := newAuthority(t, now.AddDate(-5, 0, 0)), newAuthority(t, now)
	ca := derOf(t, pool.Trust().Marshal())
	key, cert := newHost(t, stranger, hostA, now)
	pretends := pairOf(t, key, cert)
	pretends.Certificate = append(pretends.Certificate, ca)
	shows := func(pair tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{pair}} }
	key, cert = newHost(t, pool, hostA, now)
	alone := pairOf(t, key, cert)
	tests := []struct {
		name   string
		server *tls.Config
		why    string
	}{
		{"another pool", newMember(t, stranger, hostA, now).ServerConfig(ordinary(t)), "not the pool that the token names"},
		{"another pool, which shows the right authority's certificate", shows(pretends), "verify host certificate"},
		{"a host that does not show its authority's", shows(alone), "not the pool that the token names"},
		{"an ordinary server", ordinary(t), "not the pool that the token names"},
		{"an expired host", newMember(t, pool, hostA, now.AddDate(-2, 0, 0)).ServerConfig(ordinary(t)), "expired"},
		{"a host in no pool", new(authority.Keyholder).ServerConfig(ordinary(t)), "in no pool"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			meet(t, test.server, authority.JoinClientConfig(pool.Fingerprint())).refused(t, test.why)
		})
	}
}

// The authority itself is no host, though its fingerprint is the token's.
func TestJoinMeetsAHost(t *testing.T) {
	t.Parallel()
	pool := newAuthority(t, time.Now())
	ca, key := keyOf(t, pool)
	server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{ca.Raw, ca.Raw}, PrivateKey: key}}}
	meet(t, server, authority.JoinClientConfig(pool.Fingerprint())).refused(t, "not the pool that the token names")
}

type joinCall struct {
	Token string
	CSR   []byte
}

type joinReply struct {
	Cert, Trust []byte
	Refused     string
}

// TestJoin is the whole way of a host into a pool, by a token; the second host with it stays outside.
func TestJoin(t *testing.T) {
	t.Parallel()
	now := time.Now()
	pool := newAuthority(t, now)
	a := newMember(t, pool, hostA, now)
	id, _ := a.Current()
	text, record := authority.NewToken(id.Authority(), now, time.Hour)
	answer := func(call joinCall) (reply joinReply) {
		if err := record.Check(call.Token, time.Now()); err != nil {
			return joinReply{Refused: err.Error()}
		}
		cert, err := pool.Issue(call.CSR, hostB, time.Now())
		if err != nil {
			return joinReply{Refused: err.Error()}
		}
		record = authority.TokenRecord{}
		return joinReply{Cert: cert, Trust: id.Trust.Marshal()}
	}

	b, err := join(t, a.ServerConfig(ordinary(t)), text, answer)
	if err != nil {
		t.Fatal(err)
	}
	m := meet(t, a.ServerConfig(ordinary(t)), b.ClientConfigFor(hostA))
	if host, ok := a.Peer(m.server); host != hostB || !ok || m.clientErr != nil {
		t.Errorf("the host that joined is %q, %v, %v", host, ok, m.clientErr)
	}
	if _, err := join(t, a.ServerConfig(ordinary(t)), text, answer); err == nil || !strings.Contains(err.Error(), "used up") {
		t.Errorf("the second host with the token: %v", err)
	}
}

// join is both ends of the way in: the caller of a host that joins, and what a host of the pool answers.
func join(t *testing.T, server *tls.Config, token string, answer func(joinCall) joinReply) (*authority.Keyholder, error) {
	t.Helper()
	ca, err := authority.ParseToken(token)
	if err != nil {
		return nil, err
	}
	key, csr, err := authority.NewHost()
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	served := make(chan error)
	go func() {
		conn := tls.Server(near, server)
		defer near.Close()
		var call joinCall
		err := gob.NewDecoder(conn).Decode(&call)
		if err == nil {
			err = gob.NewEncoder(conn).Encode(answer(call))
		}
		served <- err
	}()
	conn := tls.Client(far, authority.JoinClientConfig(ca))
	defer far.Close()
	var reply joinReply
	if err := errors.Join(gob.NewEncoder(conn).Encode(joinCall{token, csr}), gob.NewDecoder(conn).Decode(&reply), <-served); err != nil {
		return nil, err
	}
	if reply.Refused != "" {
		return nil, errors.New(reply.Refused)
	}
	trust, err := authority.ParseTrust(reply.Trust)
	if err != nil {
		return nil, err
	}
	k := new(authority.Keyholder)
	return k, k.Set(key, reply.Cert, trust)
}
