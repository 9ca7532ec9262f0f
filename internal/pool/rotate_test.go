package pool_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

// trusting is a host of a pool whose hosts live, and follow the pool's trust unless they are idle.
type trusting struct {
	known
	*pool.Cluster
	stop func()
}

func newTrusting(t *testing.T, store db.Store, dir, uuid string) *trusting {
	t.Helper()
	h := &trusting{known: known{d: open(t, store, uuid), keys: &authority.Keyholder{}, dir: filepath.Join(dir, uuid)}}
	m, err := pool.Enter(t.Context(), h.d, pool.Identity{HostUUID: uuid, Hostname: uuid[:1]}, pool.Open)
	if err != nil {
		t.Fatal(err)
	}
	h.host = m.Host
	h.Credentials = pool.NewCredentials(h.d, h.keys, h.dir, uuid, slog.New(slog.DiscardHandler))
	if err := h.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.Cluster = &pool.Cluster{DB: h.d, Me: h.host, Keys: h.keys, Log: slog.New(slog.DiscardHandler)}
	return h
}

// run does what a daemon does, until h.stop is called.
func (h *trusting) run(follow bool) {
	ctx, cancel := context.WithCancel(context.Background())
	log, done := slog.New(slog.DiscardHandler), make(chan error)
	work := []func() error{
		func() error { return pool.Stay(ctx, h.d, h.host, log) },
		func() error { return pool.Coordinate(ctx, h.d, h.host, log) },
		func() error { return pool.FollowRotation(ctx, h.d, h.host, log) },
	}
	if follow {
		work = append(work, func() error { return h.Follow(ctx) })
	}
	for _, f := range work {
		go func() { done <- f() }()
	}
	h.stop = func() {
		cancel()
		for range work {
			<-done
		}
	}
	synctest.Wait()
}

func (h *trusting) rotation() (phase pool.Phase, waiting []xenapi.Ref[xenapi.Host]) {
	synctest.Wait()
	_ = h.d.View(func(tx *db.Tx) error { phase, waiting = pool.Rotation(tx); return nil })
	return phase, waiting
}

// TestTheAuthorityIsReplaced takes every step, with a host that does not follow at first and another coordinator in
// between; hosts know one another all the time.
func TestTheAuthorityIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		one, two := newTrusting(t, store, dir, uuidOne), newTrusting(t, store, dir, uuidTwo)
		one.run(true)
		two.run(false)
		old, _ := one.keys.Current()
		met := func() {
			t.Helper()
			for _, pair := range [][2]*trusting{{one, two}, {two, one}} {
				if _, _, err := pair[0].reaches(t, pair[1].known); err != nil {
					t.Errorf("hosts do not know each other: %v", err)
				}
			}
		}
		if err := two.RotateAuthority(t.Context()); xenapi.CodeOf(err) != xenapi.CodeHostIsSlave {
			t.Errorf("on a host that is not the coordinator: %v", err)
		}
		if err := one.RotateAuthority(t.Context()); err != nil {
			t.Fatal(err)
		}
		if phase, waiting := one.rotation(); phase != pool.PhaseSpread || !slices.Equal(waiting, []xenapi.Ref[xenapi.Host]{two.host}) {
			t.Errorf("phase %s waits for %v", phase, waiting)
		}
		met()
		for what, err := range map[string]error{"rotate": one.RotateAuthority(t.Context()), "token": noToken(t, one)} {
			if xenapi.CodeOf(err) != xenapi.CodeOtherOperationInProgress {
				t.Errorf("%s meanwhile: %v", what, err)
			}
		}

		// The coordinator ends, and the other one takes over and is brought to follow. It waits for the first one then.
		one.stop()
		two.stop()
		two.run(true)
		if err := pool.Designate(t.Context(), two.d, two.host); err != nil {
			t.Fatal(err)
		}
		if phase, waiting := two.rotation(); phase != pool.PhaseRenew || !slices.Equal(waiting, []xenapi.Ref[xenapi.Host]{one.host}) {
			t.Errorf("phase %s waits for %v", phase, waiting)
		}
		met()
		both, _ := one.keys.Current()
		one.Pin(both.Trust.Marshal()) // as a host whose copy of the database knows the old authority too
		one.run(true)
		if phase, waiting := two.rotation(); phase != pool.PhaseRetire || !slices.Equal(waiting, []xenapi.Ref[xenapi.Host]{one.host}) {
			t.Errorf("phase %s waits for %v", phase, waiting)
		}
		met()
		one.stop()
		one.Pin(nil)
		one.run(true)
		if phase, waiting := two.rotation(); phase != pool.PhaseSteady || waiting != nil {
			t.Errorf("phase %s waits for %v", phase, waiting)
		}
		met()
		for _, h := range []*trusting{one, two} {
			now, _ := h.keys.Current()
			if trusted := now.Trust.Fingerprints(); now.Authority() == old.Authority() || !slices.Equal(trusted, []authority.Fingerprint{now.Authority()}) {
				t.Errorf("the certificate is of %s, trusted are %v", now.Authority(), trusted)
			}
			defer h.d.Close()
			defer h.stop()
		}
		if err := noToken(t, two); err != nil {
			t.Errorf("a token afterwards: %v", err)
		}
	})
}

func noToken(t *testing.T, h *trusting) error {
	t.Helper()
	_, err := h.NewToken(t.Context(), 1e9)
	return err
}

// A host that is not there would come back to a pool that does not know it.
func TestTheAuthorityIsNotReplacedWithoutAHost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		one, two := newTrusting(t, store, dir, uuidOne), newTrusting(t, store, dir, uuidTwo)
		one.run(true)
		err := one.RotateAuthority(t.Context())
		if want := xenapi.ErrHostOffline(two.host); err == nil || err.Error() != want.Error() {
			t.Errorf("error %v, want %v", err, want)
		}
		if phase, _ := one.rotation(); phase != pool.PhaseSteady {
			t.Errorf("phase %s", phase)
		}
		one.stop()
		one.d.Close()
		two.d.Close()
	})
}
