package hotfix

import (
	"bufio"
	"compress/bzip2"
	"crypto"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"slices"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zlib"
)

// maxSignatures bounds the signatures of one patch; each costs a hash of the whole.
const maxSignatures = 8

// message reads what gpg --sign writes, and nothing else that OpenPGP knows:
//
//	message  = [armor] ( signed | compressed(signed) )
//	signed   = announcement × n, literal, signature × n      (n ≥ 1; the last announced signs first)
//
// Each announcement (a "one-pass signature" packet) says which key and hash to expect, so a patch of
// an unknown key is refused before its gigabytes are read.
type message struct {
	keys *Keyring
	now  time.Time
	w    io.Writer
	// image is what the file is read from where zeroes may follow it, else nil; size is the file's in bytes, once its end
	// was found there.
	image *source
	size  int64
}

// read reads a message to the end of r, and gives the fingerprint of the key that signed it.
func (m *message) read(r *bufio.Reader) (signer string, err error) {
	first, err := nextPacket(r)
	if err != nil {
		return "", truncated(err)
	}
	if first.tag == tagCompressed {
		return m.readCompressed(r, first)
	}
	if signer, err = m.readSigned(r, first); err != nil {
		return "", err
	}
	return signerOf(signer, m.end(r))
}

func (m *message) readCompressed(r *bufio.Reader, outer *body) (signer string, err error) {
	packed := bufio.NewReaderSize(outer, readAhead)
	packing, _ := packed.Peek(1)
	packing = slices.Clone(packing)
	plain, err := decompress(packed)
	if err != nil {
		return "", err
	}
	inner := bufio.NewReaderSize(plain, readAhead)
	first, err := nextPacket(inner)
	if err != nil {
		return "", truncated(err)
	}
	if signer, err = m.readSigned(inner, first); err != nil {
		return "", err
	}
	// All three must end here: what was compressed, the compressed packet, the file. A packet without a length ends with
	// the file, and in an image where what was compressed does.
	if m.image != nil && outer.unbounded {
		if err := atEnd(inner); errors.Is(err, errPacked) && packing[0] == packedBzip2 {
			// This decompressor alone looks behind its data, for more of it, and takes zeroes for damage.
			return "", refusal("the file is damaged, or is compressed with bzip2 and ends before its image; sign it with --compress-algo zip")
		} else if err != nil {
			return "", err
		}
		return signerOf(signer, m.end(packed, r))
	}
	if err := atEnd(inner, packed); err != nil {
		return "", err
	}
	return signerOf(signer, m.end(r))
}

// signerOf gives the signer of a message that has ended well.
func signerOf(signer string, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return signer, nil
}

// end refuses what follows the file, but for zeroes in an image. The file comes through the first reader, whose bytes come
// through the next.
func (m *message) end(through ...*bufio.Reader) error {
	if m.image == nil {
		return atEnd(through[0])
	}
	m.size = m.image.size
	for _, r := range through {
		m.size -= int64(r.Buffered())
	}
	return zeroes(through[0])
}

// decompress opens the content of a compressed packet (RFC 4880, section 5.6). The decompressors read packed
// by the byte, so they leave what follows their data.
func decompress(packed *bufio.Reader) (io.Reader, error) {
	algorithm, err := packed.ReadByte()
	if err != nil {
		return nil, truncated(err)
	}
	switch algorithm {
	case 1:
		return inflated{flate.NewReader(packed)}, nil
	case 2:
		r, err := zlib.NewReader(packed)
		if err != nil {
			return nil, sourceOr(err, errPacked)
		}
		return inflated{r}, nil
	case packedBzip2:
		return inflated{bzip2.NewReader(packed)}, nil
	}
	return nil, refusef("the file is compressed with algorithm %d, which is not known", algorithm)
}

const packedBzip2 = 3

var errPacked = refusal("the file is damaged: its compressed data is broken")

// inflated turns a decompressor's complaints into refusals.
type inflated struct{ r io.Reader }

func (i inflated) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	if _, ok := errors.AsType[refusal](err); ok {
		return n, err
	}
	return n, sourceOr(err, errPacked)
}

// readSigned reads announcements, the program, and the signatures.
func (m *message) readSigned(r *bufio.Reader, first *body) (string, error) {
	announced, literal, err := m.readAnnouncements(r, first)
	if err != nil {
		return "", err
	}
	digests, err := m.readLiteral(literal, announced)
	if err != nil {
		return "", err
	}
	signer := ""
	for _, a := range slices.Backward(announced) {
		packet, err := nextPacket(r)
		if err != nil {
			return "", truncated(err)
		}
		if packet.tag != tagSignature {
			return "", refusef("the file is damaged: it has a packet of type %d where a signature was announced", packet.tag)
		}
		raw, err := packet.small()
		if err != nil {
			return "", err
		}
		// A signature of a key that is not trusted counts for nothing; a bad one of a trusted key refuses
		// the patch, whatever the others say.
		if a.why != nil {
			continue
		}
		if signer, err = m.check(raw, a, digests[a.hash]); err != nil {
			return "", err
		}
	}
	return signer, nil
}

// readAnnouncements reads one-pass signature packets, and gives the packet after them, the literal. It
// refuses unless one of them at least promises a signature that can be accepted.
func (m *message) readAnnouncements(r *bufio.Reader, packet *body) (all []announcement, literal *body, err error) {
	for packet.tag == tagOnePass {
		raw, err := packet.small()
		if err != nil {
			return nil, nil, err
		}
		a, last, err := m.announcement(raw)
		if err != nil {
			return nil, nil, err
		}
		if all = append(all, a); len(all) > maxSignatures {
			return nil, nil, refusef("the file has more than %d signatures", maxSignatures)
		}
		if packet, err = nextPacket(r); err != nil {
			return nil, nil, truncated(err)
		}
		if last != (packet.tag != tagOnePass) {
			return nil, nil, refusal("the file is damaged: its signatures are nested in an unknown way")
		}
	}
	switch {
	case len(all) == 0:
		return nil, nil, unsigned(packet.tag)
	case packet.tag != tagLiteral:
		return nil, nil, refusef("the file is damaged: it has a packet of type %d where the program was expected", packet.tag)
	case packet.unbounded:
		return nil, nil, refusal("the file is damaged: its program has no end")
	}
	for _, a := range all {
		if a.why == nil {
			return all, packet, nil
		}
	}
	return nil, nil, all[0].why
}

// unsigned says what a message is that begins with another packet than a signed one does.
func unsigned(tag int) error {
	switch tag {
	case tagSignature:
		return refusal("the file is a signature without the patch, or of an old form; sign the patch with gpg --sign")
	case 1, 3, 9, 18, 20:
		return refusal("the file is encrypted; a patch must be signed only")
	case tagLiteral:
		return refusal("the file is an OpenPGP message without a signature")
	case tagCompressed:
		return refusal("the file is compressed more than once")
	}
	return refusef("the file is not a signed patch: it begins with an OpenPGP packet of type %d", tag)
}

// readLiteral writes the program, and hashes it with each hash that an acceptable signature announced.
// File name and date of the packet are not signed; they are skipped.
func (m *message) readLiteral(literal *body, announced []announcement) (map[crypto.Hash]hash.Cloner, error) {
	var head [2]byte
	if _, err := io.ReadFull(literal, head[:]); err != nil {
		return nil, truncated(err)
	}
	if head[0] != 'b' {
		return nil, refusal("the file was signed as text, which may change a program's bytes; sign it without --textmode")
	}
	if _, err := io.CopyN(io.Discard, literal, int64(head[1])+4); err != nil {
		return nil, truncated(err)
	}
	digests := map[crypto.Hash]hash.Cloner{}
	for _, a := range announced {
		if a.why == nil && digests[a.hash] == nil {
			digests[a.hash] = a.hash.New().(hash.Cloner)
		}
	}
	return digests, m.copyProgram(literal, digests)
}

func (m *message) copyProgram(literal io.Reader, digests map[crypto.Hash]hash.Cloner) error {
	var hashes []hash.Hash
	for _, h := range digests {
		hashes = append(hashes, h)
	}
	beside := newBackground(hashes...)
	defer beside.stop()
	w := writeErrors{m.w}
	for empty := true; ; empty = false {
		buf := beside.buffer()
		n, err := io.ReadFull(literal, buf)
		beside.add(buf[:n])
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		switch {
		case err == io.EOF && empty:
			return refusal("the program in the file is empty")
		case err == io.EOF, err == io.ErrUnexpectedEOF: // the literal's end; the file's would be a refusal
			return nil
		case err != nil:
			return err
		}
	}
}

// announcement is a one-pass signature packet (RFC 4880, section 5.4), of version 3.
type announcement struct {
	keyID     uint64
	hash      crypto.Hash
	algorithm byte // of the public key
	keys      []*trustedKey
	why       error // why its signature cannot be accepted, whatever it will be
}

// announcement reads the packet; last says that no other signature is nested within this one.
func (m *message) announcement(raw []byte) (a announcement, last bool, err error) {
	if len(raw) != 13 || raw[0] != 3 || raw[12] > 1 {
		return a, false, refusal("the file is signed in a form that is not known; sign it with gpg --sign")
	}
	a.algorithm, a.keyID = raw[3], binary.BigEndian.Uint64(raw[4:])
	a.hash, a.why = acceptedHash(raw[2])
	if a.why == nil && raw[1] != sigBinary {
		a.why = refusal("the file was signed as text, or with a signature that is not one of a file; sign it with gpg --sign, without --textmode")
	}
	if a.why == nil {
		a.keys, a.why = m.keys.find(a.keyID, m.now)
	}
	return a, raw[12] == 1, nil
}

// readArmored reads a message in ASCII armor.
func (m *message) readArmored(r *bufio.Reader) (string, error) {
	plain := newDearmor(r)
	inner := &message{keys: m.keys, now: m.now, w: m.w} // in the armor nothing follows
	signer, err := inner.read(bufio.NewReaderSize(plain, readAhead))
	if err != nil {
		return "", err
	}
	if err := plain.space(); err != nil {
		return "", err
	}
	return signerOf(signer, m.end(r))
}

// sigBinary is the type of a signature of a file as it is.
const sigBinary = 0

var acceptedHashes = map[byte]crypto.Hash{8: crypto.SHA256, 9: crypto.SHA384, 10: crypto.SHA512}

var brokenHashes = map[byte]string{1: "MD5", 2: "SHA-1", 3: "RIPEMD-160"}

// acceptedHash names a hash by its number (RFC 4880, section 9.4).
func acceptedHash(id byte) (crypto.Hash, error) {
	if h, ok := acceptedHashes[id]; ok {
		return h, nil
	}
	if name, ok := brokenHashes[id]; ok {
		return 0, refusef("the file is signed with %s, which can be forged; sign it with --digest-algo SHA512", name)
	}
	return 0, refusef("the file is signed with hash algorithm %d, which is not accepted; sign it with --digest-algo SHA512", id)
}
