package image_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"poolpatch/internal/storage/image"
)

const (
	mib   = image.BlockSize
	grain = image.Grain
)

func sideOf(t interface {
	Helper()
	Fatal(...any)
}, dir string, content []byte) image.Side {
	t.Helper()
	f, err := os.CreateTemp(dir, "side")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	side := image.Side{Blocks: new(image.Blocks), File: f}
	if _, err := image.SumBlocks(context.Background(), f, int64(len(content)), side.Blocks); err != nil {
		t.Fatal(err)
	}
	return side
}

// TestChanged: the bits of the grains, by hand.
func TestChanged(t *testing.T) {
	t.Parallel()
	blank := func(size int) []byte { return make([]byte, size) }
	with := func(size int, at ...int) []byte {
		content := blank(size)
		for _, offset := range at {
			content[offset] = 1
		}
		return content
	}
	for _, test := range []struct {
		name     string
		from, to []byte
		want     string // in full
		blocks   string // where the older one is a list only
	}{
		{"nothing", blank(0), blank(0), "", ""},
		{"no difference", with(2*mib, 5), with(2*mib, 5), "00000000", "00000000"},
		{"the first byte", blank(2 * mib), with(2*mib, 0), "80000000", "ffff0000"},
		{"the second grain", blank(2 * mib), with(2*mib, grain), "40000000", "ffff0000"},
		{"the last byte", blank(2 * mib), with(2*mib, 2*mib-1), "00000001", "0000ffff"},
		{"what has become zero", with(2*mib, 9*grain), blank(2 * mib), "00400000", "ffff0000"},
		{"grown", with(mib, 3), with(mib+grain, 3, mib), "000080", "000080"},
		{"grown by zeroes, in the middle of a block", with(grain, 3), with(3*grain, 3), "00", "e0"},
		{"shrunk", with(2*mib, 0, mib+5), with(mib, 0), "0000", "0000"},
		{"a short last grain", blank(grain + 4096), with(grain+4096, grain+1), "40", "c0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			from, to := sideOf(t, dir, test.from), sideOf(t, dir, test.to)
			defer from.File.Close()
			defer to.File.Close()
			got, err := image.Changed(t.Context(), from, to)
			if hex.EncodeToString(got) != test.want || err != nil {
				t.Errorf("got %x, %v; want %s", got, err, test.want)
			}
			got, err = image.Changed(t.Context(), image.Side{Blocks: from.Blocks}, to)
			if hex.EncodeToString(got) != test.blocks || err != nil {
				t.Errorf("by blocks: got %x, %v; want %s", got, err, test.blocks)
			}
		})
	}
}

// TestChangedPatches: who copies what has changed has the newer image.
func TestChangedPatches(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir())
	rapid.Check(t, func(t *rapid.T) {
		random := func(name string) []byte {
			content := make([]byte, rapid.IntRange(0, 3*mib/4096).Draw(t, name+" size")*4096)
			for range rapid.IntRange(0, 6).Draw(t, name+" writes") {
				if len(content) > 0 {
					content[rapid.IntRange(0, len(content)-1).Draw(t, name+" at")] = 7
				}
			}
			return content
		}
		older, newer := random("older"), random("newer")
		from, to := sideOf(t, dir, older), sideOf(t, dir, newer)
		defer from.File.Close()
		defer to.File.Close()
		if rapid.Bool().Draw(t, "list only") {
			from.File = nil
		}
		changes, err := image.Changed(context.Background(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		patched := append(bytes.Clone(older), make([]byte, max(len(newer)-len(older), 0))...)[:len(newer)]
		for at := 0; at < len(newer); at += grain {
			if n := at / grain; changes[n/8]&(0x80>>(n%8)) != 0 {
				copy(patched[at:min(at+grain, len(newer))], newer[at:])
			}
		}
		if !bytes.Equal(patched, newer) {
			t.Error("the patched image is not the newer one")
		}
	})
}
