// Package durable changes files so that the change survives a power loss once the call has returned.
//
// It is for the few small files whose presence means something: stamps, metadata, markers. It is not for
// content, which its writer syncs itself, and it is no transaction: it changes one name at a time.
//
// Invariant: after a crash at any point, a file that WriteFile writes holds all of the old bytes or all of
// the new ones. What may be left beside it is one file named as unfinished says. Start with WriteFile.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// WriteFile makes path hold data, with the permissions perm whatever the umask. A reader sees the old
// file or the new one, never a part. The directory must exist.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	temp, err := writeTemp(path, data, perm)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// A crash here leaves the temporary file, complete, and path as it was.
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	// A crash here may undo the rename, and gives the old bytes back: the call has not returned yet.
	return SyncDir(filepath.Dir(path))
}

// unfinished is the name pattern of what a crash within WriteFile leaves beside the file.
func unfinished(path string) string { return "." + filepath.Base(path) + ".tmp-*" }

func writeTemp(path string, data []byte, perm fs.FileMode) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), unfinished(path))
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(data); err != nil {
		return "", errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Chmod(perm), f.Sync()); err != nil {
		return "", errors.Join(err, f.Close())
	}
	return f.Name(), f.Close()
}

// Remove removes a file or an empty directory; one that is missing is success, and then the directory is
// synced all the same: an earlier removal may not have reached the disk.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := SyncDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Mkdir makes a directory, with the permissions perm whatever the umask. One that is there already is an
// error that fs.ErrExist matches.
func Mkdir(path string, perm fs.FileMode) error {
	if err := os.Mkdir(path, perm); err != nil {
		return err
	}
	if err := os.Chmod(path, perm); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory durable: what was made, renamed or removed in it.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer f.Close()
	// Some network file systems have no fsync for directories, and answer EINVAL: their servers order names.
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
