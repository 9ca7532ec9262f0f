package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// sh is a command that runs a script; its deadline is far.
func sh(script string) Command {
	return Command{
		Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=/usr/bin:/bin"},
		Deadline: time.Minute, Grace: time.Minute,
	}
}

func TestRunResults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct {
		name, script string
		want         Result
	}{
		{"streams in order", "echo a; echo b >&2; echo c", Result{Output: []byte("a\nb\nc\n")}},
		{"exit code", "exit 7", Result{ExitCode: 7}},
		{"signal", "kill -9 $$", Result{ExitCode: -1, Signal: syscall.SIGKILL}},
		{"no stdin", "cat; echo end", Result{Output: []byte("end\n")}},
		{"environment", "echo $PATH $HOME.", Result{Output: []byte("/usr/bin:/bin .\n")}},
		{"directory", "pwd", Result{Output: []byte(dir + "\n")}},
		{"own group", `cut -d' ' -f5 /proc/$$/stat | grep -qx $$ && echo leader`, Result{Output: []byte("leader\n")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := sh(tt.script)
			c.Dir = dir
			got, err := Run(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			if got.ExitCode != tt.want.ExitCode || got.Signal != tt.want.Signal || got.TimedOut || !bytes.Equal(got.Output, tt.want.Output) {
				t.Errorf("got %+v with output %q, want %+v with %q", got, got.Output, tt.want, tt.want.Output)
			}
		})
	}
}

func TestRunNotStarted(t *testing.T) {
	t.Parallel()
	c := sh("")
	c.Path = "/no/such/program"
	if _, err := Run(context.Background(), c); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing program gave %v", err)
	}
	if _, err := Run(context.Background(), Command{Path: "/bin/true"}); err == nil {
		t.Error("a program without a deadline was run")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the task was cancelled")
	cancel(cause)
	if _, err := Run(ctx, sh("echo ran")); !errors.Is(err, cause) {
		t.Errorf("an ended context gave %v, want its cause", err)
	}
}

// TestRunWaitsForABusyFile has the program file open for writing when Run comes to it, as a fork in another
// goroutine may.
func TestRunWaitsForABusyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("#!/bin/sh\necho ran\n"); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(5*busyInterval, func() { f.Close() })
	c := sh("")
	c.Path, c.Args = path, nil
	got, err := Run(context.Background(), c)
	if err != nil || string(got.Output) != "ran\n" {
		t.Errorf("got %q, %v", got.Output, err)
	}
}

func TestRunDeadline(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, script, output string
		signal               syscall.Signal
		code                 int
	}{
		{"ends at SIGTERM", "echo $$; sleep 1000", "", syscall.SIGTERM, -1},
		{"traps SIGTERM", "trap 'echo bye; exit 3' TERM; echo $$; while :; do :; done", "bye\n", 0, 3},
		{"ignores SIGTERM", "trap '' TERM; echo $$; sleep 1000", "", syscall.SIGKILL, -1},
		{"children ignore it too", "trap '' TERM; (sleep 1000 & sleep 1000) & echo $$; wait", "", syscall.SIGKILL, -1},
		{"stopped", "echo $$; kill -STOP $$", "", syscall.SIGKILL, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := sh(tt.script)
			c.Deadline, c.Grace = 500*time.Millisecond, 300*time.Millisecond
			got, err := Run(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			output := wantGone(t, got.Output)
			if !got.TimedOut || got.Signal != tt.signal || got.ExitCode != tt.code || output != tt.output {
				t.Errorf("got %+v with output %q, want %v %d %q", got, output, tt.signal, tt.code, tt.output)
			}
		})
	}
}

// wantGone checks that nothing is left of the group whose leader printed its number first, and gives what was
// printed after it.
func wantGone(t *testing.T, output []byte) string {
	t.Helper()
	number, rest, _ := strings.Cut(string(output), "\n")
	group, err := strconv.Atoi(number)
	if err != nil {
		t.Fatalf("no process number begins the output %q", output)
	}
	if left, err := members(group); len(left) > 0 || err != nil {
		t.Errorf("group %d still has %v, %v", group, left, err)
	}
	return rest
}

// firstWrite is a log that calls a function when the program prints for the first time.
type firstWrite struct {
	once sync.Once
	call func()
}

func (w *firstWrite) Write(p []byte) (int, error) {
	w.once.Do(w.call)
	return len(p), nil
}

func TestRunCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the task was cancelled")
	c := sh("echo $$; sleep 1000")
	c.Log = &firstWrite{call: func() { cancel(cause) }}
	got, err := Run(ctx, c)
	if !errors.Is(err, cause) || got.TimedOut || got.Signal != syscall.SIGTERM {
		t.Errorf("got %+v, %v", got, err)
	}
	wantGone(t, got.Output)
}

// TestRunEndsWhatTheLeaderLeaves has children that hold the pipe when the leader has ended.
func TestRunEndsWhatTheLeaderLeaves(t *testing.T) {
	t.Parallel()
	c := sh("echo $$; sleep 1000 & (sleep 1000 &) ; echo done; exit 4")
	got, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if output := wantGone(t, got.Output); got.ExitCode != 4 || output != "done\n" || got.TimedOut {
		t.Errorf("got %+v with %q", got, output)
	}
}

// TestRunIsNotHeldUp has a process that leaves the group and keeps printing into the pipe.
func TestRunIsNotHeldUp(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	c := sh("setsid sh -c 'echo $$ >" + pidFile + "; while echo on; do sleep 0.1; done' & while ! test -s " + pidFile + "; do :; done; echo leader")
	before := time.Now()
	got, err := Run(context.Background(), c)
	if err != nil || !strings.Contains(string(got.Output), "leader\n") {
		t.Errorf("got %+v with %q, %v", got, got.Output, err)
	}
	if took := time.Since(before); took > 10*drainTimeout {
		t.Errorf("held up for %v", took)
	}
	// Its next print ends it: nobody reads any more.
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(pid)))
	if gone, err := vanishes(n, 20*time.Second); !gone || err != nil {
		_ = syscall.Kill(n, syscall.SIGKILL)
		t.Errorf("process %d still prints: %v", n, err)
	}
}

type countingLog struct {
	n    int64
	last []byte
}

func (l *countingLog) Write(p []byte) (int, error) {
	l.n += int64(len(p))
	l.last = append(l.last[:0], p...)
	return len(p), nil
}

// TestRunGigabyte checks that memory and log stay bounded.
func TestRunGigabyte(t *testing.T) {
	t.Parallel()
	log := &countingLog{}
	c := sh("echo begin; dd if=/dev/zero bs=1M count=1024 2>/dev/null; echo end")
	c.Log = log
	got, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	const total = 6 + 1<<30 + 4
	if len(got.Output) > defaultOutputLimit+64 || got.Omitted != total-defaultOutputLimit {
		t.Errorf("kept %d bytes, omitted %d", len(got.Output), got.Omitted)
	}
	if !bytes.HasPrefix(got.Output, []byte("begin\n")) || !bytes.HasSuffix(got.Output, []byte("\x00end\n")) {
		t.Errorf("kept %q ... %q", got.Output[:10], got.Output[len(got.Output)-10:])
	}
	if !bytes.Contains(got.Output, []byte("\n[1072693258 bytes left out]\n")) {
		t.Error("no line says how much is missing")
	}
	if log.n > defaultLogLimit+100 || string(log.last) != "\n[1056964618 more bytes of output were not logged]\n" {
		t.Errorf("logged %d bytes, the last %q", log.n, log.last)
	}
}

func TestRunLogFails(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	c := sh("echo out")
	c.Log = full
	got, err := Run(context.Background(), c)
	if err != nil || string(got.Output) != "out\n" || !errors.Is(got.LogError, syscall.ENOSPC) {
		t.Errorf("got %+v with %q, %v; a full log must not fail the program", got, got.Output, err)
	}
}

func TestExcerpt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, want string
	}{
		{"", ""},
		{"abcdefgh", "abcdefgh"},
		{"abcdefghi", "abcd\n[1 bytes left out]\nfghi"},
		{"abcdefghijklmnopqr", "abcd\n[10 bytes left out]\nopqr"},
	} {
		for step := 1; step <= len(tt.in)+1; step++ {
			e := excerpt{limit: 8}
			for in := []byte(tt.in); len(in) > 0; {
				n := min(step, len(in))
				e.add(in[:n])
				in = in[n:]
			}
			if got := string(e.bytes()); got != tt.want {
				t.Errorf("%q in steps of %d: %q, want %q", tt.in, step, got, tt.want)
			}
		}
	}
}
