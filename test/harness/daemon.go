package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"poolpatch/internal/durable"
	"poolpatch/xenapi/client"
)

const (
	// startTimeout is how long a daemon may take until it is ready.
	startTimeout = time.Minute
	// stopTimeout is how long it may take to end after SIGTERM.
	stopTimeout = time.Minute
	// keptLog is how many lines of a daemon's log are shown with a failed test.
	keptLog = 60

	// Password is that of the user root.
	Password = "a password for tests"
)

// Options of Start.
type Options struct {
	Build   Build
	Root    string // below which the daemon lives; "" is a fresh directory
	CrashAt string // point at which a Crash build dies
	StopAt  string // point at which a Crash build stops, once, until it gets SIGCONT
	Trusted []*Key // whose signatures count
	Etcd    string // endpoint of an etcd of one's own; "" is the embedded one
	HTTPS   string // address of the listener; "" is 127.0.0.1 and a port that is free

	// Within is a program with its arguments that puts itself into other namespaces and becomes the daemon; none
	// starts the daemon in those of the test.
	Within []string
}

// Daemon is a poolpatch serve. Its test stops it, and fails if it left anything.
type Daemon struct {
	// Root is the host's root file system.
	Root string

	t       testing.TB
	options Options
	current *atomic.Pointer[run] // a test may start it again while another of its goroutines calls it
}

func (d *Daemon) run() *run { return d.current.Load() }

// run is one process of a daemon.
type run struct {
	cmd     *exec.Cmd
	ready   chan struct{} // closed when it listens
	isReady sync.Once
	ended   chan struct{} // closed when it has ended
	state   *os.ProcessState

	mu    sync.Mutex
	lines []string
	https string
	races int

	dialing sync.Mutex
	client  *client.Client // nil before the first call
}

// Start starts a daemon and returns when it is ready.
func Start(t testing.TB, o Options) *Daemon {
	t.Helper()
	if o.Root == "" {
		o.Root = Dir(t)
	}
	if o.HTTPS == "" {
		o.HTTPS = "127.0.0.1:0"
	}
	d := &Daemon{Root: o.Root, t: t, options: o, current: &atomic.Pointer[run]{}}
	for _, k := range o.Trusted {
		d.Trust(k)
	}
	d.Write("password", Password+"\n", 0o600)
	d.launch()
	t.Cleanup(d.cleanup)
	return d
}

// For is the daemon as a subtest uses it: what goes wrong is that test's failure.
func (d *Daemon) For(t testing.TB) *Daemon {
	sub := *d
	sub.t = t
	return &sub
}

// Again starts the daemon of the same root again, as the build b and without a crash, after it has ended.
func (d *Daemon) Again(b Build) {
	d.t.Helper()
	d.options.Build, d.options.CrashAt, d.options.StopAt = b, "", ""
	d.launch()
}

// CrashAt has the daemon, a Crash build, die at a point the next time it is started; "" is none.
func (d *Daemon) CrashAt(point string) { d.options.CrashAt = point }

// StopAt has it stop at a point, once, likewise.
func (d *Daemon) StopAt(point string) { d.options.StopAt = point }

// KeepAddress has it listen where it listens now when it is started again, for clients that come back.
func (d *Daemon) KeepAddress() { d.options.HTTPS = d.Address() }

// LaunchAs is Launch of another build.
func (d *Daemon) LaunchAs(b Build) error {
	d.t.Helper()
	d.options.Build = b
	return d.Launch()
}

func (d *Daemon) launch() {
	d.t.Helper()
	if err := d.Launch(); err != nil {
		d.t.Fatal(err)
	}
}

// Launch starts the daemon and returns when it is ready, or has ended instead.
func (d *Daemon) Launch() error {
	d.t.Helper()
	r := &run{ready: make(chan struct{}), ended: make(chan struct{})}
	argv := append(slices.Clone(d.options.Within), Binary(d.t, d.options.Build), "serve", "--root", d.Root,
		"--https", d.options.HTTPS, "--root-password-file", d.Path("password"))
	r.cmd = exec.Command(argv[0], argv[1:]...)
	if d.options.Etcd != "" {
		r.cmd.Args = append(r.cmd.Args, "--etcd-endpoints", d.options.Etcd)
	}
	r.cmd.Env = append(os.Environ(), "POOLPATCH_CRASH_AT="+d.options.CrashAt, "POOLPATCH_STOP_AT="+d.options.StopAt)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, err := r.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := startChild(r.cmd); err != nil {
		return err
	}
	d.current.Store(r)
	go r.follow(log)
	limit := time.NewTimer(startTimeout)
	defer limit.Stop()
	select {
	case <-r.ready:
		return nil
	case <-r.ended:
		return fmt.Errorf("the daemon ended before it was ready: %v\n%s", r.state, r.log())
	case <-limit.C:
		d.Kill()
		return fmt.Errorf("the daemon was not ready in %v\n%s", startTimeout, r.log())
	}
}

var listening = regexp.MustCompile(`msg=listening address=(\S+) tls=true`)

// follow reads the log until the process has ended.
func (r *run) follow(log io.Reader) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		r.line(lines.Text())
	}
	_, _ = io.Copy(io.Discard, log)
	_ = r.cmd.Wait() // the state says it
	r.state = r.cmd.ProcessState
	close(r.ended)
}

func (r *run) line(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := listening.FindStringSubmatch(text); m != nil {
		r.https = m[1]
	}
	if strings.Contains(text, "DATA RACE") {
		r.races++
	}
	if r.races == 0 && len(r.lines) >= keptLog {
		r.lines = r.lines[1:]
	}
	r.lines = append(r.lines, text)
	if strings.Contains(text, "msg=ready ") {
		r.isReady.Do(func() { close(r.ready) }) // a daemon that moves to another pool is ready again
	}
}

func (r *run) log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

// PID is the daemon's process id.
func (d *Daemon) PID() int { return d.run().cmd.Process.Pid }

// Socket is the daemon's unix socket.
func (d *Daemon) Socket() string { return d.Path("run/poolpatch/socket") }

// Address is where the daemon serves HTTPS.
func (d *Daemon) Address() string {
	d.run().mu.Lock()
	defer d.run().mu.Unlock()
	return d.run().https
}

// Ended is closed when the daemon has ended.
func (d *Daemon) Ended() <-chan struct{} { return d.run().ended }

// WaitEnded waits until the daemon has ended by itself.
func (d *Daemon) WaitEnded() {
	d.t.Helper()
	d.wait(patience)
}

func (d *Daemon) wait(limit time.Duration) {
	d.t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-d.run().ended:
	case <-timer.C:
		_ = d.run().cmd.Process.Kill()
		<-d.run().ended
		d.t.Errorf("the daemon did not end in %v\n%s", limit, d.run().log())
	}
}

// Kill ends the daemon as a crash does.
func (d *Daemon) Kill() {
	d.t.Helper()
	_ = d.run().cmd.Process.Kill() // it may be dead already
	d.wait(stopTimeout)
}

// Pause has the daemon do nothing, as one does that its machine, or the network, keeps from everything.
func (d *Daemon) Pause() { d.signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (d *Daemon) Resume() { d.signal(syscall.SIGCONT) }

func (d *Daemon) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.run().cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// Stop ends the daemon in good order.
func (d *Daemon) Stop() {
	d.t.Helper()
	_ = d.run().cmd.Process.Signal(syscall.SIGTERM)
	d.wait(stopTimeout)
	if s := d.run().state; !s.Success() {
		d.t.Errorf("the daemon ended with %v\n%s", s, d.run().log())
	}
}

// Restart stops the daemon in good order and starts it again.
func (d *Daemon) Restart() {
	d.t.Helper()
	d.Stop()
	d.launch()
}

func (d *Daemon) alive() bool {
	select {
	case <-d.run().ended:
		return false
	default:
		return true
	}
}

// cleanup stops the daemon at the end of its test, and looks for what it left.
func (d *Daemon) cleanup() {
	if d.alive() {
		d.Stop()
	}
	if d.run().races > 0 {
		d.t.Errorf("the daemon has a data race:\n%s", d.run().log())
	}
	if left := d.remains(); len(left) > 0 {
		d.t.Errorf("the daemon ended and left:\n%s", strings.Join(left, "\n"))
	}
	if d.t.Failed() {
		d.t.Logf("the daemon's last words:\n%s", d.run().log())
	}
}

// Path is that of a file of the host.
func (d *Daemon) Path(name string) string { return filepath.Join(d.Root, name) }

// Write makes a file of the host, which a power loss leaves.
func (d *Daemon) Write(name, text string, mode os.FileMode) {
	d.t.Helper()
	path := d.Path(name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), durable.WriteFile(path, []byte(text), mode)); err != nil {
		d.t.Fatal(err)
	}
}

// Read gives a file of the host, "" when it is not there.
func (d *Daemon) Read(name string) string {
	d.t.Helper()
	text, err := os.ReadFile(d.Path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
	return string(text)
}

// Exists reports whether the host has a file.
func (d *Daemon) Exists(name string) bool { return exists(d.Path(name)) }

// Trust makes the host trust a key.
func (d *Daemon) Trust(k *Key) {
	d.t.Helper()
	d.Write("etc/poolpatch/trusted-keys.d/"+k.ID+".asc", k.Public, 0o644)
}
