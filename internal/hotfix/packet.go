package hotfix

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// The packet tags that the grammar names (RFC 4880, section 4.3).
const (
	tagSignature  = 2
	tagOnePass    = 4
	tagCompressed = 8
	tagLiteral    = 11
)

// maxSmallPacket bounds the packets that are read into memory: signatures and their announcements. The
// largest that a signature's own fields allow is two areas of 64 KiB and a few kilobytes.
const maxSmallPacket = 160 << 10

var (
	errTruncated = refusal("the file is damaged: it ends too early")
	errTrailing  = refusal("data follows the signed message")
)

// body is the content of one packet (RFC 4880, section 4.2). Read gives io.EOF exactly at its end; a file
// that ends before is refused.
type body struct {
	r         *bufio.Reader
	tag       int
	remaining int64 // bytes of this part
	partial   bool  // another part follows
	unbounded bool  // the old format's indeterminate length: to the end of the file
}

// nextPacket reads a packet's header. At the end of r it gives io.EOF.
func nextPacket(r *bufio.Reader) (*body, error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	switch {
	case first&0x80 == 0:
		return nil, refusal("the file is damaged, or data follows the signed message")
	case first&0x40 == 0:
		return oldPacket(r, first)
	}
	b := &body{r: r, tag: int(first & 0x3f)}
	return b, b.nextPart()
}

// oldPacket reads the length of a packet in the old format, whose first byte says how long the length is.
func oldPacket(r *bufio.Reader, first byte) (*body, error) {
	b := &body{r: r, tag: int(first>>2) & 0xf}
	if first&3 == 3 {
		b.unbounded = true
		return b, nil
	}
	n, err := readUint(r, 1<<(first&3))
	b.remaining = n
	return b, err
}

// nextPart reads a length of the new format.
func (b *body) nextPart() error {
	n, err := readUint(b.r, 1)
	switch {
	case err != nil:
		return err
	case n < 192:
		b.remaining, b.partial = n, false
	case n < 224:
		low, err := readUint(b.r, 1)
		b.remaining, b.partial = (n-192)<<8+low+192, false
		return err
	case n < 255:
		b.remaining, b.partial = 1<<(n&0x1f), true
	default:
		b.remaining, err = readUint(b.r, 4)
		b.partial = false
	}
	return err
}

// readUint reads a big-endian number of 1, 2 or 4 bytes.
func readUint(r *bufio.Reader, size int) (int64, error) {
	var buf [4]byte
	if _, err := io.ReadFull(r, buf[4-size:]); err != nil {
		return 0, truncated(err)
	}
	return int64(binary.BigEndian.Uint32(buf[:])), nil
}

// truncated turns the end of the file within something into its refusal.
func truncated(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return sourceOr(err, errTruncated)
	}
	return err
}

func (b *body) Read(p []byte) (int, error) {
	if b.unbounded {
		return b.r.Read(p)
	}
	for b.remaining == 0 {
		if !b.partial {
			return 0, io.EOF
		}
		if err := b.nextPart(); err != nil {
			return 0, err
		}
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.remaining)])
	b.remaining -= int64(n)
	return n, truncated(err)
}

// small reads all of a packet that must have one definite length.
func (b *body) small() ([]byte, error) {
	if b.partial || b.unbounded || b.remaining > maxSmallPacket {
		return nil, refusal("the file is damaged: a packet has an impossible length")
	}
	p := make([]byte, b.remaining)
	_, err := io.ReadFull(b, p)
	return p, truncated(err)
}

// atEnd is nil if the readers are all at their end; it refuses what follows.
func atEnd(readers ...io.ByteReader) error {
	for _, r := range readers {
		switch _, err := r.ReadByte(); {
		case err == nil:
			return errTrailing
		case err != io.EOF:
			return err
		}
	}
	return nil
}

// zeroes reads r to its end, and refuses anything else than zeroes.
func zeroes(r io.Reader) error {
	buf, zero := make([]byte, bufferSize), make([]byte, bufferSize)
	for {
		n, err := r.Read(buf)
		switch {
		case !bytes.Equal(buf[:n], zero[:n]):
			return errTrailing
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
