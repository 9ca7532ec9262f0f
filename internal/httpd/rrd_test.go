package httpd_test

import (
	"strings"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// TestRRDs: what was measured, for who has logged in. Nothing was, yet.
func TestRRDs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var sr, host string
	must(t, s.db.View(func(tx *db.Tx) error {
		for _, rec := range db.All[xenapi.SR](tx) {
			sr = rec.UUID
		}
		rec, err := db.Get(tx, here)
		host = rec.UUID
		return err
	}))
	for _, test := range []struct {
		path   string
		status int
		kind   string
		holds  string
	}{
		{"/host_rrd", 200, "text/xml", "<rrd><version>0003</version><step>5</step>"},
		{"/sr_rrd?uuid=" + sr, 200, "text/xml", "<pdp_per_row>17280</pdp_per_row>"},
		{"/sr_rrd?uuid=x", 500, "text/html", "UUID_INVALID: [ SR; x ]"},
		{"/rrd_updates?start=10&host=true", 200, "text/xml", "<xport><meta><start>"},
		{"/rrd_updates?start=10&host=true&json=true", 200, "application/json", `"step":86400`},
		{"/rrd_updates?sr_uuid=" + host, 500, "text/html", "UUID_INVALID: [ SR; " + host + " ]"},
		{"/rrd_updates?start=yesterday", 500, "text/html", "INVALID_VALUE: [ start; yesterday ]"},
		{"/rrd_updates?interval=9999999999999999999", 500, "text/html", "INVALID_VALUE: [ interval; 9999999999999999999 ]"},
		{"/rrd_updates?cf=MAX", 500, "text/html", "VALUE_NOT_SUPPORTED: [ cf; MAX;"},
	} {
		resp, body := s.do(t, "GET", test.path, "Cookie: session_id="+theRoot)
		if resp.StatusCode != test.status || !strings.HasPrefix(resp.Header.Get("Content-Type"), test.kind) || !strings.Contains(body, test.holds) {
			t.Errorf("%s: %d %s %s", test.path, resp.StatusCode, resp.Header.Get("Content-Type"), body)
		}
		if resp, _ := s.do(t, "GET", test.path); resp.StatusCode != 401 {
			t.Errorf("%s for a stranger: %d", test.path, resp.StatusCode)
		}
	}
}
