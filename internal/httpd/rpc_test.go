package httpd_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/httpd"
	"poolpatch/xenapi"
)

const alive = "<methodCall><methodName>system.isAlive:7</methodName><params/></methodCall>"

func TestRoutes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const html = "text/html; charset=utf-8"
	for _, c := range []struct {
		method, path, body string
		status             int
		contentType, has   string
	}{
		{"POST", "/", alive, 200, "text/xml", "<value>7</value>"},
		{"POST", "/RPC2", alive, 200, "text/xml", "<value>7</value>"},
		{"POST", "/json", alive, 200, "text/xml", "<value>7</value>"},
		{"POST", "/any/path", alive, 200, "text/xml", "<value>7</value>"}, // a prefix of every path
		{"POST", "/jsonrpc", `{"jsonrpc":"2.0","method":"system.isAlive:7","id":1}`, 200, "application/json", `"result":"7"`},
		{"POST", "/jsonrpc", `{"method":"system.isAlive:7","params":[],"id":"x"}`, 200, "application/json", `"error":null,"id":"x"`},
		{"POST", "/", "<methodCall>", 500, html, "malformed XML-RPC"},
		{"POST", "/jsonrpc", `[]`, 500, html, "malformed JSON-RPC"},
		{"POST", "/jsonrpc", `{"jsonrpc":"2.0","method":"system.isAlive:7"}`, 500, html, "malformed JSON-RPC"},
		{"GET", "/", "", 200, html, "poolpatch"},
		{"GET", "/nowhere", "", 404, html, "/nowhere"},
		{"GET", "/<b>", "", 404, html, "&lt;b&gt;"},
		{"PUT", "/nowhere", "", 403, html, "/nowhere"},
		{"PUT", "/", "", 403, html, ""},
		{"DELETE", "/", "", 501, html, "DELETE"},
		{"BREW", "/", "", 501, html, "BREW"},
		{"OPTIONS", "/nowhere", "", 404, html, "/nowhere"},
		{"GET", "/api", "", 200, "application/json", `"name": "pool_patch"`},
		{"GET", "/metrics", "", 200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", `poolpatch_build_info{version="1.2.3"} 1`},
	} {
		resp, body := s.doBody(t, c.method, c.path, c.body)
		if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != c.contentType || !strings.Contains(body, c.has) {
			t.Errorf("%s %s: %d %q %s", c.method, c.path, resp.StatusCode, resp.Header.Get("Content-Type"), body)
		}
		if c.status >= 400 && !resp.Close {
			t.Errorf("%s %s: an error page closes the connection", c.method, c.path)
		}
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, path := range []string{"/", "/json", "/jsonrpc"} {
		resp, body := s.do(t, "OPTIONS", path, "Origin: https://ui.lab", "Access-Control-Request-Headers: content-type")
		h := resp.Header
		if resp.StatusCode != 200 || body != "" || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Methods") != "PUT" ||
			h.Get("Access-Control-Allow-Headers") != "content-type, X-Requested-With" {
			t.Errorf("%s: %d %v %s", path, resp.StatusCode, h, body)
		}
	}
	resp, _ := s.do(t, "OPTIONS", "/")
	if got := resp.Header.Get("Access-Control-Allow-Headers"); got != "X-Requested-With" {
		t.Errorf("nothing requested: %q", got)
	}
}

func TestRepliesToCalls(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	resp, body := s.doBody(t, "POST", "/jsonrpc", `{"jsonrpc":"2.0","method":"system.isAlive:7","id":1}`)
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Content-Length": fmt.Sprint(len(body)), "Cache-Control": "no-cache, no-store",
		"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "X-Requested-With",
	} {
		if got := strings.Join(resp.Header[name], "|"); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestACallNeedsALengthWithinTheLimit(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const limit = 300 << 10
	for _, c := range []struct {
		what, header, body string
		status             int
	}{
		{"no length", "Accept: */*", "", 500},
		{"chunked", "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(alive), alive), 500},
		{"at the limit", fmt.Sprint("Content-Length: ", limit), alive + strings.Repeat(" ", limit-len(alive)), 200},
		{"beyond the limit", fmt.Sprint("Content-Length: ", limit+1), "", 413},
		{"nothing", "Content-Length: 0", "", 500},
	} {
		w := dial(t, s.plain)
		w.say("POST / HTTP/1.1", "Host: pool", "Connection: close", c.header)
		w.send([]byte(c.body))
		resp := w.head()
		if body := w.rest(resp); resp.StatusCode != c.status {
			t.Errorf("%s: %d %.300s", c.what, resp.StatusCode, body)
		}
	}
}

// HTTP/1.0 closes unless it is asked not to, 1.1 the other way round; the answer has the request's version.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, c := range []struct {
		proto, connection, says string
		stays                   bool
	}{
		{"HTTP/1.0", "", "close", false},
		{"HTTP/1.0", "keep-alive", "keep-alive", true},
		{"HTTP/1.1", "", "keep-alive", true},
		{"HTTP/1.1", "close", "close", false},
	} {
		w := dial(t, s.plain)
		for i := range 2 {
			lines := []string{"POST / " + c.proto, "Host: pool", fmt.Sprint("Content-Length: ", len(alive))}
			if c.connection != "" {
				lines = append(lines, "Connection: "+c.connection)
			}
			w.say(lines...)
			w.send([]byte(alive))
			// net/http's client hides the header Connection, which others read.
			text := textproto.NewReader(w.in)
			status, err := text.ReadLine()
			if err != nil {
				t.Fatalf("%s %q: call %d: %v", c.proto, c.connection, i, err)
			}
			header, err := text.ReadMIMEHeader()
			must(t, err)
			if status != c.proto+" 200 OK" || header.Get("Connection") != c.says {
				t.Errorf("%s %q: %s, Connection: %s", c.proto, c.connection, status, header.Get("Connection"))
			}
			length, err := strconv.Atoi(header.Get("Content-Length"))
			must(t, err)
			_, err = io.ReadFull(w.in, make([]byte, length))
			must(t, err)
			if !c.stays {
				if _, err := w.in.ReadByte(); err != io.EOF {
					t.Errorf("%s %q: stays open: %v", c.proto, c.connection, err)
				}
				break
			}
		}
		w.Close()
	}
}

func TestNotesInHeadersLandInTheTaskOfACall(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	call := fmt.Sprintf(`{"jsonrpc":"2.0","method":"Async.SR.scan","params":[%q,%q],"id":1}`, theRoot, s.sr)
	resp, body := s.doBody(t, "POST", "/jsonrpc", call, "X-Http-Other-Config-Ticket: 42", "x-http-other-config-a.b: c")
	if resp.StatusCode != 200 || !strings.Contains(body, "OpaqueRef:") {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	s.tasks.Wait()
	for _, rec := range all[xenapi.Task](s) {
		if rec.OtherConfig["http:ticket"] != "42" || rec.OtherConfig["http:a.b"] != "c" {
			t.Errorf("other_config %v", rec.OtherConfig)
		}
	}
}

// A caller names itself, or is known by its program.
func TestOriginator(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	must(t, s.auth.EnsureRoot(t.Context(), rootPW))
	login := fmt.Sprintf(`{"jsonrpc":"2.0","method":"session.login_with_password","params":["root",%q],"id":1}`, rootPW)
	s.doBody(t, "POST", "/jsonrpc", login, "User-Agent: program/1")
	s.doBody(t, "POST", "/jsonrpc", login, "User-Agent: program/1", "Originator: backup")
	got := map[string]bool{}
	for _, rec := range all[xenapi.Session](s) {
		got[rec.Originator] = true
	}
	if !got["program/1"] || !got["backup"] {
		t.Errorf("originators %v", got)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, c := range []struct {
		what     string
		versions [2]uint16
		protos   []string
		ok       bool
	}{
		{"1.2", [2]uint16{tls.VersionTLS12, tls.VersionTLS12}, nil, true},
		{"1.3", [2]uint16{tls.VersionTLS13, tls.VersionTLS13}, nil, true},
		{"1.1", [2]uint16{tls.VersionTLS10, tls.VersionTLS11}, nil, false},
		{"offers HTTP/1.0 alone", [2]uint16{tls.VersionTLS12, 0}, []string{"http/1.0"}, true},
		{"prefers HTTP/2", [2]uint16{tls.VersionTLS12, 0}, []string{"h2", "http/1.1"}, true},
	} {
		config := &tls.Config{InsecureSkipVerify: true, MinVersion: c.versions[0], MaxVersion: c.versions[1], NextProtos: c.protos}
		conn, err := tls.Dial("tcp", s.tls, config)
		if ok := err == nil; ok != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
		if err != nil {
			continue
		}
		w := newWire(t, conn)
		w.say("POST / HTTP/1.0", fmt.Sprint("Content-Length: ", len(alive)))
		w.send([]byte(alive))
		if resp := w.head(); resp.StatusCode != 200 || conn.ConnectionState().NegotiatedProtocol == "h2" {
			t.Errorf("%s: %d over %q", c.what, resp.StatusCode, conn.ConnectionState().NegotiatedProtocol)
		}
	}
}

func TestASelfSignedCertificateIsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	read := func(file string) string {
		text, err := os.ReadFile(file)
		must(t, err)
		return string(text)
	}
	config, err := httpd.SelfSigned(cert, key, []string{"host.lab", "192.0.2.1"})
	must(t, err)
	leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
	must(t, err)
	for _, name := range []string{"host.lab", "192.0.2.1"} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key may be read by %v, %v", info.Mode(), err)
	}
	made := read(cert) + read(key)
	_, err = httpd.SelfSigned(cert, key, []string{"other.lab"})
	must(t, err)
	if read(cert)+read(key) != made {
		t.Error("another start made another certificate")
	}
	// A crash between the two files leaves the key alone.
	must(t, os.Remove(cert))
	_, err = httpd.SelfSigned(cert, key, []string{"host.lab"})
	must(t, err)
	if read(cert)+read(key) == made {
		t.Error("the certificate without its key was not replaced")
	}
	must(t, os.Remove(key))
	if _, err := httpd.SelfSigned(cert, key, []string{"host.lab"}); err == nil || !strings.HasPrefix(err.Error(), "TLS certificate: ") {
		t.Errorf("a certificate whose key is lost: %v", err)
	}
	if _, err := os.Stat(key); !os.IsNotExist(err) {
		t.Error("a certificate that an administrator put there was given another key")
	}
}

func TestTheCheckIsForTheUnixSocket(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if resp, _ := s.do(t, "GET", "/check", "Cookie: session_id="+theRoot); resp.StatusCode != 403 {
		t.Errorf("over TCP: %d", resp.StatusCode)
	}
	w := dial(t, s.socket)
	w.say("GET /check?deep=1 HTTP/1.1", "Host: pool", "Connection: close")
	resp := w.head()
	if body := w.rest(resp); resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" || body != "{\"findings\":[]}\n" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
}

// When the daemon stops, nobody new is answered, connections that wait are closed, and Serve returns.
func TestStop(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	idle := dial(t, s.plain)
	idle.say("POST / HTTP/1.1", "Host: pool", fmt.Sprint("Content-Length: ", len(alive)))
	idle.send([]byte(alive))
	if _, err := io.ReadAll(idle.head().Body); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if _, err := idle.in.ReadByte(); err != io.EOF {
		t.Errorf("an idle connection: %v", err)
	}
	err := <-s.served
	s.served <- err // for the end of the test
	if err != nil {
		t.Error(err)
	}
	// Dialling the address would tell nothing: another test may listen there by now.
	_ = s.listener.SetDeadline(time.Now())
	if conn, err := s.listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%s still listens: %v %v", s.plain, conn, err)
	}
}

// An upload that runs when the daemon stops is cancelled: its client hears so, and nothing of it is left.
func TestStopEndsATransfer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ref := s.newTask(t, theRoot)
	w := s.beginUpload(t, "PUT /pool_patch_upload?task_id="+string(ref)+" HTTP/1.1", "Host: pool", "Cookie: session_id="+theRoot)
	resp := w.head()
	w.send(s.signed(t, mib)[:mib/2])
	s.await(t, "the upload has not begun", func(tx *db.Tx) bool { return len(tx.Refs("VDI")) > 0 })
	s.stop()
	s.tasks.CancelAll() // as the daemon does beside
	s.tasks.Wait()
	if rec := get(s, ref); rec.Status != xenapi.TaskStatusCancelled {
		t.Errorf("task %s %q", rec.Status, rec.ErrorInfo)
	}
	if body := w.rest(resp); !strings.Contains(body, "TASK_CANCELLED: [ "+string(ref)+" ]") {
		t.Errorf("the client reads %q", body)
	}
	s.nothingLeft(t)
}

// A transfer that is cancelled ends although its client says nothing.
func TestCancellingATransferThatWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ref := s.newTask(t, theRoot)
	w := s.beginUpload(t, "PUT /pool_patch_upload?task_id="+string(ref)+" HTTP/1.1", "Host: pool", "Cookie: session_id="+theRoot)
	resp := w.head()
	s.await(t, "the upload has not begun", func(tx *db.Tx) bool {
		rec, _ := db.Lookup(tx, ref)
		return len(rec.AllowedOperations) > 0
	})
	must(t, s.tasks.Cancel(context.Background(), ref, "OpaqueRef:cancel"))
	if body := w.rest(resp); !strings.Contains(body, "TASK_CANCELLED") {
		t.Errorf("the client reads %q", body)
	}
	s.await(t, "the task has not ended", func(tx *db.Tx) bool {
		rec, _ := db.Lookup(tx, ref)
		return rec.Status == xenapi.TaskStatusCancelled
	})
	s.nothingLeft(t)
}

// A host that answers over HTTPS alone refuses what comes in plain text, but for its unix socket.
func TestHTTPSOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, only := range []bool{true, false} {
		must(t, s.db.Update(t.Context(), func(tx *db.Tx) error {
			return db.Change(tx, here, func(rec *xenapi.Host) error { rec.HTTPSOnly = only; return nil })
		}))
		want := map[bool]int{true: 403, false: 200}[only]
		for _, path := range []string{"/", "/api", "/metrics"} {
			w := dial(t, s.plain)
			w.say("GET " + path + " HTTP/1.0")
			if resp := w.head(); resp.StatusCode != want {
				t.Errorf("%s in plain text: %d, want %d", path, resp.StatusCode, want)
			}
			w = dial(t, s.socket)
			w.say("GET " + path + " HTTP/1.0")
			if resp := w.head(); resp.StatusCode != 200 {
				t.Errorf("%s on the unix socket: %d", path, resp.StatusCode)
			}
			w = dialTLS(t, s.tls, &tls.Config{InsecureSkipVerify: true})
			w.say("GET " + path + " HTTP/1.0")
			if resp := w.head(); resp.StatusCode != 200 {
				t.Errorf("%s over TLS: %d", path, resp.StatusCode)
			}
		}
	}
}
