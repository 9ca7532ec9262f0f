package volume

import (
	"fmt"
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests that x/sys/unix has no names for, as linux/fs.h, linux/fiemap.h and linux/ext4.h define them; the numbers are those of x86
// and ARM.
const (
	ioctlTrim       = 0xc0185879 // FITRIM, _IOWR('X', 121, struct fstrim_range)
	ioctlExtents    = 0xc020660b // FS_IOC_FIEMAP, _IOWR('f', 11, struct fiemap)
	ioctlResizeExt4 = 0x40086610 // EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64)
)

// trimRange is struct fstrim_range, all in bytes.
type trimRange struct{ start, length, minimum uint64 }

func fitrim(fd int) error {
	return ioctl(fd, ioctlTrim, unsafe.Pointer(&trimRange{length: math.MaxUint64}))
}

func resizeExt4(fd int, blocks uint64) error {
	if err := ioctl(fd, ioctlResizeExt4, unsafe.Pointer(&blocks)); err != nil {
		return fmt.Errorf("resize to %d blocks: %w", blocks, err)
	}
	return nil
}

func ioctl(fd int, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
