package httpd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/internal/rpc"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// upload takes a patch: PUT /pool_patch_upload (facts, section 6). The SR is chosen here, so the
// parameters sr_id and sr_uuid that newer clients send are accepted and not followed.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, local bool) {
	t, ok := s.admit(w, r, local, "pool_patch_upload", "http/put_pool_patch_upload")
	if !ok {
		return
	}
	defer t.caller.Done(r.Context())
	if host := s.elsewhere(r, taker); !host.IsNull() {
		s.passOn(w, r, t, host)
		return
	}
	in, err := s.takeOver(w, r, "upload", xenapi.ErrInvalidPatch)
	if err != nil {
		s.refuse(w, r, t, err)
		return
	}
	// The result is the bare ref, which scripts take as it is.
	if s.readsXML(t.task) {
		t.spec.Encode = rpc.MarshalXMLValue
	}
	err = s.run(r, t, func(ctx context.Context, work *task.Task) (any, error) {
		defer in.until(ctx)()
		ref, err := s.Patches.Upload(ctx, work, in.body, in.length)
		return ref.String(), err
	})
	in.finish(err)
}

// readsXML reports whether the client that made a task takes every result for XML-RPC, as that of all other tasks is. Xen
// Orchestra does, and is told nothing any more after a result that is something else: its loop over events ends in the
// parser's error. Its tasks are known by their names alone, those that its library makes by itself and its own.
func (s *Server) readsXML(task xenapi.Ref[xenapi.Task]) (reads bool) {
	_ = s.DB.View(func(tx *db.Tx) error {
		rec, _ := db.Lookup(tx, task)
		reads = strings.HasPrefix(rec.NameLabel, "Xapi#putResource ") || strings.HasPrefix(rec.NameLabel, "[XO] ")
		return nil
	})
	return reads
}

// taker is the host that takes a patch in: the coordinator, or else one that sees the pool's default SR where the coordinator
// does not (M3).
func taker(tx *db.Tx) xenapi.Ref[xenapi.Host] {
	coordinator := pool.Coordinator(tx)
	for _, rec := range db.All[xenapi.Pool](tx) {
		if host := pool.Nearest(tx, coordinator, rec.DefaultSR); pool.Sees(tx, host, rec.DefaultSR) && pool.Alive(tx, host) {
			return host
		}
	}
	return coordinator
}

// download sends a signed patch: GET /pool_patch_download?uuid=U.
func (s *Server) download(w http.ResponseWriter, r *http.Request, local bool) {
	t, ok := s.admit(w, r, local, "pool_patch_download", "http/get_pool_patch_download")
	if !ok {
		return
	}
	defer t.caller.Done(r.Context())
	uuid := t.params.Get("uuid")
	if uuid == "" {
		s.reject(w, r, t, http.StatusBadRequest, xenapi.ErrInvalidValue("uuid", uuid))
		return
	}
	if host := s.elsewhere(r, func(tx *db.Tx) xenapi.Ref[xenapi.Host] { return s.keeper(tx, uuid) }); !host.IsNull() {
		s.passOn(w, r, t, host)
		return
	}
	begun := false
	err := s.run(r, t, func(ctx context.Context, work *task.Task) (any, error) {
		return "", s.Patches.Download(ctx, work, uuid, func(body io.Reader, size int64) error {
			begun = true
			h := w.Header()
			h.Set("Content-Type", "application/octet-stream")
			h.Set("Content-Length", strconv.FormatInt(size, 10))
			h.Set("Connection", "close")
			out, stop := giveOut(ctx, w)
			defer stop()
			_, err := io.CopyBuffer(out, body, make([]byte, bodyBuffer))
			return s.departed(r, err)
		})
	})
	s.cutOff(w, err, begun)
}

// departed makes CLIENT_ERROR of an error in sending a body that is the client's doing: the connection broke. Other errors
// stay as they are.
func (s *Server) departed(r *http.Request, err error) error {
	_, network := errors.AsType[*net.OpError](err)
	if err == nil || xenapi.CodeOf(err) != "" || !network && r.Context().Err() == nil {
		return err
	}
	s.log.Info("client went away from a transfer", "path", r.URL.Path, "error", err)
	return xenapi.ErrClientError().Because(err)
}

// keeper is the host that has a patch: one that sees its VDI, or else the coordinator, on which its file may be.
func (s *Server) keeper(tx *db.Tx, uuid string) xenapi.Ref[xenapi.Host] {
	ref, err := db.ByUUID[xenapi.PoolPatch](tx, strings.ToLower(uuid))
	if err != nil {
		return "" // whoever is asked says so
	}
	rec, _ := db.Lookup(tx, ref)
	if vdi, ok := db.Lookup(tx, rec.VDI); ok {
		return pool.Nearest(tx, s.Host, vdi.SR)
	}
	return pool.Coordinator(tx)
}

// cutOff ends an answer that failed: with an error page if nothing was sent yet, else by closing the
// connection before the length that was promised.
func (s *Server) cutOff(w http.ResponseWriter, err error, begun bool) {
	domain, ok := err.(*xenapi.Error)
	switch {
	case err == nil:
	case begun || !ok:
		panic(http.ErrAbortHandler)
	default:
		errorPage(w, domain)
	}
}
