// Command bench measures poolpatch beside the tools that an administrator would reach for instead, on this
// machine, in one run: gpg for patches, cp and qemu-img for disk images, openssl for hashing.
//
// A number of one machine means little on another, so what it prints are ratios: medians of several runs in
// which poolpatch and its peer take turns. It is not a test of what poolpatch does: that is in test/. It is
// not a profile either: it says where an aim is missed, not why.
//
// Invariant: both sides of a ratio start from the same files in the same state of the page cache, and both
// end with their data on stable storage or both do not. Everything lives below one temporary directory, in a
// mount namespace of the program's own, and goes when the program ends, also on Ctrl-C.
//
// Start with bench.go, which lists what is measured; turns.go is how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"poolpatch/internal/volume"
)

// Exit codes: 1 is a measurement that could not be made, 2 a wrong flag, 3 a missed aim, 130 Ctrl-C.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitMissed      = 3
	exitInterrupted = 130
)

// options are the flags.
type options struct {
	size   int64 // of the patch, bytes
	huge   int64 // of one more patch whose memory is measured, bytes; 0 is none
	runs   int
	images int // that a pool has when its records are read
	dir    string
	binary string
	json   bool
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if err != nil {
		return exitUsage
	}
	// What this program mounts ends with it, however it ends.
	if err := volume.Isolate(); err != nil {
		fmt.Fprintln(stderr, "bench needs root:", err)
		return exitFailed
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	found, err := measure(ctx, o, stderr)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "interrupted; nothing is left behind")
		return exitInterrupted
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return exitFailed
	}
	if err := found.write(stdout, o.json); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitFailed
	}
	if found.missed() > 0 {
		return exitMissed
	}
	return 0
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{size: 1 << 30}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Var((*bytesFlag)(&o.size), "size", "size of the patch, such as 256M or 1G")
	f.Var((*bytesFlag)(&o.huge), "huge", "also measure the daemon's memory with a patch of this size, such as 8G; it takes five times that of disk")
	f.IntVar(&o.runs, "runs", 3, "how often each thing is measured")
	f.IntVar(&o.images, "images", 1000, "VDIs in the pool when its records are read")
	f.StringVar(&o.dir, "dir", os.TempDir(), "directory to work in, on the disk that is to be measured")
	f.StringVar(&o.binary, "poolpatch", "bin/poolpatch", "the daemon's program")
	f.BoolVar(&o.json, "json", false, "print JSON")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if err := o.check(f.Args()); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return o, err
	}
	return o, nil
}

func (o options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("what is %q?", rest)
	case o.runs < 1, o.images < 1:
		return errors.New("--runs and --images are at least 1")
	case o.size < warmupSize:
		return fmt.Errorf("--size is at least %s", size(warmupSize))
	}
	return nil
}

// bytesFlag is a number of bytes with an optional K, M or G of 1024.
type bytesFlag int64

func (b *bytesFlag) String() string { return size(int64(*b)) }

func (b *bytesFlag) Set(text string) error {
	shift := 0
	if i := strings.IndexAny(text, "KMG"); i >= 0 && i == len(text)-1 {
		shift = 10 * (1 + strings.IndexByte("KMG", text[i]))
		text = text[:i]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1<<(62-shift) {
		return errors.New("it is a number of bytes, with K, M or G after it or not")
	}
	*b = bytesFlag(n << shift)
	return nil
}

// size writes a number of bytes as bytesFlag reads it.
func size(n int64) string {
	for i, unit := range "GMK" {
		if shift := 10 * (3 - i); n != 0 && n%(1<<shift) == 0 {
			return strconv.FormatInt(n>>shift, 10) + string(unit)
		}
	}
	return strconv.FormatInt(n, 10)
}
