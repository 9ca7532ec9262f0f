package auth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/directory"
	"poolpatch/xenapi"
)

// book is a directory: who is in it, by name, and with which password.
type book struct {
	mu       sync.Mutex
	accounts map[string]directory.Account
	err      error         // of everything, where there is one
	takes    time.Duration // to tell whether a password is right
	asked    []string
	now, max atomic.Int32 // how many passwords it tells of at once
}

func (b *book) Check(context.Context) error { return b.err }

func (b *book) Authenticate(ctx context.Context, name, password string) (directory.Account, error) {
	b.max.Store(max(b.max.Load(), b.now.Add(1)))
	defer b.now.Add(-1)
	time.Sleep(b.takes)
	b.mu.Lock()
	b.asked = append(b.asked, name)
	b.mu.Unlock()
	a, err := b.Find(ctx, name)
	if errors.Is(err, directory.ErrNobody) || err == nil && password != "right" {
		return directory.Account{}, directory.ErrRefused
	}
	return a, err
}

func (b *book) Find(_ context.Context, name string) (directory.Account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.accounts[name]
	if !ok && b.err == nil {
		return a, directory.ErrNobody
	}
	return a, b.err
}

func (b *book) Lookup(_ context.Context, identifier string) (directory.Account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.accounts {
		if a.Identifier == identifier && b.err == nil {
			return a, nil
		}
	}
	if b.err != nil {
		return directory.Account{}, b.err
	}
	return directory.Account{}, directory.ErrNobody
}

func (b *book) change(fn func(accounts map[string]directory.Account)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn(b.accounts)
}

func (b *book) fail(err error) { b.mu.Lock(); b.err = err; b.mu.Unlock() }

const (
	eveID   = "S-1-5-21-1-2-3-1001"
	staffID = "S-1-5-21-1-2-3-2001"
	opsID   = "S-1-5-21-1-2-3-2002"
)

var (
	staff = xenapi.Ref[xenapi.Subject]("OpaqueRef:staff")
	ops   = xenapi.Ref[xenapi.Subject]("OpaqueRef:ops")
)

// people are root and ann, whose passwords cost time to hash, made once.
var people = func() map[xenapi.Ref[xenapi.User]]xenapi.User {
	d, err := db.Open(context.Background(), memkv.New(), db.Options{Writer: "x", Tables: []db.Table{db.TableOf[xenapi.User](), db.TableOf[xenapi.Subject]()}})
	if err != nil {
		panic(err)
	}
	defer d.Close()
	s := auth.New(d, here, slog.New(slog.DiscardHandler), auth.Options{})
	err = s.EnsureRoot(context.Background(), rootPass)
	_, uerr := s.CreateUser(context.Background(), xenapi.User{ShortName: "ann"}, xenapi.RoleVMAdmin, "a")
	if err := errors.Join(err, uerr); err != nil {
		panic(err)
	}
	all := map[xenapi.Ref[xenapi.User]]xenapi.User{}
	_ = d.View(func(tx *db.Tx) error { maps.Insert(all, db.All[xenapi.User](tx)); return nil })
	return all
}()

// withBook is newPool, whose host asks a directory that has eve, of staff and ops, and mel, of nothing. Staff may read, ops may more.
func withBook(t testing.TB, o ...memkv.Option) (pool, *book) {
	t.Helper()
	b := &book{accounts: map[string]directory.Account{
		"eve": {Identifier: eveID, Name: "eve@example.com", Groups: []string{staffID, opsID}},
		"mel": {Identifier: "S-1-5-21-1-2-3-1002", Name: "mel@example.com"},
		"ann": {Identifier: "S-1-5-21-1-2-3-1003", Name: "ann@example.com", Groups: []string{opsID}},
		"ops": {Identifier: opsID, Name: "ops@example.com", IsGroup: true},
	}}
	p := open(t, memkv.New(o...), here)
	p.Service = auth.New(p.db, here, slog.New(slog.DiscardHandler), auth.Options{
		FailureDelay: delay, Reach: func(directory.Config) auth.Directory { return b },
	})
	p.update(t, func(tx *db.Tx) error {
		for ref, rec := range people {
			if err := db.Insert(tx, ref, rec); err != nil {
				return err
			}
		}
		return errors.Join(
			db.Insert(tx, "OpaqueRef:ann", xenapi.Subject{UUID: "a", SubjectIdentifier: "ann", Roles: []xenapi.Ref[xenapi.Role]{xenapi.RoleRef(xenapi.RoleVMAdmin)}}),
			db.Insert(tx, "OpaqueRef:pool", xenapi.Pool{ExtAuthMaxThreads: 1}), db.Insert(tx, here, xenapi.Host{UUID: "here"}), db.Insert(tx, there, xenapi.Host{UUID: "there"}),
			db.Insert(tx, staff, xenapi.Subject{UUID: "s", SubjectIdentifier: staffID, External: true, Roles: []xenapi.Ref[xenapi.Role]{xenapi.RoleRef(xenapi.RoleReadOnly)}}),
			db.Insert(tx, ops, xenapi.Subject{UUID: "o", SubjectIdentifier: opsID, External: true, Roles: []xenapi.Ref[xenapi.Role]{xenapi.RoleRef(xenapi.RolePoolOperator)}}),
		)
	})
	if err := p.EnableExternal(t.Context(), here, config, "example.com", directory.AD); err != nil {
		t.Fatal(err)
	}
	return p, b
}

var config = map[string]string{"user": "reader", "pass": "hunter2"}

// TestExternalLogin tries names of the pool and of its directory. What is of the pool is nobody else's.
func TestExternalLogin(t *testing.T) {
	t.Parallel()
	gone := fmt.Errorf("%w: dc1 is away", directory.ErrUnavailable)
	for _, tt := range []struct {
		name, user, password string
		err                  error // of the directory
		code                 string
		waits                time.Duration
		asks                 int
	}{
		{"user of the directory", "eve", "right", nil, "", 0, 1},
		{"wrong password", "eve", "wrong", nil, xenapi.CodeSessionAuthenticationFailed, delay, 1},
		{"nobody", "bob", "right", nil, xenapi.CodeSessionAuthenticationFailed, delay, 1},
		{"in no group that may come in", "mel", "right", nil, xenapi.CodeSessionAuthorizationFailed, 0, 1},
		{"user of the pool", "ann", "a", nil, "", 0, 0},
		{"user of the pool with a namesake", "ann", "right", nil, xenapi.CodeSessionAuthenticationFailed, delay, 0},
		{"root", "root", rootPass, nil, "", 0, 0},
		{"root with another password", "root", "right", nil, xenapi.CodeSessionAuthenticationFailed, delay, 0},
		{"the directory is away", "eve", "wrong", gone, xenapi.CodeAuthServiceError, 0, 1},
		{"the directory is away from root", "root", rootPass, gone, "", 0, 0},
		{"the directory is away from a user of the pool", "ann", "a", gone, "", 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, b := withBook(t)
			b.fail(tt.err)
			start := time.Now()
			_, err := p.Login(t.Context(), tt.user, tt.password, anyone)
			if waited := time.Since(start); xenapi.CodeOf(err) != tt.code || waited != tt.waits || len(b.asked) != tt.asks {
				t.Errorf("%s: %v after %v; the directory was asked of %q", tt.name, err, waited, b.asked)
			}
			if open := len(p.sessions()); (tt.code == "") != (open == 1) {
				t.Errorf("%s: %d sessions", tt.name, open)
			}
		})
	}
}

func TestExternalSession(t *testing.T) {
	t.Parallel()
	p, _ := withBook(t)
	ref, err := p.Login(t.Context(), "eve", "right", anyone)
	rec := p.sessions()[ref]
	if err != nil || rec.AuthUserName != "eve@example.com" || rec.AuthUserSID != eveID || rec.Subject != ops || rec.Role != xenapi.RolePoolOperator || rec.IsLocalSuperuser || rec.Pool {
		t.Errorf("%v, session %+v", err, rec)
	}
	caller, err := p.Authenticate(t.Context(), auth.Credentials{Basic: true, User: "eve", Password: "right"}, anyone)
	if err != nil || caller.Session.Role != xenapi.RolePoolOperator {
		t.Errorf("a request: %+v, %v", caller, err)
	}
	if got := p.SubjectIdentifiers(); !slices.Equal(got, []string{eveID}) {
		t.Errorf("logged in: %q", got)
	}
	if err := p.LogoutSubject(t.Context(), eveID, ""); err != nil || len(p.sessions()) > 0 {
		t.Errorf("logged out: %v, %d sessions", err, len(p.sessions()))
	}
}

// TestExternalRoles changes what the subjects may that let eve in, in her open session.
func TestExternalRoles(t *testing.T) {
	t.Parallel()
	p, b := withBook(t)
	ref, err := p.Login(t.Context(), "eve", "right", anyone)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func() error
		role string
		open bool
	}{
		{"staff may everything", func() error { return p.AddRole(t.Context(), staff, xenapi.RoleRef(xenapi.RolePoolAdmin)) }, xenapi.RolePoolAdmin, true},
		{"no longer", func() error { return p.RemoveRole(t.Context(), staff, xenapi.RoleRef(xenapi.RolePoolAdmin)) }, xenapi.RolePoolOperator, true},
		{"ops are let in no longer", func() error { return p.DestroySubject(t.Context(), ops) }, xenapi.RoleReadOnly, true},
		{"nor is staff", func() error { return p.DestroySubject(t.Context(), staff) }, "", false},
	} {
		err := step.do()
		if rec, open := p.sessions()[ref]; err != nil || rec.Role != step.role || open != step.open {
			t.Errorf("%s: %v; the session is open: %t, with the role %q", step.name, err, open, rec.Role)
		}
	}
	_, err = p.Login(t.Context(), "eve", "right", anyone)
	wantCode(t, err, xenapi.CodeSessionAuthorizationFailed)
	b.change(func(all map[string]directory.Account) { eve := all["eve"]; eve.Locked = true; all["eve"] = eve })
	_, err = p.Login(t.Context(), "eve", "right", anyone)
	if want := xenapi.ErrSessionAuthorizationFailed("eve@example.com", "The account is locked"); err == nil || err.Error() != want.Error() {
		t.Errorf("a locked account: %v", err)
	}
}

// TestExternalNames: a user of the pool whose name is an identifier of the directory is not whom that is of.
func TestExternalNames(t *testing.T) {
	t.Parallel()
	p, b := withBook(t)
	if _, err := p.CreateUser(t.Context(), xenapi.User{ShortName: opsID}, xenapi.RoleReadOnly, "x"); err != nil {
		t.Fatal(err)
	}
	ref, err := p.Login(t.Context(), opsID, "x", anyone)
	if rec := p.sessions()[ref]; err != nil || rec.Role != xenapi.RoleReadOnly || rec.Subject == ops {
		t.Errorf("%v: %+v", err, rec)
	}
	b.change(func(all map[string]directory.Account) { all["eve"] = directory.Account{Identifier: "ann", Name: "eve"} })
	_, err = p.Login(t.Context(), "eve", "right", anyone)
	wantCode(t, err, xenapi.CodeSessionAuthorizationFailed)
}

// TestRevalidate looks at the owners of open sessions again, some minutes later.
func TestRevalidate(t *testing.T) {
	t.Parallel()
	edit := func(fn func(a *directory.Account)) func(*book) {
		return func(b *book) {
			b.change(func(all map[string]directory.Account) { eve := all["eve"]; fn(&eve); all["eve"] = eve })
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*book)
		role   string // "" is that the session has ended
	}{
		{"nothing", func(*book) {}, xenapi.RolePoolOperator},
		{"the directory is away", func(b *book) { b.fail(directory.ErrUnavailable) }, xenapi.RolePoolOperator},
		{"the directory refuses who asks", func(b *book) { b.fail(directory.ErrUser) }, xenapi.RolePoolOperator},
		{"the directory answers with an error", func(b *book) { b.fail(errors.New("defect")) }, xenapi.RolePoolOperator},
		{"gone", func(b *book) { b.change(func(all map[string]directory.Account) { delete(all, "eve") }) }, ""},
		{"disabled", edit(func(a *directory.Account) { a.Disabled = true }), ""},
		{"expired", edit(func(a *directory.Account) { a.Expired = true }), ""},
		{"in no group", edit(func(a *directory.Account) { a.Groups = nil }), ""},
		{"in one group less", edit(func(a *directory.Account) { a.Groups = []string{staffID} }), xenapi.RoleReadOnly},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, b := withBook(t)
			ref, err := p.Login(t.Context(), "eve", "right", anyone)
			own, oerr := p.Login(t.Context(), "ann", "a", anyone)
			ctx, end := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- p.Revalidate(ctx) }()
			defer func() { end(); <-done }()
			tt.change(b)
			time.Sleep(4 * time.Minute)
			synctest.Wait()
			if rec := p.sessions()[ref]; err != nil || oerr != nil || rec.Role != xenapi.RolePoolOperator {
				t.Errorf("%s, at once: %v, %v, %+v", tt.name, err, oerr, rec)
			}
			time.Sleep(time.Minute + time.Second)
			synctest.Wait()
			rec, open := p.sessions()[ref]
			if rec.Role != tt.role || open != (tt.role != "") || p.sessions()[own].Role != xenapi.RoleVMAdmin {
				t.Errorf("%s: the session is open: %t, with the role %q", tt.name, open, rec.Role)
			}
		})
	}
}

// TestRevalidateOthers: sessions of a host that is dead are somebody's to look after.
func TestRevalidateOthers(t *testing.T) {
	t.Parallel()
	for _, minds := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p, b := withBook(t)
			p.Service = auth.New(p.db, here, slog.New(slog.DiscardHandler), auth.Options{
				Reach: func(directory.Config) auth.Directory { return b },
				Minds: func(_ *db.Tx, host xenapi.Ref[xenapi.Host]) bool { return minds && host == there },
			})
			p.update(t, func(tx *db.Tx) error {
				return db.Insert(tx, "OpaqueRef:theirs", xenapi.Session{UUID: "u", Kind: "external", ThisHost: there, AuthUserSID: "S-1-5-21-1-2-3-9", LastActive: time.Now()})
			})
			ctx, end := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- p.Revalidate(ctx) }()
			time.Sleep(6 * time.Minute)
			synctest.Wait()
			end()
			<-done
			if _, open := p.sessions()["OpaqueRef:theirs"]; open == minds {
				t.Errorf("this host minds it: %t; it is open: %t", minds, open)
			}
		})
	}
}

// TestUnwritten opens a session while the database takes no changes: what ends others ends it too.
func TestUnwritten(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		after  time.Duration
		change func(t *testing.T, p pool, b *book)
	}{
		{"gone", 6 * time.Minute, func(_ *testing.T, _ pool, b *book) {
			b.change(func(all map[string]directory.Account) { delete(all, "eve") })
		}},
		{"disabled", time.Second, func(t *testing.T, p pool, _ *book) {
			if err := p.DisableExternalEverywhere(t.Context()); err != nil {
				t.Error(err)
			}
		}},
		{"without subjects", time.Second, func(t *testing.T, p pool, _ *book) {
			if err := errors.Join(p.DestroySubject(t.Context(), ops), p.DestroySubject(t.Context(), staff)); err != nil {
				t.Error(err)
			}
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var broken atomic.Bool
			p, b := withBook(t, memkv.WithFaults(func(int, []db.Guard, []db.Op) memkv.Fault {
				if broken.Load() {
					return memkv.Unavailable
				}
				return memkv.None
			}))
			broken.Store(true)
			ref, err := p.Login(t.Context(), "eve", "right", anyone)
			broken.Store(false)
			if rec, serr := p.Session(t.Context(), ref); err != nil || serr != nil || rec.Role != xenapi.RolePoolOperator || len(p.sessions()) > 0 {
				t.Fatalf("%s: %v, %v, %+v", tt.name, err, serr, rec)
			}
			tt.change(t, p, b)
			ctx, end := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- p.Revalidate(ctx) }()
			time.Sleep(tt.after)
			synctest.Wait()
			end()
			<-done
			_, err = p.Session(t.Context(), ref)
			wantCode(t, err, xenapi.CodeSessionInvalid)
		})
	}
}

// TestMaxThreads lets so many logins ask the directory at once; the others wait, or go away.
func TestMaxThreads(t *testing.T) {
	t.Parallel()
	for most := int32(1); most <= 3; most += 2 {
		synctest.Test(t, func(t *testing.T) {
			p, b := withBook(t)
			b.takes = time.Second
			p.update(t, func(tx *db.Tx) error {
				return db.Change(tx, "OpaqueRef:pool", func(rec *xenapi.Pool) error { rec.ExtAuthMaxThreads = int64(most); return nil })
			})
			start := time.Now()
			var all sync.WaitGroup
			for range 6 {
				all.Go(func() {
					if _, err := p.Login(t.Context(), "eve", "right", anyone); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
			defer leave()
			if _, err := p.Login(ctx, "eve", "right", anyone); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who went away: %v", err)
			}
			all.Wait()
			if waited := time.Since(start); b.max.Load() != most || waited != 6*time.Second/time.Duration(most) {
				t.Errorf("%d at once, all after %v", b.max.Load(), waited)
			}
		})
	}
}

// TestTooManyWait tells who comes to a long queue to come back.
func TestTooManyWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, b := withBook(t)
		b.takes = time.Hour
		ctx, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 201 {
			all.Go(func() { _, _ = p.Login(ctx, "eve", "right", anyone) })
		}
		synctest.Wait()
		_, err := p.Login(t.Context(), "eve", "right", anyone)
		wantCode(t, err, xenapi.CodeTooBusy)
		leave()
		all.Wait()
	})
}

func TestEnableExternal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testEnableExternal) // a login is refused, which takes time
}

func testEnableExternal(t *testing.T) {
	p, b := withBook(t)
	err := p.EnableExternal(t.Context(), here, config, "example.com", directory.AD)
	if want := xenapi.ErrAuthAlreadyEnabled("AD", "example.com"); err == nil || err.Error() != want.Error() {
		t.Errorf("again: %v", err)
	}
	err = p.EnableExternalEverywhere(t.Context(), config, "example.com", directory.AD)
	if want := xenapi.ErrPoolAuthAlreadyEnabled(here); err == nil || err.Error() != want.Error() {
		t.Errorf("everywhere: %v", err)
	}
	eve, err := p.Login(t.Context(), "eve", "right", anyone)
	ann, aerr := p.Login(t.Context(), "ann", "a", anyone)
	if err := errors.Join(err, aerr, p.DisableExternal(t.Context(), there), p.DisableExternal(t.Context(), here), p.DisableExternal(t.Context(), here)); err != nil {
		t.Fatal(err)
	}
	if open := p.sessions(); open[eve].UUID != "" || open[ann].UUID == "" {
		t.Errorf("left: %v", open)
	}
	host := p.host(here)
	if host.ExternalAuthType+host.ExternalAuthServiceName+host.ExternalAuthPassword != "" || len(host.ExternalAuthConfiguration) > 0 {
		t.Errorf("left: %+v", host)
	}
	_, err = p.Login(t.Context(), "eve", "right", anyone)
	wantCode(t, err, xenapi.CodeSessionAuthenticationFailed)
	if err := p.EnableExternalEverywhere(t.Context(), config, "example.com", directory.AD); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []xenapi.Ref[xenapi.Host]{here, there} {
		host := p.host(ref)
		if _, told := host.ExternalAuthConfiguration["pass"]; told || host.ExternalAuthConfiguration["user"] != "reader" || host.ExternalAuthPassword != "hunter2" || host.ExternalAuthType != "AD" {
			t.Errorf("%s: %+v", ref, host)
		}
	}
	for _, tt := range []struct {
		err  error
		code string
	}{
		{nil, ""}, {fmt.Errorf("x: %w", directory.ErrUnavailable), xenapi.CodeAuthEnableFailedUnavailable},
		{fmt.Errorf("x: %w", directory.ErrUser), xenapi.CodeAuthEnableFailedWrongCredentials}, {errors.New("x"), xenapi.CodeAuthEnableFailed},
	} {
		b.fail(tt.err)
		wantCode(t, p.CheckExternal(t.Context(), config, "example.com", directory.AD), tt.code)
	}
	wantCode(t, p.CheckExternal(t.Context(), config, "example.com", "PAM"), xenapi.CodeAuthUnknownType)
}

func (p pool) host(ref xenapi.Ref[xenapi.Host]) (rec xenapi.Host) {
	_ = p.db.View(func(tx *db.Tx) error { rec, _ = db.Lookup(tx, ref); return nil })
	return rec
}

// TestExternalSubjects lets somebody of the directory in, who has one identifier whatever the caller says.
func TestExternalSubjects(t *testing.T) {
	t.Parallel()
	p, b := withBook(t)
	ref, err := p.CreateSubject(t.Context(), xenapi.Subject{SubjectIdentifier: eveID, OtherConfig: map[string]string{"subject-name": "Eve"}})
	if err != nil {
		t.Fatal(err)
	}
	_, rec := p.subject(t, eveID)
	if !rec.External || rec.OtherConfig["subject-name"] != "Eve" || rec.OtherConfig["subject-account-locked"] != "false" || len(rec.Roles) > 0 {
		t.Errorf("subject %+v", rec)
	}
	for identifier, code := range map[string]string{
		eveID: xenapi.CodeSubjectAlreadyExists, opsID: xenapi.CodeSubjectAlreadyExists, "S-1-5-9": xenapi.CodeSubjectCannotBeResolved, "ann": xenapi.CodeSubjectAlreadyExists,
		"root": xenapi.CodeSubjectCannotBeResolved,
	} {
		_, err := p.CreateSubject(t.Context(), xenapi.Subject{SubjectIdentifier: identifier})
		wantCode(t, err, code)
	}
	if err := p.DestroySubject(t.Context(), ref); err != nil {
		t.Error(err)
	}
	b.fail(directory.ErrUnavailable)
	_, err = p.CreateSubject(t.Context(), xenapi.Subject{SubjectIdentifier: eveID})
	wantCode(t, err, xenapi.CodeAuthServiceError)
}

func TestWhoSomebodyIs(t *testing.T) {
	t.Parallel()
	p, b := withBook(t)
	for _, tt := range []struct{ name, identifier, code string }{
		{"eve", eveID, ""}, {"ops", opsID, ""}, {"ann", "ann", ""}, {"root", "", xenapi.CodeSubjectCannotBeResolved}, {"nobody", "", xenapi.CodeSubjectCannotBeResolved},
	} {
		got, err := p.SubjectIdentifier(t.Context(), tt.name)
		if wantCode(t, err, tt.code); got != tt.identifier {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
	info, err := p.SubjectInformation(t.Context(), opsID)
	own, oerr := p.SubjectInformation(t.Context(), "ann")
	groups, gerr := p.GroupMembership(t.Context(), eveID)
	none, nerr := p.GroupMembership(t.Context(), "ann")
	if err := errors.Join(err, oerr, gerr, nerr); err != nil || info["subject-is-group"] != "true" || own["subject-name"] != "ann" || !slices.Equal(groups, []string{staffID, opsID}) || len(none) > 0 {
		t.Errorf("%v: %v, %v, %q, %q", err, info, own, groups, none)
	}
	b.fail(directory.ErrUnavailable)
	_, err = p.SubjectIdentifier(t.Context(), "eve")
	wantCode(t, err, xenapi.CodeAuthServiceError)
	if err := p.DisableExternalEverywhere(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = p.SubjectIdentifier(t.Context(), "eve")
	wantCode(t, err, xenapi.CodeAuthIsDisabled)
	_, err = p.SubjectInformation(t.Context(), eveID)
	wantCode(t, err, xenapi.CodeAuthIsDisabled)
}
