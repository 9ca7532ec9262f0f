package hotfix

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// growingBuffer is how much is written at once: opening a file costs about as much as writing a few
// kilobytes.
const growingBuffer = 1 << 20

// growingDirect is how long a piece must be to be written without going through the buffer.
const growingDirect = 128 << 10

// GrowingFile is a file that is open only while its buffer is written to it. Where the kernel does not let the daemon
// grow a mounted file system, that is unmounted for a moment, and no file in it may be open then; so what
// is streamed into a volume that may have to grow goes through GrowingFiles.
type GrowingFile struct {
	path  string
	inode uint64 // the file system's device may have another number when it is back; this stays
	buf   []byte
}

// CreateGrowing makes an empty file that nobody has made before.
func CreateGrowing(path string, perm os.FileMode) (*GrowingFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	inode, err := inodeOf(f)
	return &GrowingFile{path: path, inode: inode, buf: make([]byte, 0, growingBuffer)}, err
}

// Write appends p. What is in the buffer reaches the file by Flush or Sync at the latest.
func (g *GrowingFile) Write(p []byte) (int, error) {
	direct := len(p) >= growingDirect
	if direct || len(g.buf)+len(p) > cap(g.buf) {
		if err := g.Flush(); err != nil {
			return 0, err
		}
	}
	if direct {
		return len(p), g.write(p)
	}
	g.buf = append(g.buf, p...)
	return len(p), nil
}

// Flush writes the buffer.
func (g *GrowingFile) Flush() error {
	if len(g.buf) == 0 {
		return nil
	}
	err := g.write(g.buf)
	g.buf = g.buf[:0]
	return err
}

// Sync flushes, and puts what was written on stable storage.
func (g *GrowingFile) Sync() error {
	if err := g.Flush(); err != nil {
		return err
	}
	return g.open(os.O_WRONLY, func(f *os.File) error { return f.Sync() })
}

func (g *GrowingFile) write(p []byte) error {
	return g.open(os.O_WRONLY|os.O_APPEND, func(f *os.File) error {
		_, err := f.Write(p)
		return err
	})
}

// open opens the file for the time of fn, and refuses another one in its place.
func (g *GrowingFile) open(flags int, fn func(*os.File) error) error {
	f, err := os.OpenFile(g.path, flags|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	inode, err := inodeOf(f)
	if err == nil && inode != g.inode {
		err = fmt.Errorf("%s was replaced while it was written", g.path)
	}
	if err == nil {
		err = fn(f)
	}
	return errors.Join(err, f.Close())
}

func inodeOf(f *os.File) (uint64, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return 0, &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return st.Ino, nil
}
