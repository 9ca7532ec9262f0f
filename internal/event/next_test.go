package event_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db/memkv"
	"poolpatch/internal/event"
	"poolpatch/xenapi"
)

// next asks and must get an answer.
func (h *host) next(t bed) []event.Event {
	t.Helper()
	events, err := h.Next(context.Background(), session, show)
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	return events
}

func TestNextTellsWhatIsRegistered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memkv.New())
		if _, err := h.Next(t.Context(), session, show); xenapi.CodeOf(err) != xenapi.CodeSessionNotRegistered {
			t.Errorf("without a registration: %v", err)
		}
		put(t, h, "OpaqueRef:old", xenapi.SR{})
		for _, classes := range [][]string{{"SR"}, {"sr", "vdi"}} {
			if err := h.Register(t.Context(), session, classes); err != nil {
				t.Fatal(err)
			}
		}
		put(t, h, "OpaqueRef:1", xenapi.SR{})
		put(t, h, "OpaqueRef:m", xenapi.Message{})
		events := h.next(t)
		if got := said(events); !slices.Equal(got, []string{"add sr OpaqueRef:1"}) {
			t.Errorf("told %q", got)
		}
		if e := events[0]; e.ID == "" || time.Since(e.At) != 50*time.Millisecond {
			t.Errorf("id %q, at %v", e.ID, e.At)
		}
		put(t, h, "OpaqueRef:2", xenapi.VDI{})
		remove[xenapi.SR](t, h, "OpaqueRef:old")
		if got := said(h.next(t)); !slices.Equal(got, []string{"add vdi OpaqueRef:2", "del sr OpaqueRef:old"}) {
			t.Errorf("told %q", got)
		}
		h.Unregister(session, []string{"VDI"})
		put(t, h, "OpaqueRef:3", xenapi.VDI{})
		put(t, h, "OpaqueRef:4", xenapi.SR{})
		if got := said(h.next(t)); !slices.Equal(got, []string{"add sr OpaqueRef:4"}) {
			t.Errorf("told %q", got)
		}
		h.Unregister(session, []string{"sr", "host"})
		if _, err := h.Next(t.Context(), session, show); xenapi.CodeOf(err) != xenapi.CodeSessionNotRegistered {
			t.Errorf("after unregister: %v", err)
		}
	})
}

// Who waits for the pool's events hears of the pool every 30 seconds; who does not waits on.
func TestNextHasAHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memkv.New())
		put(t, h, "OpaqueRef:pool", xenapi.Pool{})
		if err := h.Register(t.Context(), session, []string{"*"}); err != nil {
			t.Fatal(err)
		}
		asked := time.Now()
		if got := said(h.next(t)); !slices.Equal(got, []string{"mod pool OpaqueRef:pool"}) || time.Since(asked) != 30*time.Second {
			t.Errorf("told %q after %v", got, time.Since(asked))
		}
		h.Unregister(session, []string{"*"})
		if err := h.Register(t.Context(), session, []string{"sr"}); err != nil {
			t.Fatal(err)
		}
		answer := make(chan []event.Event)
		go func() { answer <- h.next(t) }()
		time.Sleep(time.Hour)
		put(t, h, "OpaqueRef:1", xenapi.SR{})
		if got := said(<-answer); !slices.Equal(got, []string{"add sr OpaqueRef:1"}) {
			t.Errorf("told %q", got)
		}
	})
}

func TestInject(t *testing.T) {
	t.Parallel()
	h := start(t, memkv.New())
	put(t, h, "OpaqueRef:pool", xenapi.Pool{})
	put(t, h, "OpaqueRef:role", xenapi.Role{})
	for _, wrong := range [][2]string{{"sr", "OpaqueRef:pool"}, {"pool", "OpaqueRef:1"}, {"nothing", "OpaqueRef:pool"}, {"role", "OpaqueRef:role"}, {"*", "OpaqueRef:pool"}} {
		_, err := h.Inject(t.Context(), wrong[0], wrong[1])
		if e, ok := err.(*xenapi.Error); !ok || !slices.Equal(e.Description(), []string{xenapi.CodeHandleInvalid, wrong[0], wrong[1]}) {
			t.Errorf("inject %v: %v", wrong, err)
		}
	}
	first, err := h.Inject(t.Context(), "Pool", "OpaqueRef:pool")
	if err != nil {
		t.Fatal(err)
	}
	b := h.from(t, first, time.Minute, "pool", "sr")
	want(t, b, "mod pool OpaqueRef:pool")
	want(t, h.from(t, b.Token, 0, "pool"))
	if b.Token <= first {
		t.Errorf("the token %s comes after %s", b.Token, first)
	}
	second, err := h.Inject(t.Context(), "pool", "OpaqueRef:pool")
	if err != nil || second < b.Token {
		t.Errorf("the second token is %s, %v", second, err)
	}
	put(t, h, "OpaqueRef:1", xenapi.SR{})
	want(t, h.from(t, second, time.Minute, "pool", "sr"), "add sr OpaqueRef:1", "mod pool OpaqueRef:pool")
	// It waits for nothing.
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memkv.New())
		put(t, h, "OpaqueRef:pool", xenapi.Pool{})
		token, answer := h.from(t, "", 0).Token, make(chan event.Batch)
		go func() { answer <- h.from(t, token, time.Minute, "pool") }()
		synctest.Wait()
		if _, err := h.Inject(t.Context(), "pool", "OpaqueRef:pool"); err != nil {
			t.Fatal(err)
		}
		want(t, <-answer, "mod pool OpaqueRef:pool")
	})
}
