package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
		{"ends at SIGTERM", "echo on; sleep 1000", "on\n", syscall.SIGTERM, -1},
		{"traps SIGTERM", "trap 'echo bye; exit 3' TERM; echo on; while :; do :; done", "on\nbye\n", 0, 3},
		{"ignores SIGTERM", "trap '' TERM; echo on; sleep 1000", "on\n", syscall.SIGKILL, -1},
		{"children ignore it too", "trap '' TERM; (sleep 1000 & sleep 1000) & echo on; wait", "on\n", syscall.SIGKILL, -1},
		{"stopped", "echo on; kill -STOP $$", "on\n", syscall.SIGKILL, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := sh(tt.script)
			c.Deadline, c.Grace = 500*time.Millisecond, 300*time.Millisecond
			var p Process
			c.Started = func(started Process) { p = started }
			got, err := Run(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			if !got.TimedOut || got.Signal != tt.signal || got.ExitCode != tt.code || string(got.Output) != tt.output {
				t.Errorf("got %+v with output %q, want %v %d %q", got, got.Output, tt.signal, tt.code, tt.output)
			}
			wantGone(t, p.Group)
		})
	}
}

func wantGone(t *testing.T, group int) {
	t.Helper()
	if left, err := members(group); group == 0 || len(left) > 0 || err != nil {
		t.Errorf("group %d still has %v, %v", group, left, err)
	}
}

func TestRunCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the task was cancelled")
	c := sh("sleep 1000")
	group := 0
	c.Started = func(p Process) { group = p.Group; cancel(cause) }
	got, err := Run(ctx, c)
	if !errors.Is(err, cause) || got.TimedOut || got.Signal != syscall.SIGTERM {
		t.Errorf("got %+v, %v", got, err)
	}
	wantGone(t, group)
}

// TestRunEndsWhatTheLeaderLeaves has children that hold the pipe when the leader has ended.
func TestRunEndsWhatTheLeaderLeaves(t *testing.T) {
	t.Parallel()
	c := sh("sleep 1000 & (sleep 1000 &) ; echo done; exit 4")
	group := 0
	c.Started = func(p Process) { group = p.Group }
	got, err := Run(context.Background(), c)
	if err != nil || got.ExitCode != 4 || string(got.Output) != "done\n" || got.TimedOut {
		t.Errorf("got %+v with %q, %v", got, got.Output, err)
	}
	wantGone(t, group)
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

// group starts a script in a group of its own, outside Run, and gives the group back when it has printed a line.
func group(t *testing.T, script string, env ...string) (Process, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	p, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	return p, cmd
}

func TestKillGroup(t *testing.T) {
	t.Parallel()
	const children = "trap '' TERM; sleep 1000 & sleep 1000 & echo on; "
	for _, tt := range []struct {
		name, script string
		env          []string
		dead         bool // the leader is, when KillGroup comes
		change       func(*Process)
		killed       bool
	}{
		{"leader lives", children + "wait", nil, false, nil, true},
		{"number reused", children + "wait", nil, false, func(p *Process) { p.StartTime-- }, false},
		{"leader dead, children marked", children, []string{mark}, true, nil, true},
		{"leader dead, children not ours", children, nil, true, nil, false},
		{"leader dead, children older", children, []string{mark}, true, func(p *Process) { p.StartTime += 1000 }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, cmd := group(t, tt.script, tt.env...)
			if tt.dead {
				if _, err := cmd.Process.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			if tt.change != nil {
				tt.change(&p)
			}
			if err := KillGroup(context.Background(), p); err != nil {
				t.Fatal(err)
			}
			left, err := members(p.Group)
			if err != nil || (len(left) == 0) != tt.killed {
				t.Errorf("left %v, %v; want killed: %t", left, err, tt.killed)
			}
		})
	}
	for _, group := range []int{-1, 0, 1} {
		if err := KillGroup(context.Background(), Process{Group: group}); err == nil {
			t.Errorf("group %d was taken for one of a program", group)
		}
	}
}

// TestLeaderDiesWithTheDaemon runs this test binary as a daemon that is killed while its program runs.
func TestLeaderDiesWithTheDaemon(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	daemon := exec.Command(os.Args[0], "-test.run=TestHelperDaemon")
	daemon.Env = append(os.Environ(), "SANDBOX_TEST_PID_FILE="+pidFile)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	var p Process
	for deadline := time.Now().Add(time.Minute); p.Group == 0 && time.Now().Before(deadline); pause(context.Background(), pollInterval) {
		text, _ := os.ReadFile(pidFile)
		p.Group, _ = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	started, err := identify(p.Group)
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = daemon.Wait()
	for deadline := time.Now().Add(time.Minute); ; pause(context.Background(), pollInterval) {
		left, err := members(started.Group)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the leader outlives its daemon: %v, %v", left, err)
		}
		if len(left) == 1 {
			break
		}
	}
	// The child that it left is what a recovery finds.
	if err := KillGroup(context.Background(), started); err != nil {
		t.Fatal(err)
	}
	wantGone(t, started.Group)
}

// TestHelperDaemon is the daemon of TestLeaderDiesWithTheDaemon; on its own it does nothing.
func TestHelperDaemon(t *testing.T) {
	pidFile := os.Getenv("SANDBOX_TEST_PID_FILE")
	if pidFile == "" {
		return
	}
	_, _ = Run(context.Background(), sh("sleep 1000 & echo $$ >"+pidFile+".new && mv "+pidFile+".new "+pidFile+"; wait"))
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	const tail = " S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9"
	for _, name := range []string{"(sh)", "(a b)", "(a) S 1 2 3)", "()"} {
		m, err := parseStat(77, "77 "+name+tail)
		if err != nil || m.group != 77 || m.start != 4242 || m.state != 'S' {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	for _, text := range []string{"", "77 (sh)", "77 (sh) S 1 77", "77 (sh)" + strings.ReplaceAll(tail, "4242", "x")} {
		if m, err := parseStat(77, text); err == nil {
			t.Errorf("%q gave %+v", text, m)
		}
	}
}
