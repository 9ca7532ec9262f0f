package pool

import (
	"testing"
	"time"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// answerLimit is how long a call's end may take to be known where a network keeps silent about it.
const answerLimit = 30 * time.Second

// TestPartition: two hosts that do not reach one another, while both reach the database, are both alive. A call that must
// go from one to the other fails as offline; one on its way has the outcome that its task has.
func TestPartition(t *testing.T) {
	t.Parallel()
	b := makeBed(t, 3, "")
	one, two, three := b.hosts[0], b.hosts[1], b.hosts[2]
	p := b.program(harness.Program{Precheck: harness.GateWait("gate")})
	ref := b.uploaded(two, p)
	gate := harness.NewGate(t, three.Daemon, "gate")

	answered := make(chan error, 1)
	go func() {
		_, err := ask[string](two, "pool_patch.apply", ref, three.ref)
		answered <- err
	}()
	open := gate.Arrived()
	b.partition(two, three)
	two.Refused(xenapi.CodeHostOffline, "pool_patch.apply", b.uploaded(one, b.program(harness.Program{})), three.ref)
	if !live(two, three) || !live(three, two) {
		t.Error("hosts that reach the database are taken for dead")
	}
	open()
	since := time.Now()
	if err := <-answered; err != nil {
		t.Errorf("the apply that was on its way: %v", err)
	}
	if took := time.Since(since); took > answerLimit {
		t.Errorf("the answer took %v", took)
	}
	b.ranOnce(p.UUID, three)

	b.heal(two, three)
	b.goesOn(b.hosts...)
	b.allClean()
}
