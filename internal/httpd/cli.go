package httpd

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"poolpatch/internal/api"
	"poolpatch/internal/thincli"
	"poolpatch/internal/xe"
)

// maxCommand is the longest command line of xe, in bytes.
const maxCommand = 200 << 10

// cli answers POST /cli: the body is a command line of xe, and there is no answer of HTTP at all but to a request that is
// none. The command logs in by itself.
func (s *Server) cli(w http.ResponseWriter, r *http.Request, local bool) {
	switch {
	case r.ContentLength < 0 || r.Header.Get("Content-Length") == "":
		page(w, http.StatusInternalServerError, "Internal Error", "A command line needs a Content-Length")
		return
	case r.ContentLength > maxCommand:
		page(w, http.StatusRequestEntityTooLarge, "Request Entity Too Large", "A command line may be 204800 bytes long")
		return
	}
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(headerTimeout)); err != nil {
		s.log.Error("command line", "error", err)
		return
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return // the client went away
	}
	ctx, done, ok := s.talks.begin(r.Context())
	if !ok {
		page(w, http.StatusServiceUnavailable, "Service Unavailable", "This host is stopping")
		return
	}
	defer done()
	conn, buffered, err := control.Hijack()
	if err != nil {
		s.log.Error("command line", "error", err)
		return
	}
	defer conn.Close()
	early := io.LimitReader(buffered, int64(buffered.Reader.Buffered()))
	peer, err := thincli.Accept(conn, io.MultiReader(early, conn))
	if err == nil {
		defer context.AfterFunc(ctx, peer.Interrupt)()
		pool := s.API.For(api.Caller{Local: local, Origin: "cli", OtherConfig: httpOtherConfig(r), Certificates: s.certificates(r)})
		err = xe.Serve(ctx, pool, peer, strings.Split(string(body), "\n"))
	}
	if err != nil {
		s.log.Info("command line broke off", "from", r.RemoteAddr, "error", err)
	}
}
