package pull

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"poolpatch/internal/storage/image"
)

// ErrNotHere says that a block is not there, or not yet.
var ErrNotHere = errors.New("the block is not here yet")

// Share is what others may have of an image that is being pulled: the blocks that were verified and written.
type Share struct {
	blocks *image.Blocks
	done   *Set

	mu   sync.RWMutex // held for writing by Close, so no read is under way when the file goes
	file *os.File     // nil after Close
}

// NewShare shows the blocks of a list that a Get into file has written; none yet.
func NewShare(file *os.File, blocks *image.Blocks) *Share {
	return &Share{blocks: blocks, file: file, done: NewSet((blocks.Size() + image.BlockSize - 1) / image.BlockSize)}
}

// Blocks is the list.
func (s *Share) Blocks() *image.Blocks { return s.blocks }

// Have is the set of blocks that can be read now.
func (s *Share) Have() *Set { return s.done }

// Read fills p with the consecutive blocks from first. Errors: ErrNotHere.
func (s *Share) Read(first int64, p []byte) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.file == nil {
		return ErrNotHere
	}
	for index, at := first, int64(0); at < int64(len(p)); index++ {
		if !s.done.Has(index) {
			return fmt.Errorf("block %d: %w", index, ErrNotHere)
		}
		at += s.blocks.Length(index)
	}
	_, err := s.file.ReadAt(p, first*image.BlockSize)
	return err
}

// Close ends the sharing: the file is about to be used for something else.
func (s *Share) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file = nil
}
