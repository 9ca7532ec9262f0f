package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
		return under(name, err)
	}
	err = under(name, fn(f))
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

// under says of an error of a file that has another name meanwhile the name that the user gave.
func under(name string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok && strings.HasPrefix(filepath.Base(e.Path), "."+filepath.Base(name)+".part-") {
		e.Path = name
	}
	return err
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

// sparse is a file that is written from where it stands to its end, in which zeroes become holes. It must hold nothing behind
// that place. Its size is right only after end.
type sparse struct {
	*os.File
	at int64
}

// holeSize is how many zeroes make a hole.
const holeSize = 4 << 10

var hole [holeSize]byte

func (s *sparse) Write(p []byte) (written int, err error) {
	for written < len(p) {
		n := s.run(p[written:])
		if !bytes.Equal(p[written:written+n], hole[:min(n, holeSize)]) {
			if n, err = s.WriteAt(p[written:written+n], s.at); err != nil {
				return written + n, err
			}
		}
		written, s.at = written+n, s.at+int64(n)
	}
	return written, nil
}

// run is how much of p is written at once, or becomes a hole: one block of the file that holds zeroes, or all up to the next such.
func (s *sparse) run(p []byte) int {
	length := 0
	for length < len(p) {
		n := min(holeSize-int((s.at+int64(length))%holeSize), len(p)-length)
		if bytes.Equal(p[length:length+n], hole[:n]) {
			if length == 0 {
				return n
			}
			break
		}
		length += n
	}
	return length
}

// end gives the file its size, which a hole at its end does not.
func (s *sparse) end() error { return s.Truncate(s.at) }
