package image

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// writerSlots is the number of blocks of a Writer in flight: one is filled while others are hashed and stored.
	writerSlots = 8
	// maxReserve is how much space is asked for at once, in bytes: blocks that are stored side by side then lie in
	// order, and begin where blocks of the image do. It is a power of two, which file systems align.
	maxReserve = 16 << 20
)

// Writer writes a file of a mounted image from its beginning to its end, past the page cache where the file system can:
// a host has little memory, and a patch is large. Several blocks are hashed and stored at once. Write and
// Pause are for one goroutine.
//
// The digest of a Writer is that of an image that has the file's bytes.
type Writer struct {
	path  string
	inode uint64 // the file system's device may have another number after a Pause; this stays
	keep  bool   // the content lasts: it is hashed, and on stable storage after Close

	file    *os.File // nil while it is paused
	direct  *os.File // the same file past the page cache; nil where that is not possible
	current *block   // what Write fills
	filled  int      // bytes of current
	next    int64    // the index of current
	reach   int64    // space is reserved up to here
	size    int64    // once closed

	free   chan *block
	flying sync.WaitGroup
	mu     sync.Mutex
	sums   [][sha256.Size]byte // of the blocks, if they are kept; nothing is the sum of one that is zero
	err    error               // the first; nothing is stored after it
}

// Create makes a file that nobody has made before, and that lasts.
func Create(path string, perm os.FileMode) (*Writer, error) { return createFile(path, perm, true) }

// CreateTemporary is Create for a file that goes with its file system: it has no digest and is not synced.
func CreateTemporary(path string, perm os.FileMode) (*Writer, error) {
	return createFile(path, perm, false)
}

func createFile(path string, perm os.FileMode, keep bool) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, perm)
	if err != nil {
		return nil, err
	}
	w := &Writer{path: path, keep: keep, free: newSlots(writerSlots)}
	if w.inode, err = inodeOf(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	w.use(f)
	w.current = <-w.free
	return w, nil
}

// Path is the file's name.
func (w *Writer) Path() string { return w.path }

// Write appends p. An error may be one of bytes that an earlier Write took.
func (w *Writer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := copy(w.current.buf[w.filled:], rest)
		w.filled, rest = w.filled+n, rest[n:]
		if w.filled == BlockSize {
			if err := w.dispatch(); err != nil {
				return len(p) - len(rest), err
			}
		}
	}
	return len(p), nil
}

// dispatch gives the full block away and takes an empty one.
func (w *Writer) dispatch() error {
	if err := w.reopen(); err != nil {
		return err
	}
	w.reserve()
	b := w.current
	b.index, b.data = w.next, b.buf[:w.filled]
	w.next, w.filled = w.next+1, 0
	if w.keep {
		w.grow()
	}
	w.flying.Go(func() {
		w.settle(b, w.store(b))
		w.free <- b
	})
	w.current = <-w.free
	return w.failed()
}

// store hashes and writes a block. What is zero is a hole already, because the file is new.
func (w *Writer) store(b *block) error {
	if w.failed() != nil {
		return nil
	}
	if b.zero = isZero(b.data); b.zero {
		return nil
	}
	if w.keep {
		b.sum = sha256.Sum256(b.data)
	}
	// Past the page cache whole pages go; what is behind the end is cut off by Close.
	whole := (len(b.data) + pageSize - 1) &^ (pageSize - 1)
	clear(b.buf[len(b.data):whole])
	t := target{f: w.file, direct: w.direct}
	return t.writeAt(b.buf[:whole], b.index*BlockSize)
}

func (w *Writer) settle(b *block, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	if w.keep && !b.zero {
		w.sums[b.index] = b.sum
	}
}

// grow makes room for one more sum.
func (w *Writer) grow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sums = append(w.sums, [sha256.Size]byte{})
}

func (w *Writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// reserve asks for space ahead, but no more than half of what the file has: it may be one of several in a small image.
// Where that fails, writing says why, if it fails too.
func (w *Writer) reserve() {
	if end := (w.next + 1) * BlockSize; end > w.reach {
		step := int64(BlockSize)
		for step < maxReserve && 4*step <= w.reach {
			step *= 2
		}
		_ = unix.Fallocate(int(w.file.Fd()), 0, w.reach, step)
		w.reach += step
	}
}

// Pause waits until the blocks in flight are stored and closes the file, so that its file system can be unmounted;
// the next Write opens it again. It may be called when the Writer is closed.
func (w *Writer) Pause() error {
	w.flying.Wait()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	if w.direct != nil {
		err = errors.Join(err, w.direct.Close())
	}
	w.file, w.direct = nil, nil
	return err
}

// reopen opens the file after a Pause, and refuses another one in its place.
func (w *Writer) reopen() error {
	if w.file != nil {
		return nil
	}
	f, err := os.OpenFile(w.path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	inode, err := inodeOf(f)
	if err == nil && inode != w.inode {
		err = fmt.Errorf("%s was replaced while it was written", w.path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	w.use(f)
	return nil
}

func (w *Writer) use(f *os.File) { w.file, w.direct = f, reopenDirect(f, os.O_RDWR) }

// Close writes what is left, and closes the file. A file that lasts is on stable storage then. Errors: what the
// system said of any block, such as syscall.ENOSPC.
func (w *Writer) Close() error {
	err := w.finish()
	return errors.Join(err, w.Pause())
}

func (w *Writer) finish() error {
	w.size = w.next*BlockSize + int64(w.filled)
	if w.filled > 0 {
		if err := w.dispatch(); err != nil {
			return err
		}
	}
	w.flying.Wait()
	if err := errors.Join(w.failed(), w.reopen()); err != nil {
		return err
	}
	if err := w.file.Truncate(w.size); err != nil || !w.keep {
		return err
	}
	return w.file.Sync()
}

// Size is the file's length in bytes, once it is closed.
func (w *Writer) Size() int64 { return w.size }

// Digest is the content's, once a file that lasts is closed.
func (w *Writer) Digest() Digest {
	f := newFolder(w.size)
	for index, sum := range w.sums {
		if sum != none {
			f.add(int64(index), sum)
		}
	}
	return f.digest()
}

// Known are sums of blocks of an image by their number, which need not be read to be known.
type Known map[int64][sha256.Size]byte

// Locate adds to known the sums of the file's blocks that are whole blocks of the image, in an extent: length bytes that
// begin at logical in the file and at physical in the image. The file must be closed.
func (w *Writer) Locate(known Known, logical, physical, length int64) {
	end := min(logical+length, w.size)
	if !w.keep || (physical-logical)%BlockSize != 0 {
		return
	}
	for i := blockCount(logical); (i+1)*BlockSize <= end; i++ {
		if w.sums[i] != none {
			known[i+(physical-logical)/BlockSize] = w.sums[i]
		}
	}
}

// none stands for the sum of a block that is zero.
var none [sha256.Size]byte

func inodeOf(f *os.File) (uint64, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return 0, &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return st.Ino, nil
}
