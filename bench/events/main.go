// Command events measures what clients that wait for events cost a daemon, and how soon they hear: the real program, over
// HTTPS on loopback, with its database on disk.
//
// The time is from the moment when a call that changes a task is sent until a client has read its answer of event.from, so
// the commit and its fsync are in it. All clients wait for the same task, which is the worst case, and share the machine with the
// daemon. Memory is what heap and stacks of the daemon hold, so a client's connection and its TLS are in it.
//
// Invariant: every client waits when a call is sent. Start with measure.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"poolpatch/internal/rpc"
)

const (
	password = "a password for the bench"
	// manyClients are enough to weigh: the daemon's own ups and downs are larger than what a few take.
	manyClients = 1000
	// calls is how many changes are timed.
	calls = 50
	// settle is the least that clients get to be waiting again.
	settle = 100 * time.Millisecond
	limit  = 5 * time.Minute
)

func main() {
	binary := flag.String("poolpatch", "bin/poolpatch", "the daemon's program")
	dir := flag.String("dir", os.TempDir(), "directory to work in, on the disk that is to be measured")
	flag.Parse()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLIENTS\tCALL → EVENT, P50\tP99\tMEMORY A CLIENT")
	for _, n := range []int{1, 100, 1000} {
		r, err := measure(*binary, *dir, n)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		weight := "-"
		if r.memory != 0 {
			weight = fmt.Sprintf("%d KiB", r.memory>>10)
		}
		fmt.Fprintf(w, "%d\t%v\t%v\t%s\n", n, r.p50.Round(10*time.Microsecond), r.p99.Round(10*time.Microsecond), weight)
	}
	w.Flush()
}

// result is what so many clients cost.
type result struct {
	p50, p99 time.Duration
	memory   int64 // bytes for each client
}

// measure times the calls on one daemon, and weighs the clients on another, which collects its garbage eagerly.
func measure(binary, parent string, n int) (r result, err error) {
	if err := within(binary, parent, "", func(d daemon) error { return d.time(n, &r) }); err != nil {
		return r, err
	}
	if n < manyClients {
		return r, nil
	}
	return r, within(binary, parent, "GOGC=5", func(d daemon) error { return d.weigh(n, &r) })
}

// daemon is one that runs, with a session on it and a task that clients wait for.
type daemon struct {
	address       string
	caller        *conn
	session, task string
}

// within runs fn on a daemon of its own.
func within(binary, parent, env string, fn func(daemon) error) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	root, err := os.MkdirTemp(parent, "poolpatch-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	cmd, address, err := start(ctx, binary, root, env)
	if err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // how it ended says nothing
	}()
	caller, err := dial(address)
	if err != nil {
		return err
	}
	defer caller.Close()
	session, err := caller.call("session.login_with_password", "root", password)
	if err != nil {
		return err
	}
	task, err := caller.call("task.create", session.Text, "bench", "")
	if err != nil {
		return err
	}
	return fn(daemon{address, caller, session.Text, task.Text})
}

// clients are n that wait, until done is called.
func (d daemon) clients(n int, arrived chan<- time.Time, failed chan<- error) (done func(), err error) {
	var open []*conn
	done = func() {
		for _, c := range open {
			_ = c.Close()
		}
	}
	for range n {
		c, err := dial(d.address)
		if err != nil {
			return done, err
		}
		open = append(open, c)
		batch, err := c.call("event.from", d.session, []string{}, "", 0)
		if err != nil {
			return done, err
		}
		go func() { failed <- c.listen(d.session, "task/"+d.task, member(batch, "token").Text, arrived) }()
	}
	return done, nil
}

func (d daemon) time(n int, r *result) error {
	arrived, failed := make(chan time.Time, n), make(chan error, n)
	done, err := d.clients(n, arrived, failed)
	defer done()
	if err != nil {
		return err
	}
	var took []time.Duration
	for i := range calls {
		time.Sleep(settled(n))
		sent := time.Now()
		if _, err := d.caller.call("task.set_progress", d.session, d.task, float64(i)/calls); err != nil {
			return err
		}
		for range n {
			select {
			case at := <-arrived:
				took = append(took, at.Sub(sent))
			case err := <-failed:
				return err
			}
		}
	}
	slices.Sort(took)
	r.p50, r.p99 = took[len(took)/2], took[len(took)*99/100]
	return nil
}

func (d daemon) weigh(n int, r *result) error {
	before, err := d.memory()
	if err != nil {
		return err
	}
	done, err := d.clients(n, make(chan time.Time, n), make(chan error, n))
	defer done()
	if err != nil {
		return err
	}
	time.Sleep(settled(n))
	after, err := d.memory()
	r.memory = (after - before) / int64(n)
	return err
}

// settled is how long clients get to be waiting: to ask whether they are would disturb them.
func settled(n int) time.Duration { return settle + time.Duration(n)*100*time.Microsecond }

var inUse = regexp.MustCompile(`(?m)^go_memstats_(?:heap_alloc|stack_inuse)_bytes (\S+)$`)

// memory is what the daemon's heap and stacks hold, in bytes.
func (d daemon) memory() (sum int64, err error) {
	c, err := dial(d.address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
		return 0, err
	}
	text, err := io.ReadAll(c)
	if err != nil {
		return 0, err
	}
	for _, m := range inUse.FindAllSubmatch(text, -1) {
		bytes, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return 0, err
		}
		sum += int64(bytes)
	}
	return sum, nil
}

var listening = regexp.MustCompile(`msg=listening address=(\S+) tls=true`)

// start starts a daemon and gives the address of its HTTPS when it is ready.
func start(ctx context.Context, binary, root, env string) (*exec.Cmd, string, error) {
	passwords := filepath.Join(root, "password")
	if err := os.WriteFile(passwords, []byte(password+"\n"), 0o600); err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, binary, "serve", "--root", root, "--https", "127.0.0.1:0", "--root-password-file", passwords)
	cmd.Env = append(os.Environ(), env)
	log, err := cmd.StderrPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	address := ""
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			address = m[1]
		}
		if strings.Contains(lines.Text(), "msg=ready ") {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return cmd, address, nil
		}
	}
	return nil, "", errors.Join(errors.New("the daemon ended before it was ready"), cmd.Wait())
}

// conn is a client's connection. Clients share a session, of which a user may have only so many.
type conn struct {
	*tls.Conn
	in *textproto.Reader
}

func dial(address string) (*conn, error) {
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) // its certificate was made a moment ago
	if err != nil {
		return nil, err
	}
	return &conn{c, textproto.NewReader(bufio.NewReader(c))}, nil
}

func (c *conn) call(method string, params ...any) (rpc.Value, error) {
	body := rpc.EncodeRequest(method, params)
	if _, err := fmt.Fprintf(c, "POST /jsonrpc HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
		return rpc.Value{}, err
	}
	if _, err := c.in.ReadLine(); err != nil {
		return rpc.Value{}, err
	}
	head, err := c.in.ReadMIMEHeader()
	if err != nil {
		return rpc.Value{}, err
	}
	length, err := strconv.Atoi(head.Get("Content-Length"))
	if err != nil {
		return rpc.Value{}, err
	}
	reply := make([]byte, length)
	if _, err := io.ReadFull(c.in.R, reply); err != nil {
		return rpc.Value{}, err
	}
	value, failure, err := rpc.DecodeReply(reply)
	if failure != nil {
		return value, failure
	}
	return value, err
}

// listen follows events until the daemon ends.
func (c *conn) listen(session, selector, token string, arrived chan<- time.Time) error {
	for {
		batch, err := c.call("event.from", session, []string{selector}, token, 60)
		if err != nil {
			return err
		}
		at := time.Now()
		token = member(batch, "token").Text
		if len(member(batch, "events").Items) > 0 {
			arrived <- at
		}
	}
}

func member(v rpc.Value, name string) rpc.Value {
	for _, m := range v.Members {
		if m.Name == name {
			return m.Value
		}
	}
	return rpc.Value{}
}
