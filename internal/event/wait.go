package event

import (
	"context"
	"errors"
	"time"

	"poolpatch/xenapi"
)

// errBehind says that a token is of a state which this host has not come to.
var errBehind = errors.New("this host does not know that state yet")

// waiter is a client that waits.
type waiter struct {
	session   xenapi.Ref[xenapi.Session]
	selection selection
	woken     chan struct{} // holds one

	// Below mu of the service, once the waiter has looked.
	since position // how far it has heard everything
	idle  bool     // there is nothing later for it in the log
}

func (s *Service) join(session xenapi.Ref[xenapi.Session], sel selection) *waiter {
	w := &waiter{session: session, selection: sel, woken: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiters[w] = struct{}{}
	return w
}

func (s *Service) leave(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiters, w)
}

// wake has those look who may have something to hear. For the others nothing has happened, however long they wait and
// whatever the log forgets meanwhile. The caller holds mu.
func (s *Service) wake(e *entry) {
	if len(e.changes) == 0 && !e.gap() {
		return // it is not in the log either
	}
	for w := range s.waiters {
		switch {
		case e.gap() || w.selection.wants(e):
			w.idle = false
			w.rouse()
		case w.idle:
			w.since = s.position()
		}
	}
}

// heard notes that a waiter has heard everything up to a position. It is idle unless it was woken since it looked.
func (s *Service) heard(w *waiter, p position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.since, w.idle = p, len(w.woken) == 0
}

func (w *waiter) rouse() {
	select {
	case w.woken <- struct{}{}:
	default: // it is about to look
	}
}

// pause returns when the waiter is woken, when a time has come, or when nobody is told anything any more.
func (w *waiter) pause(ctx context.Context, ended <-chan struct{}, until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-w.woken:
	case <-timer.C:
	case <-ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// over reports whether the service has stopped.
func (s *Service) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// catchUp waits until everything is in the log that the database shows, which is a matter of moments: what the client has
// just done is in its answer.
func (s *Service) catchUp(ctx context.Context) error { return s.reach(ctx, s.db.Revision(), nil) }

// seek is catchUp, to a revision which another host may have given. Errors: EVENTS_LOST when there is no such revision,
// errBehind when that cannot be known in time.
func (s *Service) seek(ctx context.Context, revision int64, deadline time.Time) error {
	if revision > s.db.Revision() {
		if err := s.db.Sync(ctx); err != nil {
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			return s.reach(ctx, revision, timer.C)
		}
		if revision > s.db.Revision() {
			return xenapi.ErrEventsLost()
		}
	}
	return s.catchUp(ctx)
}

// reach waits until the log has come to a revision, or until a limit: errBehind.
func (s *Service) reach(ctx context.Context, revision int64, limit <-chan time.Time) error {
	for {
		s.mu.Lock()
		reached, moved := s.now.state.Revision() >= revision, s.moved
		s.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-limit:
			return errBehind
		case <-s.ended:
			return errBehind
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
