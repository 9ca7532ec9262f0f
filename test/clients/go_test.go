package clients

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// golang drives the Go client.
func golang(t *testing.T, d *harness.Daemon) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	pool := d.Secure()
	defer pool.Close(ctx)
	p := &harness.Program{Tail: strings.Repeat("g", 3<<20), Apply: "echo applied; echo done"}
	file, err := os.Open(signed(t, p)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	patch, err := pool.UploadPatch(ctx, file, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	host := d.Host()
	if log, err := client.Run[string](ctx, pool, nil, "pool_patch.precheck", patch, host); err != nil || log != "prechecked\n" {
		t.Errorf("the precheck says %q, %v", log, err)
	}
	last := 0.0
	if log, err := client.Run[string](ctx, pool, func(f float64) { last = f }, "pool_patch.apply", patch, host); err != nil || !strings.HasSuffix(log, "applied\ndone\n") || last != 1 {
		t.Errorf("the apply says %q, %v, progress %v", log, err, last)
	}
	ran(t, d, p)
	var refused *xenapi.Error
	if err := pool.Do(ctx, "pool_patch.apply", patch, host); !errors.As(err, &refused) || refused.Code != xenapi.CodePatchAlreadyApplied {
		t.Errorf("the second apply: %v", err)
	}
	if _, err := pool.UploadPatch(ctx, strings.NewReader("no patch"), 8, nil); !errors.Is(err, &xenapi.Error{Code: xenapi.CodeInvalidPatch}) {
		t.Errorf("an upload of something else: %v", err)
	}
	var back bytes.Buffer
	if n, err := pool.DownloadPatch(ctx, p.UUID, &back, nil); err != nil || !bytes.Equal(back.Bytes(), read(t, file.Name())) {
		t.Errorf("%d bytes came back, %v; not what was uploaded", n, err)
	}
	vdi := harness.Record(d, patch).VDI
	if _, err := client.Run[string](ctx, pool, nil, "VDI.destroy", vdi); err != nil {
		t.Error(err)
	}
}

// follower carries out what a watch tells.
type follower struct {
	mu           sync.Mutex
	patches      map[xenapi.Ref[xenapi.PoolPatch]]xenapi.PoolPatch
	disconnected int
	lost         int
	err          error
}

func (f *follower) follow(ctx context.Context, pool *client.Client) {
	for batch, err := range pool.Watch(ctx, "pool_patch") {
		f.take(batch, err)
	}
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
		ref := xenapi.Ref[xenapi.PoolPatch](e.Ref)
		delete(f.patches, ref)
		if e.Operation != xenapi.EventOperationDel {
			rec, err := client.Snapshot[xenapi.PoolPatch](e)
			f.patches[ref], f.err = rec, errors.Join(f.err, err)
		}
	}
}

// knows waits until just these patches are known.
func (f *follower) knows(t *testing.T, what string, refs ...xenapi.Ref[xenapi.PoolPatch]) {
	t.Helper()
	harness.Eventually(t, what, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, ref := range refs {
			if f.patches[ref].UUID == "" {
				return false
			}
		}
		return len(f.patches) == len(refs)
	})
}

// TestWatchOverRestarts follows a daemon that is started again, and one that is killed. What is deleted before the watch hears of
// the daemon again is known to be gone.
func TestWatchOverRestarts(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Trusted: []*harness.Key{harness.TheKey(t)}})
	d.KeepAddress()
	ctx, cancel := context.WithCancel(t.Context())
	pool := d.Secure()
	f := &follower{patches: map[xenapi.Ref[xenapi.PoolPatch]]xenapi.PoolPatch{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.follow(ctx, pool)
	}()
	upload := func() xenapi.Ref[xenapi.PoolPatch] {
		p := harness.Program{}
		return d.Upload(p.Signed(t))
	}
	one, two := upload(), upload()
	f.knows(t, "both patches are told", one, two)
	d.Restart()
	d.Do("pool_patch.destroy", one)
	f.knows(t, "the watch knows what has gone after a restart", two)
	d.Kill()
	d.Again(harness.Build{})
	d.Do("pool_patch.destroy", two)
	three := upload()
	f.knows(t, "the watch knows what came and went after a kill", three)
	cancel()
	<-ended
	if f.disconnected < 2 || f.lost < 2 || !errors.Is(f.err, context.Canceled) {
		t.Errorf("the watch was disconnected %d times, lost events %d times and ended with %v", f.disconnected, f.lost, f.err)
	}
	closing, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	if err := pool.Close(closing); err != nil {
		t.Error(err)
	}
	d.Clean()
}
