package event

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"poolpatch/xenapi"
)

// heartbeat is how often a client of Next that waits for the pool's events is told of the pool, for it to know that the
// connection lives.
const heartbeat = 30 * time.Second

// subscription is what a session has registered for. It ends with the session.
type subscription struct {
	classes []string
	since   position
}

// Register has Next tell a session of classes, from now on.
func (s *Service) Register(ctx context.Context, session xenapi.Ref[xenapi.Session], classes []string) error {
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.subscriptions[session]
	if sub == nil {
		sub = &subscription{since: s.position()}
		s.subscriptions[session] = sub
	}
	for _, class := range classes {
		if !slices.ContainsFunc(sub.classes, func(known string) bool { return strings.EqualFold(known, class) }) {
			sub.classes = append(sub.classes, class)
		}
	}
	return nil
}

// Unregister takes classes back. A session that has none left is not registered any more.
func (s *Service) Unregister(session xenapi.Ref[xenapi.Session], classes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.subscriptions[session]
	if sub == nil {
		return
	}
	sub.classes = slices.DeleteFunc(sub.classes, func(known string) bool {
		return slices.ContainsFunc(classes, func(class string) bool { return strings.EqualFold(known, class) })
	})
	if len(sub.classes) == 0 {
		delete(s.subscriptions, session)
	}
}

// Next waits for events of what the session has registered for. Errors: SESSION_NOT_REGISTERED; EVENTS_LOST when the client
// has asked too late: it must register again and read everything anew; SESSION_INVALID.
func (s *Service) Next(ctx context.Context, session xenapi.Ref[xenapi.Session], show Show) ([]Event, error) {
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	sel, since, ok := s.subscribed(session)
	if !ok {
		return nil, xenapi.ErrSessionNotRegistered(session.String())
	}
	w := s.join(session, sel)
	defer s.leave(w)
	w.since = since
	for {
		f, err := s.look(w)
		if err == nil {
			f, err = s.await(ctx, w, f, time.Now().Add(heartbeat))
		}
		if xenapi.CodeOf(err) == xenapi.CodeEventsLost {
			s.unsubscribe(session)
		}
		if err != nil {
			return nil, err
		}
		if len(f.outcomes) == 0 {
			f.outcomes = s.beat(sel, f)
		}
		s.advance(session, f.position)
		if len(f.outcomes) > 0 || s.over() {
			return f.events(show)
		}
	}
}

// beat is an event of the pool, if that is selected.
func (s *Service) beat(sel selection, f found) []outcome {
	e := &entry{revision: f.position.revision, at: time.Now()}
	var all []outcome
	for _, k := range s.kinds {
		if k.name != "pool" {
			continue
		}
		for _, o := range f.view.all([]*kind{k}, sel) {
			all = append(all, outcome{change{o, mod}, e})
		}
	}
	return all
}

func (s *Service) subscribed(session xenapi.Ref[xenapi.Session]) (sel selection, since position, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, ok := s.subscriptions[session]
	if !ok {
		return sel, since, false
	}
	return s.selection(sub.classes), sub.since, true
}

func (s *Service) unsubscribe(session xenapi.Ref[xenapi.Session]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.subscriptions, session)
}

// advance remembers what a session was told.
func (s *Service) advance(session xenapi.Ref[xenapi.Session], p position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub := s.subscriptions[session]; sub != nil {
		sub.since = p
	}
}

// Stamp is a time as events have it: seconds since 1970.
func Stamp(at time.Time) string {
	return strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', -1, 64)
}
