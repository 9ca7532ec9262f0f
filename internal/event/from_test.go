package event_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/event"
	"poolpatch/xenapi"
)

func TestStartShowsEverythingThatIsSelected(t *testing.T) {
	t.Parallel()
	h := start(t, memkv.New())
	put(t, h, "OpaqueRef:2", xenapi.VDI{})
	put(t, h, "OpaqueRef:1", xenapi.VDI{})
	put(t, h, "OpaqueRef:sr", xenapi.SR{})
	put(t, h, "OpaqueRef:m", xenapi.Message{})
	put(t, h, "OpaqueRef:role", xenapi.Role{})
	put(t, h, "OpaqueRef:user", xenapi.User{})
	put(t, h, session, xenapi.Session{})
	put(t, h, "OpaqueRef:i", internal{})
	for _, c := range []struct {
		selectors []string
		want      []string
	}{
		{[]string{"*"}, []string{"add message OpaqueRef:m", "add sr OpaqueRef:sr", "add vdi OpaqueRef:2", "add vdi OpaqueRef:1"}},
		{[]string{"vDi"}, []string{"add vdi OpaqueRef:2", "add vdi OpaqueRef:1"}},
		{[]string{"VDI/OpaqueRef:1", "nothing", "nothing/OpaqueRef:1"}, []string{"add vdi OpaqueRef:1"}},
		{[]string{"vdi/OpaqueRef:1", "vdi", "sr/OpaqueRef:0"}, []string{"add vdi OpaqueRef:2", "add vdi OpaqueRef:1"}},
		{[]string{"sr", "sr/OpaqueRef:sr", "VDI/OPAQUEREF:1"}, []string{"add sr OpaqueRef:sr"}},
		{[]string{"session", "user", "role", "internal", "event", ""}, nil},
		{nil, nil},
	} {
		b := h.from(t, "", 0, c.selectors...)
		want(t, b, c.want...)
		counts := map[string]int64{
			"session": 1, "task": 0, "pool": 0, "host": 0, "host_patch": 0, "pool_patch": 0, "sr": 1, "pbd": 0,
			"vdi": 2, "vm": 0, "role": 1, "user": 1, "message": 1,
		}
		if diff := cmp.Diff(counts, b.Counts); diff != "" {
			t.Errorf("counts of %v (-want +got):\n%s", c.selectors, diff)
		}
	}
}

func TestEachObjectIsToldOnce(t *testing.T) {
	t.Parallel()
	h := start(t, memkv.New())
	put(t, h, "OpaqueRef:kept", xenapi.SR{NameLabel: "1"})
	put(t, h, "OpaqueRef:gone", xenapi.SR{})
	put(t, h, "OpaqueRef:again", xenapi.SR{})
	put(t, h, "OpaqueRef:old", xenapi.Message{})
	token := h.from(t, "", 0, "*").Token
	put(t, h, "OpaqueRef:kept", xenapi.SR{NameLabel: "2"})
	put(t, h, "OpaqueRef:new", xenapi.SR{NameLabel: "1"})
	put(t, h, "OpaqueRef:kept", xenapi.SR{NameLabel: "3"})
	put(t, h, "OpaqueRef:new", xenapi.SR{NameLabel: "2"})
	put(t, h, "OpaqueRef:fleeting", xenapi.SR{})
	remove[xenapi.SR](t, h, "OpaqueRef:fleeting")
	remove[xenapi.SR](t, h, "OpaqueRef:gone")
	remove[xenapi.SR](t, h, "OpaqueRef:again")
	put(t, h, "OpaqueRef:again", xenapi.SR{})
	put(t, h, "OpaqueRef:m", xenapi.Message{})
	remove[xenapi.Message](t, h, "OpaqueRef:old")
	b := h.from(t, token, time.Second, "*")
	want(t, b, "add message OpaqueRef:m", "del message OpaqueRef:old",
		"add sr OpaqueRef:new", "mod sr OpaqueRef:kept", "mod sr OpaqueRef:again", "del sr OpaqueRef:gone")
	for _, e := range b.Events {
		if rec, ok := e.Snapshot.(xenapi.SR); ok && e.Ref == "OpaqueRef:kept" && rec.NameLabel != "3" {
			t.Errorf("the snapshot is %+v", rec)
		}
	}
	if b.Token <= token {
		t.Errorf("token %s comes after %s", b.Token, token)
	}
	want(t, h.from(t, token, time.Second, "sr/OpaqueRef:gone"), "del sr OpaqueRef:gone")
	want(t, h.from(t, b.Token, 0, "*"))
}

// A row that appears in a computed field of another, or goes from it, changes that one too.
func TestRelatedObjects(t *testing.T) {
	t.Parallel()
	h := start(t, memkv.New())
	put(t, h, "OpaqueRef:a", xenapi.SR{})
	put(t, h, "OpaqueRef:b", xenapi.SR{})
	put(t, h, "OpaqueRef:host", xenapi.Host{})
	put(t, h, "OpaqueRef:patch", xenapi.PoolPatch{})
	for _, c := range []struct {
		what   string
		change func(*db.Tx) error
		want   []string
	}{
		{"a VDI is new", func(tx *db.Tx) error { return db.Put(tx, "OpaqueRef:v", xenapi.VDI{SR: "OpaqueRef:a"}) },
			[]string{"add vdi OpaqueRef:v", "mod sr OpaqueRef:a"}},
		{"a VDI changes", func(tx *db.Tx) error {
			return db.Put(tx, "OpaqueRef:v", xenapi.VDI{SR: "OpaqueRef:a", VirtualSize: 1})
		}, []string{"mod vdi OpaqueRef:v"}},
		{"a VDI moves", func(tx *db.Tx) error { return db.Put(tx, "OpaqueRef:v", xenapi.VDI{SR: "OpaqueRef:b"}) },
			[]string{"mod vdi OpaqueRef:v", "mod sr OpaqueRef:a", "mod sr OpaqueRef:b"}},
		{"a VDI and its SR go", func(tx *db.Tx) error {
			return errors.Join(db.Delete[xenapi.VDI](tx, "OpaqueRef:v"), db.Delete[xenapi.SR](tx, "OpaqueRef:b"))
		}, []string{"del sr OpaqueRef:b", "del vdi OpaqueRef:v"}},
		{"a patch is on a host", func(tx *db.Tx) error {
			return db.Put(tx, "OpaqueRef:row", xenapi.HostPatch{Host: "OpaqueRef:host", PoolPatch: "OpaqueRef:patch"})
		}, []string{"add host_patch OpaqueRef:row", "mod host OpaqueRef:host", "mod pool_patch OpaqueRef:patch"}},
		{"two tasks", func(tx *db.Tx) error {
			return errors.Join(db.Put(tx, "OpaqueRef:t", xenapi.Task{Session: session}), db.Put(tx, "OpaqueRef:sub", xenapi.Task{SubtaskOf: "OpaqueRef:t"}))
		}, []string{"add task OpaqueRef:sub", "add task OpaqueRef:t"}},
		{"what it refers to is not there", func(tx *db.Tx) error { return db.Put(tx, "OpaqueRef:w", xenapi.VDI{SR: "OpaqueRef:none"}) },
			[]string{"add vdi OpaqueRef:w"}},
		{"nothing that clients see", func(tx *db.Tx) error { return db.Put(tx, "OpaqueRef:i", internal{"x"}) }, nil},
	} {
		token := h.from(t, "", 0).Token
		h.update(t, c.change)
		b := h.from(t, token, 0, "*")
		if got := said(b.Events); !slices.Equal(got, append([]string{}, c.want...)) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// A client that waits is told within the window, and one that asks for tasks alone at once.
func TestWaiting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		selector string
		change   func(t bed, h *host)
		delay    time.Duration
	}{
		{"sr", func(t bed, h *host) { put(t, h, "OpaqueRef:1", xenapi.SR{}) }, 50 * time.Millisecond},
		{"*", func(t bed, h *host) { put(t, h, "OpaqueRef:1", xenapi.Task{}) }, 50 * time.Millisecond},
		{"task", func(t bed, h *host) { put(t, h, "OpaqueRef:1", xenapi.Task{}) }, 0},
		{"task/OpaqueRef:1", func(t bed, h *host) { put(t, h, "OpaqueRef:1", xenapi.Task{}) }, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := start(t, memkv.New())
			token := h.from(t, "", 0, c.selector).Token
			answer := make(chan event.Batch)
			asked := time.Now()
			go func() { answer <- h.from(t, token, time.Minute, c.selector) }()
			time.Sleep(10 * time.Second)
			put(t, h, "OpaqueRef:i", internal{})
			put(t, h, "OpaqueRef:pbd", xenapi.PBD{})
			if c.selector != "*" {
				time.Sleep(10 * time.Second)
				asked = asked.Add(10 * time.Second)
			}
			c.change(t, h)
			b := <-answer
			if len(b.Events) == 0 {
				t.Errorf("%s: no events", c.selector)
			}
			if took := time.Since(asked) - 10*time.Second; took != c.delay {
				t.Errorf("%s: told after %v, want %v", c.selector, took, c.delay)
			}
		})
	}
}

// What comes within the window is told with the first event.
func TestTheWindowGathers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memkv.New())
		token := h.from(t, "", 0, "sr").Token
		answer := make(chan event.Batch)
		go func() { answer <- h.from(t, token, time.Minute, "sr") }()
		synctest.Wait()
		put(t, h, "OpaqueRef:1", xenapi.SR{})
		time.Sleep(49 * time.Millisecond)
		put(t, h, "OpaqueRef:2", xenapi.SR{})
		b := <-answer
		want(t, b, "add sr OpaqueRef:1", "add sr OpaqueRef:2")
		// An event that is old is told at once.
		put(t, h, "OpaqueRef:3", xenapi.SR{})
		time.Sleep(time.Second)
		asked := time.Now()
		want(t, h.from(t, b.Token, time.Minute, "sr"), "add sr OpaqueRef:3")
		if took := time.Since(asked); took != 0 {
			t.Errorf("an old event is told after %v", took)
		}
		// The timeout comes before the window's end.
		token = h.from(t, "", 0, "sr").Token
		put(t, h, "OpaqueRef:4", xenapi.SR{})
		asked = time.Now()
		want(t, h.from(t, token, 20*time.Millisecond, "sr"), "add sr OpaqueRef:4")
		if took := time.Since(asked); took != 20*time.Millisecond {
			t.Errorf("told after %v", took)
		}
	})
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memkv.New())
		token := h.from(t, "", 0, "sr").Token
		for timeout, took := range map[time.Duration]time.Duration{
			-time.Second: 0, 0: 0, 1500 * time.Millisecond: 1500 * time.Millisecond, 1000 * time.Hour: time.Hour,
		} {
			put(t, h, "OpaqueRef:v", xenapi.VDI{}) // of no interest, but the token goes on
			asked := time.Now()
			b := h.from(t, token, timeout, "sr")
			if got := time.Since(asked); got != took || len(b.Events) != 0 || b.Token <= token || b.Counts["vdi"] != 1 {
				t.Errorf("timeout %v: after %v %v, counts %v, token %s", timeout, got, said(b.Events), b.Counts, b.Token)
			}
			token = b.Token
		}
	})
}

// What is made and deleted within the window is not told, and the client goes on waiting.
func TestFleetingObjectsAreInvisible(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memkv.New())
		token := h.from(t, "", 0, "sr").Token
		answer := make(chan event.Batch)
		go func() { answer <- h.from(t, token, time.Minute, "sr") }()
		synctest.Wait()
		put(t, h, "OpaqueRef:1", xenapi.SR{})
		remove[xenapi.SR](t, h, "OpaqueRef:1")
		time.Sleep(30 * time.Second)
		put(t, h, "OpaqueRef:2", xenapi.SR{})
		want(t, <-answer, "add sr OpaqueRef:2")
	})
}

func TestASessionThatEndsWakesItsWaiter(t *testing.T) {
	t.Parallel()
	const mine = xenapi.Ref[xenapi.Session]("OpaqueRef:mine")
	for what, wait := range map[string]func(h *host) error{
		"from": func(h *host) error {
			_, err := h.From(context.Background(), event.Query{Session: mine, Classes: []string{"*"}, Token: "", Timeout: time.Minute}, show)
			return err
		},
		"next": func(h *host) error { _, err := h.Next(context.Background(), mine, show); return err },
	} {
		synctest.Test(t, func(t *testing.T) {
			h := start(t, memkv.New())
			put(t, h, mine, xenapi.Session{})
			if err := h.Register(t.Context(), mine, []string{"sr"}); err != nil {
				t.Fatal(err)
			}
			failed, asked := make(chan error), time.Now()
			go func() { failed <- wait(h) }()
			synctest.Wait()
			remove(t, h, mine)
			if err := <-failed; xenapi.CodeOf(err) != xenapi.CodeSessionInvalid || time.Since(asked) > time.Second {
				t.Errorf("%s: %v after %v", what, err, time.Since(asked))
			}
			if err := wait(h); xenapi.CodeOf(err) != xenapi.CodeSessionInvalid && xenapi.CodeOf(err) != xenapi.CodeSessionNotRegistered {
				t.Errorf("%s: afterwards %v", what, err)
			}
			if n := h.Waiting(); n != 0 {
				t.Errorf("%d still wait", n)
			}
		})
	}
}

// A client that goes away is waited for no longer, and one that waits when the daemon stops gets an answer.
func TestTheEndOfWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memkv.New())
		token := h.from(t, "", 0, "sr").Token
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := h.From(ctx, event.Query{Session: session, Classes: []string{"sr"}, Token: token, Timeout: time.Hour}, show)
			failed <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) || h.Waiting() != 0 {
			t.Errorf("%v, %d wait", err, h.Waiting())
		}
		answer, asked := make(chan event.Batch), time.Now()
		go func() { answer <- h.from(t, token, time.Hour, "sr") }()
		synctest.Wait()
		h.stop()
		if want(t, <-answer); time.Since(asked) > time.Second {
			t.Errorf("answered after %v", time.Since(asked))
		}
	})
}

func TestTokensThatAreNone(t *testing.T) {
	t.Parallel()
	h := start(t, memkv.New())
	good := h.from(t, "", 0).Token
	if len(good) != 41 || strings.Trim(good[:20]+good[21:], "0123456789") != "" || good[20] != ',' {
		t.Errorf("the token is %q", good)
	}
	for _, token := range []string{
		" ", "0", "0,0", good[:40], good + "0", strings.Replace(good, ",", ";", 1), "-" + good[1:], "+" + good[1:], good[:21] + " " + good[22:],
		strings.Repeat("9", 20) + "," + strings.Repeat("0", 20), strings.Repeat("0", 20) + "," + strings.Repeat("9", 20),
		"00000000000000000x00,00000000000000000000",
	} {
		h.refused(t, xenapi.CodeEventFromTokenParseFailure, token, "sr")
	}
}

// What this host cannot know is told clearly.
func TestTokensThatCannotBeAnswered(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	h := start(t, store)
	before := h.from(t, "", 0).Token
	for i := range 40 {
		put(t, h, "OpaqueRef:1", xenapi.SR{NameLabel: fmt.Sprint(i)})
	}
	remove[xenapi.SR](t, h, "OpaqueRef:1")

	again := start(t, store) // the host starts again: what was deleted before is not known
	put(t, again, "OpaqueRef:2", xenapi.SR{})
	again.refused(t, xenapi.CodeEventsLost, before, "sr")
	want(t, again.from(t, "", 0, "sr"), "add sr OpaqueRef:2")

	other := start(t, memkv.New()) // of another pool, which has had as many commits
	for i := range 60 {
		put(t, other, "OpaqueRef:1", xenapi.SR{NameLabel: fmt.Sprint(i)})
	}
	other.refused(t, xenapi.CodeEventsLost, again.from(t, "", 0).Token, "sr")
	h.refused(t, xenapi.CodeEventsLost, other.from(t, "", 0).Token, "sr")
	h.refused(t, xenapi.CodeEventsLost, "00000000000000009999"+before[20:], "sr")
}

// A database that goes on without the commits that were lost is another one.
func TestARenamedDatabaseKnowsNoOldToken(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	h := start(t, store)
	token := h.from(t, "", 0).Token
	put(t, h, "OpaqueRef:1", xenapi.SR{})
	want(t, h.from(t, token, 0, "sr"), "add sr OpaqueRef:1")
	if err := db.Rename(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	put(t, h, "OpaqueRef:2", xenapi.SR{})
	h.refused(t, xenapi.CodeEventsLost, token, "sr")
	token = h.from(t, "", 0, "sr").Token
	remove[xenapi.SR](t, h, "OpaqueRef:1")
	want(t, h.from(t, token, 0, "sr"), "del sr OpaqueRef:1")
}

// A client goes from host to host: a token that one has given the other knows, if need be after a moment.
func TestTokensOfAnotherHost(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	a, b := start(t, store), start(t, store)
	token := a.from(t, "", 0).Token
	for i := range 20 {
		put(t, a, "OpaqueRef:1", xenapi.SR{NameLabel: fmt.Sprint(i)})
		token = a.from(t, token, 0, "sr").Token
		want(t, b.from(t, token, 0, "sr"))
	}
	remove[xenapi.SR](t, b, "OpaqueRef:1")
	want(t, b.from(t, token, 0, "sr"), "del sr OpaqueRef:1")
}

// Without a majority of the database this host's clients are served, and nobody is told a lie: a token that may be good gets
// an answer without events.
func TestWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := false
		store := memkv.New(memkv.WithFaults(func(int, []db.Guard, []db.Op) memkv.Fault {
			if gone {
				return memkv.Unavailable
			}
			return memkv.None
		}))
		h := start(t, store)
		put(t, h, "OpaqueRef:1", xenapi.SR{})
		gone = true
		b := h.from(t, "", time.Second, "sr")
		want(t, b, "add sr OpaqueRef:1")
		want(t, h.from(t, b.Token, time.Second, "sr"))
		ahead := "00000000000000009999" + b.Token[20:]
		late := h.from(t, ahead, time.Second, "sr")
		if want(t, late); late.Token != ahead || late.Counts["sr"] != 1 {
			t.Errorf("token %s, counts %v", late.Token, late.Counts)
		}
		if token, err := h.Inject(t.Context(), "sr", "OpaqueRef:1"); err != nil || token != b.Token {
			t.Errorf("injected before %s, %v, want %s", token, err, b.Token)
		}
		want(t, h.from(t, b.Token, time.Second, "sr"), "mod sr OpaqueRef:1")
	})
}

// The log is bounded: a client that comes too late hears of it.
func TestTheLogIsBounded(t *testing.T) {
	t.Parallel()
	h := start(t, memkv.New())
	put(t, h, "OpaqueRef:gone", xenapi.SR{})
	before := h.from(t, "", 0).Token
	if err := h.Register(t.Context(), session, []string{"sr"}); err != nil {
		t.Fatal(err)
	}
	remove[xenapi.SR](t, h, "OpaqueRef:gone")
	for i := range logSize {
		put(t, h, xenapi.Ref[xenapi.Message](fmt.Sprint(i)), xenapi.Message{})
	}
	h.refused(t, xenapi.CodeEventsLost, before, "sr")
	for _, code := range []string{xenapi.CodeEventsLost, xenapi.CodeSessionNotRegistered} {
		if _, err := h.Next(t.Context(), session, show); xenapi.CodeOf(err) != code {
			t.Errorf("next: %v, want %s", err, code)
		}
	}
}

// A client that waits while much happens that does not concern it misses nothing.
func TestTheLogMayForgetWhatAWaiterDoesNotWant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memkv.New())
		token := h.from(t, "", 0, "sr").Token
		answer, later := make(chan event.Batch), make(chan event.Batch)
		go func() { answer <- h.from(t, token, time.Hour, "sr") }()
		go func() { later <- h.from(t, token, time.Hour, "vdi") }()
		synctest.Wait()
		for i := range logSize {
			put(t, h, xenapi.Ref[xenapi.Message](fmt.Sprint(i)), xenapi.Message{})
		}
		put(t, h, "OpaqueRef:1", xenapi.SR{})
		want(t, <-answer, "add sr OpaqueRef:1")
		want(t, <-later)
	})
}

// A host that was cut off from the store reads it anew. Its own clients hear what has changed; for tokens from in between,
// which another host has given, it cannot say.
func TestAGapInTheWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		line := &line{Store: store}
		cut, other := start(t, line), start(t, store)
		put(t, other, "OpaqueRef:kept", xenapi.SR{})
		put(t, other, "OpaqueRef:gone", xenapi.SR{})
		synctest.Wait()
		own := cut.from(t, "", 0, "sr").Token
		answer := make(chan event.Batch)
		go func() { answer <- cut.from(t, own, time.Minute, "sr") }()

		line.cut()
		put(t, other, "OpaqueRef:fleeting", xenapi.SR{})
		between := other.from(t, "", 0, "sr").Token
		remove[xenapi.SR](t, other, "OpaqueRef:fleeting")
		remove[xenapi.SR](t, other, "OpaqueRef:gone")
		line.join()
		want(t, <-answer, "del sr OpaqueRef:gone")
		cut.refused(t, xenapi.CodeEventsLost, between, "sr")
		want(t, cut.from(t, own, 0, "sr"), "del sr OpaqueRef:gone")
		want(t, cut.from(t, other.from(t, "", 0).Token, 0, "sr"))
	})
}
