package auth

import (
	"context"
	"maps"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// maxOpened bounds the databases that are open to be read: they are in memory.
const maxOpened = 4

// opened is a session that reads another database than the pool's. It is in this process alone: any other host, and the next
// daemon, knows no such session. It may what the session may that opened it, and ends with that.
type opened struct {
	rec    xenapi.Session
	parent xenapi.Ref[xenapi.Session]
	db     *db.DB
}

// OpenDatabase opens a session that reads d, for the session parent, and closes d when it ends. Errors: TOO_BUSY when too many
// are open; d is closed then too.
func (s *Service) OpenDatabase(parent xenapi.Ref[xenapi.Session], caller xenapi.Session, d *db.DB) (xenapi.Ref[xenapi.Session], error) {
	ref := xenapi.NewRef[xenapi.Session]()
	caller.UUID, caller.ThisHost, caller.Parent, caller.LastActive = xenapi.NewUUID(), s.host, parent, time.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropOrphans()
	if len(s.opened) >= maxOpened {
		d.Close()
		return "", xenapi.ErrTooBusy()
	}
	if s.opened == nil {
		s.opened = map[xenapi.Ref[xenapi.Session]]opened{}
	}
	s.opened[ref] = opened{caller, parent, d}
	return ref, nil
}

// Database gives the database that a session reads, and the session; nil for one that reads the pool's. Errors:
// SESSION_INVALID when the session that it hangs on has ended.
func (s *Service) Database(ctx context.Context, ref xenapi.Ref[xenapi.Session]) (xenapi.Session, *db.DB, error) {
	s.mu.Lock()
	o, ok := s.opened[ref]
	s.mu.Unlock()
	if !ok {
		return xenapi.Session{}, nil, nil
	}
	parent, err := s.Session(ctx, o.parent)
	if err != nil {
		s.closeDatabase(ref)
		return xenapi.Session{}, nil, xenapi.ErrSessionInvalid(ref.String())
	}
	o.rec.Role, o.rec.IsLocalSuperuser = parent.Role, parent.IsLocalSuperuser // they may have changed
	return o.rec, o.db, nil
}

// closeDatabase ends a session that reads another database, if it is one.
func (s *Service) closeDatabase(ref xenapi.Ref[xenapi.Session]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.opened[ref]; ok {
		o.db.Close()
		delete(s.opened, ref)
	}
}

// closeOrphans closes the databases whose sessions have ended.
func (s *Service) closeOrphans() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropOrphans()
}

// CloseDatabases ends all sessions that read another database, for the daemon's stop.
func (s *Service) CloseDatabases() {
	for ref := range s.databases() {
		s.closeDatabase(ref)
	}
}

func (s *Service) databases() map[xenapi.Ref[xenapi.Session]]opened {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.opened)
}

func (s *Service) dropOrphans() {
	for ref, o := range s.opened {
		_, held := s.unwritten[o.parent]
		_ = s.db.View(func(tx *db.Tx) error {
			if _, there := db.Lookup(tx, o.parent); !there && !held {
				o.db.Close()
				delete(s.opened, ref)
			}
			return nil
		})
	}
}
