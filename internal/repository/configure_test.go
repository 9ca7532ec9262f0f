package repository_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/repository"
	"poolpatch/xenapi"
)

func TestIntroduce(t *testing.T) {
	t.Parallel()
	x := newSite(t).start(t, repository.Options{})
	made, err := x.Introduce(t.Context(), xenapi.Repository{NameLabel: "a", BinaryURL: "https://host/dir/", GPGKeyPath: "me.asc"})
	if rec := get(x, made); err != nil || rec.UUID == "" || rec.BinaryURL != "https://host/dir" {
		t.Fatalf("%v, %+v", err, rec)
	}
	for _, c := range []struct{ name, url, source, key, code string }{
		{"b", "http://host:8080", "https://host/src", "", ""},
		{"a", "https://other", "", "", xenapi.CodeRepositoryAlreadyExists},
		{"c", "https://host/dir", "", "", xenapi.CodeRepositoryAlreadyExists},
		{"c", "https://host/dir//", "", "", xenapi.CodeRepositoryAlreadyExists},
		{"c", "", "", "", xenapi.CodeInvalidBaseURL},
		{"c", "ftp://host/", "", "", xenapi.CodeInvalidBaseURL},
		{"c", "file:///etc", "", "", xenapi.CodeInvalidBaseURL},
		{"c", "https:///dir", "", "", xenapi.CodeInvalidBaseURL},
		{"c", "https://host/?q", "", "", xenapi.CodeInvalidBaseURL},
		{"c", "https://host/#f", "", "", xenapi.CodeInvalidBaseURL},
		{"c", "https://ann:s3cret@host/", "", "", xenapi.CodeInvalidBaseURL},
		{"c", "https://ann:s3cret@%zz/", "", "", xenapi.CodeInvalidBaseURL},
		{"c", "https://other", "no url", "", xenapi.CodeInvalidBaseURL},
		{"c", "https://other", "", "../key", xenapi.CodeInvalidGPGKeyPath},
		{"c", "https://other", "", ".hidden", xenapi.CodeInvalidGPGKeyPath},
	} {
		_, err := x.Introduce(t.Context(), xenapi.Repository{NameLabel: c.name, BinaryURL: c.url, SourceURL: c.source, GPGKeyPath: c.key})
		if xenapi.CodeOf(err) != c.code || err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if code := xenapi.CodeOf(x.SetKeyPath(t.Context(), made, "a/b")); code != xenapi.CodeInvalidGPGKeyPath {
		t.Errorf("key path: %q", code)
	}
}

// What the pool uses is not forgotten, and with its last repository it stops to sync by itself.
func TestRepositoriesOfThePool(t *testing.T) {
	t.Parallel()
	x := newSite(t).start(t, repository.Options{})
	want := func(what string, err error, code string) {
		t.Helper()
		if xenapi.CodeOf(err) != code || err != nil && code == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	want("enabled without any", x.SetEnabled(t.Context(), thePool, true), xenapi.CodeNoRepositoriesConfigured)
	_, err := x.sync(false)
	want("sync without any", err, xenapi.CodeNoRepositoryEnabled)
	_, err = x.apply("")
	want("apply without any", err, xenapi.CodeNoRepositoryEnabled)
	if code := xenapi.CodeOf(x.Add(t.Context(), thePool, "OpaqueRef:none")); code != xenapi.CodeHandleInvalid {
		t.Errorf("one that does not exist: %q", code)
	}
	want("removal of one that does not exist", x.Remove(t.Context(), thePool, "OpaqueRef:none"), xenapi.CodeHandleInvalid)
	a, b := x.repository(t, "a", "https://a"), x.repository(t, "b", "https://b")
	want("add again", x.Add(t.Context(), thePool, a), "")
	if got := get(x, thePool).Repositories; len(got) != 2 {
		t.Errorf("repositories %v", got)
	}
	x.update(t, func(tx *db.Tx) error {
		if err := db.Change(tx, thePool, func(p *xenapi.Pool) error { p.LastUpdateSync = time.Now(); return nil }); err != nil {
			return err
		}
		return db.Change(tx, a, func(r *xenapi.Repository) error { r.Hash = "x"; return nil })
	})
	want("the same", x.Set(t.Context(), thePool, []xenapi.Ref[xenapi.Repository]{b, a, b}), "")
	if got := get(x, thePool); fmt.Sprint(got.Repositories) != fmt.Sprint([]xenapi.Ref[xenapi.Repository]{b, a}) || got.LastUpdateSync.IsZero() || get(x, a).Hash != "x" {
		t.Errorf("set to what is so: %v %v", got.Repositories, got.LastUpdateSync)
	}
	want("enabled", x.SetEnabled(t.Context(), thePool, true), "")
	want("in use", x.Forget(t.Context(), a), xenapi.CodeRepositoryIsInUse)
	want("remove", x.Remove(t.Context(), thePool, a), "")
	if !get(x, thePool).UpdateSyncEnabled || get(x, a).Hash != "" {
		t.Error("with one of two repositories ended the syncing, or its hash stayed")
	}
	want("forget", x.Forget(t.Context(), a), "")
	want("forget again", x.Forget(t.Context(), a), xenapi.CodeHandleInvalid)
	want("set to none", x.Set(t.Context(), thePool, nil), "")
	if p := get(x, thePool); p.UpdateSyncEnabled || !p.LastUpdateSync.IsZero() {
		t.Errorf("without repositories: %v %v", p.UpdateSyncEnabled, p.LastUpdateSync)
	}
}

func TestProxySettings(t *testing.T) {
	t.Parallel()
	x := newSite(t).start(t, repository.Options{})
	for _, c := range []struct{ url, user, password, code string }{
		{"http://proxy:3128", "", "", ""},
		{"https://proxy:3128/", "ann", "s3cret", ""},
		{"http://proxy:3128", "bob", "other s3cret", ""},
		{"", "", "", xenapi.CodeInvalidRepositoryProxyURL},
		{"socks5://proxy", "", "", xenapi.CodeInvalidRepositoryProxyURL},
		{"http://proxy/path", "", "", xenapi.CodeInvalidRepositoryProxyURL},
		{"http://ann:s3cret@proxy", "", "", xenapi.CodeInvalidRepositoryProxyURL},
		{"http://proxy", "ann", "", xenapi.CodeInvalidRepositoryProxyCredential},
		{"http://proxy", "", "s3cret", xenapi.CodeInvalidRepositoryProxyCredential},
		{"http://proxy", "a:b", "s3cret", xenapi.CodeInvalidRepositoryProxyCredential},
		{"http://proxy", "ann", "s3cret\r\nX: y", xenapi.CodeInvalidRepositoryProxyCredential},
		{"http://proxy", "ann", strings.Repeat("s3cret", 1000), xenapi.CodeInvalidRepositoryProxyCredential},
	} {
		err := x.SetProxy(t.Context(), thePool, c.url, c.user, c.password)
		if xenapi.CodeOf(err) != c.code || err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	p, secrets := get(x, thePool), all[xenapi.Secret](x)
	if p.RepositoryProxyURL != "http://proxy:3128" || p.RepositoryProxyUsername != "bob" || len(secrets) != 1 || get(x, p.RepositoryProxyPassword).Value != "other s3cret" {
		t.Errorf("%q %q, %d secrets", p.RepositoryProxyURL, p.RepositoryProxyUsername, len(secrets))
	}
}

// Every host that cannot be updated is named.
func TestReadiness(t *testing.T) {
	t.Parallel()
	x := newSite(t).start(t, repository.Options{Alive: func(_ *db.Tx, host xenapi.Ref[xenapi.Host]) bool { return host == here }})
	check := func(reboot bool, want string) {
		t.Helper()
		if got, err := x.Unready(thePool, reboot); err != nil || fmt.Sprint(got) != want {
			t.Errorf("reboot %v: %v, %v, want %s", reboot, got, err, want)
		}
	}
	check(false, "[]")
	if got, err := x.Unready(thePool, false); err != nil || got == nil {
		t.Error("nothing is no set", err)
	}
	x.update(t, func(tx *db.Tx) error {
		return db.Change(tx, here, func(rec *xenapi.Host) error { rec.Enabled = false; return nil })
	})
	check(false, "[[HOST_DISABLED OpaqueRef:here]]")
	check(true, "[]")
	x.update(t, func(tx *db.Tx) error {
		return db.Insert(tx, "OpaqueRef:away", xenapi.Host{UUID: "uuid-away", Enabled: true})
	})
	check(true, "[[HOST_OFFLINE OpaqueRef:away]]")
	if _, err := x.Unready("OpaqueRef:none", true); xenapi.CodeOf(err) != xenapi.CodeHandleInvalid {
		t.Errorf("of no pool: %v", err)
	}
}
