package filesr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sync/semaphore"

	"poolpatch/internal/durable"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/image"
	"poolpatch/xenapi"
)

// alignment is what sizes are rounded up to, in bytes: a loop device with direct I/O on a disk with sectors
// of 4 KiB cannot reach the end of a file that is not a multiple of it.
const alignment = 4096

// everybody is the weight of a call that must be alone.
const everybody = 1 << 30

// sr is an attached directory.
type sr struct {
	directory
	uuid          string
	madeDirectory bool
	can           storage.Capabilities
	gap           func(string)

	// users counts the calls within the SR, so that Detach does not close the directory under them.
	users    *semaphore.Weighted
	detached bool // written with everybody's weight
}

// enter begins a call of the given weight. The caller calls leave. Errors: SR_NOT_ATTACHED.
func (s *sr) enter(ctx context.Context, weight int64) (leave func(), err error) {
	if err := s.users.Acquire(ctx, weight); err != nil {
		return nil, fmt.Errorf("wait for SR %s: %w", s.uuid, err)
	}
	if s.detached {
		s.users.Release(weight)
		return nil, xenapi.ErrSRNotAttached(xenapi.Ref[xenapi.SR](s.uuid))
	}
	return func() { s.users.Release(weight) }, nil
}

// Capabilities says what the directory's file system could do when it was attached.
func (s *sr) Capabilities() storage.Capabilities { return s.can }

// Space is that of the file system, whoever else uses it.
func (s *sr) Space(ctx context.Context) (storage.Space, error) {
	leave, err := s.enter(ctx, 1)
	if err != nil {
		return storage.Space{}, err
	}
	defer leave()
	space, err := s.space()
	return space, s.fault(err, 0)
}

// List reads every metadata file. Foreign files are passed over.
func (s *sr) List(ctx context.Context) ([]storage.Image, error) {
	leave, err := s.enter(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer leave()
	uuids, err := s.images()
	if err != nil {
		return nil, s.fault(fmt.Errorf("list SR %s: %w", s.uuid, err), 0)
	}
	var list []storage.Image
	for _, uuid := range uuids {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list SR %s: %w", s.uuid, err)
		}
		img, there, err := s.examine(uuid)
		if err != nil {
			return nil, fmt.Errorf("list SR %s: %w", s.uuid, err)
		}
		if there {
			list = append(list, img)
		}
	}
	return list, nil
}

// examine looks at one image, or at what is left of it. One that was destroyed meanwhile is not there.
func (s *sr) examine(uuid string) (img storage.Image, there bool, err error) {
	img, err = s.recall(uuid)
	broken, unreadable := errors.AsType[*damaged](err)
	described := err == nil || unreadable
	if !described && !errors.Is(err, fs.ErrNotExist) {
		return img, false, err
	}
	img.UUID, img.Location = uuid, uuid+contentSuffix
	measured := s.measure(&img)
	if measured != nil && !errors.Is(measured, storage.ErrNoImage) {
		return img, false, measured
	}
	if unreadable {
		img.Damaged = broken.Error()
	}
	img.Vanished = described && measured != nil
	img.Incomplete = !described || unreadable || measured != nil
	return img, described || measured == nil, nil
}

// measure takes the sizes from the content. Errors: storage.ErrNoImage.
func (s *sr) measure(img *storage.Image) error {
	info, err := s.root.Lstat(img.Location)
	if err != nil {
		return s.fault(err, 0)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", storage.ErrNoImage, img.Location)
	}
	const sector = 512 // the unit of st_blocks, whatever the file system's is
	img.Size, img.Used = st.Size, st.Blocks*sector
	return nil
}

// find reads a complete image. Errors: storage.ErrNoImage, SR_BACKEND_FAILURE where its metadata is damaged.
func (s *sr) find(location string) (storage.Image, error) {
	img, err := s.locate(location)
	if err != nil {
		return img, err
	}
	described, err := s.recall(img.UUID)
	described.Size, described.Used = img.Size, img.Used
	return described, s.fault(err, 0)
}

// locate finds content, described or not. Errors: storage.ErrNoImage.
func (s *sr) locate(location string) (storage.Image, error) {
	uuid, ok := parseLocation(location)
	if !ok {
		return storage.Image{}, fmt.Errorf("%w: %q names no image", storage.ErrNoImage, location)
	}
	img := storage.Image{UUID: uuid, Location: location}
	return img, s.fault(s.measure(&img), 0)
}

// Create makes an image of zeroes, named by its UUID; its size is rounded up to 4 KiB. Errors: INVALID_VALUE,
// LOCATION_NOT_UNIQUE, SR_FULL, VDI_TOO_LARGE with the largest size that the file system allows.
func (s *sr) Create(ctx context.Context, img storage.Image) (storage.Image, error) {
	leave, err := s.enter(ctx, 1)
	if err != nil {
		return storage.Image{}, err
	}
	defer leave()
	if img.Size, err = s.roundUp(img.Size); err != nil {
		return storage.Image{}, err
	}
	return s.make(img, func(content *os.File) error {
		if err := content.Truncate(img.Size); err != nil {
			return err
		}
		return content.Sync()
	})
}

func (s *sr) roundUp(size int64) (int64, error) {
	switch {
	case size <= 0:
		return 0, xenapi.ErrInvalidValue("virtual_size", strconv.FormatInt(size, 10))
	case size > math.MaxInt64-alignment:
		return 0, xenapi.ErrVDITooLarge("", s.largestFile())
	}
	return (size + alignment - 1) / alignment * alignment, nil
}

// make is how an image comes to be: content first, then the metadata. fill writes the content durably.
func (s *sr) make(img storage.Image, fill func(content *os.File) error) (storage.Image, error) {
	uuid, ok := xenapi.ParseUUID(img.UUID)
	if !ok {
		return storage.Image{}, xenapi.ErrInvalidValue("uuid", img.UUID)
	}
	img.UUID, img.Location, img.Incomplete = uuid, uuid+contentSuffix, false
	content, err := s.root.OpenFile(img.Location, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return storage.Image{}, xenapi.ErrLocationNotUnique(xenapi.Ref[xenapi.SR](s.uuid), img.Location)
	}
	if err != nil {
		return storage.Image{}, fmt.Errorf("create image %s: %w", img.Location, s.fault(err, img.Size))
	}
	defer content.Close() // again, for the way out that is a panic
	// A crash from here to the metadata leaves content alone: incomplete, and removed by Destroy. Its name
	// becomes durable with the metadata's, for it is the same directory.
	s.gap("content named")
	err = errors.Join(fill(content), content.Close())
	s.gap("content filled")
	if err == nil {
		err = s.remember(img)
	}
	// A crash here leaves the complete image, which is Temporary until its owner says otherwise.
	s.gap("metadata written")
	if err == nil {
		err = s.measure(&img)
	}
	if err != nil {
		err = fmt.Errorf("create image %s: %w", img.Location, s.fault(err, img.Size))
		return storage.Image{}, errors.Join(err, s.forget(uuid, s.gap))
	}
	return img, nil
}

// Clone makes an image that shares the blocks of another one, and has its size. Errors:
// SR_OPERATION_NOT_SUPPORTED where the file system cannot, storage.ErrNoImage, and those of Create.
func (s *sr) Clone(ctx context.Context, from string, img storage.Image) (storage.Image, error) {
	leave, err := s.enter(ctx, 1)
	if err != nil {
		return storage.Image{}, err
	}
	defer leave()
	if !s.can.Clone {
		return storage.Image{}, xenapi.ErrSROperationNotSupported(xenapi.Ref[xenapi.SR](s.uuid))
	}
	original, err := s.find(from)
	if err != nil {
		return storage.Image{}, fmt.Errorf("clone image %s: %w", from, err)
	}
	source, err := s.root.Open(from)
	if err != nil {
		return storage.Image{}, fmt.Errorf("clone image %s: %w", from, s.fault(err, 0))
	}
	defer source.Close()
	img.Size = original.Size
	return s.make(img, func(content *os.File) error { return image.Clone(content, source) })
}

// Destroy removes an image, or what is left of one. A location that cannot name an image names nothing.
func (s *sr) Destroy(ctx context.Context, location string) error {
	leave, err := s.enter(ctx, 1)
	if err != nil {
		return err
	}
	defer leave()
	uuid, ok := parseLocation(location)
	if !ok {
		return nil
	}
	if err := s.forget(uuid, s.gap); err != nil {
		return fmt.Errorf("destroy image %s: %w", location, s.fault(err, 0))
	}
	return nil
}

// Resize grows an image and forgets its digest, which covers the size. Errors: VDI_TOO_SMALL when it would
// shrink, VDI_TOO_LARGE, SR_FULL, storage.ErrNoImage.
func (s *sr) Resize(ctx context.Context, location string, size int64) (storage.Image, error) {
	leave, err := s.enter(ctx, 1)
	if err != nil {
		return storage.Image{}, err
	}
	defer leave()
	img, err := s.find(location)
	if err != nil {
		return storage.Image{}, fmt.Errorf("resize image %s: %w", location, err)
	}
	if size, err = s.roundUp(size); err != nil {
		return storage.Image{}, err
	}
	switch {
	case size < img.Size:
		return storage.Image{}, xenapi.ErrVDITooSmall("", img.Size)
	case size == img.Size:
		return img, nil
	}
	if err := s.grow(&img, size); err != nil {
		return storage.Image{}, fmt.Errorf("resize image %s: %w", location, s.fault(err, size-img.Size))
	}
	return img, nil
}

func (s *sr) grow(img *storage.Image, size int64) error {
	content, err := s.root.OpenFile(img.Location, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := content.Truncate(size); err != nil {
		return err
	}
	if err := content.Sync(); err != nil {
		return err
	}
	// A crash here, or a full SR, leaves the grown image with a digest that does not fit it, so nobody
	// trusts its content; the next Resize or Describe puts that right.
	s.gap("content grown")
	img.Size, img.Digest = size, ""
	if err := s.remember(*img); err != nil {
		return err
	}
	return s.measure(img)
}

// Reduce puts a file with the new content in the place of the old. Errors: storage.ErrNoImage, SR_FULL.
func (s *sr) Reduce(ctx context.Context, location string, content []byte) (storage.Image, error) {
	leave, err := s.enter(ctx, 1)
	if err != nil {
		return storage.Image{}, err
	}
	defer leave()
	img, err := s.find(location)
	if err == nil {
		size, rerr := s.roundUp(int64(len(content)))
		whole := append(bytes.Clone(content), make([]byte, max(size-int64(len(content)), 0))...)
		err = errors.Join(rerr, s.removeUnfinished(location))
		if err == nil {
			err = s.fault(durable.WriteFile(s.path(location), whole, 0o600), size)
		}
		// A crash here leaves the new content under the old description, whose digest does not fit it.
		s.gap("content replaced")
	}
	if err == nil {
		err = s.measure(&img)
	}
	if err != nil {
		return storage.Image{}, fmt.Errorf("reduce image %s: %w", location, err)
	}
	return img, nil
}

// Describe writes an image's metadata anew, but for its size. Errors: storage.ErrNoImage, SR_FULL.
func (s *sr) Describe(ctx context.Context, img storage.Image) error {
	leave, err := s.enter(ctx, 1)
	if err != nil {
		return err
	}
	defer leave()
	content, err := s.locate(img.Location)
	if err == nil {
		img.UUID, img.Size = content.UUID, content.Size
		err = s.fault(s.remember(img), alignment)
	}
	if err != nil {
		return fmt.Errorf("describe image %s: %w", img.Location, err)
	}
	return nil
}

// Open opens the content. Whoever writes it syncs it. Errors: storage.ErrNoImage.
func (s *sr) Open(ctx context.Context, location string, mode storage.Mode) (*os.File, error) {
	leave, err := s.enter(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer leave()
	if _, err := s.find(location); err != nil {
		return nil, fmt.Errorf("open image %s: %w", location, err)
	}
	flag := os.O_RDONLY
	if mode == storage.ReadWrite {
		flag = os.O_RDWR
	}
	f, err := s.root.OpenFile(location, flag, 0)
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", location, s.fault(err, 0))
	}
	return f, nil
}

// Detach waits for calls that are under way, then closes the directory. A second Detach does nothing.
func (s *sr) Detach(ctx context.Context) error {
	leave, err := s.enter(ctx, everybody)
	if xenapi.CodeOf(err) == xenapi.CodeSRNotAttached {
		return nil
	}
	if err != nil {
		return err
	}
	defer leave()
	s.detached = true
	return s.close()
}

// Wipe removes the marker, and the directory if Create made it and nothing else is in it. Foreign files stay.
// Errors: SR_NOT_EMPTY, also when only crash leftovers are there: they may be another host's work in progress.
func (s *sr) Wipe(ctx context.Context) error {
	leave, err := s.enter(ctx, everybody)
	if err != nil {
		return err
	}
	defer leave()
	left, err := s.images()
	if err != nil {
		return fmt.Errorf("wipe SR %s: %w", s.uuid, s.fault(err, 0))
	}
	if len(left) > 0 {
		return xenapi.ErrSRNotEmpty()
	}
	if err := s.wipe(); err != nil {
		return fmt.Errorf("wipe SR %s: %w", s.uuid, s.fault(err, 0))
	}
	s.detached = true
	return s.close()
}

func (s *sr) wipe() error {
	if err := s.removeUnfinished(markerName); err != nil {
		return err
	}
	if err := durable.Remove(s.path(markerName)); err != nil {
		return err
	}
	// A crash here leaves a directory that is no SR any more; its records are removed by SR.forget.
	s.gap("marker removed")
	if !s.madeDirectory {
		return nil
	}
	err := syscall.Rmdir(s.name)
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.EBUSY) {
		return nil // somebody else's files, or a mount point by now
	}
	if err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(s.name))
}
