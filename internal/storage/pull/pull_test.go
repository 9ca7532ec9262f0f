package pull_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"poolpatch/internal/storage/image"
	"poolpatch/internal/storage/pull"
)

// picture is an image that somebody has.
type picture struct {
	content []byte
	blocks  image.Blocks
	digest  image.Digest
}

// draw makes an image: each letter is a block, '-' of zeroes and any other of its own noise; tail bytes more come last.
func draw(t rapid.TB, letters string, tail int) *picture {
	t.Helper()
	p := &picture{}
	for i, letter := range letters {
		block := make([]byte, image.BlockSize)
		if letter != '-' {
			r := rand.NewChaCha8([32]byte{byte(letter), byte(i), byte(i >> 8)})
			_, _ = r.Read(block[:4096]) // the rest is as good as noise, and costs time
			copy(block[image.BlockSize-8:], block)
		}
		p.content = append(p.content, block...)
	}
	p.content = append(p.content, bytes.Repeat([]byte{7}, tail)...)
	f := memory(t)
	if _, err := f.Write(p.content); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.digest, err = image.SumBlocks(context.Background(), f, int64(len(p.content)), &p.blocks); err != nil {
		t.Fatal(err)
	}
	return p
}

func memory(t rapid.TB) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("image", 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "image") // closed when nobody has it any more
}

// share begins a copy of the image in a file of its own.
func (p *picture) share(t rapid.TB) (*pull.Share, *os.File) {
	t.Helper()
	f := memory(t)
	return pull.NewShare(f, &p.blocks), f
}

func (p *picture) check(t rapid.TB, f *os.File) {
	t.Helper()
	got := make([]byte, len(p.content))
	if _, err := f.ReadAt(got, 0); err != nil && err != io.EOF || !bytes.Equal(got, p.content) {
		t.Errorf("the copy is not the image (%v)", err)
	}
}

// host has all of an image.
type host struct {
	*picture
	name  string
	reads atomic.Int64
	spoil func(n int64, p []byte) error // what goes wrong with the n-th read
}

func (h *host) Name() string { return h.name }

func (h *host) Have(context.Context) (*pull.Set, error) { return everything(h.picture), nil }

func everything(p *picture) *pull.Set {
	set := pull.NewSet(int64(len(p.content)+image.BlockSize-1) / image.BlockSize)
	for i := range p.blocks.Len() {
		set.Add(p.blocks.Index(i))
	}
	return set
}

func (h *host) Read(ctx context.Context, first int64, p []byte) error {
	copy(p, h.content[first*image.BlockSize:])
	if n := h.reads.Add(1); h.spoil != nil {
		return h.spoil(n, p)
	}
	return ctx.Err()
}

func only(sources ...pull.Source) func() []pull.Source {
	return func() []pull.Source { return sources }
}

func TestGet(t *testing.T) {
	t.Parallel()
	for _, letters := range []string{"", "-", "a", "abc", "a-b--c", "--------a", "abcdefghijklmnopqrstuvwxyz"} {
		for _, tail := range []int{0, 1, 4096, 5000} {
			p := draw(t, letters, tail)
			share, f := p.share(t)
			var last, total int64
			err := pull.Get(t.Context(), p.digest, share, only(&host{picture: p, name: "one"}), pull.Options{
				Zeroed: true, Progress: func(done, all int64) { last, total = done, all },
			})
			if err != nil {
				t.Fatalf("%q and %d bytes: %v", letters, tail, err)
			}
			p.check(t, f)
			if last != total || p.blocks.Len() > 0 && total == 0 {
				t.Errorf("%q: the last progress is %d of %d", letters, last, total)
			}
		}
	}
}

// A destination that held something else before holds the image afterwards, and nothing else.
func TestGetOverOldContent(t *testing.T) {
	t.Parallel()
	p := draw(t, "a--b-", 100)
	share, f := p.share(t)
	if _, err := f.Write(bytes.Repeat([]byte{9}, len(p.content))); err != nil {
		t.Fatal(err)
	}
	if err := pull.Get(t.Context(), p.digest, share, only(&host{picture: p, name: "one"}), pull.Options{}); err != nil {
		t.Fatal(err)
	}
	p.check(t, f)
}

func TestListOfAnotherImage(t *testing.T) {
	t.Parallel()
	p, other := draw(t, "ab", 0), draw(t, "ac", 0)
	share, f := other.share(t)
	one := &host{picture: other, name: "one"}
	if err := pull.Get(t.Context(), p.digest, share, only(one), pull.Options{}); !errors.Is(err, image.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != 0 || one.reads.Load() != 0 {
		t.Error("something was fetched or written")
	}
}

// Whatever sources do, the result is the image or an error, and no wrong byte is ever shared.
func TestAnySources(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func(t *testing.T) {
			p := draw(rt, rapid.StringMatching("[a-f-]{0,5}").Draw(rt, "image"), rapid.SampledFrom([]int{0, 77}).Draw(rt, "tail"))
			var sources []pull.Source
			for i := range rapid.IntRange(1, 3).Draw(rt, "sources") {
				h := &host{picture: p, name: fmt.Sprint(i)}
				kind := rapid.SampledFrom([]string{"good", "corrupt", "flaky", "dead"}).Draw(rt, "kind")
				chance := rand.New(rand.NewPCG(uint64(i), 1))
				var mu sync.Mutex
				h.spoil = func(_ int64, b []byte) error {
					mu.Lock()
					defer mu.Unlock()
					switch {
					case kind == "corrupt" && chance.IntN(2) == 0:
						b[chance.IntN(len(b))] ^= 1
					case kind == "flaky" && chance.IntN(2) == 0, kind == "dead":
						return errors.New("connection lost")
					}
					return nil
				}
				sources = append(sources, h)
			}
			share, f := p.share(rt)
			err := pull.Get(t.Context(), p.digest, share, only(sources...), pull.Options{Zeroed: true})
			if err == nil {
				p.check(rt, f)
			} else if incomplete := new(pull.Incomplete); !errors.As(err, &incomplete) || len(incomplete.Said) == 0 || incomplete.Missing == 0 {
				rt.Errorf("the error is %v", err)
			}
			for i := range p.blocks.Len() {
				index := p.blocks.Index(i)
				got := make([]byte, p.blocks.Length(index))
				if share.Read(index, got) == nil && !bytes.Equal(got, p.content[index*image.BlockSize:][:len(got)]) {
					rt.Errorf("block %d is shared with a wrong content", index)
				}
			}
		})
	})
}

// inBubble runs a test in fake time.
func inBubble(t *testing.T, test func(*testing.T)) { synctest.Test(t, test) }

func TestCorruptSource(t *testing.T) {
	t.Parallel()
	p := draw(t, "abcdefghijklmnop", 0)
	liar := &host{picture: p, name: "liar", spoil: func(_ int64, b []byte) error { b[0] ^= 1; return nil }}
	share, f := p.share(t)
	if err := pull.Get(t.Context(), p.digest, share, only(liar, &host{picture: p, name: "honest"}), pull.Options{}); err != nil {
		t.Fatal(err)
	}
	p.check(t, f)
	if n := liar.reads.Load(); n > 2 { // one for each request that was under way
		t.Errorf("who lied was asked %d times", n)
	}
	err := pull.Get(t.Context(), p.digest, must(p.share(t)), only(liar), pull.Options{})
	if incomplete := new(pull.Incomplete); !errors.As(err, &incomplete) || incomplete.Said["liar"] == "" {
		t.Errorf("liars alone: %v", err)
	}
}

func must(s *pull.Share, _ *os.File) *pull.Share { return s }

// A source that hangs delays what it was asked for, and no more; sources that are gone may come back.
func TestHangingSource(t *testing.T) {
	t.Parallel()
	p := draw(t, "abcdefgh--ijklmnop", 0)
	inBubble(t, func(t *testing.T) {
		hangs := &hanging{host{picture: p, name: "hangs"}}
		share, f := p.share(t)
		began := time.Now()
		if err := pull.Get(t.Context(), p.digest, share, only(hangs, &host{picture: p, name: "one"}), pull.Options{}); err != nil {
			t.Fatal(err)
		}
		p.check(t, f)
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("it took %v", took)
		}
	})
	inBubble(t, func(t *testing.T) {
		began := time.Now()
		gone := func() []pull.Source {
			if time.Since(began) < time.Minute {
				return nil
			}
			return []pull.Source{&host{picture: p, name: "back"}}
		}
		share, f := p.share(t)
		if err := pull.Get(t.Context(), p.digest, share, gone, pull.Options{}); err != nil {
			t.Fatal(err)
		}
		p.check(t, f)
	})
	inBubble(t, func(t *testing.T) {
		began := time.Now()
		err := pull.Get(t.Context(), p.digest, must(p.share(t)), only(), pull.Options{})
		if incomplete := new(pull.Incomplete); !errors.As(err, &incomplete) || incomplete.Missing != 16 || time.Since(began) < pull.NoProgress {
			t.Errorf("without any source: %v after %v", err, time.Since(began))
		}
	})
}

type hanging struct{ host }

func (h *hanging) Read(ctx context.Context, _ int64, _ []byte) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestCancel(t *testing.T) {
	t.Parallel()
	p := draw(t, "abc", 0)
	inBubble(t, func(t *testing.T) {
		why := errors.New("cancelled by a person")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { time.Sleep(10 * time.Second); cancel(why) }()
		if err := pull.Get(ctx, p.digest, must(p.share(t)), only(&hanging{host{picture: p, name: "hangs"}}), pull.Options{}); !errors.Is(err, why) {
			t.Errorf("%v", err)
		}
	})
}

func TestNoSpace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	f, err := os.Create(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := draw(t, "abcdefgh", 0)
	p.content = nil // the list alone
	whole := draw(t, "abcdefgh", 0)
	for i := range whole.content { // every page holds something
		whole.content[i] |= 1
	}
	g := memory(t)
	_, _ = g.Write(whole.content)
	if whole.digest, err = image.SumBlocks(t.Context(), g, int64(len(whole.content)), &whole.blocks); err != nil {
		t.Fatal(err)
	}
	err = pull.Get(t.Context(), whole.digest, pull.NewShare(f, &whole.blocks), only(&host{picture: whole, name: "one"}), pull.Options{})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
}

func TestClosedShare(t *testing.T) {
	t.Parallel()
	p := draw(t, "ab", 0)
	share, _ := p.share(t)
	buf := make([]byte, image.BlockSize)
	if err := share.Read(0, buf); !errors.Is(err, pull.ErrNotHere) {
		t.Errorf("before it came: %v", err)
	}
	if err := pull.Get(t.Context(), p.digest, share, only(&host{picture: p, name: "one"}), pull.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := share.Read(0, buf); err != nil || !bytes.Equal(buf, p.content[:len(buf)]) {
		t.Errorf("when it is here: %v", err)
	}
	share.Close()
	if err := share.Read(0, buf); !errors.Is(err, pull.ErrNotHere) {
		t.Errorf("after the end: %v", err)
	}
}

// link is one direction of a host's network, which carries so many bytes a second.
type link struct {
	rate int64
	mu   sync.Mutex
	free time.Time
}

func (l *link) carry(n int) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(int64(n) * int64(time.Second) / l.rate))
	return l.free
}

// peer is a host of the simulation.
type peer struct {
	name     string
	up, down *link
	share    *pull.Share // nil: it has everything
	whole    *picture
	sent     atomic.Int64
}

// seen is a peer as another one sees it over the network.
type seen struct {
	*peer
	by *peer
}

func (s seen) Name() string { return s.name }

func (s seen) Have(context.Context) (*pull.Set, error) {
	if s.share == nil {
		return everything(s.whole), nil
	}
	return s.share.Have(), nil
}

func (s seen) Read(ctx context.Context, first int64, p []byte) error {
	if s.share == nil {
		copy(p, s.whole.content[first*image.BlockSize:])
	} else if err := s.share.Read(first, p); err != nil {
		return err
	}
	s.sent.Add(int64(len(p)))
	arrives := s.up.carry(len(p))
	if there := s.by.down.carry(len(p)); there.After(arrives) {
		arrives = there
	}
	time.Sleep(time.Until(arrives))
	return ctx.Err()
}

// swarm has n hosts pull an image of 160 MiB over links of 20 MiB a second, and gives how long it took and how many
// images' worth the first host sent.
func swarm(t *testing.T, p *picture, n int) (took time.Duration, sent float64) {
	inBubble(t, func(t *testing.T) {
		const rate = 20 << 20
		newPeer := func(name string) *peer {
			return &peer{name: name, up: &link{rate: rate}, down: &link{rate: rate}, whole: p}
		}
		first := newPeer("first")
		peers := []*peer{first}
		for i := range n {
			q := newPeer(fmt.Sprint(i))
			q.share, _ = p.share(t)
			peers = append(peers, q)
		}
		began := time.Now()
		var pulls sync.WaitGroup
		for _, me := range peers[1:] {
			sources := func() (all []pull.Source) {
				for _, q := range peers[1:] {
					if q != me {
						all = append(all, seen{q, me})
					}
				}
				rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				return append([]pull.Source{seen{first, me}}, all...)
			}
			pulls.Go(func() {
				if err := pull.Get(t.Context(), p.digest, me.share, sources, pull.Options{Zeroed: true}); err != nil {
					t.Error(err)
				}
			})
		}
		pulls.Wait()
		took, sent = time.Since(began), float64(first.sent.Load())/float64(len(p.content))
	})
	return took, sent
}

// TestManyHosts: the time for many hosts grows far slower than their number, and the first host is not the bottleneck.
func TestManyHosts(t *testing.T) {
	t.Parallel()
	p := draw(t, strings.Repeat("abcdefghijklmnop", 10), 0)
	alone, _ := swarm(t, p, 1)
	for _, n := range []int{4, 16} {
		took, sent := swarm(t, p, n)
		t.Logf("%2d hosts: %5.1f times as long as one (serial copies: %d), the first host sent %.1f images", n, took.Seconds()/alone.Seconds(), n, sent)
		if took > 4*alone || sent > 4 {
			t.Errorf("%d hosts took %v, one takes %v; the first host sent %.1f images", n, took, alone, sent)
		}
	}
}

func FuzzParseSet(f *testing.F) {
	set := pull.NewSet(70)
	set.Add(69)
	good, _ := set.MarshalBinary()
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := pull.ParseSet(data)
		if err != nil {
			return
		}
		again, err := set.MarshalBinary()
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x became %x, %v", data, again, err)
		}
	})
}
