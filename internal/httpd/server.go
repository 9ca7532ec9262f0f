package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"poolpatch/internal/api"
	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/patch"
	"poolpatch/internal/report"
	"poolpatch/internal/rrd"
	"poolpatch/internal/storage"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Limits of what a stranger can make the server hold. They are wider than XenAPI's own, which some
// proxies exceed.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 5 * time.Minute
	maxHeader     = 32 << 10
	stopTimeout   = 10 * time.Second // for requests to end when the daemon stops
)

// Services are what the handlers call.
type Services struct {
	DB      *db.DB
	API     *api.API
	Auth    *auth.Service
	Tasks   *task.Service
	Patches *patch.Service
	Storage *storage.Service
	Metrics http.Handler
	RRDs    *rrd.Recorder
	Reports *report.Maker
	Backup  func(context.Context, io.Writer) error // writes the pool's records
	// Host is the one that this server serves, Others are the rest of the pool, and Peer knows them by their
	// connections; both may be nil.
	Host   xenapi.Ref[xenapi.Host]
	Others Others
	Peer   func(tls.ConnectionState) (hostUUID string, ok bool)
}

// Server serves XenAPI over HTTP.
type Server struct {
	Services
	log   *slog.Logger
	talks *talks
}

// New makes the server; it listens nowhere yet.
func New(s Services, log *slog.Logger) *Server {
	return &Server{Services: s, log: log, talks: newTalks()}
}

// Listener is an address that the server answers on without TLS; see [Door] for HTTPS.
type Listener struct {
	net.Listener
	// Local marks the unix socket: who reaches it is root.
	Local bool
}

// Serve answers on every listener until ctx ends, then lets requests finish for a while.
func (s *Server) Serve(ctx context.Context, listeners []Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		server := newServer(s.withoutTLS(l.Local), s.log)
		group.Go(func() error { return serve(server, l) })
		group.Go(func() error {
			<-ctx.Done()
			s.talks.end()
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			if err := server.Shutdown(stop); err != nil {
				return server.Close()
			}
			return nil
		})
	}
	err := group.Wait()
	s.talks.end()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	s.talks.wait(stop)
	return err
}

func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func serve(server *http.Server, l Listener) error {
	err := server.Serve(l.Listener)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", l.Addr(), err)
}

// route is a row of the route table: the longest prefix of the path wins.
type route struct {
	method, prefix string
	handle         func(s *Server, w http.ResponseWriter, r *http.Request, local bool)
}

var routes = []route{
	{http.MethodPost, "/", (*Server).xmlRPC}, // RPC2, json and every path that nobody else has
	{http.MethodPost, "/jsonrpc", (*Server).jsonRPC},
	{http.MethodPost, "/cli", (*Server).cli},
	{http.MethodPut, "/pool_patch_upload", (*Server).upload},
	{http.MethodGet, "/pool_patch_download", (*Server).download},
	{http.MethodPut, "/import_raw_vdi", (*Server).importRaw},
	{http.MethodGet, "/export_raw_vdi", (*Server).exportRaw},
	{http.MethodGet, "/host_rrd", (*Server).hostRRD},
	{http.MethodGet, "/sr_rrd", (*Server).srRRD},
	{http.MethodGet, "/rrd_updates", (*Server).rrdUpdates},
	{http.MethodGet, "/system_status", (*Server).systemStatus},
	{http.MethodGet, "/api", (*Server).reference},
	{http.MethodGet, "/metrics", (*Server).metrics},
	{http.MethodGet, "/check", (*Server).check},
	{http.MethodGet, "/pool_backup", (*Server).backup},
	{http.MethodGet, "/image_blocks", (*Server).blocks},
}

// Handler answers the requests of one kind of listener.
func (s *Server) Handler(local bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		s.route(w, r, local)
		s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "from", r.RemoteAddr, "seconds", time.Since(start).Seconds())
	})
}

// withoutTLS is Handler for a listener that has none: a host may be told to answer there no more.
func (s *Server) withoutTLS(local bool) http.Handler {
	h := s.Handler(local)
	if local {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.httpsOnly() {
			page(w, http.StatusForbidden, "Forbidden", "This host answers over HTTPS alone")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// httpsOnly reports whether this host refuses what comes without TLS.
func (s *Server) httpsOnly() (only bool) {
	_ = s.DB.View(func(tx *db.Tx) error {
		host, _ := db.Lookup(tx, s.Host)
		only = host.HTTPSOnly
		return nil
	})
	return only
}

func (s *Server) route(w http.ResponseWriter, r *http.Request, local bool) {
	if found := lookup(r.Method, r.URL.Path); found != nil {
		found.handle(s, w, r, local)
		return
	}
	switch r.Method {
	case http.MethodOptions:
		preflight(w, r)
	case http.MethodGet, http.MethodHead:
		if r.URL.Path == "/" {
			welcome(w)
			return
		}
		page(w, http.StatusNotFound, "Not Found", "There is nothing at "+r.URL.Path)
	case http.MethodPut:
		page(w, http.StatusForbidden, "Forbidden", "Nothing can be put at "+r.URL.Path)
	default:
		page(w, http.StatusNotImplemented, "Not Implemented", "The method "+r.Method+" is not served")
	}
}

func lookup(method, path string) *route {
	var best *route
	for i, r := range routes {
		if r.method == method && strings.HasPrefix(path, r.prefix) && (best == nil || len(r.prefix) > len(best.prefix)) {
			best = &routes[i]
		}
	}
	return best
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request, _ bool) {
	s.Services.Metrics.ServeHTTP(w, r)
}
