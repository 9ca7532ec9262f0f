package rrd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/machine"
	"poolpatch/internal/rrd"
	"poolpatch/xenapi"
)

const (
	here   = xenapi.Ref[xenapi.Host]("OpaqueRef:here")
	hostID = "uuid-host"
	srID   = "uuid-sr"
)

// site is a host that sees an SR, and one that it does not see.
type site struct {
	db   *db.DB
	dir  string
	load machine.Load
	err  error
}

func newSite(t *testing.T) *site {
	t.Helper()
	d, err := db.Open(t.Context(), memkv.New(), db.Options{Writer: "here", Tables: []db.Table{
		db.TableOf[xenapi.Host](), db.TableOf[xenapi.SR](), db.TableOf[xenapi.PBD](),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	s := &site{db: d, dir: t.TempDir(), load: machine.Load{Average: 1, MemoryTotal: 1 << 30, MemoryFree: 1 << 20, ProcessorBusy: 100, ProcessorTotal: 1000}}
	s.update(t, func(tx *db.Tx) error {
		return errors.Join(
			db.Put(tx, here, xenapi.Host{UUID: hostID}),
			db.Put(tx, "OpaqueRef:sr", xenapi.SR{UUID: srID, PhysicalSize: 100, PhysicalUtilisation: 30}),
			db.Put(tx, "OpaqueRef:far", xenapi.SR{UUID: "uuid-far"}),
			db.Put(tx, "OpaqueRef:pbd", xenapi.PBD{UUID: "uuid-pbd", Host: here, SR: "OpaqueRef:sr", CurrentlyAttached: true}))
	})
	return s
}

func (s *site) update(t *testing.T, fn func(*db.Tx) error) {
	t.Helper()
	if err := s.db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (s *site) start() *rrd.Recorder {
	return rrd.New(s.db, here, func() (machine.Load, error) { return s.load, s.err }, s.dir, slog.New(slog.DiscardHandler))
}

// run lets a recorder take some samples, in the time of a test.
func run(t *testing.T, r *rrd.Recorder, samples int) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	time.Sleep(time.Duration(samples)*rrd.Step + time.Second)
	cancel()
	running.Wait()
}

// column gives what was measured of a source since a time, the oldest first.
func column(t *testing.T, r *rrd.Recorder, since time.Time, interval time.Duration, o rrd.Object, name string) (values []float64) {
	t.Helper()
	u := r.Since(since, interval, time.Now(), o)
	i := slices.Index(u.Legend, "AVERAGE:"+o.Kind+":"+o.UUID+":"+name)
	if i < 0 {
		t.Fatalf("%s is not among %q", name, u.Legend)
	}
	for _, row := range u.Rows {
		values = append(values, row.Values[i])
	}
	slices.Reverse(values)
	return values
}

func equal(got []float64, want ...float64) bool {
	return slices.EqualFunc(got, want, func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })
}

var theHost = rrd.Object{Kind: "host", UUID: hostID}

// TestRecorder: five minutes of a host, with a gap, seen finely and coarsely, and after a restart.
func TestRecorder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		began := time.Now()
		r := s.start()
		run(t, r, 13) // one minute and a row
		nan := math.NaN()
		if got := column(t, r, began, 0, theHost, "loadavg"); !equal(got, append([]float64{nan}, slices.Repeat([]float64{1}, 12)...)...) {
			t.Errorf("finely: %v", got)
		}
		if got := column(t, r, began, time.Minute, theHost, "loadavg"); !equal(got, 1) {
			t.Errorf("by the minute: %v", got)
		}
		time.Sleep(time.Minute) // the daemon is away
		s.load.Average = 4
		r = s.start()
		run(t, r, 25)
		if got := column(t, r, began, time.Minute, theHost, "loadavg"); !equal(got, 1, nan, 4, 4) {
			t.Errorf("after a restart: %v", got)
		}
		if got := column(t, r, began, 0, theHost, "loadavg"); !equal(got[12:28], append(append([]float64{1, 1}, slices.Repeat([]float64{nan}, 12)...), 4, 4)...) {
			t.Errorf("around the gap: %v", got[12:28])
		}
		if got := column(t, r, time.Now().Add(-10*time.Second), 0, rrd.Object{Kind: "sr", UUID: srID}, "physical_utilisation"); !equal(got, 30, 30) {
			t.Errorf("of the SR: %v", got)
		}
		if u := r.Since(began, 0, time.Now(), rrd.Object{Kind: "sr", UUID: "uuid-far"}); len(u.Legend) > 0 {
			t.Errorf("of an SR that is not seen: %v", u.Legend)
		}
	})
}

func TestBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		r := s.start()
		run(t, r, 1)
		s.load.ProcessorBusy, s.load.ProcessorTotal = 130, 1100 // since the start
		run(t, r, 1)
		if got := r.Busy(); got != 0.3 {
			t.Errorf("the processors were busy for %v", got)
		}
		s.err = errors.New("no /proc")
		s.load.ProcessorBusy, s.load.ProcessorTotal = 300, 1300
		run(t, r, 1)
		if got := r.Busy(); got != 0.3 {
			t.Errorf("what could not be measured is %v", got)
		}
	})
}

// TestForget: a source that is not recorded any more leaves nothing, and one that is recorded again begins anew.
func TestForget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		began := time.Now()
		r := s.start()
		run(t, r, 3)
		has := func(name string) bool {
			return slices.Contains(r.Since(began, 0, time.Now(), theHost).Legend, "AVERAGE:host:"+hostID+":"+name)
		}
		unrecorded := func(names ...string) {
			s.update(t, func(tx *db.Tx) error {
				return db.Change(tx, here, func(rec *xenapi.Host) error { rec.Unrecorded = names; return nil })
			})
		}
		unrecorded("loadavg")
		run(t, r, 1)
		if has("loadavg") || !has("memory_free_kib") {
			t.Error("it forgot the wrong source")
		}
		unrecorded()
		run(t, r, 3)
		if got := column(t, r, began, 0, theHost, "loadavg"); !math.IsNaN(got[2]) || got[len(got)-1] != 1 {
			t.Errorf("recorded anew: %v", got)
		}
		r.Forget(hostID, "loadavg")
		if has("loadavg") {
			t.Error("it is not forgotten at once")
		}
	})
}

// TestFiles: what is gone leaves no file, and what is damaged harms nobody.
func TestFiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		r := s.start()
		run(t, r, 2)
		files, _ := filepath.Glob(filepath.Join(s.dir, "*"))
		if len(files) != 2 {
			t.Fatalf("files %q", files)
		}
		s.update(t, func(tx *db.Tx) error { return db.Delete(tx, xenapi.Ref[xenapi.SR]("OpaqueRef:sr")) })
		run(t, r, 1)
		if _, err := os.Stat(filepath.Join(s.dir, srID+".rrd")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the file of an SR that is gone: %v", err)
		}
		file := filepath.Join(s.dir, hostID+".rrd")
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 1, len(whole) / 2, len(whole) - 1} {
			if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			again := s.start()
			run(t, again, 1)
			if u := again.Since(time.Now(), 0, time.Now(), theHost); len(u.Legend) != 4 {
				t.Errorf("after a file was cut at %d: %q", n, u.Legend)
			}
		}
	})
}

// TestExport: a dump and updates in both forms say the same.
func TestExport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		began := time.Now()
		r := s.start()
		run(t, r, 3)
		u := r.Since(began, 0, time.Now(), theHost, rrd.Object{Kind: "sr", UUID: srID})
		var asXML, asJSON, dump bytes.Buffer
		if err := errors.Join(u.WriteXML(&asXML), u.WriteJSON(&asJSON), r.Dump(&dump, hostID, time.Now())); err != nil {
			t.Fatal(err)
		}
		var x struct {
			Step   int      `xml:"meta>step"`
			End    int64    `xml:"meta>end"`
			Rows   int      `xml:"meta>rows"`
			Legend []string `xml:"meta>legend>entry"`
			Data   []struct {
				T int64    `xml:"t"`
				V []string `xml:"v"`
			} `xml:"data>row"`
		}
		var j struct {
			Meta struct {
				Columns int
				Legend  []string
			}
			Data []struct {
				T      int64
				Values []*float64
			}
		}
		if err := errors.Join(xml.Unmarshal(asXML.Bytes(), &x), json.Unmarshal(asJSON.Bytes(), &j)); err != nil {
			t.Fatal(err)
		}
		newest := began.Unix() + 15
		if x.Step != 5 || x.Rows != 3 || x.End != newest || len(x.Legend) != 7 || x.Data[0].T != newest || x.Data[0].V[1] != "1" || x.Data[2].V[1] != "NaN" {
			t.Errorf("in XML: %+v", x)
		}
		if j.Meta.Columns != 7 || !slices.Equal(j.Meta.Legend, x.Legend) || len(j.Data) != 3 || j.Data[0].T != newest || *j.Data[0].Values[1] != 1 || j.Data[2].Values[1] != nil {
			t.Errorf("in JSON: %s", asJSON.String())
		}
		if got := strings.Count(dump.String(), "<row>"); got != 120+120+168+366 {
			t.Errorf("the dump has %d rows", got)
		}
	})
}

// TestHowFinely: rows are as fine as they are kept for so long.
func TestHowFinely(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	now := time.Now()
	for _, test := range []struct {
		back, interval time.Duration
		step           int64
		most           int
	}{
		{time.Minute, 0, 5, 13},
		{time.Minute, 6 * time.Second, 60, 2},
		{10 * time.Minute, 0, 5, 120},
		{time.Hour, 0, 60, 61},
		{24 * time.Hour, 0, 3600, 25},
		{30 * 24 * time.Hour, time.Second, 86400, 31},
		{10 * 365 * 24 * time.Hour, 0, 86400, 366},
		{-time.Hour, 0, 5, 0},
	} {
		u := r.Since(now.Add(-test.back), test.interval, now)
		if u.Step != test.step || len(u.Rows) > test.most || len(u.Rows) < test.most-1 {
			t.Errorf("%v back, %v: %d rows of %d s", test.back, test.interval, len(u.Rows), u.Step)
		}
	}
}
