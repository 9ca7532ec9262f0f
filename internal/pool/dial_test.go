package pool_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolpatch/internal/pool"
)

// TestSilentConnection: a connection that has been kept and on which the other end has fallen silent is not waited for until
// the system gives it up. Another one takes its place.
func TestSilentConnection(t *testing.T) {
	t.Parallel()
	n := newServing(t, func(w http.ResponseWriter, r *http.Request) {
		fallSilent(t, r.Context().Value(connection{}).(*tls.Conn))
		reply(w, "content")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*pool.Silence)
	defer cancel()
	began := time.Now()
	for _, of := range []string{"a new connection", "one that is silent"} {
		body, _, err := n.hosts.Read(ctx, n.two.host, "/path")
		if err != nil {
			t.Fatalf("%s: %v", of, err)
		}
		got, err := io.ReadAll(body)
		if body.Close(); err != nil || string(got) != "content" {
			t.Errorf("%s: %q, %v", of, got, err)
		}
	}
	if time.Since(began) < pool.Silence/2 {
		t.Error("the connection was not silent: the test cannot fail")
	}
}

// fallSilent drops whatever comes on a connection from now on, without a word.
func fallSilent(t *testing.T, c *tls.Conn) {
	raw, err := c.NetConn().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	nothing := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}
	cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &nothing)
	})
	if cerr != nil || err != nil {
		t.Error(cerr, err)
	}
}
