package httpd

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"poolpatch/internal/pool"
	"poolpatch/internal/rpc"
)

const (
	// maxCall is the longest RPC body, in bytes.
	maxCall = 300 << 10
	// callTimeout is how long it may take to come.
	callTimeout = time.Minute
)

type codec func(ctx context.Context, d rpc.Dispatcher, body []byte) ([]byte, error)

func (s *Server) xmlRPC(w http.ResponseWriter, r *http.Request, local bool) {
	s.call(w, r, local, rpc.XML, "text/xml")
}

// jsonRPC answers with exactly application/json: a client that is told a charset too takes the reply for
// XML.
func (s *Server) jsonRPC(w http.ResponseWriter, r *http.Request, local bool) {
	s.call(w, r, local, rpc.JSON, "application/json")
}

func (s *Server) call(w http.ResponseWriter, r *http.Request, local bool, answer codec, contentType string) {
	switch {
	case r.ContentLength < 0 || r.Header.Get("Content-Length") == "":
		page(w, http.StatusInternalServerError, "Internal Error", "A call needs a Content-Length")
		return
	case r.ContentLength > maxCall:
		page(w, http.StatusRequestEntityTooLarge, "Request Entity Too Large", "A call may be 307200 bytes long")
		return
	}
	body, ok := readCall(w, r)
	if !ok {
		return
	}
	c, err := s.callerOf(r, local)
	if err != nil {
		page(w, http.StatusServiceUnavailable, "Service Unavailable", "This host's copy of the database is behind")
		return
	}
	reply, err := answer(r.Context(), s.API.For(c), body)
	if err != nil {
		page(w, http.StatusInternalServerError, "Internal Error", err.Error())
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(reply)))
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Headers", "X-Requested-With")
	if c.Host != "" {
		h.Set(pool.RevisionHeader, strconv.FormatInt(s.DB.Revision(), 10))
	}
	h.Set("Connection", "keep-alive")
	if r.Close {
		h.Set("Connection", "close")
	}
	w.Write(reply)
}

// readCall reads a body whose length is known and within the limit. It answers a client that does not send it in time, and
// leaves alone one that went away. The bound ends with the body: net/http lifts it when all has come.
func readCall(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(callTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, false // the connection is closed
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		page(w, http.StatusRequestTimeout, "Request Timeout", "The body of the call did not come")
	}
	return body, err == nil
}

func originator(r *http.Request) string {
	if o := r.Header.Get("Originator"); o != "" {
		return o
	}
	return r.UserAgent()
}

// httpOtherConfig takes notes that a client makes in headers: x-http-other-config-K: v lands in the
// task's other_config as http:K.
func httpOtherConfig(r *http.Request) map[string]string {
	const prefix = "X-Http-Other-Config-"
	var notes map[string]string
	for name, values := range r.Header {
		if key, ok := strings.CutPrefix(name, prefix); ok && len(values) > 0 {
			if notes == nil {
				notes = map[string]string{}
			}
			notes["http:"+strings.ToLower(key)] = values[0]
		}
	}
	return notes
}
