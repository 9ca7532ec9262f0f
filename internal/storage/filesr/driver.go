package filesr

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/semaphore"

	"poolpatch/internal/durable"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/image"
	"poolpatch/xenapi"
)

// locationKey is the device_config key that names the directory.
const locationKey = "location"

// Driver is the driver of directories. The zero Driver is ready to use.
type Driver struct {
	// gap is called, with the name of the gap, between two steps of a change: tests crash there.
	gap func(string)
}

// Describe says what the driver's SM record shows.
func (Driver) Describe() storage.Description {
	return storage.Description{
		Name:      "File",
		Text:      "SR of disk images that are files in a directory, which hosts may share",
		Vendor:    "poolpatch",
		Copyright: "the poolpatch authors",
		Version:   "1.0",
		Configuration: map[string]string{
			locationKey: "absolute path of the directory; it is made if its parent is there",
		},
		Features: capabilities(true),
	}
}

// capabilities are the same for every directory but for cloning, which its file system must know.
func capabilities(clone bool) storage.Capabilities {
	return storage.Capabilities{
		Create: true, Delete: true, Resize: true, ResizeOnline: true,
		Clone: clone, Snapshot: clone, CBT: clone,
		ThinProvisioning: true,
	}
}

// Create makes an SR of a directory, which may be there and hold other files, but not another SR. Errors:
// VALUE_NOT_SUPPORTED for a location that cannot be one or a key that the driver does not know, SR_DEVICE_IN_USE where another SR is,
// SR_BACKEND_FAILURE with a text for an administrator, SR_FULL.
func (d Driver) Create(ctx context.Context, cfg storage.Config) error {
	path, uuid, err := d.parse(ctx, cfg)
	if err != nil {
		return err
	}
	if err := d.known(cfg.DeviceConfig); err != nil {
		return err
	}
	made, err := makeDirectory(path)
	if err != nil {
		return err
	}
	// A crash here leaves an empty directory. The next Create takes it; it is then not removed by Wipe.
	if err := initialise(path, marker{Format: formatVersion, UUID: uuid, MadeDirectory: made}); err != nil {
		if made {
			err = errors.Join(err, syscall.Rmdir(path))
		}
		return fmt.Errorf("create SR %s in %s: %w", uuid, path, err)
	}
	return nil
}

// initialise writes the marker, unless it is there.
func initialise(path string, m marker) error {
	dir, err := openDirectory(path)
	if err != nil {
		return err
	}
	defer dir.close()
	found, err := dir.marker()
	switch {
	case err == nil && found.UUID == m.UUID:
		return nil
	case err == nil:
		return xenapi.ErrSRDeviceInUse().Because(fmt.Errorf("the directory is SR %s", found.UUID))
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	left, err := dir.images()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return backendFailure("%s holds %d disk images but no %s; restore that file or move the images away",
			path, len(left), markerName)
	}
	return dir.fault(dir.setMarker(m), alignment)
}

// makeDirectory makes the directory unless it is there, and says whether it did.
func makeDirectory(path string) (made bool, err error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return false, nil
	case err == nil:
		return false, backendFailure("%s is not a directory", path)
	case !errors.Is(err, fs.ErrNotExist):
		return false, backendFailure("%s cannot be used: %v", path, err)
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return false, backendFailure("%s cannot be made, because %s is not there", path, filepath.Dir(path))
	}
	if err := durable.Mkdir(path, 0o700); err != nil {
		return false, backendFailure("%s cannot be made: %v", path, err)
	}
	return true, nil
}

// Attach opens the directory and tries whether its file system can clone. Errors: VALUE_NOT_SUPPORTED,
// SR_BACKEND_FAILURE when the directory is not this SR or was made by a newer poolpatch.
func (d Driver) Attach(ctx context.Context, cfg storage.Config) (storage.SR, error) {
	path, uuid, err := d.parse(ctx, cfg)
	if err != nil {
		return nil, err
	}
	dir, err := openDirectory(path)
	if err != nil {
		return nil, err
	}
	m, err := dir.marker()
	if err == nil && m.UUID != uuid {
		err = backendFailure("%s is SR %s, not %s", path, m.UUID, uuid)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = backendFailure("%s is no SR: it has no %s; is its file system mounted?", path, markerName)
	}
	if err != nil {
		dir.close()
		return nil, err
	}
	return &sr{
		uuid: uuid, directory: dir, madeDirectory: m.MadeDirectory,
		can:   capabilities(image.CanClone(dir.pinned)),
		users: semaphore.NewWeighted(everybody),
		gap:   d.hook(),
	}, nil
}

func (d Driver) hook() func(string) {
	if d.gap == nil {
		return func(string) {}
	}
	return d.gap
}

// parse checks what an administrator wrote.
func (Driver) parse(ctx context.Context, cfg storage.Config) (path, uuid string, err error) {
	if err := ctx.Err(); err != nil {
		return "", "", err
	}
	uuid, ok := xenapi.ParseUUID(cfg.UUID)
	if !ok {
		return "", "", xenapi.ErrInvalidValue("uuid", cfg.UUID)
	}
	path = cfg.DeviceConfig[locationKey]
	if reason := unfit(path); reason != "" {
		return "", "", xenapi.ErrValueNotSupported("device_config:"+locationKey, path, reason)
	}
	return path, uuid, nil
}

// known refuses keys that the driver would not read. A PBD of an SR that is there may have some, from other tools.
func (d Driver) known(deviceConfig map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(deviceConfig)) {
		if _, ok := d.Describe().Configuration[key]; !ok {
			return xenapi.ErrValueNotSupported("device_config:"+key, deviceConfig[key], "the driver knows no such key; it reads "+locationKey)
		}
	}
	return nil
}

// unfit says why a path cannot be an SR's, or nothing.
func unfit(path string) string {
	switch {
	case path == "":
		return "it must name the directory of the SR"
	case !filepath.IsAbs(path):
		return "it must be an absolute path"
	case strings.ContainsRune(path, 0):
		return "it must not contain a NUL"
	case filepath.Clean(path) != path:
		return "it must be written plainly: " + filepath.Clean(path)
	case path == "/":
		return "the root directory cannot be an SR"
	}
	return ""
}

// Probe implements storage.Prober.
func (Driver) Probe(_ context.Context, deviceConfig map[string]string) (uuid string, err error) {
	location := deviceConfig[locationKey]
	if reason := unfit(location); reason != "" {
		return "", xenapi.ErrValueNotSupported("device_config:"+locationKey, location, reason)
	}
	if _, err := os.Stat(location); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	dir, err := openDirectory(location)
	if err != nil {
		return "", err
	}
	defer dir.close()
	m, err := dir.marker()
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return m.UUID, err
}
