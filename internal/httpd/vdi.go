package httpd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/internal/rpc"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// importRaw writes a VDI: PUT /import_raw_vdi (facts, section 6). Without a vdi it makes one on the SR.
func (s *Server) importRaw(w http.ResponseWriter, r *http.Request, local bool) {
	t, ok := s.admit(w, r, local, "import_raw_vdi", "http/put_import_raw_vdi")
	if !ok {
		return
	}
	defer t.caller.Done(r.Context())
	t.spec.Encode = rpc.MarshalXMLValue
	if len(r.TransferEncoding) > 0 {
		s.reject(w, r, t, http.StatusNotFound, xenapi.ErrValueNotSupported("transfer-encoding", r.TransferEncoding[0],
			"an image has a length, or ends with the connection"))
		return
	}
	if !s.rawFormat(w, r, t) {
		return
	}
	vdi, sr, err := s.importTarget(t.params)
	if err != nil {
		s.refuse(w, r, t, err)
		return
	}
	if vdi.IsNull() && (sr.IsNull() || r.ContentLength <= 0 || r.ContentLength >= unbelievable) {
		s.reject(w, r, t, http.StatusBadRequest, xenapi.NewError(xenapi.CodeVDIMissing))
		return
	}
	if s.redirect(w, r, t, s.srOf(vdi, sr), local) {
		return
	}
	var in *stream
	err = s.run(r, t, func(ctx context.Context, work *task.Task) (_ any, err error) {
		if in, err = s.takeOverImage(w, r, t, work.Ref()); err != nil {
			return nil, err
		}
		defer in.until(ctx)()
		if vdi.IsNull() {
			return s.importNew(ctx, work, sr, in)
		}
		s.about(work, vdi)
		// The VDI is left alone until there is something to write: one client asks with an empty image whether the real one
		// may come, and sends that while its question still ends. They must not meet at the VDI.
		body := bufio.NewReader(in.body)
		switch _, err := body.Peek(1); {
		case err == io.EOF:
			return vdi, nil
		case err != nil:
			return nil, err
		}
		return vdi, s.Storage.ImportRaw(ctx, work, vdi, body, in.length)
	})
	if in == nil {
		s.cutOff(w, err, false)
		return
	}
	in.finish(err)
}

// takeOverImage names the task in the head of the answer: a client that gave none looks there for how its import ends.
func (s *Server) takeOverImage(w http.ResponseWriter, r *http.Request, t transfer, ref xenapi.Ref[xenapi.Task]) (*stream, error) {
	in, err := s.takeOver(w, r, "image", xenapi.ErrVDIIOError, "Content-Type: application/octet-stream", "task-id: "+ref.String())
	if err != nil {
		return nil, err
	}
	switch {
	case t.params.Has("chunked"):
		in.body, in.length = &framed{r: in.body}, -1
	case in.length >= unbelievable:
		in.length = -1
	case in.length > 0:
		in.body = &whole{r: in.body, length: in.length}
	}
	return in, nil
}

func (s *Server) importNew(ctx context.Context, t *task.Task, sr xenapi.Ref[xenapi.SR], in *stream) (any, error) {
	rec := xenapi.New[xenapi.VDI]()
	rec.NameLabel, rec.SR, rec.VirtualSize, rec.Type = "Imported VDI", sr, in.length, xenapi.VDITypeUser
	vdi, err := s.Storage.CreateTemporary(ctx, t, rec)
	if err != nil {
		return nil, err
	}
	s.about(t, vdi)
	if err := s.Storage.ImportRaw(ctx, t, vdi, in.body, in.length); err != nil {
		s.Storage.Discard(ctx, t, vdi)
		return nil, err
	}
	return vdi, s.Storage.Keep(ctx, t, vdi, func(*xenapi.VDI) {}, func(*db.Tx) error { return nil })
}

// about tells the task's line in the log which VDI is written.
func (s *Server) about(t *task.Task, ref xenapi.Ref[xenapi.VDI]) {
	_ = s.DB.View(func(tx *db.Tx) error {
		if vdi, ok := db.Lookup(tx, ref); ok {
			t.About("VDI " + vdi.UUID)
		}
		return nil
	})
}

// rawFormat answers a request for an image in a format that is not served, and reports whether it is raw.
func (s *Server) rawFormat(w http.ResponseWriter, r *http.Request, t transfer) bool {
	format := t.params.Get("format")
	if format == "" || strings.EqualFold(format, "raw") {
		return true
	}
	s.reject(w, r, t, http.StatusNotFound, xenapi.ErrValueNotSupported("format", format, "images are moved in format raw"))
	return false
}

func (s *Server) importTarget(params url.Values) (vdi xenapi.Ref[xenapi.VDI], sr xenapi.Ref[xenapi.SR], err error) {
	err = s.DB.View(func(tx *db.Tx) error {
		if vdi, err = named[xenapi.VDI](tx, params.Get("vdi")); err != nil {
			return err
		}
		id := params.Get("sr_id")
		if id == "" {
			id = params.Get("sr_uuid")
		}
		sr, err = named[xenapi.SR](tx, id)
		return err
	})
	return vdi, sr, err
}

// srOf is the SR that a VDI is on, or else the one that it is to be made on.
func (s *Server) srOf(vdi xenapi.Ref[xenapi.VDI], sr xenapi.Ref[xenapi.SR]) xenapi.Ref[xenapi.SR] {
	_ = s.DB.View(func(tx *db.Tx) error {
		if rec, ok := db.Lookup(tx, vdi); ok {
			sr = rec.SR
		}
		return nil
	})
	return sr
}

// named finds an object by its ref or its UUID; nothing given is the null ref.
func named[T xenapi.Object](tx *db.Tx, id string) (xenapi.Ref[T], error) {
	if id == "" {
		return "", nil
	}
	if ref := xenapi.ParseRef[T](id); !ref.IsNull() {
		if _, ok := db.Lookup(tx, ref); ok {
			return ref, nil
		}
	}
	return db.ByUUID[T](tx, id)
}

// unbelievable is the length in bytes from which on it says that the client knows none: one client says
// 1 PiB and ends the connection where the image ends.
const unbelievable = 1 << 50

// whole is an image of an announced length: one that ends before it was cut off, and is no image. The
// error is no end of file, which would pass for the image's own end.
type whole struct {
	r            io.Reader
	read, length int64
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.read += int64(n)
	if err == io.EOF && w.read < w.length {
		err = xenapi.ErrVDIIOError(fmt.Sprintf("the image ended after %d of %d bytes", w.read, w.length))
	}
	return n, err
}

// framed reads XenAPI's own chunks: an offset of eight and a length of four bytes, little-endian, then
// the data; a chunk of length 0 ends the stream. What lies between two chunks reads as zeroes.
type framed struct {
	r         io.Reader
	at        uint64 // position in the image
	gap, left uint64 // zeroes, then data of the current chunk
	done      bool
}

func (f *framed) Read(p []byte) (int, error) {
	for f.gap == 0 && f.left == 0 {
		if f.done {
			return 0, io.EOF
		}
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	if f.gap > 0 {
		n := int(min(f.gap, uint64(len(p))))
		clear(p[:n])
		f.gap -= uint64(n)
		f.at += uint64(n)
		return n, nil
	}
	n, err := f.r.Read(p[:min(f.left, uint64(len(p)))])
	f.left -= uint64(n)
	f.at += uint64(n)
	switch {
	case err == io.EOF && f.left == 0:
		err = nil // between two chunks is no end either: the next read says so
	case err != nil:
		err = f.cutOff(err)
	}
	return n, err
}

// cutOff is a failed read of a stream whose last chunk has not come.
func (f *framed) cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return xenapi.ErrVDIIOError(fmt.Sprintf("the stream ended at %d, before its last chunk", f.at))
	}
	return err
}

func (f *framed) next() error {
	var header [12]byte
	if _, err := io.ReadFull(f.r, header[:]); err != nil {
		return f.cutOff(err)
	}
	offset, length := binary.LittleEndian.Uint64(header[:8]), binary.LittleEndian.Uint32(header[8:])
	if length == 0 {
		f.done = true
		return nil
	}
	if offset < f.at {
		return xenapi.ErrVDIIOError(fmt.Sprintf("chunk at %d comes after data up to %d", offset, f.at))
	}
	f.gap, f.left = offset-f.at, uint64(length)
	return nil
}

// exportRaw reads a VDI: GET /export_raw_vdi, as a whole or a range of it.
func (s *Server) exportRaw(w http.ResponseWriter, r *http.Request, local bool) {
	t, ok := s.admit(w, r, local, "export_raw_vdi", "http/get_export_raw_vdi")
	if !ok {
		return
	}
	defer t.caller.Done(r.Context())
	if !s.rawFormat(w, r, t) {
		return
	}
	var vdi xenapi.Ref[xenapi.VDI]
	err := s.DB.View(func(tx *db.Tx) (err error) { vdi, err = named[xenapi.VDI](tx, t.params.Get("vdi")); return err })
	if err == nil && vdi.IsNull() {
		s.reject(w, r, t, http.StatusBadRequest, xenapi.NewError(xenapi.CodeVDIMissing))
		return
	}
	if err != nil {
		s.refuse(w, r, t, err)
		return
	}
	if s.redirect(w, r, t, s.srOf(vdi, ""), local) {
		return
	}
	begun := false
	err = s.run(r, t, func(ctx context.Context, work *task.Task) (any, error) {
		export, err := s.Storage.OpenExport(ctx, work, vdi)
		if err != nil {
			return "", err
		}
		defer export.Close(ctx)
		offset, length, status := byteRange(r.Header.Get("Range"), export.Size)
		begun = true
		exportHeaders(w.Header(), export.UUID, work.Ref(), offset, length, export.Size, status)
		w.WriteHeader(status)
		out, stop := giveOut(ctx, w)
		defer stop()
		return "", s.departed(r, export.Write(ctx, out, offset, length))
	})
	s.cutOff(w, err, begun)
}

func exportHeaders(h http.Header, uuid string, t xenapi.Ref[xenapi.Task], offset, length, size int64, status int) {
	h.Set("Connection", "close")
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", uuid+".raw"))
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	h.Set("task-id", t.String())
	switch status {
	case http.StatusPartialContent:
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, offset+length-1, size))
	case http.StatusRequestedRangeNotSatisfiable:
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
	}
}

// byteRange understands a Range header with one range. A header that it does not understand is ignored,
// as RFC 9110 allows; a range behind the end is 416.
func byteRange(header string, size int64) (offset, length int64, status int) {
	text, ok := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(text, "-")
	if !ok || !dash || strings.Contains(text, ",") {
		return 0, size, http.StatusOK
	}
	if first == "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < 0 {
			return 0, size, http.StatusOK
		}
		if n = min(n, size); n == 0 {
			return 0, 0, http.StatusRequestedRangeNotSatisfiable
		}
		return size - n, n, http.StatusPartialContent
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from < 0 {
		return 0, size, http.StatusOK
	}
	to := size - 1
	if last != "" {
		if to, err = strconv.ParseInt(last, 10, 64); err != nil || to < from {
			return 0, size, http.StatusOK
		}
		to = min(to, size-1)
	}
	if from >= size {
		return 0, 0, http.StatusRequestedRangeNotSatisfiable
	}
	return from, to - from + 1, http.StatusPartialContent
}
