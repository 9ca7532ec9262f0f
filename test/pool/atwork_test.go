package pool

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// TestCoordinatorKilledAtWork: the coordinator dies while it takes an upload that another host passes on and applies a patch
// itself; the next one dies while it drives a rollout, which the one after that goes on with.
func TestCoordinatorKilledAtWork(t *testing.T) {
	t.Parallel()
	b := makeBed(t, 3, "")
	next := b.diesOfUploadAndApply(b.hosts[0])
	b.allClean()
	b.diesInRollout(next)
	b.goesOn(b.hosts...)
	b.allClean()
}

// diesOfUploadAndApply kills the coordinator in the middle of both, and gives the next one.
func (b *bed) diesOfUploadAndApply(first *host) (next *host) {
	b.t.Helper()
	others := b.without(first)
	p := b.program(harness.Program{Apply: harness.GateWait("gate")})
	ref := b.uploaded(first, p)
	gate := harness.NewGate(b.t, first.Daemon, "gate")
	task := others[0].Async("pool_patch.apply", ref, first.ref)
	gate.Arrived()

	q := b.program(harness.Program{Tail: large})
	patch := q.Signed(b.t)
	reader, writer := io.Pipe()
	uploaded := make(chan error, 1)
	passing := b.client(others[0])
	go func() {
		_, err := passing.UploadPatch(b.t.Context(), reader, int64(len(patch)), nil)
		uploaded <- err
	}()
	if _, err := io.Copy(writer, bytes.NewReader(patch[:len(patch)/2])); err != nil {
		b.t.Fatal(err)
	}
	harness.Eventually(b.t, "the coordinator takes the upload", func() bool {
		return len(harness.Records[xenapi.VDI](others[1].Daemon)) == 3 // the patch, the copy that it runs from, and this one
	})

	b.kill(first)
	writer.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-uploaded; err == nil {
		b.t.Error("an upload whose host died has succeeded")
	}
	next = b.succeeded(first, others[0])
	b.goesOn(others...)
	harness.WantCode(b.t, "the apply whose host died", harness.Failure(harness.Wait(others[1].Daemon, task)), xenapi.CodeHostOffline)

	b.start(first)
	b.allLive()
	b.isInterrupted(ref, first)
	b.ranOnce(p.UUID, first)
	for _, rec := range harness.Records[xenapi.PoolPatch](first.Daemon) {
		if rec.UUID == q.UUID {
			b.t.Error("half a patch has become one")
		}
	}
	if _, err := passing.UploadPatch(b.t.Context(), bytes.NewReader(patch), int64(len(patch)), nil); err != nil {
		b.t.Errorf("the upload once more: %v", err)
	}
	return next
}

// diesInRollout kills the coordinator, which has the patch by then, while the others apply it, and then one of those. The new
// coordinator finishes the rollout; of the host that was lost it says so.
func (b *bed) diesInRollout(former *host) {
	b.t.Helper()
	p := b.program(harness.Program{Apply: harness.GateWait("turn")})
	ref := b.uploaded(former, p)
	gates := map[*host]*harness.Gate{}
	for _, h := range b.hosts {
		gates[h] = harness.NewGate(b.t, h.Daemon, "turn")
	}
	others := b.without(former)
	task := others[0].Async("pool_patch.pool_apply", ref)
	gates[former].Arrived()()
	opens := map[*host]func(){}
	for _, h := range others {
		opens[h] = gates[h].Arrived()
	}
	b.kill(former)
	next := b.succeeded(former, others[0])
	lost := b.without(former, next)[0]
	b.start(former) // two of three have the database then without the one that is lost
	b.kill(lost)
	b.start(lost)
	b.isInterrupted(ref, lost)
	opens[next]()

	err := harness.WantCode(b.t, "the rollout that lost a host", harness.Failure(harness.Wait(next.Daemon, task)), xenapi.CodePatchApplyFailed)
	if name := harness.Record(next.Daemon, lost.ref).NameLabel; !strings.Contains(err.Error(), "interrupted") || !strings.Contains(err.Error(), name) {
		b.t.Errorf("the error does not say that host %s was interrupted: %v", name, err)
	}
	for h, state := range map[*host]string{former: "applied", next: "applied", lost: "interrupted"} {
		if got := b.inRollout(ref, h); got != state {
			b.t.Errorf("to the rollout %s is %q, not %q", h.name, got, state)
		}
	}
	b.allLive()
	b.isInterrupted(ref, lost)
	b.ranOnce(p.UUID, b.hosts...)
}

// without are the other hosts.
func (b *bed) without(some ...*host) []*host {
	return slices.DeleteFunc(slices.Clone(b.hosts), func(h *host) bool { return slices.Contains(some, h) })
}

// isInterrupted checks that a host says, when it is back, that nobody knows how far a patch came there.
func (b *bed) isInterrupted(patch xenapi.Ref[xenapi.PoolPatch], h *host) {
	b.t.Helper()
	var row xenapi.HostPatch
	for _, rec := range harness.Records[xenapi.HostPatch](h.Daemon) {
		if rec.PoolPatch == patch && rec.Host == h.ref {
			row = rec
		}
	}
	if row.UUID == "" || row.Applied {
		b.t.Errorf("%s died while the patch ran, and its row is %+v", h.name, row)
	}
}

// inRollout is what the record of a rollout says of a host.
func (b *bed) inRollout(patch xenapi.Ref[xenapi.PoolPatch], h *host) string {
	b.t.Helper()
	text, err := client.Call[string](b.t.Context(), b.client(h), "pool_patch.get_pool_apply_status", patch)
	var record struct {
		Hosts []struct {
			Host  xenapi.Ref[xenapi.Host]
			State string
		}
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &record)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	for _, turn := range record.Hosts {
		if turn.Host == h.ref {
			return turn.State
		}
	}
	return ""
}
