package httpd

import (
	"encoding/json"
	"net/http"

	"poolpatch/internal/check"
)

// check answers GET /check on the unix socket: what poolpatch check shows. ?deep=1 reads every patch's
// content, ?repair=1 repairs what can be repaired.
func (s *Server) check(w http.ResponseWriter, r *http.Request, local bool) {
	if !local {
		page(w, http.StatusForbidden, "Forbidden", "The check is for root on the host's unix socket")
		return
	}
	q := r.URL.Query()
	findings, err := check.Run(r.Context(), q.Get("deep") == "1", q.Get("repair") == "1", s.Storage, s.Patches)
	if err != nil {
		s.log.Error("check", "error", err)
		page(w, http.StatusInternalServerError, "Internal Error", err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"findings": findings})
}
