package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// disk is an image in memory whose power can fail: after so many bytes nothing more is written.
type disk struct {
	content []byte
	synced  []byte // what a loss of power leaves for certain
	left    int    // bytes until the power fails; negative is never
}

var errPower = errors.New("the power failed")

func (d *disk) ReadAt(p []byte, offset int64) (int, error) {
	return bytes.NewReader(d.content).ReadAt(p, offset)
}

func (d *disk) WriteAt(p []byte, offset int64) (int, error) {
	n := len(p)
	if d.left >= 0 {
		n = min(n, d.left)
		d.left -= n
	}
	copy(d.content[offset:], p[:n])
	if n < len(p) {
		return n, errPower
	}
	return n, nil
}

func (d *disk) Sync() error {
	d.synced = bytes.Clone(d.content)
	return nil
}

func (d *disk) size() int64 { return int64(len(d.content)) }

func (d *disk) grow(_ context.Context, size int64) error {
	d.content = append(d.content, make([]byte, size-d.size())...)
	return nil
}

func (d *disk) write(t *testing.T, body string) error {
	return writer{d, d.size(), d.grow, func(string) {}}.write(t.Context(), []byte(body), "uuid-pool")
}

// holds gives the newest whole copy, "" when there is none.
func (d *disk) holds(t *testing.T) string {
	t.Helper()
	s, err := newest(d, d.size())
	if errors.Is(err, ErrNone) {
		return ""
	}
	body, rerr := io.ReadAll(s.body(d))
	if err := errors.Join(err, rerr); err != nil {
		t.Fatal(err)
	}
	if s.Pool != "uuid-pool" {
		t.Errorf("it is of pool %q", s.Pool)
	}
	return string(body)
}

func body(n, length int) string { return strings.Repeat(fmt.Sprint(n%10), length) }

// TestPowerFailsAnywhere writes copies of all sizes, the last of them with the power failing after each number of bytes: what is
// read then is the last copy or the one before it, whole (I2, I5). Written again, it is the last one.
func TestPowerFailsAnywhere(t *testing.T) {
	t.Parallel()
	for name, lengths := range map[string][]int{
		"first": {5000}, "second": {100, 5000}, "third": {5000, 100, 4096}, "growing": {100, 5000, 9000, 20000}, "shrinking": {20000, 9000, 1},
		"alike": {9000, 9000, 9000, 9000, 9000}, "much larger": {1000, 1000, 90000},
	} {
		start := &disk{content: make([]byte, 16<<10), left: -1}
		before := ""
		for i, length := range lengths[:len(lengths)-1] {
			before = body(i, length)
			if err := start.write(t, before); err != nil || start.holds(t) != before {
				t.Fatalf("%s: copy %d: %v", name, i, err)
			}
			if kept := (&disk{content: start.synced}).holds(t); kept != before {
				t.Fatalf("%s: copy %d was not on the disk when its write returned", name, i)
			}
		}
		last := body(len(lengths)-1, lengths[len(lengths)-1])
		whole := len(last) + blockSize
		edge := len(last)
		for _, left := range []int{0, 1, edge / 2, edge - 1, edge, edge + 1, edge + 100, whole - 1, whole} {
			d := &disk{content: bytes.Clone(start.content), left: left}
			err := d.write(t, last)
			got := d.holds(t)
			if left == whole && (err != nil || got != last) || got != last && got != before || err == nil && got != last {
				t.Fatalf("%s: after %d of %d bytes, %v, it holds %d bytes", name, left, whole, err, len(got))
			}
			d.left = -1
			if err := d.write(t, last); err != nil || d.holds(t) != last {
				t.Fatalf("%s: again after %d bytes: %v", name, left, err)
			}
		}
	}
}

// TestImageDoesNotGrowForEver: the copies take turns in the room that there is.
func TestImageDoesNotGrowForEver(t *testing.T) {
	t.Parallel()
	d := &disk{content: make([]byte, blockSize), left: -1}
	for i := range 50 {
		if err := d.write(t, body(i, 300<<10+i)); err != nil || d.holds(t) != body(i, 300<<10+i) {
			t.Fatal(err)
		}
	}
	if d.size() > 4<<20 {
		t.Errorf("two copies of 300 KiB lie in %d bytes", d.size())
	}
}

// TestOnlyWhatIsWholeIsRead gives images that somebody else has written.
func TestOnlyWhatIsWholeIsRead(t *testing.T) {
	t.Parallel()
	text := "a copy"
	digest := sha256.Sum256([]byte(text))
	good := header{format, 3, bodiesAt, int64(len(text)), fmt.Sprintf("%x", digest), "uuid-pool", time.Now()}
	for name, change := range map[string]func(h *header, block []byte) []byte{
		"good":              func(_ *header, b []byte) []byte { return b },
		"no header":         func(_ *header, b []byte) []byte { return make([]byte, len(b)) },
		"torn header":       func(_ *header, b []byte) []byte { b[20] ^= 1; return b },
		"torn copy":         func(h *header, _ []byte) []byte { h.SHA256 = sum([]byte("another")); return nil },
		"another format":    func(h *header, _ []byte) []byte { h.Format = "poolpatch replica 9"; return nil },
		"in the headers":    func(h *header, _ []byte) []byte { h.Offset = blockSize; return nil },
		"before the image":  func(h *header, _ []byte) []byte { h.Offset = -1; return nil },
		"behind the image":  func(h *header, _ []byte) []byte { h.Offset = 1 << 40; return nil },
		"longer than it":    func(h *header, _ []byte) []byte { h.Length = 1 << 62; return nil },
		"beyond all bounds": func(h *header, _ []byte) []byte { h.Offset, h.Length = 1<<62, 1<<62; return nil },
		"empty":             func(h *header, _ []byte) []byte { h.Length = 0; return nil },
		"no generation":     func(h *header, _ []byte) []byte { h.Generation = 0; return nil },
	} {
		h := good
		block, _ := h.marshal()
		if block = change(&h, block); block == nil {
			block, _ = h.marshal()
		}
		d := &disk{content: make([]byte, 16<<10), left: -1}
		copy(d.content, block)
		copy(d.content[bodiesAt:], text)
		if got := d.holds(t); (got == text) != (name == "good") {
			t.Errorf("%s: it holds %q", name, got)
		}
	}
	for _, size := range []int{0, 1, blockSize, bodiesAt} {
		if _, err := Read(bytes.NewReader(make([]byte, size)), int64(size)); !errors.Is(err, ErrNone) {
			t.Errorf("an image of %d bytes: %v", size, err)
		}
	}
}

// TestTheDiskFails: what cannot be read is not taken for torn, or the next write would lay itself over it.
func TestTheDiskFails(t *testing.T) {
	t.Parallel()
	d := &disk{content: make([]byte, 64<<10), left: -1}
	if err := errors.Join(d.write(t, body(1, 9000)), d.write(t, body(2, 9000))); err != nil {
		t.Fatal(err)
	}
	broken := brokenDisk{d}
	if err := (writer{broken, d.size(), d.grow, func(string) {}}).write(t.Context(), []byte(body(3, 9000)), "uuid-pool"); !errors.Is(err, errPower) {
		t.Errorf("written all the same: %v", err)
	}
	if got := d.holds(t); got != body(2, 9000) {
		t.Error("the last copy has gone")
	}
}

// brokenDisk cannot be read beyond its headers.
type brokenDisk struct{ *disk }

func (b brokenDisk) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= bodiesAt {
		return 0, errPower
	}
	return b.disk.ReadAt(p, offset)
}
