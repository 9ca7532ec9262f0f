package hotfix

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
)

const (
	armorBegin = "-----BEGIN PGP MESSAGE-----"
	armorEnd   = "-----END PGP MESSAGE-----"
)

var errArmor = refusal("the file is damaged: its ASCII armor is broken")

// dearmor decodes ASCII armor (RFC 4880, section 6) strictly: nothing before it, nothing but white space
// after it, and a checksum that is right if there is one.
type dearmor struct {
	lines  *bufio.Reader
	text   []byte // base64 that is not decoded yet
	plain  []byte // decoded and not yet read
	padded bool   // the base64 has ended
	crc    uint32
	state  func() error
}

func newDearmor(r *bufio.Reader) *dearmor {
	d := &dearmor{lines: r, crc: crcStart}
	d.state = d.header
	return d
}

func (d *dearmor) Read(p []byte) (int, error) {
	for len(d.plain) == 0 {
		if d.state == nil {
			return 0, io.EOF
		}
		if err := d.state(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.plain)
	d.plain = d.plain[n:]
	return n, nil
}

// line gives the next line without its end. A line longer than the buffer is not armor.
func (d *dearmor) line() ([]byte, error) {
	line, err := d.lines.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		return nil, errArmor
	}
	if err != nil && (err != io.EOF || len(line) == 0) {
		return nil, truncated(err)
	}
	return bytes.TrimRight(line, " \t\r\n"), nil
}

// header reads the first line, and the headers to the empty line that ends them. They are not signed and
// say nothing.
func (d *dearmor) header() error {
	line, err := d.line()
	if err != nil {
		return err
	}
	if string(line) != armorBegin {
		return errArmor
	}
	for len(line) > 0 {
		if line, err = d.line(); err != nil {
			return err
		}
	}
	d.state = d.content
	return nil
}

func (d *dearmor) content() error {
	line, err := d.line()
	switch {
	case err != nil:
		return err
	case len(line) == 0:
		return errArmor
	case line[0] == '=':
		return d.checksum(line[1:])
	case line[0] == '-':
		return d.finish(line)
	case d.padded:
		return errArmor
	}
	d.text = append(d.text, line...)
	whole := len(d.text) / 4 * 4
	plain := make([]byte, base64.StdEncoding.DecodedLen(whole))
	n, err := base64.StdEncoding.Strict().Decode(plain, d.text[:whole])
	if err != nil {
		return errArmor
	}
	d.padded = bytes.IndexByte(line, '=') >= 0
	d.text = append(d.text[:0], d.text[whole:]...)
	d.plain, d.crc = plain[:n], crc24(d.crc, plain[:n])
	return nil
}

func (d *dearmor) checksum(text []byte) error {
	var sum [3]byte
	if len(text) != 4 {
		return errArmor
	}
	if n, err := base64.StdEncoding.Strict().Decode(sum[:], text); err != nil || n != len(sum) {
		return errArmor
	}
	if uint32(sum[0])<<16|uint32(sum[1])<<8|uint32(sum[2]) != d.crc {
		return errArmor
	}
	line, err := d.line()
	if err != nil {
		return err
	}
	return d.finish(line)
}

func (d *dearmor) finish(line []byte) error {
	if string(line) != armorEnd || len(d.text) != 0 {
		return errArmor
	}
	d.state = nil
	return nil
}

// space passes over the white space behind the armor.
func (d *dearmor) space() error {
	for {
		switch c, err := d.lines.ReadByte(); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			return d.lines.UnreadByte()
		}
	}
}

// crcStart and crcPoly are those of RFC 4880, section 6.1.
const (
	crcStart = 0xb704ce
	crcPoly  = 0x1864cfb
)

func crc24(crc uint32, p []byte) uint32 {
	for _, b := range p {
		crc ^= uint32(b) << 16
		for range 8 {
			crc <<= 1
			if crc&0x1000000 != 0 {
				crc ^= crcPoly
			}
		}
	}
	return crc
}
