package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"poolpatch/xenapi/client"
)

const (
	// startTimeout bounds the start of the daemon.
	startTimeout = time.Minute
	// callTimeout bounds a call: an apply of a patch of many gigabytes is one.
	callTimeout = 30 * time.Minute
	password    = "a password for the bench"
)

// daemon is a poolpatch serve of its own, over plain HTTP and HTTPS on loopback.
type daemon struct {
	root  string
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended

	mu          sync.Mutex
	http, https string   // where it listens
	words       []string // its log
}

// startDaemon starts the program with its root at root, trusting the key, and returns when it is ready.
func startDaemon(ctx context.Context, binary, root string, key gpg) (*daemon, error) {
	keys := filepath.Join(root, "etc/poolpatch/trusted-keys.d")
	passwords := filepath.Join(root, "password")
	if err := errors.Join(
		os.MkdirAll(keys, 0o755),
		command(ctx, key.with("--output", filepath.Join(keys, "bench.gpg"), "--export")...),
		os.WriteFile(passwords, []byte(password+"\n"), 0o600),
	); err != nil {
		return nil, err
	}
	d := &daemon{root: root, ended: make(chan struct{})}
	d.cmd = exec.Command(binary, "serve", "--root", root, "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--root-password-file", passwords)
	// Ctrl-C is for this program, which stops the daemon; a kill of this program is for both.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, err := d.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	return d, d.launch(ctx, log)
}

func (d *daemon) launch(ctx context.Context, log io.Reader) error {
	started, ready := make(chan error), make(chan struct{})
	go func() {
		// The kernel sends Pdeathsig when the thread that started the child ends.
		runtime.LockOSThread()
		err := d.cmd.Start()
		started <- err
		if err == nil {
			d.follow(log, ready)
			_ = d.cmd.Wait() // its log says more
		}
		close(d.ended)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", d.cmd.Path, err)
	}
	limit, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case <-ready:
		return nil
	case <-d.ended:
		return fmt.Errorf("the daemon ended before it was ready:\n%s", d.log())
	case <-limit.Done():
		d.stop()
		return fmt.Errorf("the daemon is not ready: %w\n%s", limit.Err(), d.log())
	}
}

var listening = regexp.MustCompile(`msg=listening address=(127\S+) tls=(true|false)`)

// follow reads the log to its end.
func (d *daemon) follow(log io.Reader, ready chan<- struct{}) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if d.line(lines.Text()) {
			close(ready)
		}
	}
	_, _ = io.Copy(io.Discard, log)
}

func (d *daemon) line(text string) (ready bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch m := listening.FindStringSubmatch(text); {
	case m == nil:
	case m[2] == "true":
		d.https = m[1]
	default:
		d.http = m[1]
	}
	d.words = append(d.words, text)
	return strings.Contains(text, "msg=ready ")
}

func (d *daemon) log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.words, "\n")
}

// stop ends the daemon in good order, or at last without.
func (d *daemon) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(stopTimeout):
		_ = d.cmd.Process.Kill()
		<-d.ended
	}
}

// dial logs in over plain HTTP or over HTTPS, whose certificate is checked as clients of a pool do.
func (d *daemon) dial(ctx context.Context, secure bool) (*client.Client, error) {
	o := client.Options{URL: "http://" + d.http, User: "root", Password: password, Originator: "bench", CallTimeout: callTimeout}
	if secure {
		pem, err := os.ReadFile(filepath.Join(d.root, "etc/poolpatch/tls.crt"))
		if err != nil {
			return nil, err
		}
		o.URL, o.RootCAs = "https://"+d.https, x509.NewCertPool()
		if !o.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("the daemon's certificate is not PEM")
		}
	}
	return client.Dial(ctx, o)
}

// peak is the most memory that the daemon had at once since the last call, in MiB: VmHWM of proc(5).
func (d *daemon) peak() (float64, error) {
	proc := fmt.Sprintf("/proc/%d/", d.cmd.Process.Pid)
	text, ok := procField(proc+"status", "VmHWM")
	if !ok {
		return 0, fmt.Errorf("the daemon is gone:\n%s", d.log())
	}
	kib, err := strconv.ParseFloat(strings.TrimSuffix(text, " kB"), 64)
	if err != nil {
		return 0, fmt.Errorf("peak memory of the daemon: %w", err)
	}
	return kib / 1024, os.WriteFile(proc+"clear_refs", []byte("5"), 0)
}
