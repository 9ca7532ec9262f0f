package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"poolpatch/xenapi/client"
)

const (
	// startTimeout bounds the wait for a daemon that was started.
	startTimeout = 30 * time.Second
	startPause   = 50 * time.Millisecond
	// endTimeout is how long a daemon may take to stop before it is killed.
	endTimeout = 20 * time.Second
	// tail is how much of a daemon's log is shown when it failed, in bytes.
	tail = 2 << 10
)

// childDaemon is a poolpatch serve that this process started, and ends.
type childDaemon struct {
	cmd   *exec.Cmd
	log   *os.File
	ended chan error
}

// startDaemon starts this program as a daemon below a root, on the unix socket and an address of the
// loopback device. It gets a process group of its own, so that the Ctrl-C of a terminal reaches only this
// process, which then stops it; when this process is killed, it ends too.
func startDaemon(root, address string) (*childDaemon, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(root+".log", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "serve", "--root", root, "--https", address, "--http", "")
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d := &childDaemon{cmd: cmd, log: log, ended: make(chan error, 1)}
	if err := startWithParent(cmd, d.ended); err != nil {
		return nil, errors.Join(fmt.Errorf("start the daemon: %w", err), log.Close())
	}
	return d, nil
}

// startWithParent starts a command that ends when this process is killed. The kernel watches the thread that
// started it, so one goroutine keeps its thread until the command has ended.
func startWithParent(cmd *exec.Cmd, ended chan<- error) error {
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	return <-started
}

// freeAddress finds a port of an address that nobody listens on. Somebody may take it before the daemon does, which
// then does not start.
func freeAddress(ip string) (string, error) {
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// dial waits until the daemon answers.
func (d *childDaemon) dial(ctx context.Context, o client.Options) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		p, err := client.Dial(ctx, o)
		if _, unreachable := errors.AsType[*client.ConnectionError](err); !unreachable {
			return p, err
		}
		select {
		case <-time.After(startPause):
		case ended := <-d.ended:
			d.ended <- ended
			return nil, fmt.Errorf("the daemon ended: %w", errors.Join(ended, err))
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the daemon: %w", context.Cause(ctx))
		}
	}
}

// stop ends the daemon and waits for it. When something went wrong the end of its log is shown.
func (d *childDaemon) stop(failed bool, w io.Writer) error {
	defer d.log.Close()
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	var err error
	select {
	case err = <-d.ended:
	case <-time.After(endTimeout):
		err = errors.Join(errors.New("the daemon did not stop in time and was killed"), d.cmd.Process.Kill(), <-d.ended)
	}
	if failed || err != nil {
		fmt.Fprintf(w, "the daemon's log ends so:\n%s\n", indent(d.logTail()))
	}
	if err != nil {
		return fmt.Errorf("stop the daemon: %w", err)
	}
	return nil
}

// kill ends the daemon as a power cut does.
func (d *childDaemon) kill() error {
	defer d.log.Close()
	err := d.cmd.Process.Kill()
	<-d.ended
	return err
}

func (d *childDaemon) logTail() string {
	text, err := os.ReadFile(d.log.Name())
	if err != nil {
		return err.Error()
	}
	if len(text) > tail {
		text = text[len(text)-tail:]
	}
	return strings.TrimSpace(string(text))
}
