package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

// cluster is a pool of hosts over one store, in the fake time of a test.
type cluster struct {
	t     *testing.T
	store *memkv.Store
	hosts []*member
}

// member is a host that lives in its pool. Its leases end when it is cut off.
type member struct {
	*memkv.Store
	d   *db.DB
	ref xenapi.Ref[xenapi.Host]

	stop context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex
	cut    bool
	alone  bool // the store takes none of its commits
	leases []db.Lease
}

func (m *member) Grant(ctx context.Context, ttl time.Duration) (db.Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut {
		return nil, errors.New("cut off")
	}
	l, err := m.Store.Grant(ctx, ttl)
	m.leases = append(m.leases, l)
	return l, err
}

// electionTime is how long a store waits for its majority before it refuses.
const electionTime = 3 * time.Second

func (m *member) Commit(ctx context.Context, guards []db.Guard, ops []db.Op) (int64, error) {
	m.mu.Lock()
	alone := m.alone
	m.mu.Unlock()
	if alone {
		<-time.After(electionTime)
		return 0, fmt.Errorf("%w: %w", db.ErrRefused, db.ErrUnavailable)
	}
	return m.Store.Commit(ctx, guards, ops)
}

// disconnect is what the pool sees of a host that died, or lost its network, some time ago.
func (m *member) disconnect() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = true
	for _, l := range m.leases {
		_ = l.Release(context.Background())
	}
}

func (m *member) reconnect() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = false
}

// start runs what a daemon runs.
func (m *member) start(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	log := slog.New(slog.DiscardHandler)
	for _, run := range []func(context.Context, *db.DB, xenapi.Ref[xenapi.Host], *slog.Logger) error{pool.Stay, pool.Coordinate, pool.FollowHosts, pool.TellLost} {
		m.work.Go(func() {
			if err := run(ctx, m.d, m.ref, log); ctx.Err() == nil {
				t.Errorf("ended by itself: %v", err)
			}
		})
	}
}

func (m *member) end() {
	m.stop()
	m.work.Wait()
}

// inCluster runs a test on n hosts that live; the first is the coordinator.
func inCluster(t *testing.T, n int, test func(*cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, store: memkv.New()}
		for i := range n {
			m := &member{Store: c.store}
			m.d = open(t, m, fmt.Sprintf("host-%d", i))
			m.ref = enter(t, m.d, pool.Identity{HostUUID: fmt.Sprintf("uuid-%d", i), Hostname: fmt.Sprintf("host-%d", i)}).Host
			m.start(t)
			c.hosts = append(c.hosts, m)
		}
		synctest.Wait()
		test(c)
		for _, m := range c.hosts {
			m.end()
			m.d.Close()
		}
	})
}

// master says which host all of them take for the coordinator.
func (c *cluster) master() int {
	c.t.Helper()
	synctest.Wait()
	seen := map[xenapi.Ref[xenapi.Host]]bool{}
	for _, m := range c.hosts {
		for _, rec := range all[xenapi.Pool](m.d) {
			seen[rec.Master] = true
		}
	}
	for i, m := range c.hosts {
		if seen[m.ref] && len(seen) == 1 {
			return i
		}
	}
	c.t.Fatalf("the coordinators are %v", seen)
	return -1
}

// wantLive checks host_metrics.live, and pool.Alive, of a host.
func (c *cluster) wantLive(host int, want bool) {
	c.t.Helper()
	synctest.Wait()
	m := c.hosts[host]
	for i, other := range c.hosts {
		if got := get(c.t, other.d, get(c.t, other.d, m.ref).Metrics).Live; got != want {
			c.t.Errorf("host %d sees host %d live: %t", i, host, got)
		}
		_ = other.d.View(func(tx *db.Tx) error {
			if pool.Alive(tx, m.ref) != want {
				c.t.Errorf("host %d takes host %d for alive: %t", i, host, !want)
			}
			return nil
		})
	}
}

func TestFailover(t *testing.T) {
	t.Parallel()
	inCluster(t, 3, func(c *cluster) {
		time.Sleep(time.Hour)
		if got := c.master(); got != 0 {
			t.Fatalf("host %d became coordinator of a pool that has one", got)
		}
		c.hosts[0].disconnect()
		time.Sleep(2 * time.Second)
		if got := c.master(); got != 0 {
			t.Errorf("host %d did not wait for the coordinator to come back", got)
		}
		time.Sleep(4 * time.Second)
		next := c.master()
		if next == 0 {
			t.Fatal("the pool still has a dead coordinator")
		}
		c.wantLive(0, false)
		c.wantLive(next, true)

		c.hosts[0].reconnect()
		time.Sleep(time.Minute)
		if got := c.master(); got != next {
			t.Errorf("host %d is coordinator now: who comes back must not take over", got)
		}
		c.wantLive(0, true)
	})
}

// Work of the coordinator is begun by each host that becomes it, once.
func TestLead(t *testing.T) {
	t.Parallel()
	inCluster(t, 2, func(c *cluster) {
		var led [2]int
		ctx, cancel := context.WithCancel(c.t.Context())
		var done sync.WaitGroup
		for i, m := range c.hosts {
			done.Go(func() { _ = pool.Lead(ctx, m.d, m.ref, func(context.Context) { led[i]++ }) })
		}
		time.Sleep(time.Minute)
		c.hosts[0].disconnect()
		time.Sleep(time.Minute)
		c.hosts[0].reconnect()
		time.Sleep(time.Minute)
		c.hosts[1].disconnect()
		time.Sleep(time.Minute)
		cancel()
		done.Wait()
		if led != [2]int{2, 1} {
			t.Errorf("the hosts led %v times", led)
		}
	})
}

func TestDesignate(t *testing.T) {
	t.Parallel()
	inCluster(t, 3, func(c *cluster) {
		designate := func(host xenapi.Ref[xenapi.Host]) string {
			return xenapi.CodeOf(pool.Designate(c.t.Context(), c.hosts[1].d, host))
		}
		if code := designate(c.hosts[2].ref); code != "" || c.master() != 2 {
			t.Errorf("the coordinator is host %d, %s", c.master(), code)
		}
		c.hosts[0].disconnect()
		synctest.Wait()
		if code := designate(c.hosts[0].ref); code != xenapi.CodeHostOffline {
			t.Errorf("a host that is not there: %s", code)
		}
		if code := designate("OpaqueRef:nobody"); code != xenapi.CodeHandleInvalid {
			t.Errorf("no host: %s", code)
		}
		disable := func(rec *xenapi.Host) error { rec.Enabled = false; return nil }
		if err := c.hosts[1].d.Update(c.t.Context(), func(tx *db.Tx) error { return db.Change(tx, c.hosts[1].ref, disable) }); err != nil {
			t.Fatal(err)
		}
		if code := designate(c.hosts[1].ref); code != xenapi.CodeHostDisabled {
			t.Errorf("a disabled host: %s", code)
		}
		time.Sleep(time.Minute)
		if got := c.master(); got != 2 {
			t.Errorf("host %d took over from a coordinator that lives", got)
		}
	})
}

// Nobody who lives: the first one who comes back leads, whoever led before.
func TestFailoverOfAll(t *testing.T) {
	t.Parallel()
	inCluster(t, 3, func(c *cluster) {
		for _, m := range c.hosts {
			m.disconnect()
		}
		time.Sleep(6 * time.Second)
		if got := c.master(); got != 0 {
			t.Fatalf("host %d, which is dead, became coordinator", got)
		}
		c.hosts[2].reconnect()
		time.Sleep(10 * time.Second)
		if got := c.master(); got != 2 {
			t.Errorf("the coordinator is host %d, and only host 2 lives", got)
		}
		c.wantLive(0, false)
		c.wantLive(2, true)
	})
}

// A daemon that is only restarted stays coordinator.
func TestRestartIsNoFailover(t *testing.T) {
	t.Parallel()
	inCluster(t, 2, func(c *cluster) {
		c.hosts[0].end()
		c.wantGone(0)
		time.Sleep(3 * time.Second)
		c.hosts[0].start(c.t)
		time.Sleep(time.Minute)
		if got := c.master(); got != 0 {
			t.Errorf("a restart made host %d coordinator", got)
		}
		c.wantLive(0, true)
	})
}

// wantGone checks that a daemon that stopped in good order is known to be gone at once.
func (c *cluster) wantGone(host int) {
	c.t.Helper()
	synctest.Wait()
	_ = c.hosts[1].d.View(func(tx *db.Tx) error {
		if pool.Alive(tx, c.hosts[host].ref) {
			c.t.Error("a daemon that stopped still counts as alive")
		}
		return nil
	})
}

// A former coordinator that wakes up changes nothing, though its own copy of the database says for a moment longer that
// it is the coordinator.
func TestFormerCoordinatorIsFenced(t *testing.T) {
	t.Parallel()
	inCluster(t, 2, func(c *cluster) {
		former := c.hosts[0]
		attempts := 0
		err := former.d.Update(c.t.Context(), func(tx *db.Tx) error {
			if err := pool.Coordinating(tx, former.ref); err != nil {
				return err
			}
			if attempts++; attempts == 1 {
				former.disconnect() // between its decision and its commit
			}
			return db.Change(tx, former.ref, func(rec *xenapi.Host) error { rec.NameLabel = "changed by the former"; return nil })
		})
		if !errors.Is(err, pool.ErrNotCoordinator) || attempts != 1 {
			t.Errorf("after %d attempts: %v", attempts, err)
		}
		time.Sleep(10 * time.Second)
		if got := get(c.t, c.hosts[1].d, former.ref).NameLabel; got == "changed by the former" {
			t.Error("a former coordinator has changed the database")
		}
		other := c.hosts[1]
		if err := other.d.Update(c.t.Context(), func(tx *db.Tx) error { return pool.Coordinating(tx, other.ref) }); err != nil {
			t.Errorf("the new one: %v", err)
		}
	})
}

// A coordinator that is to stop while its database takes no changes stops, whatever there is for it to record.
func TestStoppingWithoutDatabase(t *testing.T) {
	t.Parallel()
	inCluster(t, 2, func(c *cluster) {
		one, two := c.hosts[0], c.hosts[1]
		one.mu.Lock()
		one.alone = true
		one.mu.Unlock()
		two.end()       // whose death the coordinator cannot record
		synctest.Wait() // it tries to
		ctx, stop := context.WithCancel(context.Background())
		var following sync.WaitGroup
		following.Go(func() { _ = pool.FollowHosts(ctx, one.d, one.ref, slog.New(slog.DiscardHandler)) })
		synctest.Wait()
		stop()
		following.Wait()
		live := 0
		for _, rec := range all[xenapi.HostMetrics](one.d) {
			if rec.Live {
				live++
			}
		}
		if live != 2 {
			t.Errorf("%d hosts are recorded as alive: the coordinator was not kept from recording", live)
		}
	})
}
