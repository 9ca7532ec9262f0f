package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// input opens a file to read, - for stdin, and gives its size in bytes, -1 where that is not known.
func (c *cli) input(name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(c.stdin), -1, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fmt.Errorf("%s is a directory", name)
	case info.Mode().IsRegular():
		return f, info.Size(), nil
	default:
		return f, -1, nil
	}
	return nil, 0, errors.Join(err, f.Close())
}

// outputFile gives fn a file to write, which gets its name only when fn has succeeded: nothing is left of a
// failure, and what stood there before stays. The name - is stdout. What is no regular file, as a device or a pipe, is
// written itself: a file in the place of /dev/null would be a bad surprise for everybody on the machine.
func (c *cli) outputFile(name string, mode os.FileMode, fn func(io.Writer) error) error {
	if name == "-" {
		if terminal(c.stdout) {
			return usagef("that is no text for a terminal: -o FILE, or send it on with a pipe")
		}
		return fn(c.stdout)
	}
	special, err := isSpecial(name)
	if err != nil {
		return err
	}
	if special {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(fn(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".part-")
	if err != nil {
		return err
	}
	err = fn(f)
	if err == nil {
		err = errors.Join(f.Chmod(mode), f.Sync())
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// isSpecial reports whether there is something of a name that is neither a regular file nor a directory, which is an error.
func isSpecial(name string) (bool, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.IsDir():
		return false, fmt.Errorf("%s is a directory", name)
	}
	return !info.Mode().IsRegular(), nil
}
