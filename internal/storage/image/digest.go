package image

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// BlockSize is the unit of the digest and of all input and output, in bytes.
const BlockSize = 1 << 20

const (
	digestPrefix = "poolpatch1:"
	digestMagic  = "poolpatch-image1" // 16 bytes; the version is part of it
)

// Digest identifies the content of an image of a certain virtual size, as docs/image-digest.md specifies it.
// Two images have the same digest if and only if they have the same size and read the same, wherever their
// holes are. The zero Digest means that there is none.
type Digest [sha256.Size]byte

// IsZero reports whether there is no digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// String gives the text form, "poolpatch1:" and 64 hexadecimal digits, or "" for the zero Digest.
func (d Digest) String() string {
	if d.IsZero() {
		return ""
	}
	return digestPrefix + hex.EncodeToString(d[:])
}

// ParseDigest reads the text form. The empty string is the zero Digest.
func ParseDigest(text string) (Digest, error) {
	var d Digest
	if text == "" {
		return d, nil
	}
	digits, ok := strings.CutPrefix(text, digestPrefix)
	if !ok || len(digits) != 2*len(d) || strings.ToLower(digits) != digits {
		return Digest{}, fmt.Errorf("parse image digest %.80q: want %s and %d lower-case hexadecimal digits", text, digestPrefix, 2*len(d))
	}
	if _, err := hex.Decode(d[:], []byte(digits)); err != nil {
		return Digest{}, fmt.Errorf("parse image digest %.80q: %w", text, err)
	}
	return d, nil
}

// MarshalText gives the text form.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the text form.
func (d *Digest) UnmarshalText(text []byte) error {
	parsed, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// folder computes a digest from the sums of the blocks that are not zero, given in rising order of index.
type folder struct{ h hash.Hash }

func newFolder(size int64) *folder {
	f := &folder{h: sha256.New()}
	header := append(make([]byte, 0, 32), digestMagic...)
	header = binary.BigEndian.AppendUint64(header, uint64(size))
	header = binary.BigEndian.AppendUint64(header, BlockSize)
	f.h.Write(header)
	return f
}

func (f *folder) add(index int64, sum [sha256.Size]byte) {
	var entry [entrySize]byte
	putEntry(entry[:], index, sum)
	f.h.Write(entry[:])
}

func (f *folder) digest() (d Digest) {
	f.h.Sum(d[:0])
	return d
}

// entrySize is the length of one entry of the digest's input, in bytes: the index, then the sum.
const entrySize = 8 + sha256.Size

func putEntry(entry []byte, index int64, sum [sha256.Size]byte) {
	binary.BigEndian.PutUint64(entry, uint64(index))
	copy(entry[8:], sum[:])
}
