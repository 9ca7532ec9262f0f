package clients

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// TestFollowersOverRestarts has clients follow the patches of a daemon that is started again, and is killed. What is deleted
// before they hear of the daemon again they know to be gone.
func TestFollowersOverRestarts(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Trusted: []*harness.Key{harness.TheKey(t)}})
	d.KeepAddress()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f, n := watch(ctx, d.Secure()), follow(ctx, t, d)
	knows := func(what string, patches ...*harness.Program) {
		t.Helper()
		var uuids []string
		for _, p := range patches {
			uuids = append(uuids, p.UUID)
		}
		slices.Sort(uuids)
		want := strings.Join(uuids, " ")
		harness.Eventually(t, "Go: "+what, func() bool { return f.known() == want })
		harness.Eventually(t, "Node: "+what, func() bool { return n.known() == want })
	}
	one, two, three := &harness.Program{}, &harness.Program{}, &harness.Program{}
	first, second := d.Upload(one.Signed(t)), d.Upload(two.Signed(t))
	knows("both patches are known", one, two)
	d.Restart()
	d.Do("pool_patch.destroy", first)
	knows("what has gone after a restart is not known any more", two)
	d.Kill()
	d.Again(harness.Build{})
	d.Do("pool_patch.destroy", second)
	d.Upload(three.Signed(t))
	knows("what came and went after a kill is known", three)
	cancel()
	<-f.ended
	<-n.ended
	if f.disconnected < 2 || f.lost < 2 || !errors.Is(f.err, context.Canceled) {
		t.Errorf("the watch was disconnected %d times, lost events %d times and ended with %v", f.disconnected, f.lost, f.err)
	}
	d.Clean()
}

// follower carries out what a watch of the Go client tells.
type follower struct {
	ended chan struct{}

	mu           sync.Mutex
	patches      map[string]string // UUIDs by ref
	disconnected int
	lost         int
	err          error
}

func watch(ctx context.Context, pool *client.Client) *follower {
	f := &follower{patches: map[string]string{}, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		for batch, err := range pool.Watch(ctx, "pool_patch") {
			f.take(batch, err)
		}
	}()
	return f
}

func (f *follower) take(batch client.Batch, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, passes := errors.AsType[*client.Disconnected](err); passes {
		f.disconnected++
		return
	}
	f.err = errors.Join(f.err, err)
	if batch.Lost {
		f.lost++
	}
	for _, e := range batch.Events {
		if e.Operation == xenapi.EventOperationDel {
			delete(f.patches, e.Ref)
			continue
		}
		patch, err := client.Snapshot[xenapi.PoolPatch](e)
		f.patches[e.Ref], f.err = patch.UUID, errors.Join(f.err, err)
	}
}

// known are the UUIDs of the patches that it knows, in order.
func (f *follower) known() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var uuids []string
	for _, uuid := range f.patches {
		uuids = append(uuids, uuid)
	}
	slices.Sort(uuids)
	return strings.Join(uuids, " ")
}

// printer is Xen Orchestra's client, which prints what it knows.
type printer struct {
	ended chan struct{}

	mu   sync.Mutex
	last string
}

func follow(ctx context.Context, t *testing.T, d *harness.Daemon) *printer {
	t.Helper()
	p := &printer{ended: make(chan struct{})}
	cmd := exec.CommandContext(ctx, "node", "node/follow.mjs", modules(t), "https://"+d.Address(), harness.Password)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.mu.Lock()
			p.last = lines.Text()
			p.mu.Unlock()
		}
		_ = cmd.Wait() // it is killed with ctx
	}()
	return p
}

func (p *printer) known() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}
