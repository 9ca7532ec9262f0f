package volume

import (
	"fmt"
	"math"
	"os"
	"unsafe"
)

// Extent is a part of a file that lies in one piece in the image: Length bytes that begin at Logical in the file and
// at Physical in the image.
type Extent struct{ Logical, Physical, Length int64 }

// Extents says where the content of a file of a volume is. It leaves out what has no fixed place that can be read in the
// image: holes, space that is reserved and not written, and whatever else the file system does not store as it is.
func Extents(path string) ([]Extent, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []Extent
	for start, last := uint64(0), false; !last; {
		var found extentMap
		if found, err = fiemap(int(f.Fd()), start); err != nil {
			return nil, fmt.Errorf("extents of %s: %w", path, err)
		}
		last = found.mapped == 0
		for _, e := range found.extents[:found.mapped] {
			start, last = e.logical+e.length, e.flags&extentLast != 0
			if e.flags&^(extentLast|extentMerged) == 0 {
				all = append(all, Extent{int64(e.logical), int64(e.physical), int64(e.length)})
			}
		}
	}
	return all, nil
}

// Of an extent, as linux/fiemap.h defines them.
const (
	extentLast   = 0x1    // the file has none behind it
	extentMerged = 0x1000 // reported as one, though stored as several
	mapSync      = 0x1    // of the request: write out first what is only in memory
)

// extentMap is struct fiemap with room for some extents, and fileExtent is struct fiemap_extent.
type (
	extentMap struct {
		start, length               uint64
		flags, mapped, room, unused uint32
		extents                     [64]fileExtent
	}
	fileExtent struct {
		logical, physical, length uint64
		_                         [2]uint64
		flags                     uint32
		_                         [3]uint32
	}
)

func fiemap(fd int, start uint64) (m extentMap, err error) {
	m.start, m.length, m.flags, m.room = start, math.MaxUint64-start, mapSync, uint32(len(m.extents))
	return m, ioctl(fd, ioctlExtents, unsafe.Pointer(&m))
}
