package volume

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Grow makes the file system as large as the image, which its owner has made at least size bytes long before.
//
// It works while files are open and written, if the process has CAP_SYS_RESOURCE, which root usually has. The kernel refuses
// it to root in a container that lacks the capability. There the volume is unmounted for a moment: then no file in it
// may be open, or Grow returns an error that is unix.EBUSY and the volume is as it was. So a caller that closes its
// files before and opens them again after works everywhere.
func (v *Volume) Grow(ctx context.Context, size int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.loop != nil {
		if err := v.loop.Grow(ctx, size); err != nil {
			return err
		}
	}
	err := growOnline(ctx, v.device, v.dir)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	if err := v.growOffline(ctx); err != nil {
		return fmt.Errorf("grow %s without CAP_SYS_RESOURCE: %w", v.dir, err)
	}
	return nil
}

// growOnline makes the file system on the device, mounted at dir, as large as the device.
func growOnline(ctx context.Context, device, dir string) error {
	return act(ctx, resizeTimeout, "grow file system at "+dir, func() error { return growTo(device, dir) }, nil)
}

// growOffline leaves the volume mounted, whether it could grow or not; a volume that cannot be mounted again is still
// taken apart by Close.
func (v *Volume) growOffline(ctx context.Context) error {
	if err := act(ctx, unmountTimeout, "unmount "+v.dir, func() error { return unmountIdle(ctx, v.dir) }, nil); err != nil {
		return err
	}
	err := run(ctx, resizeTimeout, "grow "+v.device, "resize2fs", "-f", v.device)
	return errors.Join(err, Mount(context.WithoutCancel(ctx), v.device, v.dir, v.options))
}

// unmountIdle unmounts what nobody uses.
func unmountIdle(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, idlePatience)
	defer cancel()
	err := until(ctx, func() (bool, error) {
		err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		return err == nil, notBusy(err)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("held by %v: %w", holders(dir), unix.EBUSY)
	}
	return err
}

// growTo asks the kernel to resize the mounted file system to all whole blocks of the device. A device that has not grown
// is success.
func growTo(device, dir string) error {
	dev, err := os.Open(device)
	if err != nil {
		return err
	}
	defer dev.Close()
	size, err := deviceSize(dev)
	if err != nil {
		return err
	}
	return inDir(dir, func(fd int) error { return resizeExt4(fd, uint64(size/blockSize)) })
}
