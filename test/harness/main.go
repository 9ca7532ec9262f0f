package harness

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolpatch/internal/volume"
)

const (
	// patience is how long a condition may take to come true. It is for a slow machine: no test waits for
	// it to pass.
	patience = time.Minute
	// glance lies between two looks at a condition.
	glance = 5 * time.Millisecond
	// commandTimeout bounds a program that a test runs: gpg, mkfs, mount.
	commandTimeout = 2 * time.Minute

	// parallel is how many tests of a package run at once.
	parallel = 4

	workPattern = "poolpatch-test-*"
	lockName    = "lock"
)

// work is the directory of this test run, with a lock that says that the run lives.
var work string

// Main runs the tests of a package in a mount namespace and a directory of their own. It is called by
// TestMain and returns the exit code.
func Main(m *testing.M) int {
	if err := volume.Isolate(); err != nil {
		fmt.Fprintln(os.Stderr, "end-to-end tests need root:", err)
		return 1
	}
	lock, err := enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer lock.Close()
	go starter()
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		_ = f.Value.Set(strconv.Itoa(parallel)) // these tests wait for daemons more than they compute
	}
	code := m.Run()
	if err := os.RemoveAll(work); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// enter removes what killed runs left and makes the directory of this one.
func enter() (lock *os.File, err error) {
	guard, err := flock(filepath.Join(os.TempDir(), "poolpatch-test.guard"), 0)
	if err != nil {
		return nil, err
	}
	defer guard.Close()
	dead, err := filepath.Glob(filepath.Join(os.TempDir(), workPattern, lockName))
	if err != nil {
		return nil, err
	}
	for _, name := range dead {
		f, err := flock(name, unix.LOCK_NB)
		if err != nil {
			continue // its run lives
		}
		err = removeRun(filepath.Dir(name))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("what a killed run left: %w", err)
		}
	}
	if work, err = os.MkdirTemp("", workPattern); err != nil {
		return nil, err
	}
	return flock(filepath.Join(work, lockName), 0)
}

// removeRun removes the directory of a dead run, the processes that work below it and the loop devices over its files. Its
// mounts ended with it: they were in its namespace.
func removeRun(dir string) error {
	if err := killBelow(dir); err != nil {
		return err
	}
	devices, err := volume.Devices()
	if err != nil {
		return err
	}
	for _, d := range devices {
		if strings.HasPrefix(d.Backing, dir+"/") {
			if err := Run("", "losetup", "--detach", d.Path); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(dir)
}

// killBelow kills the processes whose arguments or environment name a file below a directory, and waits for their end:
// daemons, programs of patches, and what a test started itself.
func killBelow(dir string) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !names(pid, dir+"/") {
			continue
		}
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by itself
		if !within(patience, func() bool { return !names(pid, dir+"/") }) {
			return fmt.Errorf("process %d does not end", pid)
		}
	}
	return nil
}

// names reports whether a process has a text in its arguments or its environment. One that has ended has neither.
func names(pid int, text string) bool {
	args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	environment, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return bytes.Contains(args, []byte(text)) || bytes.Contains(environment, []byte(text))
}

// flock takes the lock on a file, which ends with the process at the latest.
func flock(name string, flags int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|flags); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Dir makes a directory that goes with the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(work, "t-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Run runs a program with the given standard input. The error says what it printed.
func Run(stdin string, argv ...string) error {
	_, err := Output(stdin, argv...)
	return err
}

// Output is Run that gives the standard output.
func Output(stdin string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s%s", strings.Join(argv, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// Eventually waits until a condition holds, and fails the test when it does not come true.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	if !within(patience, holds) {
		t.Fatalf("in %v it did not come true that %s", patience, what)
	}
}

func within(limit time.Duration, holds func() bool) bool {
	deadline, tick := time.NewTimer(limit), time.NewTicker(glance)
	defer deadline.Stop()
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return holds()
		}
	}
	return true
}

// starts are programs for the starter.
var starts = make(chan start)

type start struct {
	cmd *exec.Cmd
	err chan<- error
}

// starter starts every daemon from one thread that never ends, because the kernel kills a child that asked
// for it (Pdeathsig) when the thread that started it ends.
func starter() {
	runtime.LockOSThread()
	for s := range starts {
		s.err <- s.cmd.Start()
	}
}

func startChild(cmd *exec.Cmd) error {
	done := make(chan error)
	starts <- start{cmd, done}
	return <-done
}

// exists reports whether there is a file.
func exists(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, os.ErrNotExist)
}
