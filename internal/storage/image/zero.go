package image

import "bytes"

const (
	// pageSize is what input and output past the page cache is aligned to, in bytes, and the block size of every file
	// system that we keep images on.
	pageSize = 4096

	// holeSize is the grain of holes, in bytes: a run of zeroes of this length and alignment is not written. A finer
	// grain would save little, and an image that is zero in every other page would become a file in so many pieces that
	// writing and removing it takes minutes.
	holeSize = 64 << 10
)

// zeroPage stays in the first-level cache, so comparing to it is as fast as reading.
var zeroPage [pageSize]byte

// isZero reports whether p is all zero.
func isZero(p []byte) bool {
	for len(p) > 0 {
		n := min(pageSize, len(p))
		if !bytes.Equal(p[:n], zeroPage[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

// zeroPrefix is the length of the longest prefix of p of whole grains (the last may be short) that is all zero.
func zeroPrefix(p []byte) int { return prefix(p, isZero) }

// dataPrefix is the length of the longest prefix of p of whole grains of which none is zero.
func dataPrefix(p []byte) int { return prefix(p, func(grain []byte) bool { return !isZero(grain) }) }

func prefix(p []byte, is func(grain []byte) bool) int {
	n := 0
	for n < len(p) {
		end := min(n+holeSize, len(p))
		if !is(p[n:end]) {
			break
		}
		n = end
	}
	return n
}
