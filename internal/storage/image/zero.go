package image

import "bytes"

// pageSize is the grain of holes, in bytes: a run of zeroes of this length and alignment is not written. It is the
// block size of every file system that we keep images on, so a finer grain would save nothing.
const pageSize = 4096

// zeroPage stays in the first-level cache, so comparing to it is as fast as reading.
var zeroPage [pageSize]byte

// isZero reports whether p is all zero.
func isZero(p []byte) bool { return zeroPrefix(p) == len(p) }

// zeroPrefix is the length of the longest prefix of p of whole pages (the last may be short) that is all zero.
func zeroPrefix(p []byte) int {
	n := 0
	for n < len(p) {
		end := min(n+pageSize, len(p))
		if !bytes.Equal(p[n:end], zeroPage[:end-n]) {
			break
		}
		n = end
	}
	return n
}

// dataPrefix is the length of the longest prefix of p of whole pages of which none is zero.
func dataPrefix(p []byte) int {
	n := 0
	for n < len(p) {
		end := min(n+pageSize, len(p))
		if bytes.Equal(p[n:end], zeroPage[:end-n]) {
			break
		}
		n = end
	}
	return n
}
