package auth

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/xenapi"
)

// So many are inside as may be, the others wait in their order, and a change counts from the next that comes or goes.
func TestTurnstile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var gate turnstile
		var mu sync.Mutex
		allowed, inside := 2, []int{}
		most := func() int { mu.Lock(); defer mu.Unlock(); return allowed }
		come := func(i int) {
			go func() {
				if gate.enter(t.Context(), most) == nil {
					mu.Lock()
					defer mu.Unlock()
					inside = append(inside, i)
				}
			}()
			synctest.Wait()
		}
		entered := func(want int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(inside) // those who come in at once do so in any order
			if len(inside) != want || inside[want-1] != want-1 {
				t.Fatalf("inside were %v, want the first %d", inside, want)
			}
		}
		allow := func(n int) { mu.Lock(); defer mu.Unlock(); allowed = n }
		for i := range 6 {
			come(i)
		}
		entered(2)
		gate.leave(most)
		entered(3)
		allow(4)
		gate.leave(most) // one goes, three come
		entered(6)
		allow(1)
		come(6)
		for range 3 { // of four
			gate.leave(most)
			entered(6)
		}
		gate.leave(most)
		entered(7)
		gate.leave(most)
	})
}

// Who goes away while it waits takes nobody's place.
func TestTurnstileLetsWaitersGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var gate turnstile
		most := func() int { return 1 }
		if err := gate.enter(t.Context(), most); err != nil {
			t.Fatal(err)
		}
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := gate.enter(brief, most); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller that went away got %v", err)
		}
		gate.leave(most)
		if gate.inside != 0 || len(gate.waiting) != 0 {
			t.Errorf("%d inside, %d wait", gate.inside, len(gate.waiting))
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		for range 50 { // its turn and its end may come at once
			if gate.enter(gone, most) == nil {
				gate.leave(most)
			}
		}
		if err := gate.enter(t.Context(), most); err != nil || gate.inside != 1 {
			t.Errorf("%v, %d inside", err, gate.inside)
		}
	})
}

// The pool's row says how many passwords are checked at once, from the next login on.
func TestPasswordChecksAtOnce(t *testing.T) {
	t.Parallel()
	d, err := db.Open(t.Context(), memkv.New(), db.Options{Tables: []db.Table{db.TableOf[xenapi.Pool]()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	s := New(d, "", nil, Options{})
	if got := s.mostHashing(); got != 1 {
		t.Errorf("without a pool: %d", got)
	}
	hash := hashPassword("p")
	for _, c := range []struct {
		value int64
		want  int
	}{{2, 2}, {0, 1}, {-3, 1}, {1 << 40, MaxThreads}, {1, 1}} {
		if err := d.Update(t.Context(), func(tx *db.Tx) error {
			return db.Put(tx, "OpaqueRef:pool", xenapi.Pool{LocalAuthMaxThreads: c.value})
		}); err != nil {
			t.Fatal(err)
		}
		if got := s.mostHashing(); got != c.want {
			t.Errorf("%d gives %d", c.value, got)
		}
	}
	// One is in, so another one waits, until its caller goes away or the first one leaves.
	if err := s.hashing.enter(t.Context(), s.mostHashing); err != nil {
		t.Fatal(err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := s.verify(gone, hash, "p"); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that went away got %v", err)
	}
	s.hashing.leave(s.mostHashing)
	if ok, err := s.verify(t.Context(), hash, "p"); !ok || err != nil || s.hashing.inside != 0 {
		t.Errorf("then: %t, %v, %d inside", ok, err, s.hashing.inside)
	}
}
