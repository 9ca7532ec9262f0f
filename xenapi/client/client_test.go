package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// dialed gives a pool and a client that has logged in to it.
func dialed(t *testing.T) (*pool, *client.Client) {
	t.Helper()
	p := newPool()
	t.Cleanup(p.Close)
	c, err := client.Dial(t.Context(), client.Options{URL: p.URL, User: "root", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return p, c
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if xenapi.CodeOf(err) != code {
		t.Errorf("error %v, want %s", err, code)
	}
}

func TestDialSaysWhy(t *testing.T) {
	t.Parallel()
	p := newPool()
	defer p.Close()
	_, err := client.Dial(t.Context(), client.Options{URL: p.URL, User: "root", Password: "wrong"})
	wantCode(t, err, xenapi.CodeSessionAuthenticationFailed)

	_, err = client.Dial(t.Context(), client.Options{Socket: filepath.Join(t.TempDir(), "none")})
	if _, ok := errors.AsType[*client.ConnectionError](err); !ok {
		t.Errorf("error %v, want a ConnectionError", err)
	}
	for _, o := range []client.Options{{}, {URL: "x", Socket: "y"}, {URL: "ftp://pool"}, {URL: "pool.example"}} {
		if _, err := client.Dial(t.Context(), o); err == nil {
			t.Errorf("Dial(%+v) found a pool", o)
		}
	}
}

func TestDialOverUnixSocketAndTLS(t *testing.T) {
	t.Parallel()
	p := newPool()
	defer p.Close()
	socket := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p}
	defer server.Close()
	go server.Serve(l)
	secured := httptest.NewTLSServer(p)
	defer secured.Close()
	for _, o := range []client.Options{{Socket: socket}, {URL: secured.URL, InsecureSkipVerify: true}} {
		o.User, o.Password = "root", "secret"
		c, err := client.Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		// An upload makes a connection of its own, and ends a body without a length by closing its half.
		if _, err := c.UploadPatch(t.Context(), strings.NewReader("patch"), -1, nil); err != nil {
			t.Errorf("upload over %s%s: %v", o.Socket, o.URL, err)
		}
		if string(p.stored) != "patch" || p.length != "" {
			t.Errorf("stored %q of length %q", p.stored, p.length)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	_, err = client.Dial(t.Context(), client.Options{URL: secured.URL, User: "root", Password: "secret"})
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody was taken: %v", err)
	}
}

func TestDialFollowsToTheCoordinator(t *testing.T) {
	t.Parallel()
	p := newPool()
	defer p.Close()
	member := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		reply, _ := rpc.JSON(r.Context(), refusing{xenapi.ErrHostIsSlave(p.Listener.Addr().String())}, body)
		w.Write(reply)
	}))
	defer member.Close()
	c, err := client.Dial(t.Context(), client.Options{URL: member.URL, User: "root", Password: "secret"})
	if err != nil || c.Session() != "OpaqueRef:session-1" {
		t.Errorf("session %v, error %v", c, err)
	}
}

type refusing struct{ err error }

func (r refusing) Dispatch(context.Context, string, []rpc.Value) (any, error) { return nil, r.err }

func TestCall(t *testing.T) {
	t.Parallel()
	p, c := dialed(t)
	patch := xenapi.PoolPatch{UUID: "9a60", NameLabel: "fix <1> & \"two\"", Size: 1 << 40, VDI: "OpaqueRef:vdi", AfterApplyGuidance: []xenapi.AfterApplyGuidance{"restartHost"}}
	p.message = func(method string, params []rpc.Value) (any, error) {
		switch method {
		case "pool_patch.get_record":
			return patch, nil
		case "pool_patch.get_all_records":
			return map[xenapi.Ref[xenapi.PoolPatch]]xenapi.PoolPatch{"OpaqueRef:1": patch}, nil
		}
		return nil, xenapi.ErrPatchIsApplied()
	}
	got, err := client.Call[xenapi.PoolPatch](t.Context(), c, "pool_patch.get_record", xenapi.Ref[xenapi.PoolPatch]("OpaqueRef:1"))
	if err != nil {
		t.Fatal(err)
	}
	if got.NameLabel != patch.NameLabel || got.Size != patch.Size || got.VDI != patch.VDI || !cmp.Equal(got.AfterApplyGuidance, patch.AfterApplyGuidance) {
		t.Errorf("record %+v", got)
	}
	all, err := client.Call[map[xenapi.Ref[xenapi.PoolPatch]]xenapi.PoolPatch](t.Context(), c, "pool_patch.get_all_records")
	if err != nil || all["OpaqueRef:1"].UUID != "9a60" {
		t.Errorf("records %v, error %v", all, err)
	}
	raw, err := c.Raw(t.Context(), "pool_patch.get_record", "OpaqueRef:1")
	var fields map[string]any
	if err != nil || json.Unmarshal(raw, &fields) != nil || fields["name_label"] != patch.NameLabel || fields["digest"] != nil {
		t.Errorf("raw record %s, error %v", raw, err)
	}
	wantCode(t, c.Do(t.Context(), "pool_patch.destroy", "OpaqueRef:1"), xenapi.CodePatchIsApplied)
	if _, err := client.Call[int64](t.Context(), c, "pool_patch.get_record", "OpaqueRef:1"); err == nil {
		t.Error("a record became an int")
	}
}

// TestWordsOfNewerServers lists records with enum values that this version does not know.
func TestWordsOfNewerServers(t *testing.T) {
	t.Parallel()
	p, c := dialed(t)
	p.message = func(string, []rpc.Value) (any, error) {
		return map[string]any{"OpaqueRef:1": map[string]any{
			"uuid": "90ab", "on_boot": "", "type": "holographic", "name_label": "disk", "brand_new": 1,
			"allowed_operations": []string{"teleport", "copy"}, "current_operations": map[string]string{"t": "teleport", "u": "Copy"},
		}}, nil
	}
	all, err := client.Call[map[xenapi.Ref[xenapi.VDI]]xenapi.VDI](t.Context(), c, "VDI.get_all_records")
	if err != nil {
		t.Fatal(err)
	}
	want := xenapi.VDI{
		UUID: "90ab", NameLabel: "disk", AllowedOperations: []xenapi.VDIOperation{"copy"},
		CurrentOperations: map[string]xenapi.VDIOperation{"u": "copy"},
	}
	if diff := cmp.Diff(want, all["OpaqueRef:1"]); diff != "" {
		t.Error(diff)
	}
}

func TestSessionThatEnded(t *testing.T) {
	t.Parallel()
	p, c := dialed(t)
	p.message = func(string, []rpc.Value) (any, error) { return "well", nil }
	p.sessions = map[string]bool{}
	if got, err := client.Call[string](t.Context(), c, "pool.set_name_label", "x"); err != nil || got != "well" {
		t.Errorf("result %q, error %v", got, err)
	}
	if p.logins != 2 || p.count("pool.set_name_label") != 2 {
		t.Errorf("%d logins, calls %v", p.logins, p.calls)
	}
	// One new login, not one after the other: a server that says so always is not asked for ever.
	p.message = func(string, []rpc.Value) (any, error) { return nil, xenapi.ErrSessionInvalid("x") }
	wantCode(t, c.Do(t.Context(), "pool.set_name_label", "x"), xenapi.CodeSessionInvalid)
	if p.logins != 3 {
		t.Errorf("%d logins", p.logins)
	}
}

func TestOnlyReadsAreRepeated(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]int{
		"VDI.get_record": 3, "host.list_methods": 3, "VDI.destroy": 1, "Async.VDI.get_record": 1, "VDI.set_name_label": 1,
	} {
		t.Run(message, func(t *testing.T) {
			t.Parallel()
			p, c := dialed(t)
			p.message = func(string, []rpc.Value) (any, error) { return "x", nil }
			p.breakNext(want - 1)
			if err := c.Do(t.Context(), message); err != nil && want > 1 {
				t.Errorf("%s: %v", message, err)
			}
			p.breakNext(100)
			err := c.Do(t.Context(), message)
			if _, ok := errors.AsType[*client.ConnectionError](err); !ok {
				t.Errorf("%s on a dead connection: %v", message, err)
			}
			if sent := 100 - p.breakNext(0); sent != want {
				t.Errorf("%s was sent %d times, want %d", message, sent, want)
			}
		})
	}
}

func TestCallTimeout(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	_, err := client.Dial(t.Context(), client.Options{URL: server.URL, CallTimeout: time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	p, c := dialed(t)
	var task xenapi.Ref[xenapi.Task]
	p.message = func(method string, _ []rpc.Value) (any, error) {
		task = p.newTask()
		switch method {
		case "Async.VDI.copy":
			p.end(p.tasks[task], rpc.MarshalXMLValue(xenapi.Ref[xenapi.VDI]("OpaqueRef:copy")), nil)
		case "Async.VDI.destroy":
			p.end(p.tasks[task], rpc.MarshalXMLValue(nil), nil)
		case "Async.pool_patch.apply":
			p.end(p.tasks[task], "", xenapi.ErrPatchApplyFailed("no room"))
		}
		return task, nil
	}
	var last float64
	vdi, err := client.Run[xenapi.Ref[xenapi.VDI]](t.Context(), c, func(f float64) { last = f }, "VDI.copy", "OpaqueRef:vdi")
	if err != nil || vdi != "OpaqueRef:copy" || last != 1 {
		t.Errorf("copy %q, progress %v, error %v", vdi, last, err)
	}
	if text, err := client.Run[string](t.Context(), c, nil, "VDI.destroy", "OpaqueRef:vdi"); text != "" || err != nil {
		t.Errorf("void %q, error %v", text, err)
	}
	_, err = client.Run[string](t.Context(), c, func(float64) { t.Error("a task that failed shows progress") }, "pool_patch.apply")
	wantCode(t, err, xenapi.CodePatchApplyFailed)
	if e, ok := errors.AsType[*xenapi.Error](err); !ok || !cmp.Equal(e.Params, []string{"no room"}) {
		t.Errorf("error %v", err)
	}
	if p.left() != 0 {
		t.Errorf("%d tasks are left", p.left())
	}
}

func TestRunThatIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		allowed []xenapi.TaskAllowedOperation
		refuses bool
		still   bool
	}{
		"work is cancelled":                 {allowed: []xenapi.TaskAllowedOperation{"cancel"}},
		"work that cannot be goes on":       {refuses: true, still: true},
		"a task that nobody works on is no": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, c := dialed(t)
			ctx, cancel := context.WithCancel(t.Context())
			p.message = func(string, []rpc.Value) (any, error) {
				ref := p.newTask()
				p.tasks[ref].AllowedOperations, p.tasks[ref].UUID = test.allowed, "839c22c9"
				return ref, nil
			}
			p.shielded = test.refuses
			_, err := client.Run[string](ctx, c, func(float64) { cancel() }, "pool_patch.apply")
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if e, still := errors.AsType[*client.StillRunning](err); still != test.still || still && e.UUID != "839c22c9" {
				t.Errorf("error %v; still running: %v", err, still)
			}
			if left := p.left() > 0; left != test.still {
				t.Errorf("%d tasks are left", p.left())
			}
		})
	}
}

func TestUpload(t *testing.T) {
	t.Parallel()
	p, c := dialed(t)
	content := bytes.Repeat([]byte("poolpatch"), 1<<18)
	var done, total int64
	ref, err := c.UploadPatch(t.Context(), bytes.NewReader(content), int64(len(content)), func(d, of int64) { done, total = d, of })
	if err != nil || ref != "OpaqueRef:made" {
		t.Fatalf("ref %q, error %v", ref, err)
	}
	if !bytes.Equal(p.stored, content) || done != int64(len(content)) || total != done {
		t.Errorf("%d bytes arrived, progress %d of %d", len(p.stored), done, total)
	}
	if err := c.ImportVDI(t.Context(), "OpaqueRef:vdi", strings.NewReader("image"), 5, nil); err != nil || string(p.stored) != "image" {
		t.Errorf("import %q: %v", p.stored, err)
	}
	if p.left() != 0 {
		t.Errorf("%d tasks are left", p.left())
	}
}

// endless is a body that has no end, for servers that refuse before they have read it.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestUploadThatIsRefusedWhileItIsSent(t *testing.T) {
	t.Parallel()
	p, c := dialed(t)
	p.refusal = xenapi.ErrInvalidPatch("the file is signed by key 1, which is not trusted")
	blocked, never := io.Pipe()
	defer never.Close()
	for name, body := range map[string]struct {
		r    io.Reader
		size int64
	}{
		"with a length": {endless{}, 1 << 50}, "without": {endless{}, -1}, "while the reader blocks": {blocked, 1 << 20},
	} {
		_, err := c.UploadPatch(t.Context(), body.r, body.size, nil)
		if e, ok := errors.AsType[*xenapi.Error](err); !ok || !cmp.Equal(e.Description(), p.refusal.Description()) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if p.left() != 0 {
		t.Errorf("%d tasks are left", p.left())
	}
}

// A server that goes away in the middle of a transfer is no refusal: whoever sent knows that nothing was wrong with it.
func TestUploadThatIsCutOff(t *testing.T) {
	t.Parallel()
	p, c := dialed(t)
	p.reading = func(xenapi.Ref[xenapi.Task]) { panic(http.ErrAbortHandler) }
	_, err := c.UploadPatch(t.Context(), endless{}, 1<<50, nil)
	if _, ok := errors.AsType[*client.BrokenTransfer](err); !ok {
		t.Errorf("error %v", err)
	}
}

func TestResult(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "as it is": "as it is", "<value>a &lt; b\n</value>": "a < b\n", "<value><string>x</string></value>": "x",
	} {
		if got, err := client.Result[string](text); got != want || err != nil {
			t.Errorf("result %q is %q, error %v; want %q", text, got, err, want)
		}
	}
}

func TestUploadWhoseReaderFails(t *testing.T) {
	t.Parallel()
	p, c := dialed(t)
	broken := errors.New("the disk is gone")
	_, err := c.UploadPatch(t.Context(), io.MultiReader(strings.NewReader("half"), failing{broken}), 8, nil)
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want the reader's own", err)
	}
	if _, err = c.UploadPatch(t.Context(), strings.NewReader("half"), 8, nil); err == nil || !strings.Contains(err.Error(), "ended after 4 of 8 bytes") {
		t.Errorf("error %v", err)
	}
	if p.left() != 0 {
		t.Errorf("%d tasks are left", p.left())
	}
}

// TestUploadWhoseReaderFailsLate has the pool complain of the stream before the client gives up its task.
func TestUploadWhoseReaderFailsLate(t *testing.T) {
	t.Parallel()
	p, c := dialed(t)
	complained := make(chan struct{})
	p.reading = func(task xenapi.Ref[xenapi.Task]) {
		p.finish(task, "", xenapi.ErrInvalidPatch("the upload ended early"))
		close(complained)
	}
	broken := errors.New("the disk is gone")
	_, err := c.UploadPatch(t.Context(), waiting{complained, failing{broken}}, 8, nil)
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want the reader's own", err)
	}
}

// waiting reads only after something has happened.
type waiting struct {
	after <-chan struct{}
	r     io.Reader
}

func (w waiting) Read(p []byte) (int, error) {
	<-w.after
	return w.r.Read(p)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestUploadThatIsGivenUp(t *testing.T) {
	t.Parallel()
	p, c := dialed(t)
	ctx, cancel := context.WithCancel(t.Context())
	p.reading = func(xenapi.Ref[xenapi.Task]) { cancel() }
	// The reader blocks for ever: giving up must not wait for it.
	r, w := io.Pipe()
	defer w.Close()
	_, err := c.UploadPatch(ctx, r, 1000, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if p.count("task.cancel") != 1 || p.left() != 0 {
		t.Errorf("calls %v, %d tasks are left", p.calls, p.left())
	}
}

func TestUploadWithoutASession(t *testing.T) {
	t.Parallel()
	p, c := dialed(t)
	p.message = nil
	// The session ends between the making of the task and the upload, so the task stays pending.
	p.mu.Lock()
	p.sessions = map[string]bool{"OpaqueRef:session-1": true}
	p.mu.Unlock()
	rest := p.Config.Handler
	p.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		rest.ServeHTTP(w, r)
	})
	_, err := c.UploadPatch(t.Context(), strings.NewReader("patch"), 5, nil)
	if e, ok := errors.AsType[*client.StatusError](err); !ok || e.Code != http.StatusUnauthorized {
		t.Errorf("error %v", err)
	}
	if p.left() != 0 {
		t.Errorf("%d tasks are left", p.left())
	}
}

func TestDownload(t *testing.T) {
	t.Parallel()
	p, c := dialed(t)
	p.stored = bytes.Repeat([]byte("0123456789"), 1000)
	var out bytes.Buffer
	n, err := c.DownloadPatch(t.Context(), "9a60", &out, nil)
	if err != nil || n != int64(len(p.stored)) || !bytes.Equal(out.Bytes(), p.stored) {
		t.Errorf("%d bytes, error %v", n, err)
	}
	out.Reset()
	var done, total int64
	n, err = c.ExportVDI(t.Context(), "OpaqueRef:vdi", 9_996, &out, func(d, of int64) { done, total = d, of })
	if err != nil || out.String() != "6789" || n != 4 || done != 10_000 || total != 10_000 {
		t.Errorf("rest %q, %d bytes, progress %d of %d, error %v", out.String(), n, done, total, err)
	}
	full := errors.New("disk full")
	if _, err = c.DownloadPatch(t.Context(), "9a60", writing{full}, nil); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	p.refusal = xenapi.ErrCannotFindPatch()
	_, err = c.DownloadPatch(t.Context(), "9a60", &out, nil)
	wantCode(t, err, xenapi.CodeCannotFindPatch)
	if p.left() != 0 {
		t.Errorf("%d tasks are left", p.left())
	}
}

type writing struct{ err error }

func (w writing) Write([]byte) (int, error) { return 0, w.err }

func TestPages(t *testing.T) {
	t.Parallel()
	for page, want := range map[string]string{
		"<html><head><title>Internal Error</title></head><body><h1>Internal Error</h1><p>VDI_IN_USE: [ a; b ] The VDI is in use.</p></body></html>": "VDI_IN_USE [a; b]",
		"<h1>Internal Error</h1><p>PATCH_IS_APPLIED: [  ]</p>": "PATCH_IS_APPLIED",
		"<h1>Not Found</h1><p>There is nothing at /x</p>":      "HTTP 500 Internal Server Error: There is nothing at /x",
		"": "HTTP 500 Internal Server Error:",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			io.WriteString(w, page)
		}))
		_, err := client.Dial(t.Context(), client.Options{URL: server.URL})
		server.Close()
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("page %q is error %v, want %s", page, err, want)
		}
	}
}
