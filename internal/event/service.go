package event

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Options of New.
type Options struct {
	// Classes are those of XenAPI, whose objects are counted for clients.
	Classes []*xenapi.Class
	// Open says whether a session is open: who waits for events hears when it is no longer.
	Open func(xenapi.Ref[xenapi.Session]) bool
	// Concerned names objects that look different after a row of another class has changed, besides those whose computed
	// fields list the row; nil: there are none.
	Concerned func(*db.Tx, db.RowChange) []db.Object
	// Log bounds the changes that are remembered; 0 is 32768, a few megabytes.
	Log int
}

// silent are the classes whose objects have no events (facts, section 4). Those of secrets would show them to everybody.
var silent = []string{"session", "user", "role", "secret"}

// Service tells the clients of one host of events.
type Service struct {
	db        *db.DB
	options   Options
	name      int64 // of the database, in tokens
	kinds     []*kind
	tasks     kinds
	relations map[string][]relation // by the class that has the field
	ended     chan struct{}         // closed when Run has

	mu            sync.Mutex
	now           *view
	moved         chan struct{} // closed when now is a later one
	log           log
	injected      int64
	waiters       map[*waiter]struct{}
	subscriptions map[xenapi.Ref[xenapi.Session]]*subscription
}

// New makes the service. It knows what changes from now on, and tells it while [Service.Run] runs.
func New(d *db.DB, o Options) *Service {
	s := &Service{
		db: d, options: o, ended: make(chan struct{}), moved: make(chan struct{}), relations: map[string][]relation{},
		waiters: map[*waiter]struct{}{}, subscriptions: map[xenapi.Ref[xenapi.Session]]*subscription{},
	}
	for _, class := range o.Classes {
		if !slices.Contains(silent, class.Name) {
			s.kinds = append(s.kinds, &kind{class: class, name: strings.ToLower(class.Name), bit: 1 << len(s.kinds)})
		}
	}
	s.tasks = s.bitOf("task")
	s.relate()
	s.now = &view{state: d.State()}
	s.name = nameOf(s.now.state.Identity())
	s.log = log{most: cmp.Or(o.Log, defaultLog), since: s.now.state.Revision()}
	return s
}

func (s *Service) bitOf(class string) kinds {
	if k := s.kindOf(class); k != nil {
		return k.bit
	}
	return 0
}

// Run takes up one state after another until ctx ends or the database is closed. Then nobody waits any more.
func (s *Service) Run(ctx context.Context) error {
	defer close(s.ended)
	for {
		next, err := s.db.Next(ctx, s.now.state) // nobody else writes it
		if err != nil {
			return err
		}
		s.take(next)
	}
}

// take enters a state's changes into the log and wakes whom they are for.
func (s *Service) take(next db.State) {
	entry, closed := s.compare(s.now.state, next)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = &view{state: next}
	close(s.moved)
	s.moved = make(chan struct{})
	if name := nameOf(next.Identity()); name != s.name || entry.revision < entry.after {
		s.name = name
		s.log.begin(next.Revision()) // another database: no token counts any more
	} else {
		s.log.add(entry)
	}
	s.wake(&entry)
	for _, session := range closed {
		s.forget(session)
	}
}

// Inject makes an event of an object that has not changed, on this host alone, and gives a token just before it. Errors:
// HANDLE_INVALID.
func (s *Service) Inject(ctx context.Context, class, ref string) (string, error) {
	if err := s.catchUp(ctx); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kindOf(class)
	if k == nil || !s.now.has(object{k, ref}) {
		return "", xenapi.ErrHandleInvalid(class, ref)
	}
	before := s.position()
	s.injected++
	entry := entry{
		after: before.revision, revision: before.revision, injected: s.injected, at: time.Now(),
		kinds: k.bit, changes: []change{{object{k, ref}, mod}},
	}
	s.log.add(entry)
	s.wake(&entry)
	return before.token(), nil
}

// CurrentID is the revision of the last commit that this host knows.
func (s *Service) CurrentID() int64 { return s.db.Revision() }

// Forget ends what a session waits for, and its registration: nobody calls for it any more.
func (s *Service) Forget(session xenapi.Ref[xenapi.Session]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(session)
}

func (s *Service) forget(session xenapi.Ref[xenapi.Session]) {
	delete(s.subscriptions, session)
	for w := range s.waiters {
		if w.session == session {
			w.rouse()
		}
	}
}

// Waiting is how many clients wait.
func (s *Service) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiters)
}

// position is that of a client which knows everything. The caller holds mu.
func (s *Service) position() position { return position{s.name, s.now.state.Revision(), s.injected} }

// view is the state of now.
func (s *Service) view() *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}
