package repository_test

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"poolpatch/internal/hotfix"
	"poolpatch/internal/repository"
	"poolpatch/xenapi"
)

// Repositories are reached through the pool's proxy, with its password, which is nowhere but in its secret.
func TestProxy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	x, _ := s.begin(t, repository.Options{})
	s.offer(t, 1, 0)
	var seen []string
	via := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Proxy-Authorization")+" "+r.RequestURI)
		_, _ = w.Write(s.server.get(repository.IndexName))
	}))
	defer via.Close()
	if err := x.SetProxy(t.Context(), thePool, via.URL, "ann", "s3cret"); err != nil {
		t.Fatal(err)
	}
	if _, err := x.sync(false); err != nil {
		t.Fatal(err)
	}
	want := "Basic YW5uOnMzY3JldA== " + s.server.URL + "/dir/poolpatch-repository"
	if len(seen) != 1 || seen[0] != want || s.server.requests() != "" {
		t.Errorf("the proxy saw %q, want %q", seen, want)
	}
	via.Close()
	if _, err := x.sync(false); xenapi.CodeOf(err) != xenapi.CodeReposyncFailed || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("without the proxy: %v", err)
	}
	if err := x.ClearProxy(t.Context(), thePool); err != nil {
		t.Fatal(err)
	}
	if secrets := all[xenapi.Secret](x); len(secrets) > 0 || get(x, thePool).RepositoryProxyURL != "" {
		t.Errorf("left of the proxy: %v, %q", secrets, get(x, thePool).RepositoryProxyURL)
	}
	if _, err := x.sync(false); err != nil || s.server.requests() == "" {
		t.Errorf("directly: %v", err)
	}
}

// A server behind https is one that an authority vouches for, and what it says is not continued in plain text.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	plain := s.server
	secure := &server{files: map[string][]byte{}}
	secure.Server = httptest.NewUnstartedServer(secure)
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo) // the client's refusal is what is looked for
	secure.StartTLS()
	t.Cleanup(secure.Close)
	s.server = secure
	known := false
	x, _ := s.begin(t, repository.Options{TLS: func() *tls.Config {
		roots := x509.NewCertPool()
		if known {
			roots.AddCert(secure.Certificate())
		}
		return &tls.Config{RootCAs: roots}
	}})
	s.offer(t, 1, 0)
	if _, err := x.sync(false); xenapi.CodeOf(err) != xenapi.CodeReposyncFailed || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a stranger: %v", err)
	}
	known = true
	if _, err := x.sync(false); err != nil {
		t.Error(err)
	}
	secure.answer(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusFound)
		return true
	})
	if _, err := x.sync(false); xenapi.CodeOf(err) != xenapi.CodeReposyncFailed || plain.requests() != "" {
		t.Errorf("sent to plain text: %v", err)
	}
}

// An index that cannot be verified because of this host's own keys is not the repository's fault.
func TestKeysThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	x, _ := s.begin(t, repository.Options{})
	s.offer(t, 1, 0)
	touch(t, filepath.Join(s.root, "keys", "broken.asc"))
	if code := codeOf(x.sync(false)); code != xenapi.CodePatchTrustUnreadable {
		t.Errorf("it is %q", code)
	}
	if _, err := hotfix.LoadKeyring(filepath.Join(s.root, "keys")); err == nil {
		t.Error("the keyring can be read")
	}
}
