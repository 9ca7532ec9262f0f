package hotfix

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// builtTime is the time of every file in a built patch, so that the same input gives the same bytes. It is
// late enough for tar not to warn about it.
var builtTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// archive writes the scripts and the payload as tar, in the order of their names. It is not compressed: what
// is large in a patch are packages, which are. Holes of sparse files become zeros.
func archive(root *os.Root, out io.Writer) error {
	w := tar.NewWriter(out)
	buf := make([]byte, bufferSize)
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." || name == metadataName {
			return err
		}
		if err := archiveOne(w, root, name, buf); err != nil {
			return fmt.Errorf("archive %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write program: %w", err)
	}
	return nil
}

func archiveOne(w *tar.Writer, root *os.Root, name string, buf []byte) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: name, Mode: permissions(info.Mode()), ModTime: builtTime, Format: tar.FormatGNU}
	switch {
	case info.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		return w.WriteHeader(h)
	case info.Mode()&fs.ModeSymlink != 0:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = root.Readlink(name); err != nil {
			return err
		}
		return w.WriteHeader(h)
	case !info.Mode().IsRegular():
		return errors.New("only files, directories and symbolic links can be in a patch")
	}
	if name == applyName || name == precheckName {
		h.Mode = 0o755
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	// A file that grows gives ErrWriteTooLong here, one that shrinks an error with the next header.
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, buf)
	return err
}

// permissions are the bits that tar keeps.
func permissions(m fs.FileMode) int64 {
	bits := int64(m.Perm())
	for _, special := range []struct {
		mode fs.FileMode
		bit  int64
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&special.mode != 0 {
			bits |= special.bit
		}
	}
	return bits
}
