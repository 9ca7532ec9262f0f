package image

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// ErrCorrupt says that bytes are not the block of the image that they were given for.
var ErrCorrupt = errors.New("the content is not that of the image's block")

// Assembly writes an image from its blocks, which come in any order and from several goroutines. Nothing lands that is
// not what the list of blocks says.
type Assembly struct {
	blocks *Blocks
	target *target
}

// NewAssembly begins to write the image of the list into dst. zeroed says that dst reads as zeroes now. The caller
// closes it.
func NewAssembly(dst *os.File, blocks *Blocks, zeroed bool) (*Assembly, error) {
	t, err := openTarget(dst, blocks.Size(), zeroed)
	if err != nil {
		return nil, fmt.Errorf("assemble image: %w", err)
	}
	return &Assembly{blocks, t}, nil
}

// Put writes a block. The last block may be shorter than BlockSize. Errors: ErrCorrupt; what the system said otherwise.
func (a *Assembly) Put(index int64, data []byte) error {
	if !a.blocks.Check(index, data) {
		return fmt.Errorf("block %d: %w", index, ErrCorrupt)
	}
	if err := a.target.store(&block{index: index, data: data}); err != nil {
		return fmt.Errorf("assemble image: %w", err)
	}
	return nil
}

// Finish makes zero what is in no block of the list, and puts everything on stable storage. Every block of the list must
// have been put.
func (a *Assembly) Finish(ctx context.Context) error {
	for i := range a.blocks.Len() {
		if err := a.target.skipTo(ctx, a.blocks.Index(i)); err != nil {
			return fmt.Errorf("assemble image: %w", err)
		}
	}
	if err := a.target.finish(ctx); err != nil {
		return fmt.Errorf("assemble image: %w", err)
	}
	return nil
}

// Close ends the writing; it does not close the file.
func (a *Assembly) Close() { a.target.close() }

// Buffer makes n bytes from which Put writes past the page cache.
func Buffer(n int) []byte { return aligned(n) }
