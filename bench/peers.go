package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// commandTimeout bounds one run of a peer. It is for a patch of many gigabytes on a slow disk.
const commandTimeout = 30 * time.Minute

// command runs a program. The error says what it printed.
func command(ctx context.Context, argv ...string) error {
	_, err := output(ctx, argv...)
	return err
}

// output is command that gives what the program printed on standard output, without the space around it.
func output(ctx context.Context, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s%s", strings.Join(argv, " "), err, out.String(), errs.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// writes makes the arm of a program that writes the file out, with what brings it to stable storage if
// synced says so. The file is not there when it starts and not when it has been measured.
func writes(name, out string, synced bool, argv ...string) arm {
	return arm{name, func(ctx context.Context) (time.Duration, error) {
		took, err := timed(func() error {
			if err := command(ctx, argv...); err != nil || !synced {
				return err
			}
			return syncFile(out)
		})
		return took, errors.Join(err, removeFile(out))
	}}
}

// prints makes the arm of a program that writes no file.
func prints(name string, argv ...string) arm {
	return arm{name, func(ctx context.Context) (time.Duration, error) {
		return timed(func() error { return command(ctx, argv...) })
	}}
}

// uncached has the arm start with none of the file in the page cache: who comes second would read what the
// first one fetched.
func uncached(file string, a arm) arm {
	return arm{a.name, func(ctx context.Context) (time.Duration, error) {
		if err := forget(file); err != nil {
			return 0, err
		}
		return a.run(ctx)
	}}
}

func forget(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("drop the page cache of %s: %w", file, err)
	}
	return nil
}

// recall reads the file, so that all of it is in the page cache.
func recall(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, f, make([]byte, 1<<20))
	return err
}

func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func removeFile(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
