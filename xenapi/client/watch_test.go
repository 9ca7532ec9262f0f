package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// feed is a pool that tells of its patches, and the network before it: both can fail. It is the client's transport, so that
// time is the test's.
type feed struct {
	mu      sync.Mutex
	patches map[string]string // names by ref
	told    []told
	changed chan struct{} // closed with each change

	revision, database int
	sessions           map[string]bool
	logins, asked      int
	refusal            error // of a login

	// network fails a request before it arrives, answers after it was carried out.
	network, answers error
	silent           bool // requests are never answered
}

// told is a change, for those that know a revision before it.
type told struct {
	revision  int
	ref       string
	operation xenapi.EventOperation
}

var errCut = errors.New("connection reset by peer")

// watched makes a feed and a client of it.
func watched(t *testing.T) (*feed, *Client) {
	t.Helper()
	f := &feed{patches: map[string]string{}, changed: make(chan struct{}), sessions: map[string]bool{}}
	c, err := newClient(Options{URL: "http://pool", User: "root", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	c.http.Transport = f
	if err := c.login(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f, c
}

func (f *feed) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	network, silent := f.network, f.silent
	f.asked++
	f.mu.Unlock()
	if silent {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if network != nil {
		return nil, network
	}
	reply, err := rpc.JSON(r.Context(), f, body)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := errors.Join(f.answers, f.network); err != nil {
		return nil, err
	}
	answer := httptest.NewRecorder()
	answer.Body = bytes.NewBuffer(reply)
	return answer.Result(), r.Context().Err()
}

func (f *feed) Dispatch(ctx context.Context, method string, params []rpc.Value) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if method == "session.login_with_password" {
		f.logins++
		f.sessions[strconv.Itoa(f.logins)] = true
		return strconv.Itoa(f.logins), f.refusal
	}
	token := params[2].Text
	for deadline := time.After(time.Duration(params[3].Double * float64(time.Second))); ; {
		if !f.sessions[params[0].Text] {
			return nil, xenapi.ErrSessionInvalid("ended")
		}
		events, err := f.since(token)
		if err != nil || len(events) > 0 || token == "" {
			return f.reply(events), err
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
			f.mu.Lock()
		case <-deadline:
			f.mu.Lock()
			return f.reply(nil), nil
		case <-ctx.Done():
			f.mu.Lock()
			return nil, ctx.Err()
		}
	}
}

func (f *feed) reply(events []map[string]any) any {
	return map[string]any{
		"events": events, "valid_ref_counts": map[string]rpc.I4{"pool_patch": rpc.I4(len(f.patches)), "session": 1}, "token": f.token(),
	}
}

func (f *feed) token() string { return fmt.Sprintf("%020d,%020d", f.revision, f.database) }

// since sums up what there is to tell of a token.
func (f *feed) since(token string) (events []map[string]any, err error) {
	revision, database := 0, 0
	if token == "" {
		for _, ref := range slices.Sorted(maps.Keys(f.patches)) {
			events = append(events, f.event(ref, xenapi.EventOperationAdd))
		}
		return events, nil
	}
	if _, err := fmt.Sscanf(token, "%d,%d", &revision, &database); err != nil || database != f.database {
		return nil, xenapi.ErrEventsLost()
	}
	first := map[string]xenapi.EventOperation{}
	var refs []string
	for _, t := range f.told {
		if t.revision <= revision {
			continue
		}
		if _, again := first[t.ref]; !again {
			first[t.ref] = t.operation
			refs = append(refs, t.ref)
		}
	}
	for _, ref := range refs {
		_, there := f.patches[ref]
		switch made := first[ref] == xenapi.EventOperationAdd; {
		case there && made:
			events = append(events, f.event(ref, xenapi.EventOperationAdd))
		case there:
			events = append(events, f.event(ref, xenapi.EventOperationMod))
		case !made:
			events = append(events, f.event(ref, xenapi.EventOperationDel))
		}
	}
	return events, nil
}

func (f *feed) event(ref string, operation xenapi.EventOperation) map[string]any {
	e := map[string]any{"id": "1", "timestamp": "0.0", "class": "pool_patch", "ref": ref, "operation": operation}
	if operation != xenapi.EventOperationDel {
		e["snapshot"] = xenapi.PoolPatch{UUID: ref, NameLabel: f.patches[ref]}
	}
	return e
}

// do changes the feed, and wakes who waits.
func (f *feed) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

// set makes or changes a patch, or destroys it: that is no name.
func (f *feed) set(ref, name string) {
	f.do(func() {
		f.revision++
		operation := xenapi.EventOperationMod
		if _, there := f.patches[ref]; !there {
			operation = xenapi.EventOperationAdd
		}
		f.patches[ref] = name
		if name == "" {
			operation = xenapi.EventOperationDel
			delete(f.patches, ref)
		}
		f.told = append(f.told, told{f.revision, ref, operation})
	})
}

// restart is what a host's start does: its sessions have ended, and what it told is forgotten.
func (f *feed) restart() {
	f.do(func() {
		clear(f.sessions)
		f.told, f.database = nil, f.database+1
	})
}

// mirror carries batches out, and fails the test when one cannot follow on what was before.
type mirror struct {
	t *testing.T

	mu           sync.Mutex
	patches      map[string]string
	batches      []string // one word for each
	disconnected int
	end          error
	ended        chan struct{}
}

// follow watches a feed until ctx ends, or the pool refuses.
func follow(ctx context.Context, t *testing.T, c *Client) *mirror {
	m := &mirror{t: t, patches: map[string]string{}, ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		for batch, err := range c.Watch(ctx, "pool_patch") {
			m.take(batch, err)
		}
	}()
	return m
}

func (m *mirror) take(batch Batch, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, passes := errors.AsType[*Disconnected](err); passes {
		m.disconnected++
		return
	}
	if m.end = err; err != nil {
		return
	}
	words := make([]string, len(batch.Events))
	for i, e := range batch.Events {
		words[i] = string(e.Operation) + " " + e.Ref
		m.carryOut(e)
	}
	if batch.Lost {
		words = append([]string{"lost:"}, words...)
	}
	m.batches = append(m.batches, strings.Join(words, " "))
}

func (m *mirror) carryOut(e Event) {
	_, there := m.patches[e.Ref]
	if there == (e.Operation == xenapi.EventOperationAdd) || e.Class != "pool_patch" {
		m.t.Errorf("%s of %s %s, which is known: %v", e.Operation, e.Class, e.Ref, there)
	}
	rec, err := Snapshot[xenapi.PoolPatch](e)
	if deleted := e.Operation == xenapi.EventOperationDel; deleted != (err != nil) {
		m.t.Errorf("%s of %s: %v", e.Operation, e.Ref, err)
	}
	m.patches[e.Ref] = rec.NameLabel
	if err != nil {
		delete(m.patches, e.Ref)
	}
	if _, err := Snapshot[xenapi.VDI](e); err == nil {
		m.t.Error("a patch became a VDI")
	}
}

// heard gives the batches since it was asked last, once everything that is going on waits for something.
func (m *mirror) heard() []string {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	batches := m.batches
	m.batches = nil
	return batches
}

// wantHeard checks them.
func (m *mirror) wantHeard(what string, want ...string) {
	m.t.Helper()
	if diff := cmp.Diff(want, m.heard()); diff != "" {
		m.t.Errorf("%s: %s", what, diff)
	}
}

// watching runs a test in a bubble of time.
func watching(t *testing.T, test func(t *testing.T, f *feed, m *mirror)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := watched(t)
		ctx, cancel := context.WithCancel(t.Context())
		m := follow(ctx, t, c)
		test(t, f, m)
		cancel()
		<-m.ended
		if !errors.Is(m.end, context.Canceled) {
			t.Errorf("the watch ended with %v", m.end)
		}
	})
}

func TestWatch(t *testing.T) {
	watching(t, func(t *testing.T, f *feed, m *mirror) {
		m.wantHeard("a pool without patches", "")
		f.set("a", "one")
		m.wantHeard("a new patch", "add a")
		f.set("a", "two")
		m.wantHeard("a change", "mod a")
		f.set("b", "three")
		f.set("a", "")
		m.heard()
		time.Sleep(10 * watchWait)
		m.wantHeard("a pool in which nothing happens")
		if want := map[string]string{"b": "three"}; !cmp.Equal(m.patches, want) || m.disconnected > 0 {
			t.Errorf("%v are known, %d times disconnected", m.patches, m.disconnected)
		}
	})
}

// What happened while the pool could not be heard is told when it can be, deletions too.
func TestWatchOverABrokenConnection(t *testing.T) {
	watching(t, func(t *testing.T, f *feed, m *mirror) {
		f.set("a", "one")
		f.set("b", "two")
		m.heard()
		for what, fault := range map[string]*error{"requests are lost": &f.network, "answers are lost": &f.answers} {
			f.do(func() { *fault = errCut })
			f.set("a", "")
			time.Sleep(time.Minute)
			m.wantHeard(what)
			f.do(func() { *fault = nil })
			time.Sleep(watchPauseMost)
			m.wantHeard(what, "del a")
			f.set("a", "again")
			m.wantHeard(what, "add a")
		}
		if m.disconnected != 2 {
			t.Errorf("the caller heard %d times that the pool is gone", m.disconnected)
		}
	})
}

// A watch that is connected again says so although nothing has happened.
func TestWatchIsBack(t *testing.T) {
	watching(t, func(t *testing.T, f *feed, m *mirror) {
		m.heard()
		f.do(func() { f.network = errCut })
		time.Sleep(watchWait + time.Second)
		f.do(func() { f.network = nil })
		time.Sleep(watchPauseMost)
		m.wantHeard("the pool is back", "")
	})
}

// A watch asks ever less often for a pool that is gone, and begins with that anew each time.
func TestWatchIsPatient(t *testing.T) {
	watching(t, func(t *testing.T, f *feed, m *mirror) {
		m.heard()
		for range 2 {
			f.do(func() { f.network = errCut })
			f.set("a", "one") // ends the question that is open
			synctest.Wait()
			f.do(func() { f.asked = 0 })
			time.Sleep(time.Minute)
			synctest.Wait()
			// After 0.1, 0.3, 0.7, 1.5, 3.1, 6.3 and 12.7 seconds, then every ten.
			f.do(func() {
				if want := 7 + 4; f.asked != want {
					t.Errorf("in a minute the pool was asked %d times, not %d", f.asked, want)
				}
				f.network = nil
			})
			time.Sleep(watchPauseMost)
		}
	})
}

// A host that falls silent without an end of the connection is noticed.
func TestWatchOfAHostThatFallsSilent(t *testing.T) {
	watching(t, func(t *testing.T, f *feed, m *mirror) {
		f.set("a", "one")
		m.heard()
		f.do(func() { f.silent = true })
		f.set("b", "two") // the answer to the question that is open already
		m.heard()
		time.Sleep(watchWait + watchGrace + time.Second)
		synctest.Wait()
		if m.mu.Lock(); m.disconnected != 1 {
			t.Errorf("the caller heard %d times that the pool is gone", m.disconnected)
		}
		m.mu.Unlock()
		f.do(func() { f.silent = false })
		f.set("a", "")
		time.Sleep(2 * (watchWait + watchGrace))
		m.wantHeard("the host is back", "del a")
	})
}

// A host that was started again knows neither the session nor the token.
func TestWatchOverARestart(t *testing.T) {
	watching(t, func(t *testing.T, f *feed, m *mirror) {
		f.set("a", "one")
		f.set("b", "two")
		m.heard()
		f.do(func() { f.network = errCut })
		f.set("a", "")
		f.set("c", "three")
		f.set("d", "came")
		f.set("d", "")
		f.restart()
		time.Sleep(time.Second)
		f.do(func() { f.network = nil })
		time.Sleep(watchPauseMost)
		m.wantHeard("the host is back", "lost: mod b add c del a")
		f.set("b", "")
		m.wantHeard("it goes on", "del b")
		if f.logins != 2 {
			t.Errorf("%d logins", f.logins)
		}
	})
}

// The end of the session alone loses nothing.
func TestWatchOverTheEndOfASession(t *testing.T) {
	watching(t, func(t *testing.T, f *feed, m *mirror) {
		f.set("a", "one")
		m.heard()
		f.do(func() { clear(f.sessions) })
		m.wantHeard("the session has ended")
		f.set("a", "")
		m.wantHeard("the next one hears", "del a")
		if f.logins != 2 || m.disconnected != 0 {
			t.Errorf("%d logins, %d times disconnected", f.logins, m.disconnected)
		}
	})
}

// A server that has forgotten a deletion and does not say so is found out by its count of objects.
func TestWatchOfAForgetfulServer(t *testing.T) {
	watching(t, func(t *testing.T, f *feed, m *mirror) {
		f.set("a", "one")
		f.set("b", "two")
		m.heard()
		f.do(func() { delete(f.patches, "a") })
		f.set("b", "three")
		m.wantHeard("a deletion that is not told", "mod b", "lost: mod b del a")
	})
}

// What the pool refuses for good ends the watch.
func TestWatchThatIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := watched(t)
		m := follow(t.Context(), t, c)
		m.heard()
		f.do(func() {
			clear(f.sessions)
			f.refusal = xenapi.ErrSessionAuthenticationFailed("root", "the password is another")
		})
		<-m.ended
		if xenapi.CodeOf(m.end) != xenapi.CodeSessionAuthenticationFailed {
			t.Errorf("error %v", m.end)
		}
	})
}

// Who has heard enough asks no more.
func TestWatchThatIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := watched(t)
		for _, err := range c.Watch(t.Context(), "pool_patch") {
			if err != nil {
				t.Error(err)
			}
			break
		}
		f.do(func() { f.network = errCut })
		for _, err := range c.Watch(t.Context(), "pool_patch") {
			if _, ok := errors.AsType[*Disconnected](err); !ok || !errors.Is(err, errCut) {
				t.Errorf("error %v", err)
			}
			break
		}
		if f.asked != 3 { // with the login
			t.Errorf("the pool was asked %d times", f.asked)
		}
	})
}

// TestWatchMisses plays changes and faults by chance. What can be said in the end is what is.
func TestWatchMisses(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			watching(t, func(t *testing.T, f *feed, m *mirror) {
				chance := rand.New(rand.NewPCG(seed, 0))
				for range 300 {
					ref := strconv.Itoa(chance.IntN(8))
					switch chance.IntN(12) {
					case 0:
						f.do(func() { f.network, f.answers = errCut, nil })
					case 1:
						f.do(func() { f.network, f.answers = nil, errCut })
					case 2, 3, 4:
						f.do(func() { f.network, f.answers = nil, nil })
					case 5:
						f.restart()
					case 6:
						f.do(func() { clear(f.sessions) })
					case 7, 8:
						if f.patches[ref] != "" {
							f.set(ref, "")
						}
					default:
						f.set(ref, strconv.Itoa(chance.IntN(1000)))
					}
					time.Sleep(time.Duration(chance.IntN(3000)) * time.Millisecond)
				}
				f.do(func() { f.network, f.answers = nil, nil })
				time.Sleep(time.Minute)
				synctest.Wait()
				if diff := cmp.Diff(f.patches, m.patches); diff != "" {
					t.Errorf("the caller does not know what is: %s", diff)
				}
			})
		})
	}
}
