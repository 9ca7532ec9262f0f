package pool

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// TestPassedOnOverASilentLink: the network between two hosts falls silent in the middle of a transfer that one passes on to the
// other, while both reach the database. The client hears so in good time, whether it says what its task is or not, and neither
// host keeps anything of it.
func TestPassedOnOverASilentLink(t *testing.T) {
	t.Parallel()
	b := makeBare(t, 2, (*bed).formOnEtcd)
	serves, passes := b.hosts[0], b.hosts[1]
	pool, _ := harness.Only[xenapi.Pool](serves.Daemon)
	serves.Do("pool.set_default_SR", pool, b.localSR(serves))
	kept := b.uploaded(passes, b.program(harness.Program{Tail: large}))
	record := harness.Record(serves.Daemon, kept)
	p := b.program(harness.Program{Tail: large})
	patch := p.Signed(t)
	serves.port.limit(40) // what has come as far as a buffer is out of the silence's reach
	c := b.client(passes)

	transfers := []struct {
		what string
		run  func(ctx context.Context, cut func()) error
	}{
		{"an upload whose client sends", func(ctx context.Context, cut func()) error {
			_, err := c.UploadPatch(ctx, &cutting{strings.NewReader(string(patch)), len(patch) / 2, cut}, int64(len(patch)), nil)
			return err
		}},
		{"an upload whose client waits", func(ctx context.Context, cut func()) error {
			body, more := io.Pipe()
			go func() {
				_, _ = more.Write(patch[:len(patch)/2])
				cut()
			}()
			defer more.Close()
			_, err := c.UploadPatch(ctx, body, int64(len(patch)), nil)
			return err
		}},
		{"an upload whose client has no task", func(_ context.Context, cut func()) error {
			conn, err := passes.Begin("", fmt.Sprint("Content-Length: ", len(patch)))
			if err != nil {
				return err
			}
			defer conn.Close()
			_, _ = conn.Write(patch[:len(patch)/2])
			cut()
			page, err := io.ReadAll(conn)
			if strings.Contains(string(page), xenapi.CodeHostOffline+": [ "+serves.ref.String()+" ]") {
				return xenapi.ErrHostOffline(serves.ref)
			}
			return fmt.Errorf("%q %w", page, err)
		}},
		{"a download", func(ctx context.Context, cut func()) error {
			_, err := c.DownloadPatch(ctx, record.UUID, io.Discard, func(int64, int64) { cut() })
			return err
		}},
	}
	var under, ended sync.WaitGroup // way, all of them
	under.Add(len(transfers))
	var since time.Time
	silence := sync.OnceFunc(func() { b.partition(passes, serves); since = time.Now() })
	for _, transfer := range transfers {
		cut := sync.OnceFunc(func() { under.Done(); under.Wait(); silence() })
		ended.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
			defer cancel()
			err := transfer.run(ctx, cut)
			if took := time.Since(since); xenapi.CodeOf(err) != xenapi.CodeHostOffline || took > answerLimit {
				t.Errorf("%s: the client heard %v after %v", transfer.what, err, took)
			}
		})
	}
	ended.Wait()
	if !live(serves, passes) || !live(passes, serves) {
		t.Error("hosts that reach the database are taken for dead")
	}
	b.allClean()
	b.heal(passes, serves)
	if _, err := client.Call[string](t.Context(), c, "pool_patch.apply", kept, passes.ref); err != nil {
		t.Errorf("apply afterwards: %v", err)
	}
	b.allClean()
}

// cutting calls cut once so many bytes have been read.
type cutting struct {
	io.Reader
	left int
	cut  func()
}

func (c *cutting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.left -= n; c.left < 0 {
		c.cut()
	}
	return n, err
}
