package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

const (
	// stillness is how long nothing of a transfer that is passed on may move until the way to the other host is tried. Still it
	// may well be: the client is slow, or that host is.
	stillness = 5 * time.Second
	// tries is how often the way must have been found shut, one time after another, to be taken for lost. With the time that each
	// takes, and stillness, they bound how long a network may be silent about a transfer: half a minute.
	tries = 2
	// unwindTimeout bounds the wait for the other host to remove what it made of a transfer that is lost.
	unwindTimeout = 15 * time.Second
)

// passOn has another host serve a transfer, byte for byte, as the session that was admitted here. Where the way to that host
// is lost, the transfer ends with HOST_OFFLINE.
func (s *Server) passOn(w http.ResponseWriter, r *http.Request, t transfer, host xenapi.Ref[xenapi.Host]) {
	there, err := s.Others.Dial(r.Context(), host)
	if err != nil {
		s.refuse(w, r, t, err)
		return
	}
	defer there.Close()
	if t.task.IsNull() {
		if t, err = s.lendTask(r.Context(), t); err != nil {
			s.refuse(w, r, t, err)
			return
		}
		defer s.takeBack(r.Context(), t.task)
	}
	if err := s.sendHead(there, r, t); err != nil {
		s.refuse(w, r, t, xenapi.ErrHostOffline(host).Because(err))
		return
	}
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.refuse(w, r, t, err)
		return
	}
	defer here.Close()
	p := &passage{host: host, there: there, here: here, log: s.log.With("host", host, "path", r.URL.Path)}
	client := io.MultiReader(io.LimitReader(buffered, int64(buffered.Reader.Buffered())), here)
	lost := p.carry(r.Context(), client, func(ctx context.Context) error {
		probe, err := s.Others.Dial(ctx, host)
		if err == nil {
			probe.Close()
		}
		return err
	})
	if lost != nil {
		s.unwind(r.Context(), t, host, lost)
		p.tell(r, lost)
	}
}

// lendTask gives a task to a transfer whose client has made none: by it the other host can be told to give the transfer up. A
// crash leaves the row, which is collected when it has ended.
func (s *Server) lendTask(ctx context.Context, t transfer) (transfer, error) {
	ref, err := s.Tasks.Create(ctx, t.spec)
	if err != nil {
		return t, err
	}
	t.task, t.params = ref, maps.Clone(t.params)
	t.params.Set("task_id", ref.String())
	return t, nil
}

// takeBack removes a task that was lent when it has ended: a client that went away leaves the other host work to undo.
func (s *Server) takeBack(ctx context.Context, ref xenapi.Ref[xenapi.Task]) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unwindTimeout)
	defer cancel()
	err := s.ended(ctx, ref)
	if err == nil {
		err = s.DB.Update(ctx, func(tx *db.Tx) error { return db.Delete(tx, ref) })
	}
	if err != nil {
		s.log.Info("task row not removed; collection will", "task", ref, "error", err)
	}
}

// unwind has the other host give up a transfer that no byte can move of any more. It hears so from the database, removes what
// it has made, and ends the task.
func (s *Server) unwind(ctx context.Context, t transfer, host xenapi.Ref[xenapi.Host], lost *xenapi.Error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unwindTimeout)
	defer cancel()
	err := s.Tasks.Abandon(ctx, t.task, host, lost)
	if err == nil {
		err = s.ended(ctx, t.task) // the client looks at its task as soon as it is told
	}
	if err != nil {
		s.log.Info("task of a lost transfer has not ended", "task", t.task, "host", host, "error", err)
	}
}

// ended waits until a task has.
func (s *Server) ended(ctx context.Context, ref xenapi.Ref[xenapi.Task]) error {
	return s.DB.Wait(ctx, func(tx *db.Tx) (bool, error) {
		rec, found := db.Lookup(tx, ref)
		return !found || rec.Status != xenapi.TaskStatusPending, nil
	})
}

// whilePasserLives is a request's context on the host that serves it. It ends with HOST_OFFLINE when another host has passed
// the request on, and the pool takes that for dead: its network may be silent about it.
func (s *Server) whilePasserLives(r *http.Request) (ctx context.Context, done func()) {
	uuid := s.host(r)
	if uuid == "" {
		return r.Context(), func() {}
	}
	ctx, giveUp := context.WithCancelCause(r.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		var passer xenapi.Ref[xenapi.Host]
		if s.DB.Wait(ctx, func(tx *db.Tx) (bool, error) {
			if host, err := db.ByUUID[xenapi.Host](tx, uuid); err == nil {
				passer = host
			}
			return !pool.Alive(tx, passer), nil
		}) == nil {
			giveUp(xenapi.ErrHostOffline(passer))
		}
	})
	return ctx, func() { giveUp(nil); watching.Wait() }
}

// passage is a transfer on its way through this host.
type passage struct {
	host     xenapi.Ref[xenapi.Host]
	here     net.Conn // to the client
	there    net.Conn // to the host that serves it
	log      *slog.Logger
	moved    atomic.Int64 // bytes, in both directions
	answered bool         // something of the answer went to the client
}

// carry copies in both directions until the other host has ended its answer, or the client is gone. It gives HOST_OFFLINE when
// that host is: try connects to it, and is asked when nothing moves.
func (p *passage) carry(ctx context.Context, client io.Reader, try func(context.Context) error) *xenapi.Error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	// The network may be silent about a host that died, and about a client. The client may still have to be told.
	context.AfterFunc(ctx, func() { p.there.Close(); p.here.SetDeadline(time.Unix(1, 0)) })
	var others sync.WaitGroup
	others.Go(func() { giveUp(p.watch(ctx, try)) })
	others.Go(func() { p.send(ctx, client, giveUp) })
	p.answer(ctx)
	giveUp(nil)
	others.Wait()
	lost, _ := errors.AsType[*xenapi.Error](context.Cause(ctx))
	return lost
}

// watch returns when the way to the other host is lost, with HOST_OFFLINE, or when ctx ends.
func (p *passage) watch(ctx context.Context, try func(context.Context) error) error {
	moved, shut := int64(0), 0
	for {
		select {
		case <-time.After(stillness):
		case <-ctx.Done():
			return nil
		}
		now, err := p.moved.Load(), error(nil)
		if now == moved {
			err = try(ctx)
		}
		if moved = now; err == nil {
			shut = 0
		} else if shut++; shut == tries {
			return xenapi.ErrHostOffline(p.host).Because(err)
		}
	}
}

// send passes on what the client sends.
func (p *passage) send(ctx context.Context, client io.Reader, giveUp context.CancelCauseFunc) {
	in := &failing{r: client}
	_, err := io.CopyBuffer(counted{p.slowly(ctx, p.there), &p.moved}, in, make([]byte, bodyBuffer))
	switch {
	case err == nil:
		closeWrite(p.there) // a body without a length ends so
	case in.failed:
		breakOff(p.there) // the client has gone away: the other host must not wait for the rest
		giveUp(nil)
	case errors.Is(err, os.ErrDeadlineExceeded):
		giveUp(xenapi.ErrHostOffline(p.host).Because(err))
	}
}

// answer passes on what the other host answers.
func (p *passage) answer(ctx context.Context) {
	n, err := io.CopyBuffer(counted{p.slowly(ctx, p.here), &p.moved}, p.there, make([]byte, bodyBuffer))
	p.answered = n > 0
	if err != nil && ctx.Err() == nil {
		p.log.Info("transfer by another host broke off", "error", err)
	}
}

func (p *passage) slowly(ctx context.Context, to net.Conn) io.Writer {
	return &outgoing{to, to.SetWriteDeadline, ctx}
}

// tell answers a client whose transfer is lost: with an error page if it has had no answer, at the end of that if it sends, and
// else by closing the connection before the length that was promised.
func (p *passage) tell(r *http.Request, lost *xenapi.Error) {
	p.log.Warn("the way to the host that serves a transfer is lost", "error", lost)
	p.here.SetDeadline(time.Now().Add(lingerTimeout))
	if !p.answered {
		fmt.Fprintf(p.here, "HTTP/1.%d 500 Internal Server Error\r\nConnection: close\r\nContent-Type: text/html; charset=utf-8\r\n\r\n", min(r.ProtoMinor, 1))
	}
	if !p.answered || r.Method == http.MethodPut {
		(&stream{conn: p.here}).finish(lost)
	}
}

// counted counts what is written.
type counted struct {
	io.Writer
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// failing tells, when a copy has failed, whether it was the reading that did. A host that takes no more of a body may still
// be saying why.
type failing struct {
	r      io.Reader
	failed bool
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	f.failed = err != nil && err != io.EOF
	return n, err
}

// breakOff resets a connection. One that is only closed would look like the end of a body of no known length.
func breakOff(c net.Conn) {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

func closeWrite(c net.Conn) {
	if half, ok := c.(*tls.Conn); ok {
		_ = half.CloseWrite()
	}
}

// sendHead writes a request's head for another host: the session in the place of what the client has shown, and else what
// decides how the body is read.
func (s *Server) sendHead(there net.Conn, r *http.Request, t transfer) error {
	params := url.Values{}
	for key, values := range t.params {
		params[key] = values
	}
	params.Set("session_id", t.caller.Ref.String())
	params.Del("pool_secret")
	head := fmt.Sprintf("%s %s?%s HTTP/1.%d\r\nHost: pool\r\n%s: %s\r\n", r.Method, r.URL.EscapedPath(), params.Encode(), min(r.ProtoMinor, 1),
		pool.RevisionHeader, strconv.FormatInt(s.DB.Revision(), 10))
	for _, name := range []string{"Content-Length", "Expect", "Range", "User-Agent"} {
		if value := r.Header.Get(name); value != "" {
			head += name + ": " + value + "\r\n"
		}
	}
	if len(r.TransferEncoding) > 0 {
		head += "Transfer-Encoding: chunked\r\n"
	}
	_, err := io.WriteString(there, head+"\r\n")
	return err
}
