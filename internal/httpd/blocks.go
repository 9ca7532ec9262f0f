package httpd

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"poolpatch/internal/pool"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/image"
	"poolpatch/xenapi"
)

// blocks answers GET /image_blocks: another host of the pool makes a copy of an image. For everybody else there is nothing.
func (s *Server) blocks(w http.ResponseWriter, r *http.Request, _ bool) {
	if s.host(r) == "" {
		page(w, http.StatusNotFound, "Not Found", "There is nothing at "+r.URL.Path)
		return
	}
	want, err := wanted(r.URL.Query())
	if err == nil {
		err = pool.CatchUp(r.Context(), s.DB, r.Header.Get(pool.RevisionHeader))
	}
	begun := false
	if err == nil {
		err = s.Storage.Lend(r.Context(), want, func(length int64) io.Writer {
			begun = true
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
			return w
		})
	}
	if err == nil {
		return
	}
	domain := s.API.Domain(err)
	if text, err := json.Marshal(domain.(*xenapi.Error).Description()); err == nil {
		w.Header().Set(pool.ErrorHeader, string(text))
	}
	s.cutOff(w, domain, begun)
}

func wanted(q url.Values) (want storage.Wanted, err error) {
	want.Part, want.VDI = storage.Part(q.Get("part")), xenapi.ParseRef[xenapi.VDI](q.Get("vdi"))
	if want.Digest, err = image.ParseDigest(q.Get("digest")); err != nil || want.Part != storage.Data {
		return want, err
	}
	if want.First, err = strconv.ParseInt(q.Get("first"), 10, 64); err != nil {
		return want, err
	}
	want.Count, err = strconv.ParseInt(q.Get("count"), 10, 64)
	return want, err
}
