package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Config says what [Open] opens and where it appears.
type Config struct {
	// File is the image: a file, or a block device that holds the file system itself. It may be closed after Open. Path is used
	// when File is nil.
	File *os.File
	Path string

	// Dir is the mount point. It is made if it does not exist, must be empty if it does, and Close removes it.
	Dir string

	Format   bool   // make a new file system first, which destroys what is there
	Label    string // of a new file system, at most 16 bytes
	ReadOnly bool
}

// Volume is an image whose file system is mounted.
type Volume struct {
	dir     string
	device  string
	options MountOptions
	loop    *Loop // nil when the image is a block device

	mu       sync.Mutex // one Grow or Close at a time
	undo     []undoStep // what Close still has to do, last first
	unwanted bool       // nothing that was written needs to last
}

// undoStep takes back one step of Open. It may run again after it has returned an error.
type undoStep func(context.Context) error

// Open attaches the image, formats it if that is asked for, and mounts it. What a failing Open has done is undone. A
// crash in it leaves at most an empty Dir, which the next Open with that Dir takes.
func Open(ctx context.Context, c Config) (*Volume, error) {
	v := &Volume{dir: c.Dir, options: MountOptions{ReadOnly: c.ReadOnly}}
	if err := v.open(ctx, c); err != nil {
		return nil, errors.Join(fmt.Errorf("open volume: %w", err), v.Close(ctx))
	}
	return v, nil
}

func (v *Volume) open(ctx context.Context, c Config) error {
	if c.Format && c.ReadOnly {
		return fmt.Errorf("format a read-only image: %w", os.ErrInvalid)
	}
	if err := v.attach(ctx, c); err != nil {
		return err
	}
	if c.Format {
		if err := Format(ctx, v.device, c.Label); err != nil {
			return err
		}
	}
	if !c.ReadOnly {
		// Unmounting writes the superblock last, after its own flush.
		v.later(func(ctx context.Context) error {
			if v.unwanted {
				return nil
			}
			return flush(ctx, v.device)
		})
	}
	if err := mountPoint(v.dir); err != nil {
		return err
	}
	v.later(func(context.Context) error { return removeMountPoint(v.dir) })
	if err := Mount(ctx, v.device, v.dir, v.options); err != nil {
		return err
	}
	v.later(func(ctx context.Context) error { return Unmount(ctx, v.dir) })
	return nil
}

// attach finds the block device of the image: itself or a loop device.
func (v *Volume) attach(ctx context.Context, c Config) error {
	file, err := c.image()
	if err != nil {
		return err
	}
	if file != c.File {
		defer file.Close()
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Type() == os.ModeDevice {
		v.device = file.Name()
		return nil
	}
	if v.loop, err = Attach(ctx, file, c.ReadOnly); err != nil {
		return err
	}
	v.device = v.loop.Path()
	v.later(v.loop.Detach)
	return nil
}

func (c Config) image() (*os.File, error) {
	switch {
	case c.File != nil:
		return c.File, nil
	case c.ReadOnly:
		return os.Open(c.Path)
	}
	return os.OpenFile(c.Path, os.O_RDWR, 0)
}

func (v *Volume) later(s undoStep) { v.undo = append(v.undo, s) }

// mountPoint makes an empty directory, or takes one that is there, such as a crash left.
func mountPoint(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if err == nil || !errors.Is(err, os.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("mount point %s: %w", dir, unix.ENOTEMPTY)
	}
	return err
}

func removeMountPoint(dir string) error {
	// Rmdir and nothing stronger: should the file system still be mounted, its content must survive.
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove mount point %s: %w", dir, err)
	}
	return nil
}

// flush puts what was written to a device on the stable storage of what is below it.
func flush(ctx context.Context, device string) error {
	return act(ctx, syncTimeout, "flush "+device, func() error {
		dev, err := os.Open(device)
		if err != nil {
			return err
		}
		defer dev.Close()
		return dev.Sync()
	}, nil)
}

// Dir is where the file system is mounted.
func (v *Volume) Dir() string { return v.dir }

// Device is the block device that is mounted.
func (v *Volume) Device() string { return v.device }

// Free gives the bytes that can still be written and the bytes that there are in all.
func (v *Volume) Free() (free, total int64, err error) { return Free(v.dir) }

// Trim makes what is free in the file system a hole in the image, as far as the storage below can.
func (v *Volume) Trim(ctx context.Context) error { return Trim(ctx, v.dir) }

// Sync puts everything on stable storage.
func (v *Volume) Sync(ctx context.Context) error { return Sync(ctx, v.dir) }

// Discard is Close for a volume whose content nobody wants: what was written need not reach the storage, which
// may be full, so that it cannot.
func (v *Volume) Discard(ctx context.Context) error {
	v.mu.Lock()
	v.unwanted = true
	v.mu.Unlock()
	return v.Close(ctx)
}

// InUse reports whether the kernel still has the image open, after a Close that found it busy. Where the image is a
// block device that is not known, and Close may be tried.
func (v *Volume) InUse() bool { return v.loop != nil && v.loop.inUse() }

// Close unmounts, detaches and removes the mount point. What was written is on stable storage when it returns nil. It works
// also when ctx has ended, and may be called twice: the second call tries again what the first one could not do.
// Errors: *[BusyError] when processes still use the file system.
func (v *Volume) Close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	var errs []error
	var left []undoStep
	for i := len(v.undo) - 1; i >= 0; i-- {
		if err := v.undo[i](ctx); err != nil {
			errs = append(errs, err)
			left = append([]undoStep{v.undo[i]}, left...)
		}
	}
	v.undo = left
	return errors.Join(errs...)
}
