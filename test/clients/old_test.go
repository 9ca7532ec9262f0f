package clients

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"html"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// patience bounds a connection of an old client: one that waits for what never comes fails.
const patience = time.Minute

// oldster is a client as they were made when XenAPI was: HTTP/1.0 without a Host, one request on each connection, and not a
// byte of a body before the host has answered the head.
type oldster struct {
	*testing.T
	daemon  *harness.Daemon
	session string
}

// old takes a patch through its life as xe does, from a file and from a pipe, and as XenCenter does.
func old(t *testing.T, d *harness.Daemon) {
	o := oldster{T: t, daemon: d}
	o.session = o.call("session.login_with_password", "root", harness.Password)
	for name, put := range map[string]func(task string, patch []byte){
		"xe with a file": func(task string, patch []byte) {
			conn := o.put(fmt.Sprintf("/pool_patch_upload?session_id=%s&task_id=%s", o.session, task), "User-agent: xe-cli/Unix/0.2",
				fmt.Sprint("Content-length: ", len(patch)))
			o.send(conn, patch)
		},
		"xe with a pipe": func(task string, patch []byte) {
			conn := o.put(fmt.Sprintf("/pool_patch_upload?session_id=%s&task_id=%s", o.session, task), "User-agent: xe-cli/Unix/0.2")
			o.send(conn, patch)
		},
		"XenCenter": func(task string, patch []byte) {
			conn := o.put(fmt.Sprintf("/pool_patch_upload?task_id=%s&session_id=%s&sr_id=%s", task, o.session, xenapi.NullRef),
				"Host: "+d.Address(), fmt.Sprint("Content-Length: ", len(patch)))
			o.send(conn, patch)
		},
		"cookies": func(task string, patch []byte) {
			conn := o.put("/pool_patch_upload", fmt.Sprintf("Cookie: session_id=%s&task_id=%s", strings.ReplaceAll(o.session, ":", "%3A"), task))
			o.send(conn, patch)
		},
	} {
		p := &harness.Program{Label: name, Tail: strings.Repeat("o", 3<<20)}
		patch := p.Signed(t)
		task := o.call("task.create", o.session, "upload", "")
		put(task, patch)
		harness.Eventually(t, "the upload by "+name+" ends", func() bool { return o.call("task.get_status", o.session, task) != "pending" })
		ref := o.call("task.get_result", o.session, task)
		if uuid := o.call("pool_patch.get_uuid", o.session, ref); uuid != p.UUID {
			t.Errorf("%s has uploaded %s, not %s", name, uuid, p.UUID)
		}
		o.call("task.destroy", o.session, task)
		if size := o.call("pool_patch.get_size", o.session, ref); size != fmt.Sprint(len(patch)) {
			t.Errorf("%s has uploaded %s bytes of %d", name, size, len(patch))
		}
		if log := o.call("pool_patch.apply", o.session, ref, string(d.Host())); !strings.HasSuffix(log, "applied\n") {
			t.Errorf("the apply by %s says %q", name, log)
		}
		ran(t, d, p)
		o.call("VDI.destroy", o.session, o.call("pool_patch.get_VDI", o.session, ref))
	}
	// What is refused is refused before a byte is sent.
	if status := o.head(o.request("PUT /pool_patch_upload?session_id=OpaqueRef:nobody HTTP/1.0")); !strings.Contains(status, " 401 ") {
		t.Errorf("an upload without a session is answered %q", status)
	}
	o.call("session.logout", o.session)
}

// open makes a connection.
func (o oldster) open() net.Conn {
	o.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", o.daemon.Address(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		o.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	o.Cleanup(func() { conn.Close() })
	return conn
}

// request sends the lines of a head.
func (o oldster) request(lines ...string) net.Conn {
	o.Helper()
	conn := o.open()
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		o.Fatal(err)
	}
	return conn
}

// head reads the head of an answer, and not a byte more, and gives its first line.
func (o oldster) head(conn net.Conn) string {
	o.Helper()
	var text []byte
	for next := make([]byte, 1); !bytes.HasSuffix(text, []byte("\r\n\r\n")); text = append(text, next...) {
		if _, err := conn.Read(next); err != nil {
			o.Fatalf("the answer breaks off after %q: %v", text, err)
		}
	}
	status, _, _ := strings.Cut(string(text), "\r\n")
	return status
}

// put sends the head of an upload and waits for the answer to it.
func (o oldster) put(path string, headers ...string) net.Conn {
	o.Helper()
	conn := o.request(append([]string{"PUT " + path + " HTTP/1.0"}, headers...)...)
	if status := o.head(conn); status != "HTTP/1.0 200 OK" {
		o.Fatalf("PUT is answered %q", status)
	}
	return conn
}

// send sends a body and hangs up.
func (o oldster) send(conn net.Conn, body []byte) {
	o.Helper()
	if _, err := conn.Write(body); err != nil {
		o.Fatal(err)
	}
	conn.Close()
}

var success = regexp.MustCompile(`(?s)<name>Status</name><value>Success</value>.*<name>Value</name><value>(.*?)</value>`)

// call makes a call of strings and gives the string that is its result.
func (o oldster) call(method string, params ...string) string {
	o.Helper()
	var body strings.Builder
	fmt.Fprintf(&body, `<?xml version="1.0"?><methodCall><methodName>%s</methodName><params>`, method)
	for _, p := range params {
		fmt.Fprintf(&body, "<param><value><string>%s</string></value></param>", html.EscapeString(p))
	}
	body.WriteString("</params></methodCall>")
	conn := o.request("POST /RPC2 HTTP/1.0", "Content-Type: text/xml", fmt.Sprint("Content-Length: ", body.Len()))
	defer conn.Close()
	if _, err := io.WriteString(conn, body.String()); err != nil {
		o.Fatal(err)
	}
	status := o.head(conn)
	reply, err := io.ReadAll(conn)
	m := success.FindSubmatch(reply)
	if err != nil || m == nil || status != "HTTP/1.0 200 OK" {
		o.Fatalf("%s: %s, %v: %s", method, status, err, reply)
	}
	return html.UnescapeString(string(m[1]))
}
