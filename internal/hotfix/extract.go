package hotfix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// programName is the file that a patch's program is extracted into.
const programName = "program"

// Verified is a program on disk that was verified while it was written. Only Verifier.Extract makes one, and
// only a Verified can be executed; the zero value cannot. It holds no resources: when its directory goes, it
// is just refused.
type Verified struct {
	signed Signed
	path   string
	file   identity
}

// Signer is the fingerprint of the trusted primary key in upper-case hex, or AllowListed.
func (v Verified) Signer() string { return v.signed.Signer }

// SignedSize is of the signed file, in bytes.
func (v Verified) SignedSize() int64 { return v.signed.Size }

// Directory is where a program is extracted, and its scratch space.
type Directory interface {
	Path() string
	// Create makes the file name in the directory, which nobody has made before. Once it is closed without an error,
	// the file can be read and executed; it need not be durable.
	Create(name string, perm os.FileMode) (io.WriteCloser, error)
}

// Dir is a Directory by its path.
type Dir string

// Path implements Directory.
func (d Dir) Path() string { return string(d) }

// Create implements Directory.
func (d Dir) Create(name string, perm os.FileMode) (io.WriteCloser, error) {
	return os.OpenFile(filepath.Join(string(d), name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
}

// Extract verifies a patch and writes its program into dir in the same pass, as the file "program" that only
// root can read, write and execute. The directory must be on no host's root file system and changeable by root
// alone. A program that an earlier call left there is replaced.
//
// Errors: those of Verify. On any error nothing is left; a crash leaves a part of the program, which nothing
// can execute and which goes with the directory. The program is not synced: it never outlives its mount.
func (v *Verifier) Extract(ctx context.Context, r io.Reader, dir Directory) (Verified, error) {
	return extractInto(dir, func(w io.Writer) (Signed, error) { return v.pass(ctx, r, w, false) })
}

// ExtractImage is Extract of a patch that is the beginning of an image, all of which is read: behind the patch are zeroes. The
// patch must be signed. Errors: those of Extract; INVALID_PATCH when anything else follows.
func (v *Verifier) ExtractImage(ctx context.Context, image io.Reader, dir Directory) (Verified, error) {
	return extractInto(dir, func(w io.Writer) (Signed, error) { return v.verifyImage(ctx, image, w) })
}

func extractInto(dir Directory, verify func(io.Writer) (Signed, error)) (Verified, error) {
	path := filepath.Join(dir.Path(), programName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Verified{}, fmt.Errorf("remove old program: %w", err)
	}
	f, err := dir.Create(programName, 0o700)
	if err != nil {
		return Verified{}, fmt.Errorf("create program: %w", err)
	}
	signed, err := verify(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return Verified{}, errors.Join(err, os.Remove(path))
	}
	// Only now, when nobody writes any more: the last write decided the times.
	id, err := identify(path)
	return Verified{signed: signed, path: path, file: id}, err
}

// Remove removes the program, which cannot be executed any more.
func (v Verified) Remove() error {
	if err := os.Remove(v.path); err != nil {
		return fmt.Errorf("remove program: %w", err)
	}
	return nil
}

// identity is what changes when anybody replaces, writes or renames a file: nobody can set ctime.
type identity struct {
	dev, ino uint64
	size     int64
	ctime    syscall.Timespec
}

func identify(path string) (identity, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return identity{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return identity{st.Dev, st.Ino, st.Size, st.Ctim}, nil
}

// executable gives the path to execute. It refuses a program that is no longer the file that was verified.
func (v Verified) executable() (string, error) {
	if v.path == "" {
		return "", errors.New("the program was not verified")
	}
	now, err := identify(v.path)
	if err != nil {
		return "", fmt.Errorf("verified program: %w", err)
	}
	if now != v.file {
		return "", fmt.Errorf("program %s was changed after it was verified", v.path)
	}
	return v.path, nil
}
