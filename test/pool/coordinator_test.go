package pool

import (
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestCoordinatorKilled: the pool goes on under another coordinator. When all hosts die and are started again, the pool is
// there as before.
func TestCoordinatorKilled(t *testing.T) {
	t.Parallel()
	b := makeBed(t, 3, "")
	first, others := b.hosts[0], b.hosts[1:]
	b.goesOn(b.hosts...)
	b.kill(first)
	next := b.succeeded(first, others[1])
	b.goesOn(others...)
	b.start(first)
	b.allLive()
	if got := b.coordinator(first); got != next {
		t.Errorf("%s came back, and the coordinator is %v", first.name, got)
	}
	b.goesOn(b.hosts...)
	b.allClean()

	b.kill(b.hosts...)
	b.start(b.hosts...)
	b.allLive()
	b.goesOn(b.hosts...)
	b.allClean()
}

// TestCoordinatorIsolated: a coordinator that reaches nobody is succeeded. When it is back it is a host like the others,
// and what it was asked to change meanwhile it has not changed.
func TestCoordinatorIsolated(t *testing.T) {
	t.Parallel()
	b := makeBed(t, 3, "")
	first, others := b.hosts[0], b.hosts[1:]
	pool, _ := harness.Only[xenapi.Pool](first.Daemon)
	b.isolate(first)
	written := make(chan error, 1)
	go func() {
		_, err := ask[any](first, "pool.set_default_SR", pool, "OpaqueRef:NULL")
		written <- err
	}()
	next := b.succeeded(first, others[0])
	b.goesOn(others...)
	if err := <-written; err == nil {
		t.Error("a host that reaches no database has changed something")
	}
	b.rejoin(first)
	b.allLive()
	for _, h := range b.hosts {
		if got := b.coordinator(h); got != next {
			t.Errorf("%s takes %v for the coordinator, not %s", h.name, got, next.name)
		}
	}
	if sr := harness.Record(first.Daemon, pool).DefaultSR; sr != b.shared {
		t.Errorf("the default SR became %s", sr)
	}
	b.goesOn(b.hosts...)
	b.allClean()
}

// TestCoordinatorPaused: a coordinator whose time stood still wakes up as a host like the others; here on an etcd of the
// administrator's.
func TestCoordinatorPaused(t *testing.T) {
	t.Parallel()
	b := makeBedBy(t, 3, "", (*bed).formOnEtcd)
	first, others := b.hosts[0], b.hosts[1:]
	b.pause(first)
	next := b.succeeded(first, others[0])
	b.goesOn(others...)
	b.resume(first)
	b.allLive()
	if got := b.coordinator(first); got != next {
		t.Errorf("%s woke up and takes %v for the coordinator, not %s", first.name, got, next.name)
	}
	b.goesOn(b.hosts...)
	b.allClean()
}
