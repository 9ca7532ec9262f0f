package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
)

// Grain is the unit in which [Changed] tells of changes, in bytes.
const Grain = 64 << 10

// Changes is a set of grains of an image. The highest bit of the first byte is the first grain.
type Changes []byte

func newChanges(size int64) Changes {
	grains := (size + Grain - 1) / Grain
	return make(Changes, (grains+7)/8)
}

func (c Changes) add(offset int64) {
	grain := offset / Grain
	c[grain/8] |= 0x80 >> (grain % 8)
}

// Side is one of two images that are compared: its blocks, and its content where that is there.
type Side struct {
	Blocks *Blocks
	File   *os.File // nil: all of a block that differs counts as changed
}

// Changed tells in which grains of its own an image differs from another, which counts as zeroes after its end. Only blocks
// that differ are read.
func Changed(ctx context.Context, from, to Side) (Changes, error) {
	changes := newChanges(to.Blocks.size)
	old, now := make([]byte, BlockSize), make([]byte, BlockSize)
	for _, index := range differing(from.Blocks, to.Blocks) {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		block := now[:to.Blocks.Length(index)]
		whole := from.File == nil || to.File == nil
		if !whole {
			if err := errors.Join(from.read(old[:len(block)], index), to.read(block, index)); err != nil {
				return nil, err
			}
		}
		for at := 0; at < len(block); at += Grain {
			end := min(at+Grain, len(block))
			if whole || !bytes.Equal(old[at:end], block[at:end]) {
				changes.add(index*BlockSize + int64(at))
			}
		}
	}
	return changes, nil
}

// read fills p with the beginning of a block, and zeroes after the image's end.
func (s Side) read(p []byte, index int64) error {
	there := min(max(s.Blocks.size-index*BlockSize, 0), int64(len(p)))
	clear(p[there:])
	_, err := s.File.ReadAt(p[:there], index*BlockSize)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// differing are the blocks of one image that another does not have alike, in rising order.
func differing(from, to *Blocks) (indexes []int64) {
	last := blockCount(to.size)
	for i, j := 0, 0; i < from.Len() || j < to.Len(); {
		switch {
		case j == to.Len() || i < from.Len() && from.index(i) < to.index(j):
			if from.index(i) < last {
				indexes = append(indexes, from.index(i))
			}
			i++
		case i == from.Len() || to.index(j) < from.index(i):
			indexes = append(indexes, to.index(j))
			j++
		default:
			if !bytes.Equal(from.entry(i), to.entry(j)) {
				indexes = append(indexes, to.index(j))
			}
			i, j = i+1, j+1
		}
	}
	return indexes
}

// entry is the i-th entry of the list.
func (b *Blocks) entry(i int) []byte { return b.entries[i*entrySize : (i+1)*entrySize] }
