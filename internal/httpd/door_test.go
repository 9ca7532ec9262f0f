package httpd_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/httpd"
)

// doorway is a door with a client before it.
type doorway struct {
	t    *testing.T
	door *httpd.Door
	url  string
	http http.Client
}

// newDoorway serves a door. Whoever it is that comes, host says whether it is a host of the pool.
func newDoorway(t *testing.T, host bool) *doorway {
	t.Helper()
	d := &doorway{t: t, door: httpd.NewDoor(func(tls.ConnectionState) (string, bool) { return "uuid", host },
		func(path string) bool { return strings.HasPrefix(path, "/raft") }, slog.New(slog.DiscardHandler))}
	dir := t.TempDir()
	config, err := httpd.SelfSigned(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), []string{"127.0.0.1"})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(d.door.Serve(l, config))
	d.url = "https://" + l.Addr().String()
	d.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(d.http.CloseIdleConnections)
	return d
}

func (d *doorway) wants(method, path, body string, status int, text string) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, strings.NewReader(body))
	must(d.t, err)
	answer, err := d.http.Do(r)
	must(d.t, err)
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	must(d.t, err)
	if answer.StatusCode != status || !strings.Contains(string(got), text) || answer.ProtoMajor != 1 {
		d.t.Errorf("%s %s: %s %s %q", method, path, answer.Proto, answer.Status, got)
	}
}

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

func TestDoorBeforeThereIsASite(t *testing.T) {
	t.Parallel()
	d := newDoorway(t, false)
	call := `{"jsonrpc":"2.0","method":"pool.get_all","params":["OpaqueRef:x"],"id":1}`
	d.wants("POST", "/jsonrpc", call, 200, "HOST_STILL_BOOTING")
	d.wants("POST", "/", "<methodCall><methodName>pool.get_all</methodName></methodCall>", 200, "HOST_STILL_BOOTING")
	d.wants("POST", "/jsonrpc", "no call", 500, "")
	d.wants("GET", "/", "", 503, "still starting")
	d.wants("PUT", "/pool_patch_upload", "", 503, "still starting")

	d.door.Site(says("the site"))
	d.wants("POST", "/jsonrpc", call, 200, "the site")
	d.wants("GET", "/raft", "", 200, "the site") // which has nothing there
	d.door.CloseSite(t.Context())
	d.wants("GET", "/", "", 503, "still starting")
}

// The database is for hosts alone, from before there is a site until after it.
func TestDoorToTheDatabase(t *testing.T) {
	t.Parallel()
	d := newDoorway(t, true)
	d.wants("GET", "/raft", "", 503, "no database")
	d.door.Database(says("the database"))
	d.wants("GET", "/raft", "", 200, "the database")
	d.wants("GET", "/", "", 503, "still starting")
	d.door.Site(says("the site"))
	d.wants("GET", "/", "", 200, "the site")
	d.door.CloseSite(t.Context())
	d.wants("GET", "/raft/stream", "", 200, "the database")
}

// A host that asks whether it is of the pool is told so, and gets nothing else, be there a site or none.
func TestDoorToTheRoll(t *testing.T) {
	t.Parallel()
	var named bool
	var unknown error
	d := newDoorway(t, true)
	asks := func(tls.ConnectionState) (string, bool) { return "uuid", true }
	d.door.Call(httpd.Roll{Asker: asks, Names: func(_ context.Context, host string) (bool, error) {
		if host != "uuid" {
			t.Errorf("asked about %q", host)
		}
		return named, unknown
	}})
	d.door.Database(says("the database"))
	d.door.Site(says("the site"))
	d.wants("GET", "/pool_member", "", 410, "no member of this pool any more")
	unknown = errors.New("there is no majority")
	d.wants("GET", "/pool_member", "", 503, "no majority")
	named, unknown = true, nil
	d.wants("GET", "/pool_member", "", 204, "")
	for _, path := range []string{"/", "/raft", "/jsonrpc", "/pool_member/x"} {
		d.wants("GET", path, "", 403, "for /pool_member alone")
	}
	d.wants("POST", "/pool_member", "{}", 403, "for /pool_member alone")
	d.door.Call(httpd.Roll{Asker: func(tls.ConnectionState) (string, bool) { return "", false }})
	d.wants("GET", "/raft", "", 200, "the database")
	d.wants("GET", "/pool_member", "", 200, "the site") // which has nothing there
}

// Who is inside when the site closes gets an answer.
func TestClosingWaits(t *testing.T) {
	t.Parallel()
	d := newDoorway(t, false)
	inside, answered := make(chan struct{}), make(chan struct{})
	d.door.Site(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(inside)
		<-answered
		_, _ = io.WriteString(w, "late")
	}))
	done := make(chan struct{})
	go func() { defer close(done); d.wants("GET", "/", "", 200, "late") }()
	<-inside
	brief, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	d.door.CloseSite(brief) // gives up
	close(answered)
	d.door.CloseSite(t.Context())
	<-done
}
