package auth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/trust"
	"poolpatch/xenapi"
)

const (
	here     = xenapi.Ref[xenapi.Host]("OpaqueRef:here")
	there    = xenapi.Ref[xenapi.Host]("OpaqueRef:there")
	delay    = 5 * time.Second
	rootPass = "r00t"
	anyone   = "10.0.0.1"
	secret   = "the pool's secret"
)

// pool is the users and sessions of a pool, as one host sees them.
type pool struct {
	*auth.Service
	db *db.DB
}

func open(t testing.TB, store db.Store, host xenapi.Ref[xenapi.Host]) pool {
	t.Helper()
	d, err := db.Open(t.Context(), store, db.Options{Writer: string(host), Tables: append(trust.Tables(), []db.Table{
		db.TableOf[xenapi.Session](), db.TableOf[xenapi.User](), db.TableOf[xenapi.Subject](), db.TableOf[xenapi.Task](), db.TableOf[xenapi.Pool](), db.TableOf[xenapi.Host](),
	}...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return pool{auth.New(d, host, slog.New(slog.DiscardHandler), auth.Options{FailureDelay: delay, Trust: trust.New(d)}), d}
}

// newPool has root, the user ann who is a vm-admin, and a pool secret.
func newPool(t testing.TB) pool {
	t.Helper()
	p := open(t, memkv.New(), here)
	err := p.EnsureRoot(t.Context(), rootPass)
	_, uerr := p.CreateUser(t.Context(), xenapi.User{ShortName: "ann"}, xenapi.RoleVMAdmin, "a")
	p.update(t, func(tx *db.Tx) error { return db.Insert(tx, "OpaqueRef:pool", xenapi.Pool{Secret: secret}) })
	if err := errors.Join(err, uerr); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p pool) update(t testing.TB, fn func(*db.Tx) error) {
	t.Helper()
	if err := p.db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (p pool) sessions() (all map[xenapi.Ref[xenapi.Session]]xenapi.Session) {
	all = map[xenapi.Ref[xenapi.Session]]xenapi.Session{}
	_ = p.db.View(func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.Session](tx) {
			all[ref] = rec
		}
		return nil
	})
	return all
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if got := xenapi.CodeOf(err); got != code || (err == nil) != (code == "") {
		t.Errorf("got error %v, want code %q", err, code)
	}
}

// TestLogin tries names and passwords; who is refused waits, whatever was wrong, and learns nothing else.
func TestLogin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, user, password string
		ok                   bool
	}{
		{"root", "root", rootPass, true},
		{"user", "ann", "a", true},
		{"wrong password", "root", "wrong", false},
		{"another user's password", "ann", rootPass, false},
		{"empty password", "ann", "", false},
		{"unknown user", "bob", "a", false},
		{"no name", "", "", false},
		{"name in other case", "Root", rootPass, false},
		{"user without password", "mute", "", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPool(t)
			if _, err := p.CreateUser(t.Context(), xenapi.User{ShortName: "mute"}, xenapi.RoleReadOnly, ""); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			ref, err := p.Login(t.Context(), tt.user, tt.password, anyone)
			waited := time.Since(start)
			if tt.ok {
				rec, open := p.sessions()[ref]
				if err != nil || waited != 0 || !open || rec.AuthUserName != tt.user || rec.AuthUserSID != tt.user ||
					rec.Originator != anyone || rec.ThisHost != here || rec.Pool || rec.IsLocalSuperuser != (tt.user == "root") {
					t.Errorf("%s: %v after %v, session %+v", tt.name, err, waited, rec)
				}
				return
			}
			want := xenapi.ErrSessionAuthenticationFailed(tt.user, "Authentication failure").Error()
			if err == nil || err.Error() != want || waited != delay || len(p.sessions()) != 0 {
				t.Errorf("%s: %v after %v, want %s after %v; %d sessions", tt.name, err, waited, want, delay, len(p.sessions()))
			}
		})
	}
}

// TestRefusedCallerGoesAway does not wait for its answer.
func TestRefusedCallerGoesAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		start := time.Now()
		_, err := p.Login(ctx, "root", "wrong", anyone)
		if waited := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || waited != time.Second {
			t.Errorf("got %v after %v", err, waited)
		}
	})
}

func TestRole(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	ann, _ := p.Login(t.Context(), "ann", "a", anyone)
	local, _ := p.LoginLocal(t.Context(), "cli")
	if rec := p.sessions()[ann]; rec.Role != xenapi.RoleVMAdmin || rec.IsLocalSuperuser {
		t.Errorf("a user's session: %+v", rec)
	}
	if rec := p.sessions()[local]; !rec.IsLocalSuperuser || rec.Originator != "cli" || rec.AuthUserName != "root" {
		t.Errorf("a session of the unix socket: %+v", rec)
	}
}

// TestLimits fills each limit and opens one more session: the one that was active longest ago goes, and none of
// those that have a limit of their own.
func TestLimits(t *testing.T) {
	t.Parallel()
	start := time.Date(2015, 2, 20, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name  string
		limit int
		rec   func(i int) xenapi.Session // that shares the limit
		other xenapi.Session             // that does not
		login func(p pool) error
	}{
		{"user", 500,
			func(i int) xenapi.Session {
				return xenapi.Session{Kind: "user", AuthUserName: "ann", Originator: fmt.Sprint(i)}
			},
			xenapi.Session{Kind: "user", AuthUserName: "bob"},
			func(p pool) error { _, err := p.Login(context.Background(), "ann", "a", "new"); return err }},
		{"originator", 500,
			func(i int) xenapi.Session {
				return xenapi.Session{Kind: "user", AuthUserName: fmt.Sprint(i), Originator: anyone}
			},
			xenapi.Session{Kind: "user", AuthUserName: "bob", Originator: "10.0.0.2"},
			func(p pool) error { _, err := p.Login(context.Background(), "ann", "a", anyone); return err }},
		{"no originator is none that is shared", 501,
			func(i int) xenapi.Session { return xenapi.Session{Kind: "user", AuthUserName: fmt.Sprint(i)} },
			xenapi.Session{Kind: "root"},
			func(p pool) error { _, err := p.Login(context.Background(), "ann", "a", ""); return err }},
		{"unix socket", 400,
			func(int) xenapi.Session { return xenapi.Session{Kind: "root", AuthUserName: "root"} },
			xenapi.Session{Kind: "user", AuthUserName: "root"},
			func(p pool) error { _, err := p.LoginLocal(context.Background(), anyone); return err }},
		{"hosts", 400,
			func(int) xenapi.Session { return xenapi.Session{Kind: "pool", Originator: anyone} },
			xenapi.Session{Kind: "user", Originator: anyone},
			func(p pool) error {
				_, err := p.Authenticate(context.Background(), auth.Credentials{PoolSecret: secret}, anyone)
				return err
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPool(t)
			ref := func(i int) xenapi.Ref[xenapi.Session] {
				return xenapi.Ref[xenapi.Session](fmt.Sprintf("OpaqueRef:%03d", i))
			}
			p.update(t, func(tx *db.Tx) error {
				for i := range tt.limit {
					rec := tt.rec(i)
					rec.LastActive = start.Add(-time.Duration(i) * time.Second) // the last one is the oldest
					if err := db.Insert(tx, ref(i), rec); err != nil {
						return err
					}
				}
				tt.other.LastActive = start.Add(-time.Hour)
				return db.Insert(tx, "OpaqueRef:other", tt.other)
			})
			if err := tt.login(p); err != nil {
				t.Fatal(err)
			}
			open := p.sessions()
			_, oldest := open[ref(tt.limit-1)]
			_, second := open[ref(tt.limit-2)]
			_, other := open["OpaqueRef:other"]
			full := tt.limit <= 500
			if oldest == full || !second || !other {
				t.Errorf("left: the oldest %t, the second oldest %t, the other %t", oldest, second, other)
			}
			if want := tt.limit + 1; full && len(open) != want || !full && len(open) != want+1 {
				t.Errorf("%d sessions are open", len(open))
			}
		})
	}
}

// TestIdle lets time pass between the uses of a session.
func TestIdle(t *testing.T) {
	t.Parallel()
	pending := xenapi.Task{Status: xenapi.TaskStatusPending}
	for _, tt := range []struct {
		name  string
		idle  time.Duration
		work  *xenapi.Task
		open  bool
		touch bool // whether the use is written down
	}{
		{"a moment", 9 * time.Minute, nil, true, false},
		{"a while", 10 * time.Minute, nil, true, true},
		{"a day", 24 * time.Hour, nil, true, true},
		{"more", 24*time.Hour + time.Second, nil, false, false},
		{"more, with work", 48 * time.Hour, &pending, true, true},
		{"more, with work that has ended", 48 * time.Hour, &xenapi.Task{Status: xenapi.TaskStatusSuccess}, false, false},
		{"more, with work of another session", 48 * time.Hour, &xenapi.Task{Status: xenapi.TaskStatusPending, Session: "OpaqueRef:x"}, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPool(t)
			ref, err := p.Login(t.Context(), "ann", "a", anyone)
			if err != nil {
				t.Fatal(err)
			}
			if tt.work != nil {
				if work := *tt.work; work.Session == "" {
					work.Session = ref
					tt.work = &work
				}
				p.update(t, func(tx *db.Tx) error { return db.Insert(tx, "OpaqueRef:t", *tt.work) })
			}
			before := p.sessions()[ref].LastActive
			time.Sleep(tt.idle) // of the bubble's clock
			collected := open(t, memkv.New(), here)
			copySessions(t, p, collected)
			if err := collected.Collect(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			if _, stays := collected.sessions()[ref]; stays != tt.open {
				t.Errorf("%s: Collect leaves it open: %t", tt.name, stays)
			}
			rec, err := p.Session(t.Context(), ref)
			after := p.sessions()[ref].LastActive
			if tt.open && (err != nil || rec.AuthUserName != "ann") || after.After(before) != tt.touch {
				t.Errorf("%s: %v, last active from %v to %v", tt.name, err, before, after)
			}
			if !tt.open {
				wantCode(t, err, xenapi.CodeSessionInvalid)
			}
		})
	}
}

// copySessions makes another pool have the same sessions and tasks.
func copySessions(t testing.TB, from, to pool) {
	t.Helper()
	to.update(t, func(tx *db.Tx) error {
		return from.db.View(func(src *db.Tx) error {
			for ref, rec := range db.All[xenapi.Session](src) {
				if err := db.Insert(tx, ref, rec); err != nil {
					return err
				}
			}
			for ref, rec := range db.All[xenapi.Task](src) {
				if err := db.Insert(tx, ref, rec); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func TestLogout(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	ref, err := p.Login(t.Context(), "ann", "a", anyone)
	kept, kerr := p.Login(t.Context(), "ann", "a", anyone)
	if err := errors.Join(err, kerr, p.Logout(t.Context(), ref), p.Logout(t.Context(), ref)); err != nil {
		t.Fatal(err)
	}
	_, err = p.Session(t.Context(), ref)
	wantCode(t, err, xenapi.CodeSessionInvalid)
	if _, err := p.Session(t.Context(), kept); err != nil {
		t.Errorf("the other session: %v", err)
	}
	for _, garbage := range []xenapi.Ref[xenapi.Session]{"", "OpaqueRef:NULL", "x"} {
		_, err = p.Session(t.Context(), garbage)
		wantCode(t, err, xenapi.CodeSessionInvalid)
	}
}

// TestRecover restarts one of two hosts: its sessions are gone, those of the other stay.
func TestRecover(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	p, other := open(t, store, here), open(t, store, there)
	if err := errors.Join(p.EnsureRoot(t.Context(), rootPass), other.db.Sync(t.Context())); err != nil {
		t.Fatal(err)
	}
	mine, err := p.Login(t.Context(), "root", rootPass, anyone)
	theirs, oerr := other.Login(t.Context(), "root", rootPass, anyone)
	if err := errors.Join(err, oerr, open(t, store, here).Recover(t.Context()), p.db.Sync(t.Context())); err != nil {
		t.Fatal(err)
	}
	left := p.sessions()
	if _, ok := left[theirs]; len(left) != 1 || !ok || left[mine].UUID != "" {
		t.Errorf("left: %v", left)
	}
}

// TestAuthorize lets every role send messages that need every role.
func TestAuthorize(t *testing.T) {
	t.Parallel()
	sessions := map[string]xenapi.Session{
		"local superuser":  {IsLocalSuperuser: true},
		"pool":             {Pool: true},
		"nobody":           {},
		"a role of no one": {Role: "emperor"},
	}
	for _, role := range xenapi.Roles() {
		sessions[role] = xenapi.Session{Role: role}
	}
	sessions[xenapi.RoleClientCert] = xenapi.Session{Role: xenapi.RoleClientCert}
	everybody := append(xenapi.Roles(), xenapi.RoleClientCert, "local superuser", "pool")
	for _, tt := range []struct {
		message, lowest string
		allowed         []string
	}{
		{"pool_patch.get_record", xenapi.RoleReadOnly, everybody},
		{"VM.start", xenapi.RoleVMOperator, without(everybody, xenapi.RoleReadOnly, xenapi.RoleClientCert)},
		{"VDI.copy", xenapi.RoleVMAdmin, without(everybody, xenapi.RoleReadOnly, xenapi.RoleClientCert, xenapi.RoleVMOperator)},
		{"SR.scan", xenapi.RoleVMPowerAdmin, []string{xenapi.RolePoolAdmin, xenapi.RolePoolOperator, xenapi.RoleVMPowerAdmin, "local superuser", "pool"}},
		{"pool_patch.apply", xenapi.RolePoolOperator, []string{xenapi.RolePoolAdmin, xenapi.RolePoolOperator, "local superuser", "pool"}},
		{"pool.set_wlb_enabled", "pool-operator+client-cert", []string{xenapi.RolePoolAdmin, xenapi.RolePoolOperator, xenapi.RoleClientCert, "local superuser", "pool"}},
		{"user.create", xenapi.RolePoolAdmin, []string{xenapi.RolePoolAdmin, "local superuser", "pool"}},
		{"host.shutdown_agent", xenapi.RoleLocalRoot, []string{"local superuser", "pool"}},
		{"undeclared", "", []string{"local superuser", "pool"}},
	} {
		for name, session := range sessions {
			err := auth.Authorize(session, tt.message, tt.lowest)
			if want := slices.Contains(tt.allowed, name); (err == nil) != want {
				t.Errorf("%s may send %s: %t, want %t", name, tt.message, err == nil, want)
			}
			if err != nil {
				wantCode(t, err, xenapi.CodeRBACPermissionDenied)
			}
		}
	}
	want := xenapi.ErrRBACPermissionDenied("pool_patch.apply",
		"No permission in user session. (Roles with this permission: pool-admin, pool-operator)")
	if err := auth.Authorize(xenapi.Session{Role: xenapi.RoleReadOnly}, "pool_patch.apply", xenapi.RolePoolOperator); err == nil || err.Error() != want.Error() {
		t.Errorf("the error is %v", err)
	}
}

func without(roles []string, drop ...string) []string {
	return slices.DeleteFunc(slices.Clone(roles), func(r string) bool { return slices.Contains(drop, r) })
}

// TestEveryDeclaredMessageNeedsARole: one whose role is unknown would be sent by the superuser alone.
func TestEveryDeclaredMessageNeedsARole(t *testing.T) {
	t.Parallel()
	for _, s := range xenapi.Signatures() {
		strongest := auth.Authorize(xenapi.Session{Role: xenapi.RolePoolAdmin}, s.FullName(), s.Role)
		if s.Role != xenapi.RoleLocalRoot && !s.NoSession && strongest != nil {
			t.Errorf("%s needs the role %q, which the strongest has not", s.FullName(), s.Role)
		}
	}
}

// TestAuthenticate shows credentials of several kinds at once: the first that is there counts, even when it is wrong.
func TestAuthenticate(t *testing.T) {
	t.Parallel()
	all := auth.Credentials{Local: true, SessionID: "?", PoolSecret: secret, Basic: true, User: "ann", Password: "a"}
	for _, tt := range []struct {
		name      string
		show      func(c *auth.Credentials)
		code      string
		temporary bool
		check     func(s xenapi.Session) bool
	}{
		{"unix socket", func(*auth.Credentials) {}, "", true, func(s xenapi.Session) bool { return s.IsLocalSuperuser }},
		{"session", func(c *auth.Credentials) { c.Local = false }, "", false, func(s xenapi.Session) bool { return s.AuthUserName == "ann" }},
		{"wrong session", func(c *auth.Credentials) { c.Local, c.SessionID = false, "OpaqueRef:none" }, xenapi.CodeSessionInvalid, false, nil},
		{"pool secret", func(c *auth.Credentials) { c.Local, c.SessionID = false, "" }, "", true, func(s xenapi.Session) bool { return s.Pool && !s.IsLocalSuperuser }},
		{"wrong pool secret", func(c *auth.Credentials) { c.Local, c.SessionID, c.PoolSecret = false, "", "x" }, xenapi.CodeSessionAuthenticationFailed, false, nil},
		{"password", func(c *auth.Credentials) { *c = auth.Credentials{Basic: true, User: "ann", Password: "a"} }, "", true,
			func(s xenapi.Session) bool { return s.Role == xenapi.RoleVMAdmin && !s.Pool }},
		{"wrong password", func(c *auth.Credentials) { *c = auth.Credentials{Basic: true, User: "ann", Password: "b"} }, xenapi.CodeSessionAuthenticationFailed, false, nil},
		{"nothing", func(c *auth.Credentials) { *c = auth.Credentials{User: "ann", Password: "a"} }, xenapi.CodeSessionAuthenticationFailed, false, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPool(t)
			ref, err := p.Login(t.Context(), "ann", "a", anyone)
			if err != nil {
				t.Fatal(err)
			}
			c := all
			c.SessionID = ref.String()
			tt.show(&c)
			caller, err := p.Authenticate(t.Context(), c, anyone)
			if tt.code != "" {
				wantCode(t, err, tt.code)
				if len(p.sessions()) != 1 {
					t.Errorf("%s: the refusal left a session", tt.name)
				}
				return
			}
			if err != nil || !tt.check(caller.Session) || caller.Session.UUID != p.sessions()[caller.Ref].UUID {
				t.Fatalf("%s: %v, %+v", tt.name, err, caller.Session)
			}
			gone, leave := context.WithCancel(t.Context())
			leave()
			caller.Done(gone) // the request's context has ended by then
			if _, open := p.sessions()[caller.Ref]; open == tt.temporary {
				t.Errorf("%s: after the request the session is open: %t", tt.name, open)
			}
		})
	}
}

// TestNoPoolSecret: an empty one is nobody's.
func TestNoPoolSecret(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.update(t, func(tx *db.Tx) error {
		return db.Change(tx, "OpaqueRef:pool", func(rec *xenapi.Pool) error { rec.Secret = ""; return nil })
	})
	for _, shown := range []string{"", secret} {
		_, err := p.Authenticate(t.Context(), auth.Credentials{PoolSecret: shown}, anyone)
		wantCode(t, err, xenapi.CodeSessionAuthenticationFailed)
	}
}

func TestCreateUser(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, tt := range []struct{ name, role, code string }{
		{"bob", xenapi.RoleReadOnly, ""},
		{"ann", xenapi.RoleReadOnly, xenapi.CodeDBUniquenessConstraintViolation},
		{"root", xenapi.RolePoolAdmin, xenapi.CodeDBUniquenessConstraintViolation},
		{"eve", "", xenapi.CodeRoleNotFound},
		{"eve", "emperor", xenapi.CodeRoleNotFound},
		{"eve", xenapi.RoleLocalRoot, xenapi.CodeRoleNotFound},
		{"", xenapi.RoleReadOnly, xenapi.CodeInvalidValue},
	} {
		_, err := p.CreateUser(t.Context(), xenapi.User{ShortName: tt.name}, tt.role, "p")
		if xenapi.CodeOf(err) != tt.code {
			t.Errorf("create %q with role %q: %v", tt.name, tt.role, err)
		}
	}
	ref, err := p.Login(t.Context(), "bob", "p", anyone)
	if err != nil || p.sessions()[ref].Role != xenapi.RoleReadOnly {
		t.Errorf("the new user logs in as %+v, %v", p.sessions()[ref], err)
	}
}

func TestDestroyUser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		ann, _ := p.Login(t.Context(), "ann", "a", anyone)
		root, _ := p.Login(t.Context(), "root", rootPass, anyone)
		users := p.users()
		if err := p.DestroyUser(t.Context(), users["ann"]); err != nil {
			t.Fatal(err)
		}
		_, err := p.Session(t.Context(), ann)
		wantCode(t, err, xenapi.CodeSessionInvalid)
		_, err = p.Login(t.Context(), "ann", "a", anyone)
		wantCode(t, err, xenapi.CodeSessionAuthenticationFailed)
		wantCode(t, p.DestroyUser(t.Context(), users["ann"]), xenapi.CodeHandleInvalid)
		wantCode(t, p.DestroyUser(t.Context(), users["root"]), xenapi.CodeOperationNotAllowed)
		if _, err := p.Session(t.Context(), root); err != nil {
			t.Errorf("root's session: %v", err)
		}
	})
}

func (p pool) users() map[string]xenapi.Ref[xenapi.User] {
	all := map[string]xenapi.Ref[xenapi.User]{}
	_ = p.db.View(func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.User](tx) {
			all[rec.ShortName] = ref
		}
		return nil
	})
	return all
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		ctx := t.Context()
		wantCode(t, p.ChangePassword(ctx, "ann", "wrong", "new"), xenapi.CodeChangePasswordRejected)
		wantCode(t, p.ChangePassword(ctx, "ann", "a", ""), xenapi.CodeChangePasswordRejected)
		wantCode(t, p.ChangePassword(ctx, "bob", "", "new"), xenapi.CodeChangePasswordRejected)
		wantCode(t, p.SetPassword(ctx, "bob", "new"), xenapi.CodeChangePasswordRejected)
		if err := p.ChangePassword(ctx, "ann", "a", "new"); err != nil {
			t.Fatal(err)
		}
		_, err := p.Login(ctx, "ann", "a", anyone)
		wantCode(t, err, xenapi.CodeSessionAuthenticationFailed)
		if _, err := p.Login(ctx, "ann", "new", anyone); err != nil {
			t.Error(err)
		}
		_ = p.db.View(func(tx *db.Tx) error {
			for _, rec := range db.All[xenapi.User](tx) {
				if rec.PasswordHash == "new" || !strings.HasPrefix(rec.PasswordHash, "$argon2id$") {
					t.Errorf("what is kept of %s's password is %s", rec.ShortName, rec.PasswordHash)
				}
			}
			return nil
		})
	})
}

// TestEnsureRoot is what each start of the daemon calls.
func TestEnsureRoot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := open(t, memkv.New(), here)
		ctx := t.Context()
		_ = p.EnsureRoot(ctx, "")
		_, err := p.Login(ctx, "root", "", anyone)
		wantCode(t, err, xenapi.CodeSessionAuthenticationFailed) // without a password nobody logs in by one
		for _, step := range []struct {
			given, works string
			writes       bool
			hosts        int
		}{{"one", "one", true, 1}, {"one", "one", false, 1}, {"", "one", false, 1}, {"two", "two", true, 1}, {"three", "two", false, 2}} {
			for i := range step.hosts {
				p.update(t, func(tx *db.Tx) error {
					return db.Put(tx, xenapi.Ref[xenapi.Host](fmt.Sprint("OpaqueRef:", i)), xenapi.Host{})
				})
			}
			before := p.db.Revision()
			if err := p.EnsureRoot(ctx, step.given); err != nil || (p.db.Revision() != before) != step.writes {
				t.Errorf("given %q: %v, wrote %t", step.given, err, p.db.Revision() != before)
			}
			ref, err := p.Login(ctx, "root", step.works, anyone)
			if err != nil || !p.sessions()[ref].IsLocalSuperuser {
				t.Errorf("given %q: root logs in with %q: %v", step.given, step.works, err)
			}
		}
		if users := p.users(); len(users) != 1 {
			t.Errorf("users: %v", users)
		}
	})
}
