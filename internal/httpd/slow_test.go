package httpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/api"
)

// pipes is a listener whose connections are in memory, so that their deadlines follow a bubble's clock.
type pipes struct {
	conns  chan net.Conn
	closed context.Context
	close  context.CancelFunc
}

func newPipes(t testing.TB) *pipes {
	ctx, cancel := context.WithCancel(t.Context())
	return &pipes{make(chan net.Conn), ctx, cancel}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed.Done():
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.close(); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// serveSlow runs fn, in a bubble, against a server of h.
func serveSlow(t *testing.T, h http.Handler, fn func(*pipes)) {
	synctest.Test(t, func(t *testing.T) {
		l, server, served := newPipes(t), newServer(h, slog.New(slog.DiscardHandler)), make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		fn(l)
		server.Close()
		<-served
	})
}

const aCall = "<methodCall><methodName>system.isAlive:7</methodName><params/></methodCall>"

// A call whose body does not come is answered after a while, and its connection closed: else a stranger could hold as many
// as there may be. So it is also while there is no site yet.
func TestACallWhoseBodyDoesNotCome(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	for name, h := range map[string]http.Handler{
		"site":    New(Services{API: api.New(api.Services{}, log)}, log).Handler(false),
		"booting": http.HandlerFunc(booting),
	} {
		serveSlow(t, h, func(l *pipes) {
			for _, path := range []string{"/", "/jsonrpc"} {
				conn, start := l.dial(), time.Now()
				conn.SetDeadline(start.Add(time.Hour))
				fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: pool\r\nContent-Length: %d\r\n\r\n%s", path, len(aCall), aCall[:10])
				in := bufio.NewReader(conn)
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Errorf("%s, %s: %v", name, path, err)
					continue
				}
				io.Copy(io.Discard, resp.Body)
				if _, err := in.ReadByte(); resp.StatusCode != 408 || err != io.EOF || time.Since(start) > 2*callTimeout {
					t.Errorf("%s, %s: %d after %v; then %v", name, path, resp.StatusCode, time.Since(start), err)
				}
			}
		})
	}
}

// The bound is the body's alone: a call that takes longer is not given up, and the connection serves the next one however
// late that comes.
func TestTheBoundOfABodyEndsWithIt(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := readCall(w, r)
		time.Sleep(2 * callTimeout) // of the bubble's clock, as all here
		if !ok || string(body) != aCall || r.Context().Err() != nil {
			t.Errorf("read %v, %q; the call was given up: %v", ok, body, r.Context().Err())
		}
	})
	serveSlow(t, h, func(l *pipes) {
		conn := l.dial()
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Hour))
		in := bufio.NewReader(conn)
		for i := range 2 {
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: pool\r\nContent-Length: %d\r\n\r\n", len(aCall))
			time.Sleep(callTimeout / 2)
			io.WriteString(conn, aCall)
			if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 200 {
				t.Errorf("call %d: %v", i, err)
				return
			}
			time.Sleep(2 * callTimeout)
		}
	})
}
