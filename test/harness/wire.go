package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

func (d *Daemon) http() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", d.Socket())
		},
	}}
}

func (d *Daemon) raw(method string, args ...any) (rpc.Value, error) {
	resp, err := d.http().Post("http://x/jsonrpc", "application/json", bytes.NewReader(rpc.EncodeRequest(method, args)))
	if err != nil {
		return rpc.Value{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return rpc.Value{}, err
	}
	v, e, err := rpc.DecodeReply(body)
	if err != nil {
		return v, fmt.Errorf("%w: %s", err, body)
	}
	if e != nil {
		return v, e
	}
	return v, nil
}

// Session logs in over the unix socket.
func (d *Daemon) Session() string {
	d.t.Helper()
	v, err := d.raw("session.login_with_password", "root", Password)
	if err != nil {
		d.t.Fatal(err)
	}
	return v.Text
}

// Try makes a call and gives its result.
func Try[T any](d *Daemon, method string, args ...any) (result T, err error) {
	d.t.Helper()
	s := d.Session()
	defer d.raw("session.logout", s)
	v, err := d.raw(method, append([]any{s}, args...)...)
	if err != nil {
		return result, err
	}
	return result, v.Decode(&result)
}

// Finding is what poolpatch check reports.
type Finding struct{ Invariant, Object, Problem string }

// Check asks the daemon to check itself.
func (d *Daemon) Check() []Finding {
	d.t.Helper()
	resp, err := d.http().Get("http://x/check?deep=0")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var reply struct{ Findings []Finding }
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
		d.t.Fatal(err)
	}
	return reply.Findings
}

// Upload sends a patch over the unix socket.
func (d *Daemon) Upload(body io.Reader, length int64) (xenapi.Ref[xenapi.PoolPatch], error) {
	d.t.Helper()
	task := Call[xenapi.Ref[xenapi.Task]](d, "task.create", "upload", "")
	defer Try[any](d, "task.destroy", task)
	req, _ := http.NewRequest("PUT", "http://x/pool_patch_upload?session_id="+d.Session()+"&task_id="+string(task), body)
	req.ContentLength = length
	resp, err := d.http().Do(req)
	if err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	rec := Wait(d, task)
	return xenapi.Ref[xenapi.PoolPatch](rec.Result), Failure(rec)
}

var _ = errors.New
var _ testing.TB
