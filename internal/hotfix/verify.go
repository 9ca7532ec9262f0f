package hotfix

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"poolpatch/xenapi"
)

// AllowListed is the signer of a program that is not signed, but listed by its SHA-256.
const AllowListed = "allow-list"

// Options are where a Verifier finds what it trusts. Both places are read for every patch, so that a key
// that is removed or revoked is not trusted from that moment on.
type Options struct {
	KeyDir    string // directory of public key files; one that is missing holds none
	KeyFile   string // name of the one file there whose keys count; "" is every file
	AllowFile string // list of unsigned programs; off when it does not exist, or is ""
	Log       *slog.Logger
	Now       func() time.Time // nil is time.Now
}

// Verifier checks patches against the keys that this host trusts.
type Verifier struct{ o Options }

// NewVerifier makes a Verifier; it reads nothing yet.
func NewVerifier(o Options) *Verifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Verifier{o}
}

// Of is a Verifier that trusts, of the same keys, only those in the file of that name; "" is all.
func (v *Verifier) Of(file string) *Verifier {
	o := v.o
	o.KeyFile = file
	return NewVerifier(o)
}

// Signed says what a file is that was found good.
type Signed struct {
	Signer string // fingerprint of the trusted primary key in upper-case hex, or AllowListed
	SHA256 string // of all bytes of the file, in lower-case hex; "" from Extract, unless unsigned programs are allowed
	Size   int64  // of the file, bytes
}

// refusal is why a file is not a good patch, in words for the administrator.
type refusal string

func (r refusal) Error() string { return string(r) }

func refusef(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// Verify makes one pass over a patch file and writes its program to w. What it wrote is good only if the
// error is nil: the signature is the last thing in the file.
//
// Errors: INVALID_PATCH with the reason; an error of r or w wrapped as it is, so that a client that went
// away and a full disk are told from a bad patch; PATCH_TRUST_UNREADABLE, which no patch is at fault for.
func (v *Verifier) Verify(ctx context.Context, r io.Reader, w io.Writer) (Signed, error) {
	return v.pass(ctx, r, w, true)
}

// verifyImage is Verify of an image that begins with the signed file and has nothing but zeroes behind it. The Size is the
// file's. It must be signed: of another file nobody can say where it ends.
func (v *Verifier) verifyImage(ctx context.Context, image io.Reader, w io.Writer) (Signed, error) {
	keys, err := LoadKeyring(v.o.KeyDir)
	if err != nil {
		return Signed{}, err
	}
	src := &source{ctx: ctx, r: image}
	m := &message{keys: keys, now: v.o.Now(), w: w, image: src}
	signer, err := m.open(bufio.NewReaderSize(src, readAhead), nil)
	return Signed{Signer: signer, Size: m.size}, wire(err)
}

// pass is Verify, which hashes the whole file only where somebody needs that.
func (v *Verifier) pass(ctx context.Context, r io.Reader, w io.Writer, hashed bool) (Signed, error) {
	keys, err := LoadKeyring(v.o.KeyDir)
	if err != nil {
		return Signed{}, err
	}
	if v.o.KeyFile != "" {
		keys = keys.only(v.o.KeyFile)
	}
	allowed, err := LoadAllowList(v.o.AllowFile)
	if err != nil {
		return Signed{}, err
	}
	src := &source{ctx: ctx, r: r}
	if hashed || len(allowed) > 0 {
		src.hash = newBackground(sha256.New())
		defer src.hash.stop()
	}
	in := bufio.NewReaderSize(src, readAhead)
	signer, err := verify(in, w, keys, allowed, v.o.Now())
	if err != nil {
		return Signed{}, wire(err)
	}
	s := Signed{Signer: signer, Size: src.size}
	if src.hash != nil {
		s.SHA256 = hex.EncodeToString(src.hash.sum())
	}
	if signer == AllowListed {
		return s, v.checkAllowed(s, allowed)
	}
	return s, nil
}

func verify(in *bufio.Reader, w io.Writer, keys *Keyring, allowed AllowList, now time.Time) (string, error) {
	m := &message{keys: keys, now: now, w: w}
	return m.open(in, allowed)
}

// open tells the kinds of file apart by their first bytes.
func (m *message) open(in *bufio.Reader, allowed AllowList) (string, error) {
	first, err := in.Peek(len(armorBegin))
	if e, ok := errors.AsType[*readError](err); ok {
		return "", e
	}
	if len(first) == 0 {
		return "", refusal("the file is empty")
	}
	switch {
	case first[0]&0x80 != 0: // the first bit of every OpenPGP packet
		return m.read(in)
	case bytes.Equal(first, []byte(armorBegin)):
		return m.readArmored(in)
	case bytes.HasPrefix(first, []byte("-----BEGIN PGP SIGNED")):
		return "", refusal("the file has a cleartext signature, which patches cannot have; sign it with gpg --sign")
	case bytes.HasPrefix(first, []byte("-----BEGIN PGP SIGNATURE")):
		return "", refusal("the file is a signature without the patch; sign the patch with gpg --sign")
	case len(allowed) == 0:
		return "", refusal("the file is not signed")
	}
	// A program that is not signed. Signed messages never come here: they are no programs, so the bytes of
	// the file are written as they come, and need not be kept aside for a second look.
	_, err = io.CopyBuffer(struct{ io.Writer }{writeErrors{m.w}}, struct{ io.Reader }{in}, make([]byte, bufferSize))
	return AllowListed, err
}

// checkAllowed decides about an unsigned program once its hash is known.
func (v *Verifier) checkAllowed(s Signed, allowed AllowList) error {
	if !allowed[s.SHA256] {
		return xenapi.ErrInvalidPatch("the file is not signed, and its SHA-256 " + s.SHA256 + " is not on the list of unsigned patches that are allowed")
	}
	v.o.Log.Warn("UNSIGNED PATCH ACCEPTED: its SHA-256 is on the list of unsigned patches", "sha256", s.SHA256, "bytes", s.Size, "list", v.o.AllowFile)
	return nil
}

// wire makes INVALID_PATCH of a refusal and leaves every other error as it is.
func wire(err error) error {
	if why, ok := errors.AsType[refusal](err); ok {
		return xenapi.ErrInvalidPatch(string(why))
	}
	return err
}

// readError is an error of the reader that a patch comes from; it is never the patch's fault.
type readError struct{ err error }

func (e *readError) Error() string { return "read patch: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// sourceOr gives err when the patch's reader is to blame for it, else the refusal.
func sourceOr(err error, otherwise error) error {
	if e, ok := errors.AsType[*readError](err); ok {
		return e
	}
	return otherwise
}

// writeErrors says of an error that it came from writing the program.
type writeErrors struct{ w io.Writer }

func (w writeErrors) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		return n, fmt.Errorf("write program: %w", err)
	}
	return n, nil
}

// source is the file's stream; everything that is read of it is hashed beside the reading.
type source struct {
	ctx  context.Context // of the Verify that the source lives for
	r    io.Reader
	hash *background // nil when nobody asks for the hash of the whole
	rest []byte      // of the last buffer of hash
	size int64
	err  error // the end, once it was read: nothing is read after it
}

func (s *source) Read(p []byte) (int, error) {
	if s.hash == nil {
		return s.fill(p)
	}
	if len(s.rest) == 0 {
		buf := s.hash.buffer()
		n, err := s.fill(buf)
		s.rest = buf[:n]
		s.hash.add(s.rest)
		if err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// fill reads something. The goroutine that calls reads from r itself, so nothing touches r once Verify has returned.
func (s *source) fill(p []byte) (int, error) {
	for s.err == nil {
		if err := context.Cause(s.ctx); err != nil {
			s.err = &readError{err}
			break
		}
		n, err := s.r.Read(p)
		s.size += int64(n)
		switch {
		case n > 0: // an error that comes with bytes comes again without them
			return n, nil
		case err == io.EOF:
			s.err = io.EOF
		case err != nil:
			s.err = &readError{err}
		}
	}
	return 0, s.err
}
