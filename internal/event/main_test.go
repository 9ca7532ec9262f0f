package event_test

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/event"
	"poolpatch/xenapi"
)

// session is that of every client, unless it says otherwise.
const session = xenapi.Ref[xenapi.Session]("OpaqueRef:session")

func classes() []*xenapi.Class {
	return []*xenapi.Class{
		xenapi.ClassOf[xenapi.Session](), xenapi.ClassOf[xenapi.Task](), xenapi.ClassOf[xenapi.Pool](), xenapi.ClassOf[xenapi.Host](),
		xenapi.ClassOf[xenapi.HostPatch](), xenapi.ClassOf[xenapi.PoolPatch](), xenapi.ClassOf[xenapi.SR](), xenapi.ClassOf[xenapi.PBD](),
		xenapi.ClassOf[xenapi.VDI](), xenapi.ClassOf[xenapi.VM](), xenapi.ClassOf[xenapi.Role](), xenapi.ClassOf[xenapi.User](),
		xenapi.ClassOf[xenapi.Message](),
	}
}

// internal is a table that is no class of XenAPI.
type internal struct {
	Note string `json:"note" xenapi:"internal"`
}

func (internal) Class() string { return "internal" }

func tables() []db.Table {
	return []db.Table{
		db.TableOf[xenapi.Session](), db.TableOf[xenapi.Task](), db.TableOf[xenapi.Pool](), db.TableOf[xenapi.Host](),
		db.TableOf[xenapi.HostPatch](), db.TableOf[xenapi.PoolPatch](), db.TableOf[xenapi.SR](), db.TableOf[xenapi.PBD](),
		db.TableOf[xenapi.VDI](), db.TableOf[xenapi.VBD](), db.TableOf[xenapi.VM](), db.TableOf[xenapi.Role](), db.TableOf[xenapi.User](), db.TableOf[xenapi.Subject](),
		db.TableOf[xenapi.Message](), db.TableOf[internal](),
	}
}

// host is one that serves clients.
type host struct {
	*event.Service
	db   *db.DB
	stop func()
}

// bed is what a test and a property have in common.
type bed interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// start serves a store until the test ends, or stop is called.
func start(t testing.TB, store db.Store) *host {
	t.Helper()
	h := serve(t, store)
	t.Cleanup(h.stop)
	return h
}

// logSize is how many changes the hosts of tests remember.
const logSize = 200

func serve(t bed, store db.Store) *host {
	t.Helper()
	d, err := db.Open(context.Background(), store, db.Options{Tables: tables()})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{db: d}
	h.Service = event.New(d, event.Options{Classes: classes(), Log: logSize, Open: func(ref xenapi.Ref[xenapi.Session]) (open bool) {
		_ = d.View(func(tx *db.Tx) error { _, open = db.Lookup(tx, ref); return nil })
		return open || ref == session
	}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = h.Run(ctx) }()
	h.stop = func() { cancel(); <-ended; d.Close() }
	return h
}

// show is a record with its computed fields.
func show(tx *db.Tx, class, ref string) (any, error) {
	stored, ok := tx.Record(class, ref)
	if !ok {
		return nil, fmt.Errorf("%s %s is not there", class, ref)
	}
	rec := reflect.New(reflect.TypeOf(stored)).Elem()
	rec.Set(reflect.ValueOf(stored))
	for _, f := range xenapi.ClassFor(rec.Type()).Fields {
		if f.Computed() {
			refs := reflect.MakeSlice(f.Type, 0, 0)
			for _, r := range tx.ReferrersOf(f.InverseClass, f.InverseField, ref) {
				refs = reflect.Append(refs, reflect.ValueOf(r).Convert(f.Type.Elem()))
			}
			rec.Field(f.Index).Set(refs)
		}
	}
	return rec.Interface(), nil
}

func (h *host) update(t bed, fn func(*db.Tx) error) {
	t.Helper()
	if err := h.db.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func put[T xenapi.Object](t bed, h *host, ref xenapi.Ref[T], rec T) {
	t.Helper()
	h.update(t, func(tx *db.Tx) error { return db.Put(tx, ref, rec) })
}

func remove[T xenapi.Object](t bed, h *host, ref xenapi.Ref[T]) {
	t.Helper()
	h.update(t, func(tx *db.Tx) error { return db.Delete(tx, ref) })
}

// from asks and must get an answer.
func (h *host) from(t bed, token string, timeout time.Duration, selectors ...string) event.Batch {
	t.Helper()
	b, err := h.From(context.Background(), event.Query{Session: session, Classes: selectors, Token: token, Timeout: timeout}, show)
	if err != nil {
		t.Fatalf("from %q: %v", token, err)
	}
	return b
}

// refused asks and must be refused with a code.
func (h *host) refused(t *testing.T, code, token string, selectors ...string) {
	t.Helper()
	_, err := h.From(t.Context(), event.Query{Session: session, Classes: selectors, Token: token, Timeout: time.Second}, show)
	if got := xenapi.CodeOf(err); got != code {
		t.Errorf("from %q: %v, want %s", token, err, code)
	}
}

// said is events in short: operation, class and ref of each.
func said(events []event.Event) []string {
	all := []string{}
	for _, e := range events {
		text := fmt.Sprintf("%s %s %s", e.Operation, e.Class, e.Ref)
		if (e.Snapshot == nil) != (e.Operation == xenapi.EventOperationDel) {
			text += fmt.Sprintf(" with %v", e.Snapshot)
		}
		all = append(all, text)
	}
	return all
}

func want(t *testing.T, b event.Batch, events ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, events...), said(b.Events)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// line is the way from a host to the store, which can be cut.
type line struct {
	*memkv.Store
	mu     sync.Mutex
	joined chan struct{} // nil where it was never cut
}

// Load waits until the line is there.
func (l *line) Load(ctx context.Context, prefix string) ([]db.Item, int64, error) {
	l.mu.Lock()
	joined := l.joined
	l.mu.Unlock()
	if joined != nil {
		select {
		case <-joined:
		case <-ctx.Done():
		}
	}
	return l.Store.Load(ctx, prefix)
}

func (l *line) cut() {
	l.mu.Lock()
	l.joined = make(chan struct{})
	l.mu.Unlock()
	l.Interrupt()
	synctest.Wait()
}

func (l *line) join() {
	close(l.joined)
	synctest.Wait()
}
