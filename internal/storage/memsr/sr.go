package memsr

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"poolpatch/internal/storage"
	"poolpatch/xenapi"
)

// alignment is what sizes are rounded up to, in bytes, so that a loop device reaches the end.
const alignment = 4096

// contents is what lasts of an SR. The driver's lock guards it.
type contents struct{ images map[string]*stored } // by location, which is the UUID

func (c *contents) sorted() []*stored {
	return slices.SortedFunc(maps.Values(c.images), func(a, b *stored) int { return cmp.Compare(a.Location, b.Location) })
}

func (c *contents) used() (n int64) {
	for _, i := range c.images {
		n += i.Size
	}
	return n
}

// stored is an image; content is nil when a crash left none.
type stored struct {
	storage.Image
	content *os.File
}

func (i *stored) free() {
	if i.content != nil {
		i.content.Close()
	}
}

// open reports whether anybody but the SR uses the content: a file of this process, or a loop device. Both are known
// by the name of the memory file. A child that inherits descriptors until it executes its program does not count.
func (i *stored) open() bool {
	if i.content == nil {
		return false
	}
	name, err := os.Readlink(pathOf(i.content))
	if err != nil {
		return true
	}
	users := 0
	files, _ := filepath.Glob("/proc/self/fd/*") // the pattern is well formed
	for _, file := range files {
		if other, err := os.Readlink(file); err == nil && other == name {
			users++
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, loop := range loops {
		if backing, err := os.ReadFile(loop); err == nil && strings.TrimSpace(string(backing)) == name {
			users++
		}
	}
	return users > 1
}

// pathOf is a path by which an open file can be opened anew.
func pathOf(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// sr is one attachment.
type sr struct {
	driver   *Driver
	uuid     string
	contents *contents
	detached bool
}

// call runs a method of an attached SR.
func call[T any](ctx context.Context, s *sr, method, location string, do func() (T, error)) (T, error) {
	return guarded(ctx, s.driver, method, location, func() (T, error) {
		var none T
		if s.detached {
			return none, xenapi.ErrSRNotAttached(xenapi.Ref[xenapi.SR](s.uuid))
		}
		result, err := do()
		if err != nil {
			return none, fmt.Errorf("%s %q on SR %s: %w", method, location, s.uuid, err)
		}
		return result, nil
	})
}

// done is a call that gives nothing but its error.
func done(ctx context.Context, s *sr, method, location string, do func() error) error {
	_, err := call(ctx, s, method, location, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

// misuse fails the test.
func (s *sr) misuse(format string, args ...any) {
	s.driver.tb.Errorf("misuse of SR "+s.uuid+": "+format, args...)
}

func (s *sr) find(location string) (*stored, error) {
	i := s.contents.images[location]
	if i == nil || i.Incomplete {
		return nil, storage.ErrNoImage
	}
	return i, nil
}

func (s *sr) reserve(bytes int64) error {
	if free := s.driver.options.Size - s.contents.used(); bytes > free {
		return xenapi.ErrSRFull(bytes, free)
	}
	return nil
}

// Capabilities are those of the options.
func (s *sr) Capabilities() storage.Capabilities { return s.driver.capabilities() }

// Space counts every image with its whole virtual size.
func (s *sr) Space(ctx context.Context) (storage.Space, error) {
	return call(ctx, s, "Space", "", func() (storage.Space, error) {
		return storage.Space{Size: s.driver.options.Size, Used: s.contents.used()}, nil
	})
}

// List gives copies.
func (s *sr) List(ctx context.Context) ([]storage.Image, error) {
	return call(ctx, s, "List", "", func() ([]storage.Image, error) {
		var list []storage.Image
		for _, i := range s.contents.sorted() {
			list = append(list, copyOf(i.Image))
		}
		return list, nil
	})
}

// copyOf keeps callers and SR from sharing maps.
func copyOf(img storage.Image) storage.Image {
	img.OtherConfig, img.SMConfig = maps.Clone(img.OtherConfig), maps.Clone(img.SMConfig)
	return img
}

// Create makes an image of zeroes. One that is there already is misuse: UUIDs are fresh.
func (s *sr) Create(ctx context.Context, img storage.Image) (storage.Image, error) {
	return call(ctx, s, "Create", img.UUID, func() (storage.Image, error) {
		var err error
		if img.Size, err = roundUp(img.Size); err != nil {
			return storage.Image{}, err
		}
		return s.make(img, func(*os.File) error { return nil })
	})
}

func roundUp(size int64) (int64, error) {
	if size <= 0 {
		return 0, xenapi.ErrInvalidValue("virtual_size", strconv.FormatInt(size, 10))
	}
	if size > math.MaxInt64-alignment {
		return size, nil // more than any SR has
	}
	return (size + alignment - 1) / alignment * alignment, nil
}

func (s *sr) make(img storage.Image, fill func(content *os.File) error) (storage.Image, error) {
	uuid, ok := xenapi.ParseUUID(img.UUID)
	if !ok {
		return storage.Image{}, xenapi.ErrInvalidValue("uuid", img.UUID)
	}
	if s.contents.images[uuid] != nil {
		s.misuse("image %s is made twice", uuid)
		return storage.Image{}, xenapi.ErrLocationNotUnique(xenapi.Ref[xenapi.SR](s.uuid), uuid)
	}
	if err := s.reserve(img.Size); err != nil {
		return storage.Image{}, err
	}
	content, err := memory(uuid, img.Size)
	if err != nil {
		return storage.Image{}, err
	}
	if err := fill(content); err != nil {
		content.Close()
		return storage.Image{}, err
	}
	img = copyOf(img)
	img.UUID, img.Location, img.Used, img.Incomplete = uuid, uuid, img.Size, false
	s.contents.images[uuid] = &stored{Image: img, content: content}
	return copyOf(img), nil
}

// memory makes a sparse file in memory, which loop devices take as they take one on disk. Its name is its own, so
// that SRs of different tests may have images of the same UUID.
func memory(uuid string, size int64) (*os.File, error) {
	name := uuid + "." + xenapi.NewUUID()
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := f.Truncate(size); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Clone copies what is allocated.
func (s *sr) Clone(ctx context.Context, from string, img storage.Image) (storage.Image, error) {
	return call(ctx, s, "Clone", img.UUID, func() (storage.Image, error) {
		if !s.driver.options.Clone {
			return storage.Image{}, xenapi.ErrSROperationNotSupported(xenapi.Ref[xenapi.SR](s.uuid))
		}
		original, err := s.find(from)
		if err != nil {
			return storage.Image{}, err
		}
		img.Size = original.Size
		return s.make(img, func(content *os.File) error { return copyData(content, original.content) })
	})
}

// copyData copies the extents that hold data. Openers have offsets of their own, so seeking disturbs nobody.
func copyData(dst, src *os.File) error {
	for end := int64(0); ; {
		start, err := unix.Seek(int(src.Fd()), end, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return nil // holes to the end
		}
		if err != nil {
			return err
		}
		if end, err = unix.Seek(int(src.Fd()), start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(dst, start), io.NewSectionReader(src, start, end-start)); err != nil {
			return err
		}
	}
}

// Destroy removes an image. That it is open is misuse.
func (s *sr) Destroy(ctx context.Context, location string) error {
	return done(ctx, s, "Destroy", location, func() error {
		i := s.contents.images[location]
		if i == nil {
			return nil
		}
		if i.open() {
			s.misuse("image %s is destroyed while it is open", location)
		}
		i.free()
		delete(s.contents.images, location)
		return nil
	})
}

// Resize grows an image and forgets its digest.
func (s *sr) Resize(ctx context.Context, location string, size int64) (storage.Image, error) {
	return call(ctx, s, "Resize", location, func() (storage.Image, error) {
		i, err := s.find(location)
		if err != nil {
			return storage.Image{}, err
		}
		if size, err = roundUp(size); err != nil {
			return storage.Image{}, err
		}
		switch {
		case size < i.Size:
			return storage.Image{}, xenapi.ErrVDITooSmall("", i.Size)
		case size == i.Size:
			return copyOf(i.Image), nil
		}
		if err := s.reserve(size - i.Size); err != nil {
			return storage.Image{}, err
		}
		if err := i.content.Truncate(size); err != nil {
			return storage.Image{}, err
		}
		i.Size, i.Used, i.Digest = size, size, ""
		return copyOf(i.Image), nil
	})
}

// Reduce replaces the content. That it is open is misuse.
func (s *sr) Reduce(ctx context.Context, location string, content []byte) (storage.Image, error) {
	return call(ctx, s, "Reduce", location, func() (storage.Image, error) {
		i, err := s.find(location)
		if err != nil {
			return storage.Image{}, err
		}
		if i.open() {
			s.misuse("image %s is reduced while it is open", location)
		}
		size, err := roundUp(int64(len(content)))
		if err != nil {
			return storage.Image{}, err
		}
		replaced, err := memory(i.UUID, size)
		if err != nil {
			return storage.Image{}, err
		}
		if _, err := replaced.WriteAt(content, 0); err != nil {
			replaced.Close()
			return storage.Image{}, err
		}
		i.free()
		i.content, i.Size, i.Used = replaced, size, size
		return copyOf(i.Image), nil
	})
}

// Describe replaces what is remembered, or remembers it again.
func (s *sr) Describe(ctx context.Context, img storage.Image) error {
	return done(ctx, s, "Describe", img.Location, func() error {
		i := s.contents.images[img.Location]
		if i == nil || i.content == nil || i.Vanished {
			return storage.ErrNoImage
		}
		img = copyOf(img)
		img.UUID, img.Size, img.Used, img.Incomplete, img.Damaged = i.UUID, i.Size, i.Used, false, ""
		i.Image = img
		return nil
	})
}

// Open opens the content anew, so that each opener has an offset and a mode of its own.
func (s *sr) Open(ctx context.Context, location string, mode storage.Mode) (*os.File, error) {
	f, err := call(ctx, s, "Open", location, func() (*os.File, error) {
		i, err := s.find(location)
		if err != nil {
			return nil, err
		}
		flag := os.O_RDONLY
		if mode == storage.ReadWrite {
			flag = os.O_RDWR
		}
		return os.OpenFile(pathOf(i.content), flag, 0)
	})
	if err != nil && f != nil {
		f.Close() // the fault came after it was opened
		return nil, err
	}
	return f, err
}

// Detach ends this attachment; the images stay. That one is open is misuse, and that it is detached already is not.
func (s *sr) Detach(ctx context.Context) error {
	return done(ctx, &sr{driver: s.driver, uuid: s.uuid}, "Detach", "", func() error {
		for _, i := range s.contents.sorted() {
			if !s.detached && i.open() {
				s.misuse("it is detached while image %s is open", i.Location)
			}
		}
		s.detached = true
		return nil
	})
}

// Wipe removes the SR.
func (s *sr) Wipe(ctx context.Context) error {
	return done(ctx, s, "Wipe", "", func() error {
		if len(s.contents.images) > 0 {
			return xenapi.ErrSRNotEmpty()
		}
		delete(s.driver.srs, s.uuid)
		s.detached = true
		return nil
	})
}
