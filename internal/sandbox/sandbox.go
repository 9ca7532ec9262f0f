// Package sandbox runs one program with a deadline, in a process group of its own, and catches what it
// prints.
//
// It is for programs that others wrote and that may hang, fork, print without end or leave processes
// behind. It is no security boundary: the programs run as root, on the host's file system and network.
//
// Invariant: when Run has returned, no process of the group is left, whatever the program did, except when
// the error says so. A process that leaves the group on purpose (setsid, a daemon) is not followed, but
// cannot hold Run up either. Start with Run; group.go says how a group is ended, left.go how what a killed
// daemon left is found.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// defaultGrace is how long a group may take to end after SIGTERM.
	defaultGrace = 10 * time.Second
	// drainTimeout is how long output is awaited once the group has gone: a process that left the group
	// may hold the pipe for ever.
	drainTimeout = 2 * time.Second
	// busyTimeout bounds the retries of a program file that is still open for writing somewhere.
	busyTimeout  = 2 * time.Second
	busyInterval = 10 * time.Millisecond
)

// Command is what to run. Path is absolute; Args does not repeat it. Standard input is Input, or /dev/null where that is nil;
// the environment is Env and the mark of left.go.
type Command struct {
	Path  string
	Args  []string
	Env   []string
	Dir   string
	Input []byte
	// Apart keeps standard error out of the output: it becomes Result.Errors, bounded as that.
	Apart bool

	Deadline time.Duration // how long the program may run; required
	Grace    time.Duration // between SIGTERM and SIGKILL; 0 is 10 seconds

	Log         io.Writer // gets the output as it comes; nil for none
	LogLimit    int64     // bytes; 0 is 16 MiB
	OutputLimit int       // bytes kept in Result.Output; 0 is 1 MiB
}

// Result is how a program ended.
type Result struct {
	ExitCode int            // -1 when a signal ended it
	Signal   syscall.Signal // that signal, or 0
	TimedOut bool           // the deadline passed, and the group was ended
	Output   []byte         // standard output and error, in the order they were written
	Errors   []byte         // standard error, where it is apart
	Omitted  int64          // bytes left out in the middle of Output
	LogError error          // why Log stopped short of the output and its limit
}

// Run runs a program to its end. A program that fails, or that its deadline ends, is a Result and no error;
// an error is a program that could not be started, a context that ended (its cause), or a group that
// survived SIGKILL. When the leader ends, what it left in its group is ended too.
//
// The leader dies with the thread that started it, so also when this process is killed.
func Run(ctx context.Context, c Command) (Result, error) {
	if c.Deadline <= 0 {
		return Result{}, errors.New("sandbox: a program needs a deadline")
	}
	// The kernel sends the parent-death signal when the starting thread ends: this goroutine keeps it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := newPipes(c)
	if err != nil {
		return Result{}, fmt.Errorf("pipes for the program: %w", err)
	}
	cmd, err := start(ctx, c, p)
	p.passed()
	if err != nil {
		p.finish(0)
		return Result{}, fmt.Errorf("start program: %w", err)
	}
	why, err := attend(ctx, c, cmd.Process.Pid)
	if err != nil {
		p.finish(0)
		r := p.result()
		r.ExitCode, r.TimedOut = -1, why == byDeadline
		return r, err
	}
	// Only now the leader is reaped: until here its number, and so the group's, could not be reused.
	if err := cmd.Wait(); cmd.ProcessState == nil {
		return Result{}, fmt.Errorf("wait for program: %w", err)
	}
	p.finish(drainTimeout)
	r := p.result()
	r.TimedOut, r.ExitCode = why == byDeadline, cmd.ProcessState.ExitCode()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		r.Signal = ws.Signal()
	}
	if why == byContext {
		return r, context.Cause(ctx)
	}
	return r, nil
}

// ending is why a program ended.
type ending int

const (
	byItself ending = iota
	byDeadline
	byContext
)

// start starts the program. A program file that this daemon has just written may still be open for writing
// in a child that another goroutine is forking at this moment; that passes.
func start(ctx context.Context, c Command, p *pipes) (*exec.Cmd, error) {
	until := time.Now().Add(busyTimeout)
	for {
		cmd := exec.Command(c.Path, c.Args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, p.out.write, p.errs.write
		if p.in != nil {
			cmd.Stdin = p.in
		}
		cmd.Env = append([]string{mark}, c.Env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		err := cmd.Start()
		if err == nil || !errors.Is(err, syscall.ETXTBSY) || time.Now().After(until) {
			return cmd, err
		}
		pause(ctx, busyInterval)
	}
}

// attend waits for the leader, the deadline or the context, whichever comes first, and then for the end of
// the whole group. It does not reap the leader.
func attend(ctx context.Context, c Command, pid int) (why ending, err error) {
	ended := make(chan error, 1)
	go func() { ended <- awaitExit(pid) }()
	deadline := time.NewTimer(c.Deadline)
	defer deadline.Stop()
	select {
	case err := <-ended:
		ended <- err
	case <-deadline.C:
		why = byDeadline
	case <-ctx.Done():
		why = byContext
	}
	grace := c.Grace
	if grace == 0 {
		grace = defaultGrace
	}
	if err := endGroup(pid, grace); err != nil {
		return why, err
	}
	return why, <-ended
}

// awaitExit waits until a child has ended, and leaves it as a zombie.
func awaitExit(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("waitid", err)
		}
	}
}

// pause waits, and ends early with the context.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
