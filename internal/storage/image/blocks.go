package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sort"
)

// Blocks is the list of block sums behind a [Digest]: with it a reader can check a single block against a digest
// that it trusts. It costs 40 bytes for each block of [BlockSize] that is not zero, in memory and as bytes; it
// is the one result whose memory grows with the image, so it is computed only for a caller that asks.
type Blocks struct {
	size    int64
	entries []byte // whole entries of entrySize, in rising order of index
}

// blocksMagic begins the binary form; it has the digest's version.
const blocksMagic = "poolpatch-blocks1"

// Size is the virtual size of the image, in bytes.
func (b *Blocks) Size() int64 { return b.size }

// Len is the number of blocks that are not zero.
func (b *Blocks) Len() int { return len(b.entries) / entrySize }

// Digest is the digest of the image that the list describes. Compare it to a trusted one before using Check.
func (b *Blocks) Digest() Digest {
	f := newFolder(b.size)
	f.h.Write(b.entries)
	return f.digest()
}

// Check reports whether data is the content of the block at index. The last block may be shorter than BlockSize.
func (b *Blocks) Check(index int64, data []byte) bool {
	if index < 0 || index >= blockCount(b.size) || int64(len(data)) != blockLen(index, b.size) {
		return false
	}
	n := b.Len()
	i := sort.Search(n, func(i int) bool { return b.index(i) >= index })
	if i == n || b.index(i) != index {
		return isZero(data)
	}
	sum := sha256.Sum256(data)
	return bytes.Equal(sum[:], b.entries[i*entrySize+8:(i+1)*entrySize])
}

// Index is the block that the i-th entry of the list is about: a block that is not zero.
func (b *Blocks) Index(i int) int64 { return b.index(i) }

// Length is how many bytes the block at index has; only the last one may be shorter than BlockSize.
func (b *Blocks) Length(index int64) int64 { return blockLen(index, b.size) }

func (b *Blocks) index(i int) int64 {
	return int64(binary.BigEndian.Uint64(b.entries[i*entrySize:]))
}

func (b *Blocks) reset(size int64) { b.size, b.entries = size, b.entries[:0] }

func (b *Blocks) add(index int64, sum [sha256.Size]byte) {
	var entry [entrySize]byte
	putEntry(entry[:], index, sum)
	b.entries = append(b.entries, entry[:]...)
}

// MarshalBinary gives the list as bytes: a magic word, the size, the entries.
func (b *Blocks) MarshalBinary() ([]byte, error) {
	out := append(make([]byte, 0, len(blocksMagic)+8+len(b.entries)), blocksMagic...)
	out = binary.BigEndian.AppendUint64(out, uint64(b.size))
	return append(out, b.entries...), nil
}

// UnmarshalBinary reads what MarshalBinary wrote and refuses everything else.
func (b *Blocks) UnmarshalBinary(data []byte) error {
	rest, ok := bytes.CutPrefix(data, []byte(blocksMagic))
	if !ok || len(rest) < 8 || (len(rest)-8)%entrySize != 0 {
		return fmt.Errorf("parse block list of %d bytes: not a block list", len(data))
	}
	parsed := Blocks{size: int64(binary.BigEndian.Uint64(rest)), entries: bytes.Clone(rest[8:])}
	if parsed.size < 0 {
		return fmt.Errorf("parse block list: size %d", parsed.size)
	}
	previous := int64(-1)
	for i := range parsed.Len() {
		index := parsed.index(i)
		if index <= previous || blockLen(index, parsed.size) <= 0 {
			return fmt.Errorf("parse block list: entry %d has block %d after %d", i, index, previous)
		}
		previous = index
	}
	*b = parsed
	return nil
}

// blockCount is the number of blocks of an image of size bytes.
func blockCount(size int64) int64 {
	n := size / BlockSize
	if size%BlockSize != 0 {
		n++
	}
	return n
}

// blockLen is the length in bytes of the block at index, which is short for the last one; 0 or less beyond the end.
func blockLen(index, size int64) int64 {
	if index >= blockCount(size) {
		return 0
	}
	return min(BlockSize, size-index*BlockSize)
}
