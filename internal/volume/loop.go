package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	attachTimeout = 30 * time.Second
	detachTimeout = 10 * time.Second
	resizeTimeout = 5 * time.Minute // of a file system by terabytes
)

// Loop is a block device over a file. The kernel holds the file open; the device clears itself when the Loop is detached
// or the process has ended, and nothing has it mounted or open.
type Loop struct {
	path     string
	identity string // of the device in this very use
	direct   bool

	mu  sync.Mutex
	dev *os.File // nil after Detach
}

// Attach makes a loop device over file, which the caller may close afterwards. Where the file can, the device bypasses the
// page cache, which is several times as fast and keeps every byte once in memory. readOnly must be set for a file
// that is open for reading only.
func Attach(ctx context.Context, file *os.File, readOnly bool) (*Loop, error) {
	return step(ctx, attachTimeout, "attach "+file.Name(), func() (*Loop, error) { return attach(ctx, file, readOnly) },
		func(l *Loop) { l.close() })
}

// AttachPath is Attach for a file by its name.
func AttachPath(ctx context.Context, path string, readOnly bool) (*Loop, error) {
	flag := os.O_RDWR
	if readOnly {
		flag = os.O_RDONLY
	}
	file, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return Attach(ctx, file, readOnly)
}

// Path is the device's name, such as /dev/loop3.
func (l *Loop) Path() string { return l.path }

// Direct reports whether the device bypasses the page cache of the file below it.
func (l *Loop) Direct() bool { return l.direct }

// attach asks for a free device until it gets one: between the question and the use another process may take it.
func attach(ctx context.Context, file *os.File, readOnly bool) (*Loop, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	config := configuration(file, readOnly)
	var l *Loop
	err = until(ctx, func() (bool, error) {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return false, fmt.Errorf("find a free loop device: %w", err)
		}
		l, err = configure(n, config)
		if errors.Is(err, unix.EBUSY) {
			return false, nil
		}
		return err == nil, err
	})
	return l, err
}

func configuration(file *os.File, readOnly bool) *unix.LoopConfig {
	c := &unix.LoopConfig{Fd: uint32(file.Fd()), Size: 512}
	c.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	if readOnly {
		c.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	if sector := directSector(file); sector > 0 {
		c.Info.Flags |= unix.LO_FLAGS_DIRECT_IO
		c.Size = sector
	}
	name := file.Name()
	copy(c.Info.File_name[:len(c.Info.File_name)-1], name[max(0, len(name)-len(c.Info.File_name)+1):])
	return c
}

// directSector is the grain of direct I/O on file in bytes, or 0 where the file has none. A grain above the page size
// counts as none, because no file system could use such a device.
func directSector(file *os.File) uint32 {
	var st unix.Statx_t
	err := unix.Statx(int(file.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	switch {
	case err != nil || st.Mask&unix.STATX_DIOALIGN == 0:
		return 512 // not known: the kernel takes the flag back when it cannot
	case st.Dio_offset_align == 0 || st.Dio_offset_align > blockSize:
		return 0
	}
	return max(512, st.Dio_offset_align)
}

func configure(number int, config *unix.LoopConfig) (*Loop, error) {
	path := "/dev/loop" + strconv.Itoa(number)
	dev, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlLoopConfigure(int(dev.Fd()), config); err != nil {
		dev.Close()
		return nil, fmt.Errorf("configure %s: %w", path, err)
	}
	status, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
	if err != nil {
		dev.Close() // and the device clears itself
		return nil, fmt.Errorf("status of %s: %w", path, err)
	}
	return &Loop{path: path, identity: identity(path), dev: dev, direct: status.Flags&unix.LO_FLAGS_DIRECT_IO != 0}, nil
}

// Size is the device's size in bytes.
func (l *Loop) Size() (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dev == nil {
		return 0, fmt.Errorf("size of %s: %w", l.path, os.ErrClosed)
	}
	return deviceSize(l.dev)
}

func deviceSize(dev *os.File) (int64, error) {
	size, err := dev.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", dev.Name(), err)
	}
	return size, nil
}

// Grow makes the device see that the file below it has grown to at least size bytes; who owns the file has made it longer
// before. The device takes the file's whole length.
func (l *Loop) Grow(ctx context.Context, size int64) error {
	return act(ctx, resizeTimeout, "grow "+l.path, func() error { return l.grow(size) }, nil)
}

func (l *Loop) grow(size int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dev == nil {
		return os.ErrClosed
	}
	if err := unix.IoctlSetInt(int(l.dev.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("set capacity: %w", err)
	}
	now, err := deviceSize(l.dev)
	if err != nil {
		return err
	}
	if now < size {
		return fmt.Errorf("the file below has %d bytes of %d", now, size)
	}
	return nil
}

// Detach gives the device back and waits until the kernel has let go of the file. It may be called twice. An error says
// that the device is still in use; it clears itself when that ends.
func (l *Loop) Detach(ctx context.Context) error {
	l.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachTimeout)
	defer cancel()
	err := until(ctx, func() (bool, error) { return !l.inUse(), nil })
	if err != nil {
		return fmt.Errorf("detach %s: still in use: %w", l.path, err)
	}
	return nil
}

func (l *Loop) inUse() bool { return identity(l.path) == l.identity }

func (l *Loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dev != nil {
		l.dev.Close()
		l.dev = nil
	}
}
