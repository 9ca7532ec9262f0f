package hotfix

import (
	"bytes"
	"crypto"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// SigningKey is a private key that can sign patches.
type SigningKey struct {
	private     *packet.PrivateKey
	fingerprint string // of the primary key
}

// Fingerprint is that of the primary key, in upper-case hex: what a host must trust.
func (k *SigningKey) Fingerprint() string { return k.fingerprint }

// ErrProtected says that a private key needs a passphrase, and none was given.
var ErrProtected = errors.New("private key: it is protected by a passphrase")

// ParseSigningKey reads a private key as gpg --export-secret-keys writes it, armored or not. The file must
// hold one key with a part that can sign now; passphrase may be nil when it is not protected. Errors: ErrProtected.
func ParseSigningKey(data, passphrase []byte) (*SigningKey, error) {
	var all openpgp.EntityList
	for _, block := range splitArmor(data) {
		some, err := openpgp.ReadKeyRing(block)
		if err != nil {
			return nil, fmt.Errorf("private key: %w", err)
		}
		all = append(all, some...)
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("private key: the file holds %d keys, not one", len(all))
	}
	key, ok := all[0].SigningKey(time.Now())
	if !ok || key.PrivateKey == nil || key.PrivateKey.Dummy() {
		return nil, errors.New("private key: no part of it can sign")
	}
	if key.PublicKey.Version != 4 {
		return nil, fmt.Errorf("private key: keys of version %d cannot sign patches", key.PublicKey.Version)
	}
	if key.PrivateKey.Encrypted && len(passphrase) == 0 {
		return nil, ErrProtected
	}
	if key.PrivateKey.Encrypted {
		if err := key.PrivateKey.Decrypt(passphrase); err != nil {
			return nil, errors.New("private key: the passphrase is wrong")
		}
	}
	return &SigningKey{key.PrivateKey, fingerprint(all[0])}, nil
}

// literalHead is what stands before the program in its packet: binary, no file name, no date.
var literalHead = []byte{'b', 0, 0, 0, 0, 0}

// Sign reads a program and writes the patch: an OpenPGP message that gpg --verify accepts too. The program's
// packet has a definite length when r is a regular file of less than 4 GiB, as gpg does it; else it is
// written in parts. Nothing is compressed: what is large in a patch is packed already.
func Sign(r io.Reader, w io.Writer, key *SigningKey) error {
	if err := announce(w, key); err != nil {
		return err
	}
	literal, err := newLiteralWriter(w, r)
	if err != nil {
		return err
	}
	digest := sha512.New()
	beside := newBackground(digest)
	defer beside.stop()
	if err := copyLiteral(literal, r, beside); err != nil {
		return err
	}
	beside.stop()
	return signDigest(w, key, digest)
}

// announce writes what comes before the program: by which key and with which hash it is signed.
func announce(w io.Writer, key *SigningKey) error {
	public := &key.private.PublicKey
	announced := &packet.OnePassSignature{
		Version: 3, SigType: sigBinary, Hash: crypto.SHA512,
		PubKeyAlgo: public.PubKeyAlgo, KeyId: public.KeyId, IsLast: true,
	}
	if err := announced.Serialize(w); err != nil {
		return fmt.Errorf("write patch: %w", err)
	}
	return nil
}

// signDigest writes what comes after the program: the signature of its SHA-512, which digest is about to give.
func signDigest(w io.Writer, key *SigningKey, digest hash.Hash) error {
	public := &key.private.PublicKey
	sig := &packet.Signature{
		Version: 4, SigType: sigBinary, Hash: crypto.SHA512,
		PubKeyAlgo: public.PubKeyAlgo, CreationTime: time.Now(), IssuerKeyId: &public.KeyId,
	}
	config := &packet.Config{NonDeterministicSignaturesViaNotation: packet.BoolPointer(false)}
	if err := sig.Sign(digest, key.private, config); err != nil {
		return fmt.Errorf("sign program: %w", err)
	}
	if err := sig.Serialize(w); err != nil {
		return fmt.Errorf("write patch: %w", err)
	}
	return nil
}

func copyLiteral(literal io.WriteCloser, r io.Reader, beside *background) error {
	if _, err := literal.Write(literalHead); err != nil {
		return fmt.Errorf("write patch: %w", err)
	}
	for {
		buf := beside.buffer()
		n, err := io.ReadFull(r, buf)
		beside.add(buf[:n])
		if _, err := literal.Write(buf[:n]); err != nil {
			return fmt.Errorf("write patch: %w", err)
		}
		switch {
		case err == io.EOF, err == io.ErrUnexpectedEOF:
			return literal.Close()
		case err != nil:
			return fmt.Errorf("read program: %w", err)
		}
	}
}

// newLiteralWriter begins the literal packet, new format.
func newLiteralWriter(w io.Writer, r io.Reader) (io.WriteCloser, error) {
	head := []byte{0xc0 | tagLiteral}
	size, known, err := remaining(r)
	if err != nil {
		return nil, fmt.Errorf("size of program: %w", err)
	}
	var lit io.WriteCloser = &partsWriter{w: w}
	if total := size + int64(len(literalHead)); known && total <= math.MaxUint32 {
		head = binary.BigEndian.AppendUint32(append(head, 0xff), uint32(total))
		lit = &definiteWriter{w: w, left: total}
	}
	if _, err := w.Write(head); err != nil {
		return nil, fmt.Errorf("write patch: %w", err)
	}
	return lit, nil
}

// remaining is how many bytes are left to read, if r is a regular file.
func remaining(r io.Reader) (size int64, known bool, err error) {
	f, ok := r.(*os.File)
	if !ok {
		return 0, false, nil
	}
	info, err := f.Stat()
	if err != nil || info.Mode().Type()&fs.ModeType != 0 {
		return 0, false, err
	}
	at, err := f.Seek(0, io.SeekCurrent)
	return info.Size() - at, err == nil, err
}

// definiteWriter holds the program to the length that was announced.
type definiteWriter struct {
	w    io.Writer
	left int64
}

var errSizeChanged = errors.New("the program's size changed while it was signed")

func (d *definiteWriter) Write(p []byte) (int, error) {
	if d.left -= int64(len(p)); d.left < 0 {
		return 0, errSizeChanged
	}
	return d.w.Write(p)
}

func (d *definiteWriter) Close() error {
	if d.left != 0 {
		return errSizeChanged
	}
	return nil
}

// partSize is a power of two, which parts must be (RFC 4880, section 4.2.2.4).
const partSize = 1 << 20

// partsWriter writes a packet's content in parts; the last, of any length, ends it.
type partsWriter struct {
	w   io.Writer
	buf []byte
}

func (p *partsWriter) Write(data []byte) (int, error) {
	written := len(data)
	for len(data) > 0 {
		n := min(len(data), partSize-len(p.buf))
		p.buf, data = append(p.buf, data[:n]...), data[n:]
		if len(p.buf) < partSize {
			break
		}
		if err := p.flush([]byte{0xe0 | byte(bits.TrailingZeros(partSize))}); err != nil {
			return 0, err
		}
	}
	return written, nil
}

func (p *partsWriter) flush(head []byte) error {
	if _, err := p.w.Write(head); err != nil {
		return err
	}
	_, err := p.w.Write(p.buf)
	p.buf = p.buf[:0]
	return err
}

func (p *partsWriter) Close() error {
	if err := p.flush(binary.BigEndian.AppendUint32([]byte{0xff}, uint32(len(p.buf)))); err != nil {
		return fmt.Errorf("write patch: %w", err)
	}
	return nil
}

// GenerateKey makes an Ed25519 key for demonstrations and tests, and gives both halves armored. The private
// half is protected by the passphrase unless that is empty. Vendors make their keys with gpg, offline.
func GenerateKey(name, email string, passphrase []byte) (public, private []byte, err error) {
	e, err := openpgp.NewEntity(name, "", email, &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519, DefaultHash: crypto.SHA512,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	if public, err = toArmor(openpgp.PublicKeyType, e.Serialize); err != nil {
		return nil, nil, err
	}
	if len(passphrase) > 0 {
		if err := e.EncryptPrivateKeys(passphrase, nil); err != nil {
			return nil, nil, fmt.Errorf("protect key: %w", err)
		}
	}
	private, err = toArmor(openpgp.PrivateKeyType, func(w io.Writer) error { return e.SerializePrivateWithoutSigning(w, nil) })
	return public, private, err
}

func toArmor(kind string, serialize func(io.Writer) error) ([]byte, error) {
	var out bytes.Buffer
	w, err := armor.Encode(&out, kind, nil)
	if err == nil {
		err = errors.Join(serialize(w), w.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("write key: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
