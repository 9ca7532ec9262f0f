package httpd

import (
	"bufio"
	"context"
	"fmt"
	"net/http"

	"poolpatch/internal/db"
	"poolpatch/internal/report"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// systemStatus sends the status report of a host: GET /system_status?entries=KEY,KEY&output=FORMAT. The parameter host, a reference or UUID, is
// ours; without it the report is that of the host that is asked.
func (s *Server) systemStatus(w http.ResponseWriter, r *http.Request, local bool) {
	t, ok := s.admit(w, r, local, "system_status", "http/get_system_status")
	if !ok {
		return
	}
	defer t.caller.Done(r.Context())
	request, err := report.ParseRequest(t.params.Get("entries"), t.params.Get("output"))
	var of xenapi.Ref[xenapi.Host]
	if err == nil {
		err = s.DB.View(func(tx *db.Tx) (err error) { of, err = named[xenapi.Host](tx, t.params.Get("host")); return err })
	}
	if err != nil {
		s.refuse(w, r, t, err)
		return
	}
	if host := s.elsewhere(r, func(*db.Tx) xenapi.Ref[xenapi.Host] { return of }); !host.IsNull() {
		s.passOn(w, r, t, host)
		return
	}
	begun := false
	err = s.run(r, t, func(ctx context.Context, work *task.Task) (any, error) {
		begun = true
		h := w.Header()
		h.Set("Connection", "close")
		h.Set("Content-Type", request.ContentType())
		h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", "bug-report"+request.Extension()))
		h.Set("task-id", work.Ref().String())
		out, stop := giveOut(ctx, w)
		defer stop()
		whole := bufio.NewWriterSize(out, bodyBuffer) // an archive is written in small pieces
		err := s.Reports.Write(ctx, whole, request, func(f float64) { work.Progress(ctx, f) })
		if err == nil {
			err = whole.Flush()
		}
		return "", s.departed(r, err)
	})
	s.cutOff(w, err, begun)
}
