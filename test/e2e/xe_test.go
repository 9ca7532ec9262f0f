package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// xeTimeout bounds a command line.
const xeTimeout = time.Minute

// xe runs the program as xe, over the daemon's unix socket or over TLS, and gives what it printed.
func xe(t *testing.T, d *harness.Daemon, secure bool, args ...string) string {
	t.Helper()
	where := []string{"xe", "--root", d.Root}
	if secure {
		host, port, err := net.SplitHostPort(d.Address())
		if err != nil {
			t.Fatal(err)
		}
		where = []string{"xe", "-s", host, "-p", port, "-u", "root", "-pw", harness.Password, "--ca-file", d.Path("etc/poolpatch/tls.crt")}
	}
	return runXE(t, append(where, args...)...)
}

func runXE(t *testing.T, args ...string) string {
	t.Helper()
	out, err := harness.Output("", append([]string{harness.Binary(t, harness.Build{})}, args...)...)
	if err != nil {
		t.Fatalf("xe %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSuffix(out, "\n")
}

// TestXE takes a patch and a disk through their lives with xe alone.
func TestXE(t *testing.T) {
	t.Parallel()
	d := start(t)
	for _, secure := range []bool{true, false} {
		program := harness.Program{Label: "By xe", Guidance: "restartHost"}
		dir := harness.Dir(t)
		file := filepath.Join(dir, "patch.gpg")
		write(t, file, program.Signed(t))
		host := xe(t, d, secure, "host-list", "--minimal")
		if uuid := xe(t, d, secure, "patch-upload", "file-name="+file); uuid != program.UUID {
			t.Errorf("upload prints %q", uuid)
		}
		if log := xe(t, d, secure, "patch-precheck", "uuid="+program.UUID, "host-uuid="+host); log != "prechecked\n" {
			t.Errorf("precheck prints %q", log)
		}
		if log := xe(t, d, secure, "patch-apply", "uuid="+program.UUID, "host-uuid="+host); !strings.HasSuffix(log, "applied\n") {
			t.Errorf("apply prints %q", log)
		}
		if !strings.Contains(d.Read(harness.Ran), program.UUID) {
			t.Error("the program did not run")
		}
		want := "hosts (SRO)                   : " + host + "\n    after-apply-guidance (SRO): restartHost\n\n"
		if list := xe(t, d, secure, "patch-list", "uuid="+program.UUID, "params=hosts,after-apply-guidance"); list != want {
			t.Errorf("patch-list prints %q, want %q", list, want)
		}
		if uuids := xe(t, d, secure, "patch-list", "--minimal"); !strings.Contains(uuids, program.UUID) {
			t.Errorf("patch-list --minimal prints %q", uuids)
		}
		xe(t, d, secure, "patch-pool-clean", "uuid="+program.UUID)

		image := make([]byte, 4<<20)
		for i := range image {
			image[i] = byte(rand.N(256))
		}
		raw, back := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "back.raw")
		write(t, raw, image)
		sr := xe(t, d, secure, "sr-list", "--minimal")
		vdi := xe(t, d, secure, "vdi-create", "sr-uuid="+sr, "name-label=disk", "virtual-size=4MiB")
		xe(t, d, secure, "vdi-import", "uuid="+vdi, "filename="+raw)
		xe(t, d, secure, "vdi-export", "uuid="+vdi, "filename="+back)
		if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, image) {
			t.Errorf("%d bytes came back, %v; not what was written", len(got), err)
		}
		xe(t, d, secure, "vdi-destroy", "uuid="+vdi)
	}
	if left := harness.Records[xenapi.Task](d); len(left) > 0 {
		t.Errorf("tasks stay: %v", left)
	}
	d.Clean()
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestXEOnTwoHosts asks one host for what the other has: calls are sent there, and images are fetched from there.
func TestXEOnTwoHosts(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	xe := func(args ...string) string {
		t.Helper()
		host, port, err := net.SplitHostPort(p.one.Address())
		if err != nil {
			t.Fatal(err)
		}
		return runXE(t, append([]string{"xe", "-s", host, "-p", port, "-pw", harness.Password, "--insecure"}, args...)...)
	}
	dir, program := harness.Dir(t), harness.Program{}
	file, raw, back := filepath.Join(dir, "patch.gpg"), filepath.Join(dir, "disk.raw"), filepath.Join(dir, "back.raw")
	write(t, file, program.Signed(t))
	uuid := xe("patch-upload", "file-name="+file)
	second := harness.Record(p.one, p.second).UUID
	if log := xe("patch-apply", "uuid="+uuid, "host-uuid="+second); !strings.HasSuffix(log, "applied\n") {
		t.Errorf("apply prints %q", log)
	}
	if p.one.Exists(harness.Ran) || !p.two.Exists(harness.Ran) {
		t.Error("the program did not run on the second host alone")
	}
	if hosts := xe("patch-list", "params=hosts", "--minimal"); hosts != second {
		t.Errorf("the patch is on %q", hosts)
	}
	image := bytes.Repeat([]byte("image..."), 1<<17)
	write(t, raw, image)
	vdi := xe("vdi-create", "sr-uuid="+harness.Record(p.one, p.other).UUID, "name-label=disk", "virtual-size=1MiB")
	xe("vdi-import", "uuid="+vdi, "filename="+raw)
	xe("vdi-export", "uuid="+vdi, "filename="+back)
	if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, image) {
		t.Errorf("%d bytes came back, %v; not what was written", len(got), err)
	}
	xe("vdi-destroy", "uuid="+vdi)
	xe("patch-pool-clean", "uuid="+uuid)
}

// TestXEByHand speaks xe's protocol with bytes of its own, over TLS to the real daemon, and hangs up in the middle of an
// upload: nothing is left of it.
func TestXEByHand(t *testing.T) {
	t.Parallel()
	d := start(t)
	greeting := append([]byte("XenSource thin CLI protocol"), 0, 0, 0, 0, 2, 0, 0, 0)
	open := func() net.Conn {
		ctx, cancel := context.WithTimeout(t.Context(), xeTimeout)
		defer cancel()
		dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
		conn, err := dialer.DialContext(ctx, "tcp", d.Address())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(xeTimeout))
		return conn
	}
	conn := open()
	body := "patch-upload\nfile-name=big.gpg\nusername=root\npassword=" + harness.Password
	fmt.Fprintf(conn, "POST /cli HTTP/1.0\r\nUser-agent: xe-cli/Unix/0.2\r\ncontent-length: %d\r\n\r\n%s", len(body), body)
	heard := make([]byte, len(greeting))
	if _, err := io.ReadFull(conn, heard); err != nil || !bytes.Equal(heard, greeting) {
		t.Fatalf("the daemon's greeting is %q, %v", heard, err)
	}
	_, _ = conn.Write(greeting)
	var length int32
	if err := binary.Read(conn, binary.LittleEndian, &length); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, length)
	if _, err := io.ReadFull(conn, message); err != nil || !bytes.HasPrefix(message, []byte("\x09\x00\x00\x00\x0d\x00\x00\x00\x07\x00\x00\x00big.gpg")) {
		t.Fatalf("the daemon says %q, %v", message, err)
	}
	put := open()
	fmt.Fprintf(put, "PUT %s HTTP/1.0\r\nContent-length: 100000000\r\n\r\n", message[8+4+7+4:])
	status := make([]byte, len("HTTP/1.0 200"))
	if _, err := io.ReadFull(put, status); err != nil || string(status) != "HTTP/1.0 200" {
		t.Fatalf("PUT: %q %v", status, err)
	}
	program := harness.Program{Tail: strings.Repeat("#", 1<<20)}
	_, _ = put.Write(program.Signed(t)[:1<<19])
	harness.Eventually(t, "the upload has a VDI", func() bool { return len(harness.Records[xenapi.VDI](d)) == 1 })
	conn.Close()
	harness.Eventually(t, "nothing is left of it", func() bool {
		return len(harness.Records[xenapi.VDI](d)) == 0 && len(harness.Records[xenapi.Task](d)) == 0
	})
	put.Close()
	d.Clean()
}
