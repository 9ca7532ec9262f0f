package pull

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync"

	"poolpatch/internal/storage/image"
)

// Set is a set of an image's blocks, by index. Any number of goroutines may use it.
type Set struct {
	mu    sync.RWMutex
	n     int64
	words []uint64
}

// maxSet bounds a set that comes from elsewhere, in blocks: an image of 64 TiB.
const maxSet = 64 << 20

var errNoSet = errors.New("these bytes are no set of blocks")

// NewSet is empty, and has room for the indexes below n.
func NewSet(n int64) *Set { return &Set{n: n, words: make([]uint64, (n+63)/64)} }

// All is the set of all blocks of a list.
func All(blocks *image.Blocks) *Set {
	s := NewSet((blocks.Size() + image.BlockSize - 1) / image.BlockSize)
	for i := range blocks.Len() {
		s.Add(blocks.Index(i))
	}
	return s
}

// Add puts an index in. One that the set has no room for is left out.
func (s *Set) Add(index int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if index >= 0 && index < s.n {
		s.words[index/64] |= 1 << (index % 64)
	}
}

// Has reports whether an index is in.
func (s *Set) Has(index int64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return index >= 0 && index < s.n && s.words[index/64]&(1<<(index%64)) != 0
}

// Len is how many indexes are in.
func (s *Set) Len() (n int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, w := range s.words {
		n += bits.OnesCount64(w)
	}
	return n
}

// MarshalBinary gives the room, then a bit for each index, in words of 64, all big-endian.
func (s *Set) MarshalBinary() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := binary.BigEndian.AppendUint64(nil, uint64(s.n))
	for _, w := range s.words {
		out = binary.BigEndian.AppendUint64(out, w)
	}
	return out, nil
}

// ParseSet reads what MarshalBinary wrote, and refuses everything else.
func ParseSet(data []byte) (*Set, error) {
	if len(data) < 8 || len(data)%8 != 0 {
		return nil, errNoSet
	}
	n := binary.BigEndian.Uint64(data)
	if n > maxSet || (n+63)/64 != uint64(len(data)/8-1) {
		return nil, fmt.Errorf("%w: %d blocks in %d bytes", errNoSet, n, len(data))
	}
	s := NewSet(int64(n))
	for i := range s.words {
		s.words[i] = binary.BigEndian.Uint64(data[8*(i+1):])
	}
	if rest := n % 64; rest != 0 && s.words[len(s.words)-1]>>rest != 0 {
		return nil, fmt.Errorf("%w: indexes beyond %d", errNoSet, n)
	}
	return s, nil
}

func (s *Set) copy() *Set {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &Set{n: s.n, words: append([]uint64(nil), s.words...)}
}
