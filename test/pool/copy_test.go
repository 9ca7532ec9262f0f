package pool

import (
	"slices"
	"strings"
	"testing"
	"time"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// large is what follows a program whose image is fetched with several requests.
var large = strings.Repeat("some megabytes ", 1<<19)

// points lists the named points of a copy between hosts: on the one that pulls, or on the one that gives.
func points(t testing.TB, side string) []string {
	t.Helper()
	all := slices.DeleteFunc(harness.Points(t, "internal/storage", 8), func(name string) bool { return !strings.HasPrefix(name, side) })
	if len(all) < 3 {
		t.Fatalf("only %d points found of %s", len(all), side)
	}
	return all
}

// TestDestinationKilled: a host dies at each named point of a copy that it pulls from another host. When it is back nothing of
// the copy is left, and the patch has not run.
func TestDestinationKilled(t *testing.T) {
	t.Parallel()
	b := makeBare(t, 2, (*bed).formCrashing)
	source, destination := b.hosts[0], b.hosts[1]
	p := b.program(harness.Program{Tail: large})
	ref := b.uploaded(source, p)
	deadly := points(t, "pull-")
	b.again(destination, destination.CrashAt, deadly[0])
	for i, point := range deadly {
		task := source.Async("pool_patch.apply", ref, destination.ref)
		destination.WaitEnded()
		destination.CrashAt(append(deadly, "")[i+1])
		b.start(destination)
		if harness.Failure(harness.Wait(source.Daemon, task)) == nil {
			t.Errorf("the host died at %s, and the apply has succeeded", point)
		}
		b.allLive()
		b.allClean()
		b.ranOnce(p.UUID)
		if row, there := harness.HostPatch(source.Daemon, ref); there {
			t.Errorf("the host died at %s, before the patch could run, and has the row %+v", point, row)
		}
	}
	source.Do("pool_patch.apply", ref, destination.ref)
	b.ranOnce(p.UUID, destination)
	b.allClean()
}

// TestSourceKilled: a host dies at each named point of giving its image to another. A copy that has begun goes on when it is
// back.
func TestSourceKilled(t *testing.T) {
	t.Parallel()
	b := makeBare(t, 2, (*bed).formCrashing)
	source, destination := b.hosts[0], b.hosts[1]
	p := b.program(harness.Program{Tail: large})
	ref := b.uploaded(source, p)
	for _, point := range points(t, "lend-") {
		b.again(source, source.CrashAt, point)
		task := destination.Async("pool_patch.precheck", ref, destination.ref)
		source.WaitEnded()
		source.CrashAt("")
		b.start(source)
		switch err := harness.Failure(harness.Wait(destination.Daemon, task)); {
		case point == "lend-listed": // the first answer of all: nothing has begun
			harness.WantCode(t, "the copy that could not begin", err, xenapi.CodeHostOffline)
		case err != nil:
			t.Errorf("the host that gives died at %s: %v", point, err)
		}
		b.allLive()
		b.allClean()
	}
	b.ranOnce(p.UUID)
	source.Do("pool_patch.apply", ref, destination.ref)
	b.ranOnce(p.UUID, destination)
	b.allClean()
}

// TestStorageHostCutOff: a host does not reach the one that has the image, while both reach all others. It says so in good
// time, and a copy that was under way goes on afterwards.
func TestStorageHostCutOff(t *testing.T) {
	t.Parallel()
	b := makeBare(t, 3, (*bed).formCrashing)
	storage, other, third := b.hosts[0], b.hosts[1], b.hosts[2]
	p, q := b.program(harness.Program{}), b.program(harness.Program{Tail: large})
	short, long := b.uploaded(storage, p), b.uploaded(storage, q)
	third.Do("pool_patch.precheck", short, third.ref) // the two hosts keep a connection, which will fall silent

	b.partition(third, storage)
	since := time.Now()
	other.Refused(xenapi.CodeHostOffline, "pool_patch.apply", short, third.ref)
	if took := time.Since(since); took > answerLimit {
		t.Errorf("it took %v to say that the image is out of reach", took)
	}
	if !live(other, third) || !live(third, storage) {
		t.Error("hosts that reach the database are taken for dead")
	}
	other.Do("pool_patch.apply", short, other.ref)
	b.ranOnce(p.UUID, other)
	b.heal(third, storage)
	other.Do("pool_patch.apply", short, third.ref)
	b.ranOnce(p.UUID, other, third)
	b.allClean()

	b.again(third, third.StopAt, "pull-landed")
	task := other.Async("pool_patch.apply", long, third.ref)
	b.stopped(third)
	b.partition(third, storage)
	b.resume(third)
	third.Refused(xenapi.CodeHostOffline, "pool_patch.precheck", b.uploaded(storage, b.program(harness.Program{})), third.ref)
	if rec := harness.Record(other.Daemon, task); rec.Status != xenapi.TaskStatusPending {
		t.Errorf("the copy was not cut off on its way: its task is %s", rec.Status)
	}
	b.heal(third, storage)
	if err := harness.Failure(harness.Wait(other.Daemon, task)); err != nil {
		t.Errorf("the copy that was cut off for a while: %v", err)
	}
	b.ranOnce(q.UUID, third)
	b.allClean()
}
