package httpd

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"

	"poolpatch/internal/api"
	"poolpatch/internal/authority"
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

// certificates are what a client has shown, its own first, and proved to hold the key of. What hosts show one another is not for that.
func (s *Server) certificates(r *http.Request) []*x509.Certificate {
	if r.TLS == nil || !r.TLS.HandshakeComplete || authority.Reserved(r.TLS.ServerName) || s.host(r) != "" {
		return nil
	}
	return r.TLS.PeerCertificates
}

// callerOf says who makes a call. One of another host waits until this host has seen of the database what that has.
func (s *Server) callerOf(r *http.Request, local bool) (api.Caller, error) {
	c := api.Caller{Local: local, Origin: originator(r), OtherConfig: httpOtherConfig(r), Host: s.host(r)}
	if c.Host == "" {
		c.Certificates = s.certificates(r)
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
