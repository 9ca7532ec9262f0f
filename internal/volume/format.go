package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	formatTimeout = 2 * time.Minute

	// blockSize of the file system in bytes, the same for every size, so that small images grow into large ones and
	// sectors of 512 and 4096 bytes both fit.
	blockSize = 4096

	// inodeRatio is the bytes for each inode: room for a repository's many packages, at 0.8 % of the space.
	inodeRatio = 32 << 10

	// MinSize is the smallest image that Format takes, in bytes: below it too few inodes and blocks would be left.
	MinSize = 16 << 20

	// maxLabel is the longest label that ext4 has room for, in bytes.
	maxLabel = 16
)

// features are all named, so that the host's mke2fs.conf has no say. There is no journal: the images are written once and
// then verified by digest, or are private copies, so after a crash they are thrown away and not repaired.
// resize_inode with 64bit allows growth while mounted; the kernel goes over to meta_bg when the reserve is used up.
const features = "none,64bit,dir_index,dir_nlink,ext_attr,extent,extra_isize,filetype,flex_bg,huge_file,large_file," +
	"metadata_csum,resize_inode,sparse_super"

// Format makes an ext4 file system on a device of at least MinSize bytes and destroys what was there. No space is
// reserved, and tables stay unwritten, so a fresh image stays nearly empty. Errors carry what mke2fs said.
func Format(ctx context.Context, device, label string) error {
	if len(label) > maxLabel {
		return fmt.Errorf("format %s: label %q is longer than %d bytes", device, label, maxLabel)
	}
	if err := largeEnough(device); err != nil {
		return fmt.Errorf("format %s: %w", device, err)
	}
	return run(ctx, formatTimeout, "format "+device, "mke2fs", "-q", "-F", "-T", "default", "-O", features,
		"-b", strconv.Itoa(blockSize), "-i", strconv.Itoa(inodeRatio), "-I", "256", "-m", "0",
		"-E", "nodiscard,lazy_itable_init=1,root_owner=0:0", "-L", label, device)
}

// run runs a program of e2fsprogs; what it said is part of the error, and so is the error number that it named.
func run(ctx context.Context, limit time.Duration, what, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "MKE2FS_CONFIG=/dev/null"}
	cmd.WaitDelay = time.Second // for the output of a program that the kernel does not let die
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("%s: %s: %w: %w", what, program, err, said(out))
}

// said makes an error of a program's output. Programs name error numbers as the C library does, which writes them as Go does
// but for a capital.
func said(out []byte) error {
	text := string(bytes.TrimSpace(out))
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(errno.Error())) {
			return spoken{errno, text}
		}
	}
	return errors.New(text)
}

// spoken is an error number as a program told it.
type spoken struct {
	syscall.Errno
	text string
}

func (s spoken) Error() string { return s.text }
func (s spoken) Unwrap() error { return s.Errno }

func largeEnough(device string) error {
	dev, err := os.Open(device)
	if err != nil {
		return err
	}
	defer dev.Close()
	size, err := deviceSize(dev)
	if err == nil && size < MinSize {
		err = fmt.Errorf("%d bytes are less than %d", size, int64(MinSize))
	}
	return err
}
