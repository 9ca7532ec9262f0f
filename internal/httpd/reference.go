package httpd

import (
	"net/http"
	"strconv"
)

// reference answers GET /api: every class, field, message and error, as JSON. It is the same on every host and holds nothing
// secret, so who asks need not log in.
func (s *Server) reference(w http.ResponseWriter, _ *http.Request, _ bool) {
	text := s.API.ReferenceJSON()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Access-Control-Allow-Origin", "*")
	w.Write(text)
}
