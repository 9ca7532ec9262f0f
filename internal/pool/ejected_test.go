package pool_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/pool"
)

// TestRosterKnows: what it says of a host is what the store says at that moment, or nothing.
func TestRosterKnows(t *testing.T) {
	t.Parallel()
	if _, err := (&pool.Roster{}).Knows(t.Context(), uuidOne); err == nil {
		t.Error("a roster without a database knows something")
	}
	fault := memkv.None
	store := memkv.New(memkv.WithFaults(func(int, []db.Guard, []db.Op) memkv.Fault { return fault }))
	one, other := newKnown(t, store, uuidOne), newKnown(t, store, uuidTwo)
	roster := &pool.Roster{}
	roster.Read(one.d)
	if named, err := roster.Knows(t.Context(), uuidTwo); err != nil || !named {
		t.Errorf("of a host of the pool: %v, %v", named, err)
	}
	// Another host takes it out: the answer does not rest on what this one has seen.
	if err := other.d.Update(t.Context(), func(tx *db.Tx) error { return db.Delete(tx, other.host) }); err != nil {
		t.Fatal(err)
	}
	if named, err := roster.Knows(t.Context(), uuidTwo); err != nil || named {
		t.Errorf("of a host that was taken out: %v, %v", named, err)
	}
	fault = memkv.Unavailable
	if _, err := roster.Knows(t.Context(), uuidTwo); err == nil {
		t.Error("without its store it knows something")
	}
}

// answering serves, as a host, one status at the path where hosts ask.
func answering(t *testing.T, as known, status int) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, ok := as.keys.Asker(*r.TLS); !ok || r.URL.Path != pool.MemberPath {
			t.Errorf("%q asks %s, %v", host, r.URL.Path, ok)
		}
		w.WriteHeader(status)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(tls.NewListener(l, as.keys.ServerConfig(&tls.Config{})))
	}()
	t.Cleanup(func() { server.Close(); <-done })
	return "https://" + l.Addr().String()
}

// TestEjected: nothing but the word of a host of the pool makes a host believe that it was ejected.
func TestEjected(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	one, two := newKnown(t, store, uuidOne), newKnown(t, store, uuidTwo)
	stranger := newKnown(t, memkv.New(), uuidThree)
	gone, no, unknown := answering(t, two, http.StatusGone), answering(t, two, http.StatusNoContent), answering(t, two, http.StatusServiceUnavailable)
	foreign := answering(t, stranger, http.StatusGone)
	for _, c := range []struct {
		what string
		urls []string
		want bool
	}{
		{"nobody to ask", nil, false},
		{"nobody answers", []string{"https://127.0.0.1:1", "no url at all"}, false},
		{"it is of the pool", []string{no}, false},
		{"the host that is asked cannot know", []string{unknown}, false},
		{"a host of another pool says so", []string{foreign}, false},
		{"the second says so", []string{unknown, gone}, true},
	} {
		if got := pool.Ejected(t.Context(), one.keys, c.urls); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// TestAwaitEjectionEnds: it asks again and again, of whoever there is to ask then.
func TestAwaitEjectionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		rounds := 0
		err := pool.AwaitEjection(ctx, &authority.Keyholder{}, func() []string { rounds++; return nil })
		if !errors.Is(err, context.DeadlineExceeded) || rounds < 10 {
			t.Errorf("after %d rounds: %v", rounds, err)
		}
	})
}
