package filesr

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"sort"

	"golang.org/x/sys/unix"

	"poolpatch/internal/storage"
	"poolpatch/xenapi"
)

// backendFailure makes SR_BACKEND_FAILURE with a sentence for an administrator.
func backendFailure(format string, args ...any) error {
	return xenapi.ErrSRBackendFailure("1", "", fmt.Sprintf(format, args...))
}

// damaged says that a metadata file is not what this package has written.
type damaged struct {
	file string
	why  error
}

func (d *damaged) Error() string { return fmt.Sprintf("%s is damaged: %v", d.file, d.why) }

// fault classifies what the file system reported while requested bytes were asked of it. What has a
// classification keeps it; what has none stays as it is.
func (d directory) fault(err error, requested int64) error {
	broken, unreadable := errors.AsType[*damaged](err)
	switch {
	case err == nil || xenapi.CodeOf(err) != "":
		return err
	case unreadable:
		return backendFailure("%v; poolpatch check --repair writes it anew from the VDI's record", broken)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", storage.ErrNoImage, err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		space, _ := d.space() // when even this fails, 0 bytes free is true enough
		return xenapi.ErrSRFull(requested, space.Free()).Because(err)
	case errors.Is(err, unix.EFBIG):
		return xenapi.ErrVDITooLarge("", d.largestFile()).Because(err)
	case errors.Is(err, unix.EIO):
		return xenapi.ErrVDIIOError(err.Error()).Because(err)
	case errors.Is(err, unix.EROFS):
		return backendFailure("the file system of %s is read-only", d.name)
	case errors.Is(err, unix.ESTALE):
		return backendFailure("%s is gone from its file server; unplug the PBD and plug it again", d.name)
	}
	return err
}

// unreadable classifies an error of reading a file, but leaves fs.ErrNotExist to the caller.
func (d directory) unreadable(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.fault(fmt.Errorf("read %s in %s: %w", name, d.name, err), 0)
}

// largestFile finds how many bytes long a file can be here, by trying. A sparse file costs nothing.
func (d directory) largestFile() int64 {
	f, err := os.CreateTemp(d.pinned, ".largest-*")
	if err != nil {
		return 0
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return 0
	}
	units := sort.Search(math.MaxInt64/alignment, func(n int) bool {
		return f.Truncate(int64(n+1)*alignment) != nil
	})
	return int64(units) * alignment
}
