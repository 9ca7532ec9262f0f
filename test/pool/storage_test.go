package pool

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// smallDisk is the size of a file system that one host has alone, in bytes.
const smallDisk = 128 << 20

// TestStorageOfOneHost: the storage of one host is full, becomes full while the host pulls an image, or does not move. The others
// do not mind; the host says what is wrong with which SR, or waits, and leaves nothing.
func TestStorageOfOneHost(t *testing.T) {
	t.Parallel()
	disk := harness.Ext4(t, smallDisk)
	b := makeBare(t, 3, (*bed).formCrashing)
	one, two, three := b.hosts[0], b.hosts[1], b.hosts[2]
	b.livesOn(three, disk)
	p := b.program(harness.Program{Tail: large})
	ref := b.uploaded(two, p)

	free := fill(t, disk)
	err := two.Refused(xenapi.CodeHostHasNoPatchSR, "pool_patch.pool_apply", ref)
	if name := harness.Record(one.Daemon, three.ref).NameLabel; !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "bytes free") {
		t.Errorf("the error does not say which host lacks what: %v", err)
	}
	b.ranOnce(p.UUID) // a precheck failed, so nothing has changed
	b.goesOn(one, two)
	free()
	b.allClean()

	b.again(three, three.StopAt, "pull-listed")
	task := two.Async("pool_patch.apply", ref, three.ref)
	b.stopped(three)
	free = fill(t, disk)
	b.resume(three)
	harness.WantCode(t, "the apply whose copy found no more room", harness.Failure(harness.Wait(two.Daemon, task)), xenapi.CodeOutOfSpace)
	free()
	b.ranOnce(p.UUID)
	b.allClean()

	thaw := freeze(t, disk)
	task = two.Async("pool_patch.pool_apply", ref)
	b.goesOn(one, two)
	if !live(one, three) || !live(three, one) {
		t.Error("a host whose storage does not move is taken for dead")
	}
	if rec := harness.Record(three.Daemon, task); rec.Status != xenapi.TaskStatusPending {
		t.Errorf("the rollout did not wait for the storage: it is %s, %v", rec.Status, harness.Failure(rec))
	}
	b.ranOnce(p.UUID)
	thaw()
	if err := harness.Failure(harness.Wait(two.Daemon, task)); err != nil {
		t.Errorf("the rollout that had to wait for a host's storage: %v", err)
	}
	b.ranOnce(p.UUID, b.hosts...)
	b.goesOn(b.hosts...)
	b.allClean()
}

// livesOn gives a host an SR on a file system, and takes its other one away.
func (b *bed) livesOn(h *host, disk string) {
	b.t.Helper()
	local := harness.Records[xenapi.PBD](h.Daemon)
	h.Do("SR.create", h.ref, map[string]string{"location": filepath.Join(disk, "sr")},
		int64(0), "Small storage", "", "file", "user", false, map[string]string{})
	for ref, pbd := range local {
		if pbd.Host == h.ref {
			h.Do("PBD.unplug", ref)
		}
	}
}

// freeze stops all writing to a file system until thaw, which may be called twice, or until the test process ends: the
// process that thaws it waits at its standard input.
func freeze(t testing.TB, disk string) (thaw func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `fsfreeze --freeze "$0" && echo frozen; read pass; fsfreeze --unfreeze "$0"`, disk)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	thaw = sync.OnceFunc(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("thaw %s: %v", disk, err)
		}
	})
	t.Cleanup(thaw)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("freeze %s: %q, %v", disk, line, err)
	}
	return thaw
}
