package event

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"poolpatch/xenapi"
)

const (
	// window is how long events are gathered after the first, so that a client which is told of many hears of them at once.
	window = 50 * time.Millisecond
	// maxTimeout bounds how long a client may wait for its answer.
	maxTimeout = time.Hour
)

// Query is what a client asks for.
type Query struct {
	Session xenapi.Ref[xenapi.Session]
	Classes []string      // selectors
	Token   string        // "" is the start: every object is new
	Timeout time.Duration // until the answer, if there are no events
}

// Event tells of an object.
type Event struct {
	ID        string // revision of the commit
	At        time.Time
	Class     string // in lower case
	Ref       string
	Operation xenapi.EventOperation
	Snapshot  any // the record as it is now; nil of a deleted object
}

// Batch is the answer to a client: with its events a client that knew the objects at its token knows them as they are.
type Batch struct {
	Events []Event
	Counts map[string]int64 // of all objects of each class, by its name in lower case; shared
	Token  string
}

// From waits for events of the selected objects since a token. When there are none in time the batch has none. Errors:
// EVENT_FROM_TOKEN_PARSE_FAILURE; EVENTS_LOST: begin anew, with "" as the token; SESSION_INVALID when the session ends meanwhile.
func (s *Service) From(ctx context.Context, q Query, show Show) (Batch, error) {
	w := s.join(q.Session, s.selection(q.Classes))
	defer s.leave(w)
	deadline := time.Now().Add(min(max(q.Timeout, 0), maxTimeout))
	f, err := s.start(ctx, w, q.Token, deadline)
	if errors.Is(err, errBehind) {
		return Batch{Counts: s.count(f.view), Token: q.Token}, nil
	}
	if err != nil {
		return Batch{}, err
	}
	if f, err = s.await(ctx, w, f, deadline); err != nil {
		return Batch{}, err
	}
	events, err := f.events(show)
	return Batch{Events: events, Counts: s.count(f.view), Token: f.position.token()}, err
}

// found is what there is to tell a client, and the state in which that is so.
type found struct {
	view     *view
	position position // of the state
	outcomes []outcome
	first    time.Time // when the first of them was touched
}

// start gives what there is to tell for a token right now.
func (s *Service) start(ctx context.Context, w *waiter, token string, deadline time.Time) (found, error) {
	if token == "" {
		if err := s.catchUp(ctx); err != nil {
			return found{view: s.view()}, err
		}
		return s.everything(w), nil
	}
	p, err := parseToken(token)
	if err != nil {
		return found{}, err
	}
	if err := s.seek(ctx, p.revision, deadline); err != nil {
		return found{view: s.view()}, err
	}
	w.since = p
	return s.look(w)
}

// everything is what a client hears first.
func (s *Service) everything(w *waiter) found {
	s.mu.Lock()
	f := found{view: s.now, position: s.position()}
	w.since = f.position
	s.mu.Unlock()
	e := &entry{revision: f.position.revision} // long ago
	for _, o := range f.view.all(s.kinds, w.selection) {
		f.outcomes = append(f.outcomes, outcome{change{o, add}, e})
	}
	return f
}

// look gives what there is to tell a waiter.
func (s *Service) look(w *waiter) (found, error) {
	s.mu.Lock()
	p := w.since
	w.idle = false
	f := found{view: s.now, position: s.position()}
	entries, ok := s.log.from(p)
	s.mu.Unlock()
	if !ok || p.database != f.position.database || p.revision > f.position.revision {
		return f, xenapi.ErrEventsLost()
	}
	if f.outcomes, f.first = sum(entries, p, w.selection); len(f.outcomes) == 0 {
		s.heard(w, f.position)
	}
	return f, nil
}

// await waits until there is something to tell and the window has passed, or the deadline.
func (s *Service) await(ctx context.Context, w *waiter, f found, deadline time.Time) (found, error) {
	for {
		if !s.options.Open(w.session) {
			return f, xenapi.ErrSessionInvalid(w.session.String())
		}
		due := deadline
		if len(f.outcomes) > 0 {
			due = s.due(w, f)
		}
		if now := time.Now(); !now.Before(due) || !now.Before(deadline) || s.over() {
			return f, nil
		}
		err := w.pause(ctx, s.ended, earlier(due, deadline))
		if err == nil {
			f, err = s.look(w)
		}
		if err != nil {
			return f, err
		}
	}
}

// due is when events are told. Who asks for tasks alone waits for one to end, and hears at once.
func (s *Service) due(w *waiter, f found) time.Time {
	if w.selection.within(s.tasks) {
		return f.first
	}
	return f.first.Add(window)
}

// events shows what was found: messages, then what is new, what has changed and what is gone.
func (f found) events(show Show) ([]Event, error) {
	slices.SortStableFunc(f.outcomes, func(a, b outcome) int { return cmp.Compare(rank(a), rank(b)) })
	events := make([]Event, len(f.outcomes))
	for i, o := range f.outcomes {
		events[i] = Event{
			ID: strconv.FormatInt(o.entry.revision, 10), At: o.entry.at,
			Class: o.kind.name, Ref: o.ref, Operation: o.operation,
		}
		if o.operation == del {
			continue
		}
		var err error
		if events[i].Snapshot, err = f.view.show(o.object, show); err != nil {
			return nil, err
		}
	}
	return events, nil
}

func rank(o outcome) int {
	n := slices.Index([]xenapi.EventOperation{add, mod, del}, o.operation)
	if o.kind.name == "message" {
		return n - len(xenapi.EventOperation("").Values())
	}
	return n
}
