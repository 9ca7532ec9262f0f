package authority_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/authority"
)

func TestTrust(t *testing.T) {
	t.Parallel()
	a, b := newAuthority(t, time.Now()), newAuthority(t, time.Now())
	both := a.Trust().Add(b.Trust())
	tests := []struct {
		name  string
		trust authority.Trust
		want  []authority.Fingerprint
	}{
		{"nobody", authority.Trust{}, nil},
		{"one", authority.Trust{}.Add(a.Trust()), []authority.Fingerprint{a.Fingerprint()}},
		{"both", both, []authority.Fingerprint{a.Fingerprint(), b.Fingerprint()}},
		{"one twice", both.Add(a.Trust()), []authority.Fingerprint{a.Fingerprint(), b.Fingerprint()}},
		{"without the old", both.Without(a.Fingerprint()), []authority.Fingerprint{b.Fingerprint()}},
		{"without one that it has not", a.Trust().Without(b.Fingerprint()), []authority.Fingerprint{a.Fingerprint()}},
		{"both are still both", both, []authority.Fingerprint{a.Fingerprint(), b.Fingerprint()}},
	}
	for _, test := range tests {
		if got := test.trust.Fingerprints(); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
		if len(test.want) == 0 {
			continue
		}
		read, err := authority.ParseTrust(test.trust.Marshal())
		if err != nil || !slices.Equal(read.Fingerprints(), test.want) {
			t.Errorf("%s, read again: %v, %v", test.name, read.Fingerprints(), err)
		}
	}
}

func TestParseTrustRefuses(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, time.Now())
	_, host := newHost(t, a, hostA, time.Now())
	below := certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "below"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, a)
	tests := []struct {
		name string
		text []byte
		why  string
	}{
		{"nothing", nil, "missing or damaged"},
		{"a key too", marshal(t, a), `"PRIVATE KEY" instead of`},
		{"a host", slices.Concat(a.Trust().Marshal(), host), "not that of an authority"},
		{"an authority below another", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: below.Certificate[0]}), "authority \"below\""},
		{"a damaged certificate", bytes.Replace(a.Trust().Marshal(), []byte("-----END"), []byte("-----XXX"), 1), "missing or damaged"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := authority.ParseTrust(test.text); err == nil || !strings.Contains(err.Error(), test.why) {
				t.Errorf("got %v, want %q", err, test.why)
			}
		})
	}
}

// What is refused leaves what was set before.
func TestSetRefuses(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a, stranger := newAuthority(t, now), newAuthority(t, now)
	key, cert := newHost(t, a, hostA, now)
	otherKey, otherCert := newHost(t, a, hostB, now)
	tests := []struct {
		name      string
		key, cert []byte
		trust     authority.Trust
		why       string
	}{
		{"the key of another", otherKey, cert, a.Trust(), "private key does not match"},
		{"no key", nil, cert, a.Trust(), "set identity"},
		{"no certificate", key, nil, a.Trust(), "missing or damaged"},
		{"two certificates", key, slices.Concat(cert, otherCert), a.Trust(), "2 blocks instead of 1"},
		{"nobody is trusted", key, cert, authority.Trust{}, "unknown authority"},
		{"another authority is trusted", key, cert, stranger.Trust(), "unknown authority"},
		{"no authority signed it", key, selfSignedOf(t, key), a.Trust(), "verify host certificate"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			k := newMember(t, a, hostC, now)
			if err := k.Set(test.key, test.cert, test.trust); err == nil || !strings.Contains(err.Error(), test.why) {
				t.Errorf("got %v, want %q", err, test.why)
			}
			if id, ok := k.Current(); id.Host != hostC || !ok {
				t.Errorf("the identity is that of %q, %v", id.Host, ok)
			}
		})
	}
	if _, ok := new(authority.Keyholder).Current(); ok {
		t.Error("the zero keyholder has an identity")
	}
}
