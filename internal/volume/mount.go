package volume

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mountTimeout   = time.Minute
	unmountTimeout = 10 * time.Minute // writing back what is dirty takes as long as the storage needs
	busyPatience   = 5 * time.Second  // how long a busy mount is retried before it is taken out of sight
	idlePatience   = time.Second      // the same for a volume that grows, which must come back
	syncTimeout    = 10 * time.Minute
	trimTimeout    = 5 * time.Minute
)

// MountOptions says how [Mount] mounts.
type MountOptions struct {
	ReadOnly bool
}

// mountData: the kernel must not write tables in the background that Format left unwritten, and a file system that proves
// to be damaged must not be written any further.
const mountData = "noinit_itable,errors=remount-ro"

// Mount mounts the ext4 file system on device at dir. Device files and set-uid bits in it have no effect; programs may
// be executed from it.
func Mount(ctx context.Context, device, dir string, o MountOptions) error {
	var flags uintptr = unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOATIME
	if o.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	return act(ctx, mountTimeout, "mount "+device+" at "+dir,
		func() error { return unix.Mount(device, dir, "ext4", flags, mountData) },
		func() { unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) })
}

// BusyError says that a file system was taken out of sight while processes still used it. It is unmounted when the last of
// them lets go, and its device is in use until then.
type BusyError struct {
	Dir     string
	Holders []string // such as "1234 (rpm): cwd /run/volume/x"; may be incomplete
}

// Error names the holders.
func (e *BusyError) Error() string {
	who := strings.Join(e.Holders, "; ")
	if who == "" {
		who = "nobody that can be seen"
	}
	return fmt.Sprintf("%s is busy, held by %s: detached lazily", e.Dir, who)
}

// Is makes errors.Is(err, unix.EBUSY) hold.
func (e *BusyError) Is(target error) bool { return target == unix.EBUSY }

// Unmount unmounts what is mounted at dir; nothing mounted there, or no such directory, is success. A busy one is retried for a
// few seconds; then it is detached lazily and a *[BusyError] says who holds it.
func Unmount(ctx context.Context, dir string) error {
	return act(ctx, unmountTimeout, "unmount "+dir, func() error { return unmount(ctx, dir, busyPatience) }, nil)
}

func unmount(ctx context.Context, dir string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := until(ctx, func() (bool, error) {
		err := unmountOnce(dir, 0)
		return err == nil, notBusy(err)
	})
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	busy := &BusyError{Dir: dir, Holders: holders(dir)}
	if err := unmountOnce(dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("%w: %w", busy, err)
	}
	return busy
}

// unmountOnce takes "there is no mount" for success.
func unmountOnce(dir string, flags int) error {
	err := unix.Unmount(dir, flags|unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// notBusy is err, or nil when err is only that the file system is in use.
func notBusy(err error) error {
	if errors.Is(err, unix.EBUSY) {
		return nil
	}
	return err
}

// Free gives the bytes that can still be written below dir and the bytes that there are in all.
func Free(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// Sync puts everything in the file system at dir on stable storage.
func Sync(ctx context.Context, dir string) error {
	return act(ctx, syncTimeout, "sync "+dir, func() error {
		return inDir(dir, func(fd int) error { return unix.Syncfs(fd) })
	}, nil)
}

// Trim makes what is free in the file system at dir a hole in the image.
func Trim(ctx context.Context, dir string) error {
	return act(ctx, trimTimeout, "trim "+dir, func() error { return inDir(dir, fitrim) }, nil)
}

func inDir(dir string, f func(fd int) error) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}
