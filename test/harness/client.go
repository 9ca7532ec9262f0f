package harness

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"time"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// callTimeout bounds a call; an apply that is called without a task is one.
const callTimeout = 2 * time.Minute

// Client is a client on the daemon's unix socket. It lasts as long as the daemon's process.
func (d *Daemon) Client() *client.Client {
	d.t.Helper()
	c, err := d.run().dial(d.Socket())
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

func (r *run) dial(socket string) (*client.Client, error) {
	r.dialing.Lock()
	defer r.dialing.Unlock()
	if r.client != nil {
		return r.client, nil
	}
	var err error
	r.client, err = client.Dial(context.Background(), client.Options{Socket: socket, CallTimeout: callTimeout, Originator: "tests"})
	return r.client, err
}

// Secure logs in over HTTPS.
func (d *Daemon) Secure() *client.Client {
	d.t.Helper()
	c, err := client.Dial(d.t.Context(), client.Options{
		URL: "https://" + d.Address(), User: "root", Password: Password, InsecureSkipVerify: true, CallTimeout: callTimeout,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// Try makes a call and gives its result.
func Try[T any](d *Daemon, method string, args ...any) (result T, err error) {
	d.t.Helper()
	c, err := d.run().dial(d.Socket())
	if err != nil {
		return result, err
	}
	if _, void := any(&result).(*any); void {
		return result, c.Do(context.Background(), method, args...)
	}
	return client.Call[T](context.Background(), c, method, args...)
}

// Finding is what poolpatch check reports.
type Finding struct {
	Invariant, Object, Problem string
	Repaired                   bool
}

// foundSomething is the exit code of a check that found something.
const foundSomething = 4

// Check runs poolpatch check.
func (d *Daemon) Check(args ...string) []Finding {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(d.t, d.options.Build), append([]string{"check", "--root", d.Root, "-o", "json"}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != foundSomething) {
		d.t.Fatalf("poolpatch check: %v: %s", err, out)
	}
	var answer struct{ Findings []Finding }
	if jerr := json.Unmarshal(out, &answer); jerr != nil {
		d.t.Fatalf("poolpatch check printed %q: %v", out, jerr)
	}
	left := func(f Finding) bool { return f.Invariant != "" && !f.Repaired }
	if (err != nil) != slices.ContainsFunc(answer.Findings, left) {
		d.t.Fatalf("poolpatch check found %d things and ended with %v", len(answer.Findings), err)
	}
	return answer.Findings
}

// Head is the beginning of a request that moves a patch in, as the oldest clients send it: HTTP/1.0, no
// Host. More header lines may follow the query.
func (d *Daemon) Head(task xenapi.Ref[xenapi.Task], headers ...string) (string, error) {
	c, err := d.run().dial(d.Socket())
	if err != nil {
		return "", err
	}
	query := url.Values{"session_id": {c.Session().String()}}
	if !task.IsNull() {
		query.Set("task_id", task.String())
	}
	lines := append([]string{"PUT /pool_patch_upload?" + query.Encode() + " HTTP/1.0"}, headers...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n", nil
}

// Begin sends the head of an upload and returns when the daemon has answered it.
func (d *Daemon) Begin(task xenapi.Ref[xenapi.Task], headers ...string) (*net.UnixConn, error) {
	head, err := d.Head(task, headers...)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: d.Socket(), Net: "unix"})
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(callTimeout))
	if _, err := io.WriteString(conn, head); err != nil {
		conn.Close()
		return nil, err
	}
	in := bufio.NewReaderSize(conn, 1<<10) // no body follows before ours: nothing is read ahead
	status, err := in.ReadString('\n')
	for line := status; err == nil && strings.TrimSpace(line) != ""; {
		line, err = in.ReadString('\n')
	}
	if err == nil && !strings.Contains(status, " 200 ") {
		err = errors.New(strings.TrimSpace(status))
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("answer to an upload: %w", err)
	}
	return conn, nil
}

// Put sends a patch of a length in bytes, -1 to leave that open, under a task, and returns when the
// daemon has closed the connection: what came of it, the task says.
func (d *Daemon) Put(task xenapi.Ref[xenapi.Task], body io.Reader, length int64) error {
	var headers []string
	if length >= 0 {
		headers = []string{fmt.Sprintf("Content-Length: %d", length)}
	}
	conn, err := d.Begin(task, headers...)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.Copy(conn, body)
	_ = conn.CloseWrite() // the daemon may have closed already
	_, _ = io.Copy(io.Discard, conn)
	return err
}
