package etcdserver

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// writeDeadline bounds one write to another member: one that is gone without a word must not hold up the messages
// to its successor. It is etcd's own for its listeners.
const writeDeadline = 5 * time.Second

// IsPeerPath tells the URL paths that PeerHandler serves.
func IsPeerPath(path string) bool {
	exact := []string{"/raft", "/members", "/leases", "/leases/internal", "/members/hashkv", "/downgrade/enabled", "/version"}
	return slices.Contains(exact, path) || strings.HasPrefix(path, "/raft/") || strings.HasPrefix(path, "/members/promote/")
}

// IsClientPath tells the URL paths that ClientHandler serves.
func IsClientPath(path string) bool { return strings.HasPrefix(path, "/etcdserverpb.") }

// PeerHandler serves the other members, by HTTP/1.1, at the paths of IsPeerPath. It refuses requests without a
// client certificate that the listener has verified (tls.VerifyClientCertIfGiven or stricter), and trusts whoever
// has one: the listener must ask for certificates of the pool's own authority alone. It lifts the
// listener's deadlines for its requests, which last as long as the members live; the response writer must be
// an http.Flusher. It is nil without Config.Peer.
func (s *Server) PeerHandler() http.Handler { return s.peers }

// ClientHandler serves etcd's clients in hosts that are no members, by HTTP/2, at the paths of IsClientPath. What
// PeerHandler says of certificates, deadlines and the response writer holds here too.
func (s *Server) ClientHandler() http.Handler {
	if s.rpc == nil {
		return nil
	}
	return guard(s.rpc)
}

// Absent answers at the paths of IsPeerPath and IsClientPath where there is no member, or none yet. Clients in other hosts go on to the
// next member, with a change too: nothing was done about it.
func Absent(w http.ResponseWriter, r *http.Request) {
	if !IsClientPath(r.URL.Path) {
		http.Error(w, "this host has no database", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/grpc") // a status without a body
	w.Header().Set("Grpc-Status", strconv.Itoa(int(codes.Unavailable)))
	w.Header().Set("Grpc-Message", noConnection)
}

// noConnection are the words of which etcd's client knows that a change which they refuse may be sent again.
const noConnection = "there is no connection available"

func newPeerHandler(s *etcdserver.EtcdServer) http.Handler {
	handler := etcdhttp.NewPeerHandler(s.Logger(), s)
	return guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(&writer{w, http.NewResponseController(w)}, r)
	}))
}

func newRPC(e *electorate) *grpc.Server { return v3rpc.Server(e.server, nil, remoteGate(e)) }

// guard lets members and clients of the pool through, for as long as they stay.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			http.Error(w, "a certificate of the pool is needed", http.StatusForbidden)
			return
		}
		control := http.NewResponseController(w)
		// A writer that has no deadlines has none to lift.
		_ = control.SetReadDeadline(time.Time{})
		_ = control.SetWriteDeadline(time.Time{})
		next.ServeHTTP(w, r)
	})
}

// writer gives each write a deadline. It is for HTTP/1.1: in HTTP/2 a deadline ends a request that writes nothing.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(writeDeadline))
	return w.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (w *writer) Flush() {
	_ = w.control.SetWriteDeadline(time.Now().Add(writeDeadline))
	_ = w.control.Flush() // the next write says what is wrong
}

// Unwrap gives http.ResponseController the writer below.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
