package httpd

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/rrd"
	"poolpatch/xenapi"
)

// hostRRD answers GET /host_rrd with all that this host has recorded of itself, as rrdtool dump writes it.
func (s *Server) hostRRD(w http.ResponseWriter, r *http.Request, local bool) {
	t, ok := s.admit(w, r, local, "get_host_rrd", "http/get_host_rrd")
	if !ok {
		return
	}
	defer t.caller.Done(r.Context())
	s.dumpRRD(w, r, t, s.hostUUID())
}

// srRRD answers GET /sr_rrd?uuid= with what this host has recorded of an SR.
func (s *Server) srRRD(w http.ResponseWriter, r *http.Request, local bool) {
	t, ok := s.admit(w, r, local, "get_sr_rrd", "http/get_sr_rrd")
	if !ok {
		return
	}
	defer t.caller.Done(r.Context())
	if err := s.knowsSR(t.params.Get("uuid")); err != nil {
		s.refuse(w, r, t, err)
		return
	}
	s.dumpRRD(w, r, t, t.params.Get("uuid"))
}

func (s *Server) dumpRRD(w http.ResponseWriter, r *http.Request, t transfer, uuid string) {
	var text bytes.Buffer // of a size that does not grow
	if err := s.RRDs.Dump(&text, uuid, time.Now()); err != nil {
		s.refuse(w, r, t, err)
		return
	}
	sendText(w, "text/xml", text.Bytes())
}

// rrdUpdates answers GET /rrd_updates?start=: what was measured since. The host is among it with host=true, an SR with
// sr_uuid=; json=true asks for JSON, interval= for rows of at least so many seconds.
func (s *Server) rrdUpdates(w http.ResponseWriter, r *http.Request, local bool) {
	t, ok := s.admit(w, r, local, "get_rrd_updates", "http/get_rrd_updates")
	if !ok {
		return
	}
	defer t.caller.Done(r.Context())
	updates, err := s.updatesOf(t)
	var text bytes.Buffer
	kind, write := "text/xml", updates.WriteXML
	if t.params.Get("json") == "true" {
		kind, write = "application/json", updates.WriteJSON
	}
	if err == nil {
		err = write(&text)
	}
	if err != nil {
		s.refuse(w, r, t, err)
		return
	}
	sendText(w, kind, text.Bytes())
}

func (s *Server) updatesOf(t transfer) (updates rrd.Updates, err error) {
	start, err := seconds(t, "start")
	if err != nil {
		return updates, err
	}
	interval, err := seconds(t, "interval")
	if err != nil {
		return updates, err
	}
	if cf := t.params.Get("cf"); cf != "" && cf != rrd.Average {
		return updates, xenapi.ErrValueNotSupported("cf", cf, "only averages are recorded")
	}
	var objects []rrd.Object
	if t.params.Get("host") == "true" {
		objects = append(objects, rrd.Object{Kind: "host", UUID: s.hostUUID()})
	}
	if sr := t.params.Get("sr_uuid"); sr != "" {
		if err := s.knowsSR(sr); err != nil {
			return updates, err
		}
		objects = append(objects, rrd.Object{Kind: "sr", UUID: sr})
	}
	return s.RRDs.Since(time.Unix(start, 0), time.Duration(interval)*time.Second, time.Now(), objects...), nil
}

// maxSeconds bounds what may be asked for: a duration has room for it.
const maxSeconds = 1 << 32

// seconds reads a parameter; one that is not given is 0. Before the epoch nothing was measured.
func seconds(t transfer, name string) (int64, error) {
	text := t.params.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > maxSeconds {
		return 0, xenapi.ErrInvalidValue(name, text)
	}
	return max(n, 0), nil
}

func (s *Server) hostUUID() (uuid string) {
	_ = s.DB.View(func(tx *db.Tx) error { host, _ := db.Lookup(tx, s.Host); uuid = host.UUID; return nil })
	return uuid
}

func (s *Server) knowsSR(uuid string) error {
	return s.DB.View(func(tx *db.Tx) error { _, err := db.ByUUID[xenapi.SR](tx, uuid); return err })
}

func sendText(w http.ResponseWriter, kind string, text []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.Write(text)
}
