package auth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/directory"
	"poolpatch/xenapi"
)

// revalidateInterval lies between two looks at the owners of open sessions: so long does somebody stay whom the directory
// no longer has.
const revalidateInterval = 5 * time.Minute

// Revalidate ends, until ctx does, the sessions of users whom the directory no longer has, or no longer lets in.
func (s *Service) Revalidate(ctx context.Context) error {
	ticker := time.NewTicker(revalidateInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			if err := s.revalidateAll(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("sessions of the directory's users stay as they are", "error", err)
			}
		}
	}
}

// verdict says what becomes of the sessions of one user; an error ends them.
type verdict func(*db.Tx, *xenapi.Session) error

var errDisabled = errors.New("this host asks no directory")

// revalidateAll looks each user up once. A directory that is away ends nobody's session, and is asked about nobody else.
func (s *Service) revalidateAll(ctx context.Context) error {
	owners := s.owners()
	d, err := s.external()
	if err != nil || len(owners) == 0 {
		return err
	}
	var errs []error
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		of, err := judge(ctx, d, owner)
		if err == nil {
			err = s.apply(ctx, owner, owners[owner], of)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("revalidate %s: %w", owner, err))
		}
		if errors.Is(err, directory.ErrUnavailable) {
			break
		}
	}
	return errors.Join(errs...)
}

// judge asks the directory about the owner of sessions. The error says that it did not tell.
func judge(ctx context.Context, d Directory, owner string) (verdict, error) {
	if d == nil {
		return func(*db.Tx, *xenapi.Session) error { return errDisabled }, nil
	}
	account, err := d.Lookup(ctx, owner)
	switch {
	case errors.Is(err, directory.ErrNobody):
		return func(*db.Tx, *xenapi.Session) error { return directory.ErrNobody }, nil
	case err != nil:
		return nil, err
	}
	return func(tx *db.Tx, session *xenapi.Session) error { return admitExternal(tx, session, account) }, nil
}

// owners lists the sessions of the directory's users that this host looks after, by the users' identifiers: its own, and
// those of hosts that do not live where it is the one for that.
func (s *Service) owners() map[string][]xenapi.Ref[xenapi.Session] {
	owners := map[string][]xenapi.Ref[xenapi.Session]{}
	add := func(ref xenapi.Ref[xenapi.Session], rec xenapi.Session) {
		if rec.Kind == kindExternal {
			owners[rec.AuthUserSID] = append(owners[rec.AuthUserSID], ref)
		}
	}
	_ = s.db.View(func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.Session](tx) {
			if rec.ThisHost == s.host || s.options.Minds != nil && s.options.Minds(tx, rec.ThisHost) {
				add(ref, rec)
			}
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, rec := range s.unwritten {
		add(ref, rec)
	}
	return owners
}

// apply has the sessions of one user follow a verdict.
func (s *Service) apply(ctx context.Context, owner string, sessions []xenapi.Ref[xenapi.Session], of verdict) error {
	sessions = slices.DeleteFunc(sessions, func(ref xenapi.Ref[xenapi.Session]) bool { return s.applyRemembered(ref, of) })
	if len(sessions) == 0 {
		return nil
	}
	var ended error
	err := s.db.Update(ctx, func(tx *db.Tx) error {
		ended = nil
		for _, ref := range sessions {
			rec, open := db.Lookup(tx, ref)
			if !open {
				continue
			}
			rec.ValidationTime = time.Now().UTC()
			var err error
			if why := of(tx, &rec); why != nil {
				ended, err = why, db.Delete(tx, ref)
			} else {
				err = db.Put(tx, ref, rec)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && ended != nil {
		s.log.Info("sessions ended", "subject", owner, "reason", ended)
	}
	return err
}

// applyRemembered is apply for a session that is in no database; it is false where there is none.
func (s *Service) applyRemembered(ref xenapi.Ref[xenapi.Session], of verdict) bool {
	rec, ok := s.remembered(ref)
	if !ok {
		return false
	}
	err := s.db.View(func(tx *db.Tx) error { return of(tx, &rec) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.unwritten[ref]; !open {
		return true
	}
	if err != nil {
		delete(s.unwritten, ref)
		return true
	}
	rec.ValidationTime = time.Now().UTC()
	s.unwritten[ref] = rec
	return true
}
