package filesr

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"poolpatch/internal/durable"
	"poolpatch/internal/storage"
	"poolpatch/xenapi"
)

const (
	// formatVersion is what this code writes and the newest that it reads.
	formatVersion = 1
	markerName    = "poolpatch-sr.json"

	contentSuffix  = ".raw"
	metadataSuffix = ".json"
)

// marker says that a directory is an SR, and which.
type marker struct {
	Format        int    `json:"format"`
	UUID          string `json:"uuid"`
	MadeDirectory bool   `json:"made_directory,omitempty"` // Wipe removes the directory too
}

// directory is an open directory. It stays the one that was opened when its name comes to mean another,
// for instance because the file system below it is unmounted.
type directory struct {
	name   string // what the administrator calls it, for messages
	root   *os.Root
	file   *os.File
	pinned string // a path to the open directory, for what takes paths
}

func openDirectory(name string) (directory, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return directory{}, backendFailure("%s cannot be opened: %v", name, err)
	}
	file, err := root.Open(".")
	if err != nil {
		root.Close()
		return directory{}, backendFailure("%s cannot be opened: %v", name, err)
	}
	return directory{name, root, file, fmt.Sprintf("/proc/self/fd/%d", file.Fd())}, nil
}

func (d directory) close() error { return errors.Join(d.file.Close(), d.root.Close()) }

// path is for names that this package made, never for one from outside.
func (d directory) path(name string) string { return filepath.Join(d.pinned, name) }

// names lists the directory, sorted.
func (d directory) names() ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}

// images lists the UUID of every image of which there is anything, sorted.
func (d directory) images() ([]string, error) {
	names, err := d.names()
	var uuids []string
	for _, name := range names {
		uuid, ok := parseName(name)
		if ok && (len(uuids) == 0 || uuids[len(uuids)-1] != uuid) {
			uuids = append(uuids, uuid)
		}
	}
	return uuids, err
}

// parseName takes the UUID from the name of an image's content or metadata. All other names are foreign.
func parseName(name string) (uuid string, ok bool) {
	for _, suffix := range []string{contentSuffix, metadataSuffix} {
		if base, found := strings.CutSuffix(name, suffix); found {
			uuid, ok = xenapi.ParseUUID(base)
			return uuid, ok && uuid == base
		}
	}
	return "", false
}

// parseLocation takes the UUID from a location, which is the name of the content and nothing else.
func parseLocation(location string) (uuid string, ok bool) {
	uuid, ok = parseName(location)
	return uuid, ok && location == uuid+contentSuffix
}

// marker reads the marker. Errors: fs.ErrNotExist, SR_BACKEND_FAILURE.
func (d directory) marker() (marker, error) {
	var m marker
	data, err := d.root.ReadFile(markerName)
	if err != nil {
		return m, d.unreadable(markerName, err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, backendFailure("%s in %s is damaged: %v", markerName, d.name, err)
	}
	if m.Format < 1 || m.Format > formatVersion {
		return m, backendFailure("%s has format version %d; this poolpatch knows %d and older", d.name, m.Format, formatVersion)
	}
	return m, nil
}

func (d directory) setMarker(m marker) error {
	return d.writeJSON(markerName, m)
}

// recall reads an image's metadata. The names of the files, not their text, say which image it is; the
// length of the content, not the metadata, is its size. Errors: fs.ErrNotExist, *damaged, SR_BACKEND_FAILURE.
func (d directory) recall(uuid string) (storage.Image, error) {
	var img storage.Image
	data, err := d.root.ReadFile(uuid + metadataSuffix)
	if err != nil {
		return img, d.unreadable(uuid+metadataSuffix, err)
	}
	if err := json.Unmarshal(data, &img); err != nil {
		return storage.Image{}, &damaged{filepath.Join(d.name, uuid+metadataSuffix), err}
	}
	img.UUID, img.Location = uuid, uuid+contentSuffix
	return img, nil
}

// remember writes an image's metadata, durably and all or nothing.
func (d directory) remember(img storage.Image) error {
	return d.writeJSON(img.UUID+metadataSuffix, img)
}

func (d directory) writeJSON(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return durable.WriteFile(d.path(name), append(data, '\n'), 0o600)
}

// forget removes all of an image. The metadata goes first: from then on there is no image.
func (d directory) forget(uuid string, gap func(string)) error {
	if err := durable.Remove(d.path(uuid + metadataSuffix)); err != nil {
		return err
	}
	// A crash here leaves content without metadata: incomplete, and forgotten by the next call.
	gap("metadata removed")
	if err := errors.Join(d.removeUnfinished(uuid+metadataSuffix), d.removeUnfinished(uuid+contentSuffix)); err != nil {
		return err
	}
	return durable.Remove(d.path(uuid + contentSuffix))
}

// removeUnfinished removes what crashes within durable writes of a file left beside it.
func (d directory) removeUnfinished(name string) error {
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, other := range names {
		if other != name && strings.HasPrefix(other, ".") && strings.Contains(other, name) {
			if err := d.root.Remove(other); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// space asks the file system. The daemon is root, so blocks reserved for root count as free.
func (d directory) space() (storage.Space, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(d.file.Fd()), &st); err != nil {
		return storage.Space{}, fmt.Errorf("statfs %s: %w", d.name, err)
	}
	unit := int64(st.Frsize)
	return storage.Space{Size: int64(st.Blocks) * unit, Used: int64(st.Blocks-st.Bfree) * unit}, nil
}
