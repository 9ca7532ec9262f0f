package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"poolpatch/internal/api"
	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

// Others are the other hosts of the pool; [pool.Hosts] is.
type Others interface {
	Dial(ctx context.Context, host xenapi.Ref[xenapi.Host]) (net.Conn, error)
}

// host is the UUID of the pool's host that has sent a request, or "".
func (s *Server) host(r *http.Request) string {
	if s.Peer == nil || r.TLS == nil {
		return ""
	}
	host, _ := s.Peer(*r.TLS)
	return host
}

// callerOf says who makes a call. One of another host waits until this host has seen of the database what that has.
func (s *Server) callerOf(r *http.Request, local bool) (api.Caller, error) {
	c := api.Caller{Local: local, Origin: originator(r), OtherConfig: httpOtherConfig(r), Host: s.host(r)}
	if c.Host == "" {
		return c, nil
	}
	c.Task = xenapi.ParseRef[xenapi.Task](r.Header.Get(pool.TaskHeader))
	return c, pool.CatchUp(r.Context(), s.DB, r.Header.Get(pool.RevisionHeader))
}

// elsewhere says which other host must serve a transfer; null is this one. What another host has passed on is served here.
func (s *Server) elsewhere(r *http.Request, choose func(*db.Tx) xenapi.Ref[xenapi.Host]) (host xenapi.Ref[xenapi.Host]) {
	if s.Others == nil || s.host(r) != "" {
		return ""
	}
	_ = s.DB.View(func(tx *db.Tx) error { host = choose(tx); return nil })
	if host == s.Host {
		return ""
	}
	return host
}

// passOn has another host serve a transfer, byte for byte, as the session that was admitted here.
func (s *Server) passOn(w http.ResponseWriter, r *http.Request, t transfer, host xenapi.Ref[xenapi.Host]) {
	ctx, giveUp := context.WithCancel(r.Context())
	defer giveUp()
	there, err := s.Others.Dial(ctx, host)
	if err != nil {
		s.refuse(w, r, t, err)
		return
	}
	defer there.Close()
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
	// The network may be silent about a host that died, and about a client.
	context.AfterFunc(ctx, func() { there.Close(); here.Close() })
	go func() {
		defer giveUp()
		_ = s.DB.Wait(ctx, func(tx *db.Tx) (bool, error) { return !pool.Alive(tx, host), nil })
	}()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		client := &failing{r: io.MultiReader(io.LimitReader(buffered, int64(buffered.Reader.Buffered())), here)}
		switch _, err := io.CopyBuffer(there, client, make([]byte, bodyBuffer)); {
		case err == nil:
			closeWrite(there) // a body without a length ends so
		case client.failed:
			breakOff(there) // the client has gone away: the other host must not wait for the rest
			giveUp()
		}
	}()
	_, err = io.CopyBuffer(here, there, make([]byte, bodyBuffer))
	if err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Info("transfer by another host broke off", "host", host, "path", r.URL.Path, "error", err)
	}
	giveUp()
	<-sent
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

// redirect answers 302 to a transfer of an image on an SR that this host does not see, and reports whether it has answered
// (facts, section 6). Who came by the unix socket has no other way to that host, and is served over this one.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, t transfer, sr xenapi.Ref[xenapi.SR], local bool) bool {
	host := s.elsewhere(r, func(tx *db.Tx) xenapi.Ref[xenapi.Host] { return pool.Nearest(tx, s.Host, sr) })
	if host.IsNull() {
		return false
	}
	var rec xenapi.Host
	err := s.DB.View(func(tx *db.Tx) (err error) {
		if rec, err = db.Get(tx, host); err == nil && !pool.Alive(tx, host) {
			err = xenapi.ErrHostOffline(host)
		}
		return err
	})
	if err != nil {
		s.refuse(w, r, t, err)
		return true
	}
	if local {
		s.passOn(w, r, t, host)
		return true
	}
	w.Header().Set("Location", "https://"+rec.Address+r.URL.RequestURI())
	w.Header().Set("Connection", "close")
	page(w, http.StatusFound, "Found", "The image is on storage of host "+rec.NameLabel)
	return true
}
