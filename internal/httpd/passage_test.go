package httpd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/xenapi"
)

const (
	// knownWithin is how long a network may be silent until a transfer's end is known: so docs/operations.md says.
	knownWithin = 30 * time.Second
	theHost     = xenapi.Ref[xenapi.Host]("OpaqueRef:other")
	pathLength  = 4 * bodyBuffer // more than a step of a copy
)

// passed is a passage in a bubble, whose two far ends the test has. A pipe holds nothing: what is written is taken.
type passed struct {
	client, server net.Conn
	took           time.Duration // until the passage ended
	lost           *xenapi.Error
	done           chan struct{}
}

// pass lets a transfer begin. try is how it goes to connect to the other host once more.
func pass(method string, try func(context.Context) error) *passed {
	client, here := net.Pipe()
	there, server := net.Pipe()
	p := &passage{host: theHost, here: here, there: there, log: slog.New(slog.DiscardHandler)}
	limit := time.Now().Add(time.Hour) // a transfer that is not given up fails the test, and does not last for ever
	client.SetDeadline(limit)
	server.SetDeadline(limit)
	d, began := &passed{client: client, server: server, done: make(chan struct{})}, time.Now()
	go func() {
		defer close(d.done)
		d.lost = p.carry(context.Background(), here, try)
		d.took = time.Since(began)
		if d.lost != nil {
			p.tell(&http.Request{Method: method, ProtoMajor: 1, ProtoMinor: 1}, d.lost)
		}
		here.Close()
	}()
	return d
}

func shut(context.Context) error { return errors.New("no way") }
func open(context.Context) error { return nil }

// A network that falls silent about the other host ends a transfer, whatever that was about to do, and its client is told.
func TestAWayThatIsLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, method string
		before       func(*passed) // the silence
		told         string        // what the client reads of it
	}{
		{"before the answer", http.MethodPut, func(*passed) {}, "HTTP/1.1 500 Internal Server Error"},
		{"while the host was to take bytes", http.MethodPut, func(d *passed) {
			go d.client.Write(make([]byte, pathLength))
			io.CopyN(io.Discard, d.server, bodyBuffer)
		}, xenapi.CodeHostOffline + ": [ " + theHost.String() + " ]"},
		{"while the host worked", http.MethodPut, func(d *passed) {
			go d.client.Write([]byte("body"))
			io.CopyN(io.Discard, d.server, 4)
			go io.WriteString(d.server, "HTTP/1.1 200 OK\r\n\r\n")
			io.CopyN(io.Discard, d.client, 19)
		}, xenapi.CodeHostOffline + ": [ " + theHost.String() + " ]"},
		{"in a download", http.MethodGet, func(d *passed) {
			go d.server.Write(make([]byte, bodyBuffer))
			io.CopyN(io.Discard, d.client, bodyBuffer)
		}, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := pass(c.method, shut)
			c.before(d)
			told, _ := io.ReadAll(d.client) // to the end, or what a pipe that was closed has for it
			d.client.Close()
			<-d.done
			if xenapi.CodeOf(d.lost) != xenapi.CodeHostOffline || d.took > knownWithin {
				t.Errorf("%s: %v after %v", c.what, d.lost, d.took)
			}
			if !strings.Contains(string(told), c.told) || c.told == "" && len(told) > 0 {
				t.Errorf("%s: the client reads %q", c.what, told)
			}
			if _, err := d.server.Read(make([]byte, 1)); err == nil {
				t.Errorf("%s: the connection to the host is open", c.what)
			}
		})
	}
}

// Who is slow is not lost: a client that sends nothing for a while, a host that takes nothing, a way that was shut for a moment.
func TestAWayThatIsOnlySlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tried := 0
		d := pass(http.MethodPut, func(ctx context.Context) error {
			if tried++; tried%2 != 0 {
				return shut(ctx)
			}
			return nil
		})
		body, got := bytes.Repeat([]byte("body"), pathLength/4), []byte(nil)
		go func() {
			for half := range 2 {
				d.client.Write(body[half*pathLength/2 : (half+1)*pathLength/2])
				time.Sleep(bodyTimeout - time.Second) // of the bubble's clock, as all here
			}
			io.Copy(io.Discard, d.client)
		}()
		for len(got) < len(body) {
			time.Sleep(bodyTimeout - time.Second)
			part := make([]byte, bodyBuffer)
			n, err := io.ReadFull(d.server, part)
			if got = append(got, part[:n]...); err != nil {
				t.Fatal(err)
			}
		}
		d.server.Close()
		<-d.done
		if d.lost != nil || !bytes.Equal(got, body) || tried == 0 {
			t.Errorf("%v; the host got %d of %d bytes; its way was tried %d times", d.lost, len(got), len(body), tried)
		}
	})
}

// Whoever takes nothing at all is given up, so that neither host holds what it made of the transfer for ever.
func TestWhoTakesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := pass(http.MethodPut, open)
		go d.client.Write(make([]byte, pathLength))
		<-d.done
		if xenapi.CodeOf(d.lost) != xenapi.CodeHostOffline || d.took > bodyTimeout+knownWithin {
			t.Errorf("a host: %v after %v", d.lost, d.took)
		}
		d.client.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		d := pass(http.MethodGet, open)
		go d.server.Write(make([]byte, pathLength))
		<-d.done
		if d.lost != nil || d.took > bodyTimeout+knownWithin {
			t.Errorf("a client: %v after %v", d.lost, d.took)
		}
		if _, err := d.server.Write([]byte("more")); err == nil {
			t.Error("the connection to the host is open after its client was given up")
		}
		d.client.Close()
	})
}

// So it is where no other host has a part.
func TestADownloadThatNobodyTakes(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		out, stop := giveOut(r.Context(), w)
		defer stop()
		if _, err := out.Write(make([]byte, bodyBuffer)); err == nil || time.Since(began) > bodyTimeout+time.Second {
			t.Errorf("what nobody took was written after %v: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithCancelCause(context.Background()) // the request's has ended with its client
		cancel(xenapi.ErrTaskCancelled("OpaqueRef:task"))
		out, stop = giveOut(ctx, w)
		defer stop()
		if _, err := out.Write([]byte("more")); xenapi.CodeOf(err) != xenapi.CodeTaskCancelled {
			t.Errorf("after it was cancelled: %v", err)
		}
	})
	serveSlow(t, h, func(l *pipes) {
		conn := l.dial()
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: pool\r\n\r\n")
		time.Sleep(2 * bodyTimeout)
		conn.Close()
	})
}
