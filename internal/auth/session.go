package auth

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/directory"
	"poolpatch/internal/trust"
	"poolpatch/xenapi"
)

// Limits of sessions (facts, section 2).
const (
	idleExpiry    = 24 * time.Hour
	touchInterval = 10 * time.Minute // how stale last_active may be
	maxOriginator = 500
	maxUser       = 500
	maxLocalRoot  = 400
	maxPool       = 400
)

// The kinds of session, each with a limit of its own.
const (
	kindUser     = "user"     // somebody who gave a name and a password
	kindExternal = "external" // a user of the directory who did
	kindRoot     = "root"     // the unix socket
	kindPool     = "pool"     // a host of the pool
	kindCert     = "cert"     // a client that has shown a certificate
)

// Options are what the daemon chooses.
type Options struct {
	// FailureDelay is how long a refused login waits for its answer.
	FailureDelay time.Duration
	// Trust says which certificates of clients count; nil is none.
	Trust *trust.Store
	// Reach makes the directory of a configuration.
	Reach func(directory.Config) Directory
	// Minds reports whether this host also looks after sessions that were opened on another one; nil is none.
	Minds func(tx *db.Tx, host xenapi.Ref[xenapi.Host]) bool
}

// Service knows the users and sessions of the pool.
type Service struct {
	db      *db.DB
	host    xenapi.Ref[xenapi.Host]
	log     *slog.Logger
	options Options
	hashing turnstile
	logins  gate // of those who are to be looked for in the directory
	lookups gate // in the directory, of others

	mu sync.Mutex
	// unwritten are sessions that were opened while the database took no changes: those who read must get in then too.
	unwritten map[xenapi.Ref[xenapi.Session]]xenapi.Session
	// opened are the sessions that read other databases.
	opened map[xenapi.Ref[xenapi.Session]]opened
}

// maxUnwritten bounds the sessions that are in no database.
const maxUnwritten = 200

// New makes the service of one host.
func New(d *db.DB, host xenapi.Ref[xenapi.Host], log *slog.Logger, o Options) *Service {
	return &Service{db: d, host: host, log: log, options: o}
}

// Login opens a session for a user. Who is no user of the pool may be one of its directory: a name that the pool has is the pool's
// alone, so that no password of its users goes elsewhere. Errors: SESSION_AUTHENTICATION_FAILED, after a delay and without
// saying which of name and password was wrong; those of admit and of loginExternal.
func (s *Service) Login(ctx context.Context, name, password, originator string) (xenapi.Ref[xenapi.Session], error) {
	user, known := s.user(name)
	if !known && name != Root {
		d, err := s.external()
		if err != nil {
			return "", err
		}
		if d != nil {
			return s.loginExternal(ctx, d, name, password, originator)
		}
	}
	ok, err := s.verify(ctx, user.PasswordHash, password)
	if err != nil {
		return "", err
	}
	if !ok || !known {
		return "", s.refuse(ctx, name, originator)
	}
	session := xenapi.Session{Kind: kindUser, AuthUserName: name, AuthUserSID: name, Originator: originator, IsLocalSuperuser: name == Root}
	if err := s.admit(&session); err != nil {
		s.log.Warn("login refused", "user", name, "originator", originator, "error", err)
		return "", err
	}
	return s.open(ctx, session)
}

// refuse keeps whoever was wrong waiting, and says nothing else.
func (s *Service) refuse(ctx context.Context, name, originator string) error {
	s.log.Warn("login refused", "user", name, "originator", originator)
	if err := sleep(ctx, s.options.FailureDelay); err != nil {
		return err
	}
	return xenapi.ErrSessionAuthenticationFailed(name, "Authentication failure")
}

// LoginLocal opens a session of the local superuser, for whoever may use the unix socket.
func (s *Service) LoginLocal(ctx context.Context, originator string) (xenapi.Ref[xenapi.Session], error) {
	return s.open(ctx, xenapi.Session{Kind: kindRoot, IsLocalSuperuser: true, AuthUserName: Root, AuthUserSID: Root, Originator: originator})
}

// decoyHash costs a login of an unknown user as much time as one of a known user.
var decoyHash = noPassword()

func (s *Service) verify(ctx context.Context, hash, password string) (bool, error) {
	if err := s.hashing.enter(ctx, s.mostHashing); err != nil {
		return false, err
	}
	defer s.hashing.leave(s.mostHashing)
	if hash == "" {
		verifyPassword(decoyHash, password)
		return false, nil
	}
	return verifyPassword(hash, password), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Service) open(ctx context.Context, rec xenapi.Session) (xenapi.Ref[xenapi.Session], error) {
	ref := xenapi.NewRef[xenapi.Session]()
	rec = s.begun(rec)
	err := s.db.Update(ctx, func(tx *db.Tx) error {
		if rec.Kind == kindExternal && !settle(tx, &rec) {
			return xenapi.ErrSessionAuthorizationFailed(rec.AuthUserName, "The pool lets the user in no longer")
		}
		return insert(tx, ref, rec)
	})
	if unwritable(err) && s.remember(ref, rec) {
		return ref, nil
	}
	return ref, err
}

// begun is a session that begins now, on this host.
func (s *Service) begun(rec xenapi.Session) xenapi.Session {
	rec.UUID, rec.ThisHost, rec.LastActive = xenapi.NewUUID(), s.host, time.Now().UTC()
	rec.ValidationTime = rec.LastActive
	return rec
}

func insert(tx *db.Tx, ref xenapi.Ref[xenapi.Session], rec xenapi.Session) error {
	if err := evict(tx, rec); err != nil {
		return err
	}
	return db.Insert(tx, ref, rec)
}

// unwritable tells a database that takes no changes. Where it may have taken one after all, the session is there twice.
func unwritable(err error) bool {
	return errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrUnknownOutcome)
}

// remember keeps a session that cannot be written, for this host and until its daemon ends.
func (s *Service) remember(ref xenapi.Ref[xenapi.Session], rec xenapi.Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unwritten) >= maxUnwritten {
		return false
	}
	if s.unwritten == nil {
		s.unwritten = map[xenapi.Ref[xenapi.Session]]xenapi.Session{}
	}
	s.unwritten[ref] = rec
	return true
}

func (s *Service) remembered(ref xenapi.Ref[xenapi.Session]) (xenapi.Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, ok := s.unwritten[ref]
	return rec, ok
}

// settled is a session that is in no database, as what is in there lets it be.
func (s *Service) settled(ref xenapi.Ref[xenapi.Session], rec xenapi.Session) (_ xenapi.Session, err error) {
	_ = s.db.View(func(tx *db.Tx) error {
		if rec.Kind == kindExternal && !settle(tx, &rec) {
			s.forget(ref)
			err = xenapi.ErrSessionInvalid(ref.String())
		}
		return nil
	})
	return rec, err
}

func (s *Service) forget(ref xenapi.Ref[xenapi.Session]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unwritten, ref)
}

// evict makes room for one more session like rec: of those that share a limit with it, the one that was
// active longest ago goes.
func evict(tx *db.Tx, rec xenapi.Session) error {
	for _, limit := range []struct {
		most   int
		shares func(other xenapi.Session) bool
	}{
		{maxLocalRoot, func(o xenapi.Session) bool { return rec.Kind == kindRoot && o.Kind == kindRoot }},
		{maxPool, func(o xenapi.Session) bool { return rec.Kind == kindPool && o.Kind == kindPool }},
		{maxUser, func(o xenapi.Session) bool {
			return named(rec) && o.Kind == rec.Kind && o.AuthUserName == rec.AuthUserName
		}},
		{maxUser, func(o xenapi.Session) bool { return rec.Kind == kindCert && o.Kind == kindCert }},
		{maxOriginator, func(o xenapi.Session) bool {
			return named(rec) && named(o) && rec.Originator != "" && o.Originator == rec.Originator
		}},
	} {
		if err := evictBeyond(tx, limit.most, limit.shares); err != nil {
			return err
		}
	}
	return nil
}

// named is true of the session of somebody who gave a name and a password.
func named(rec xenapi.Session) bool { return rec.Kind == kindUser || rec.Kind == kindExternal }

func evictBeyond(tx *db.Tx, most int, shares func(xenapi.Session) bool) error {
	type aged struct {
		ref  xenapi.Ref[xenapi.Session]
		last time.Time
	}
	var all []aged
	for ref, other := range db.All[xenapi.Session](tx) {
		if shares(other) {
			all = append(all, aged{ref, other.LastActive})
		}
	}
	slices.SortFunc(all, func(a, b aged) int { return cmp.Or(a.last.Compare(b.last), cmp.Compare(a.ref, b.ref)) })
	for len(all) >= most {
		if err := db.Delete(tx, all[0].ref); err != nil {
			return err
		}
		all = all[1:]
	}
	return nil
}

// Logout ends a session.
func (s *Service) Logout(ctx context.Context, ref xenapi.Ref[xenapi.Session]) error {
	s.forget(ref)
	s.closeDatabase(ref)
	return s.db.Update(ctx, func(tx *db.Tx) error {
		if _, ok := db.Lookup(tx, ref); !ok {
			return nil
		}
		return db.Delete(tx, ref)
	})
}

// PoolSession is that of a host of the pool which calls for the pool itself. It is in no table: the host shows its
// certificate with each call.
func PoolSession(originator string) xenapi.Session {
	return xenapi.Session{Kind: kindPool, Pool: true, Originator: originator}
}

// Session finds an open session and notes that it is active. Errors: SESSION_INVALID.
func (s *Service) Session(ctx context.Context, ref xenapi.Ref[xenapi.Session]) (_ xenapi.Session, err error) {
	if rec, ok := s.remembered(ref); ok {
		return s.settled(ref, rec)
	}
	rec, ok, err := s.find(ctx, ref)
	if err != nil {
		return rec, err
	}
	now := time.Now().UTC()
	if !ok || expired(rec, now) || now.Sub(rec.LastActive) > idleExpiry && !s.busy(ref) {
		return xenapi.Session{}, xenapi.ErrSessionInvalid(ref.String())
	}
	if now.Sub(rec.LastActive) < touchInterval {
		return rec, nil
	}
	defer func() {
		if unwritable(err) {
			err = nil // it is valid, only not noted as active
		}
	}()
	err = s.db.Update(ctx, func(tx *db.Tx) (err error) {
		if rec, ok = db.Lookup(tx, ref); !ok {
			return xenapi.ErrSessionInvalid(ref.String()) // closed at this moment
		}
		rec.LastActive = now
		return db.Put(tx, ref, rec)
	})
	return rec, err
}

// Open reports whether a session is open, as far as this host knows. To ask is no activity.
func (s *Service) Open(ref xenapi.Ref[xenapi.Session]) (open bool) {
	if _, ok := s.remembered(ref); ok {
		return true
	}
	_ = s.db.View(func(tx *db.Tx) error {
		rec, found := db.Lookup(tx, ref)
		open = found && !expired(rec, time.Now())
		return nil
	})
	return open
}

// find looks a session up. One that is not known here may have been opened on another host a moment ago.
func (s *Service) find(ctx context.Context, ref xenapi.Ref[xenapi.Session]) (rec xenapi.Session, ok bool, err error) {
	look := func(tx *db.Tx) error { rec, ok = db.Lookup(tx, ref); return nil }
	if _ = s.db.View(look); ok || ref.IsNull() {
		return rec, ok, nil
	}
	if err := s.db.Sync(ctx); err != nil {
		return rec, false, err
	}
	_ = s.db.View(look)
	return rec, ok, nil
}

// busy reports whether a session owns work that has not ended: such a session does not expire.
func (s *Service) busy(ref xenapi.Ref[xenapi.Session]) (busy bool) {
	_ = s.db.View(func(tx *db.Tx) error {
		busy = owesWork(tx, ref)
		return nil
	})
	return busy
}

func owesWork(tx *db.Tx, ref xenapi.Ref[xenapi.Session]) bool {
	for _, t := range db.Referrers[xenapi.Task](tx, "session", ref) {
		if rec, ok := db.Lookup(tx, t); ok && rec.Status == xenapi.TaskStatusPending {
			return true
		}
	}
	return false
}

// Collect removes sessions that have been idle for too long, and those whose certificate has expired.
func (s *Service) Collect(ctx context.Context, now time.Time) error {
	err := s.db.Update(ctx, func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.Session](tx) {
			if expired(rec, now) || now.Sub(rec.LastActive) > idleExpiry && !owesWork(tx, ref) {
				if err := db.Delete(tx, ref); err != nil {
					return err
				}
			}
		}
		return nil
	})
	s.closeOrphans()
	return err
}

// Recover drops the sessions that were opened on this host before it restarted, as XenAPI does.
func (s *Service) Recover(ctx context.Context) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.Session](tx) {
			if rec.ThisHost == s.host {
				if err := db.Delete(tx, ref); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
