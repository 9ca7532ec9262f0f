package httpd

import (
	"bytes"
	"net/http"
	"strconv"
)

// backup answers GET /pool_backup on the unix socket with the pool's records. They hold secrets.
func (s *Server) backup(w http.ResponseWriter, r *http.Request, local bool) {
	if !local {
		page(w, http.StatusForbidden, "Forbidden", "A backup is for root on the host's unix socket")
		return
	}
	// It is small beside the database's own copy in memory, and whole before its first byte goes out.
	var whole bytes.Buffer
	if err := s.Backup(r.Context(), &whole); err != nil {
		s.cutOff(w, s.API.Domain(err), false)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Content-Length", strconv.Itoa(whole.Len()))
	w.Write(whole.Bytes())
}
