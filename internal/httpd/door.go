package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"

	"poolpatch/internal/pool"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// Door is what answers at the one port for HTTPS, from before there is a database until after it has ended: the hosts of
// the pool need one another to have one. It lets hosts through to the database's own protocols, and everybody to the site
// while that is open.
type Door struct {
	peer     func(tls.ConnectionState) (hostUUID string, ok bool)
	internal func(path string) bool // paths that are for hosts alone
	log      *slog.Logger
	roll     Roll

	mu       sync.Mutex
	database http.Handler
	site     http.Handler
	asking   func(ordinary *tls.Config) *tls.Config // the question for clients' certificates
	inside   sync.WaitGroup                         // requests that the site answers
}

// NewDoor makes a door behind which there is nothing yet. peer knows hosts by their connections; internal tells the
// paths of the database.
func NewDoor(peer func(tls.ConnectionState) (string, bool), internal func(path string) bool, log *slog.Logger) *Door {
	return &Door{peer: peer, internal: internal, log: log}
}

// Roll tells hosts whether they are of the pool. One that was destroyed while it was dead learns it in no other way: it
// is let through to nothing else.
type Roll struct {
	// Asker is the host that asks on a connection; false for a connection that is for something else.
	Asker func(tls.ConnectionState) (hostUUID string, ok bool)
	// Names is the answer; an error where this host cannot know.
	Names func(ctx context.Context, hostUUID string) (bool, error)
}

// Call has the door answer by a roll. It is called before Serve.
func (d *Door) Call(roll Roll) { d.roll = roll }

// Database opens the database to other hosts.
func (d *Door) Database(h http.Handler) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.database = h
}

// Site opens the site to everybody.
func (d *Door) Site(h http.Handler) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.site = h
}

// Ask has the door ask clients for certificates. asking gives an ordinary server's TLS with that question, or nil while there
// is none.
func (d *Door) Ask(asking func(ordinary *tls.Config) *tls.Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asking = asking
}

// Ordinary is the TLS of connections that are not between hosts. Whether it asks for a certificate is decided at each of them.
func (d *Door) Ordinary(config *tls.Config) *tls.Config {
	ordinary := config.Clone()
	ordinary.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		d.mu.Lock()
		asking := d.asking
		d.mu.Unlock()
		if asking == nil {
			return nil, nil
		}
		return asking(config), nil
	}
	return ordinary
}

// CloseSite lets nobody more in, and returns when the requests that were are answered, or ctx ends.
func (d *Door) CloseSite(ctx context.Context) {
	d.Site(nil)
	empty := make(chan struct{})
	go func() { defer close(empty); d.inside.Wait() }()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}

// Serve answers on a listener until the function that it gives is called, which cuts off what is still there.
func (d *Door) Serve(l net.Listener, config *tls.Config) (stop func()) {
	server := newServer(d, d.log)
	var serving sync.WaitGroup
	serving.Go(func() {
		// The listener does the TLS, so that HTTP/2 is spoken where a connection's own configuration offers it: between
		// hosts. XenAPI is HTTP/1, and an upload takes the connection over.
		if err := server.Serve(tls.NewListener(l, config)); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("HTTPS listener ended", "error", err)
		}
	})
	return func() {
		_ = server.Close()
		serving.Wait()
	}
}

// ServeHTTP implements http.Handler.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if host, asks := d.asker(r); asks {
		d.answer(w, r, host)
		return
	}
	if d.internal(r.URL.Path) && d.isHost(r) {
		d.mu.Lock()
		database := d.database
		d.mu.Unlock()
		if database == nil {
			http.Error(w, "this host has no database", http.StatusServiceUnavailable)
			return
		}
		database.ServeHTTP(w, r)
		return
	}
	d.mu.Lock()
	site := d.site
	if site != nil {
		d.inside.Add(1)
	}
	d.mu.Unlock()
	if site == nil {
		booting(w, r)
		return
	}
	defer d.inside.Done()
	site.ServeHTTP(w, r)
}

func (d *Door) asker(r *http.Request) (hostUUID string, ok bool) {
	if r.TLS == nil || d.roll.Asker == nil {
		return "", false
	}
	return d.roll.Asker(*r.TLS)
}

// answer tells a host whether it is of the pool: 204 that it is, 410 that it is no more, 503 that this host cannot know.
func (d *Door) answer(w http.ResponseWriter, r *http.Request, host string) {
	if r.Method != http.MethodGet || r.URL.Path != pool.MemberPath {
		http.Error(w, "this connection is for "+pool.MemberPath+" alone", http.StatusForbidden)
		return
	}
	named, err := d.roll.Names(r.Context(), host)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case named:
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, "you are no member of this pool any more", http.StatusGone)
	}
}

func (d *Door) isHost(r *http.Request) bool {
	if r.TLS == nil {
		return false
	}
	_, ok := d.peer(*r.TLS)
	return ok
}

// booting answers while there is no site: calls in their own words.
func booting(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.ContentLength < 0 || r.ContentLength > maxCall {
		page(w, http.StatusServiceUnavailable, "Service Unavailable", "This host is still starting")
		return
	}
	answer, contentType := rpc.XML, "text/xml"
	if strings.HasPrefix(r.URL.Path, "/jsonrpc") {
		answer, contentType = rpc.JSON, "application/json"
	}
	body, ok := readCall(w, r)
	if !ok {
		return
	}
	reply, err := answer(r.Context(), notYet{}, body)
	if err != nil {
		page(w, http.StatusInternalServerError, "Internal Error", err.Error())
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Write(reply)
}

// notYet refuses every call.
type notYet struct{}

func (notYet) Dispatch(context.Context, string, []rpc.Value) (any, error) {
	return nil, xenapi.ErrHostStillBooting()
}
