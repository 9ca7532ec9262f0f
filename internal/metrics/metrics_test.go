package metrics_test

import (
	"errors"
	"flag"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/metrics"
	"poolpatch/internal/patch"
	"poolpatch/internal/rollout"
	"poolpatch/xenapi"
)

var update = flag.Bool("update", false, "write the golden files anew")

func open(t testing.TB) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), memkv.New(), db.Options{Tables: []db.Table{
		db.TableOf[xenapi.PoolPatch](), db.TableOf[xenapi.HostPatch](), db.TableOf[xenapi.Host](), db.TableOf[xenapi.Task](),
		db.TableOf[xenapi.SR](), db.TableOf[xenapi.VDI](), db.TableOf[xenapi.VBD](), db.TableOf[xenapi.HostMetrics](), db.TableOf[patch.Rolling](),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func change(t testing.TB, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := d.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// rolling is a rollout on two hosts, one of which has the patch.
func rolling(uuid string, ended bool) patch.Rolling {
	r, err := rollout.New(rollout.Options{UUID: uuid}, []rollout.Host{
		{Ref: "OpaqueRef:h1", Name: "one", Live: true, Coordinator: true}, {Ref: "OpaqueRef:h2", Name: "two", Live: true, Applied: true},
	}, time.Unix(0, 0))
	if err != nil {
		panic(err)
	}
	r.Next(time.Unix(0, 0))
	record, err := r.Bytes()
	if err != nil {
		panic(err)
	}
	return patch.Rolling{Record: string(record), Ended: ended}
}

// small is two SRs, three patches on two hosts, and some tasks.
func small(tx *db.Tx) error {
	return errors.Join(
		db.Insert(tx, "OpaqueRef:h1", xenapi.Host{UUID: "host-1", NameLabel: "one", Metrics: "OpaqueRef:m1"}),
		db.Insert(tx, "OpaqueRef:m1", xenapi.HostMetrics{UUID: "metrics-1", Live: true}),
		db.Insert(tx, "rolling", rolling("patch-1", false)),
		db.Insert(tx, "rolled", rolling("patch-2", true)),
		db.Insert(tx, "OpaqueRef:h2", xenapi.Host{UUID: "host-2"}),
		db.Insert(tx, "OpaqueRef:local", xenapi.SR{UUID: "sr-1", NameLabel: `Local "fast" storage`, PhysicalSize: 1 << 40, PhysicalUtilisation: 5 << 30}),
		db.Insert(tx, "OpaqueRef:empty", xenapi.SR{UUID: "sr-2", NameLabel: "NFS", PhysicalSize: 1000, PhysicalUtilisation: 1}),
		db.Insert(tx, "OpaqueRef:v1", xenapi.VDI{UUID: "vdi-1", SR: "OpaqueRef:local"}),
		db.Insert(tx, "OpaqueRef:v2", xenapi.VDI{UUID: "vdi-2", SR: "OpaqueRef:local"}),
		db.Insert(tx, "OpaqueRef:p1", xenapi.PoolPatch{UUID: "patch-1", VDI: "OpaqueRef:v1"}),
		db.Insert(tx, "OpaqueRef:p2", xenapi.PoolPatch{UUID: "patch-2", Filename: "/var/patch/patch-2"}),
		db.Insert(tx, "OpaqueRef:p3", xenapi.PoolPatch{UUID: "patch-3", VDI: "OpaqueRef:destroyed"}),
		db.Insert(tx, "OpaqueRef:r1", xenapi.HostPatch{UUID: "row-1", Host: "OpaqueRef:h1", PoolPatch: "OpaqueRef:p1", State: "applied"}),
		db.Insert(tx, "OpaqueRef:r2", xenapi.HostPatch{UUID: "row-2", Host: "OpaqueRef:h1", PoolPatch: "OpaqueRef:p2", State: "applied"}),
		db.Insert(tx, "OpaqueRef:r3", xenapi.HostPatch{UUID: "row-3", Host: "OpaqueRef:h2", PoolPatch: "OpaqueRef:p1", State: "running"}),
		db.Insert(tx, "OpaqueRef:t1", xenapi.Task{UUID: "task-1", Status: xenapi.TaskStatusPending}),
		db.Insert(tx, "OpaqueRef:t2", xenapi.Task{UUID: "task-2", Status: xenapi.TaskStatusFailure}),
		db.Insert(tx, "OpaqueRef:t3", xenapi.Task{UUID: "task-3", Status: xenapi.TaskStatusFailure}),
	)
}

// scrape gives the lines of the pool's own metrics.
func scrape(t testing.TB, d *db.DB) (own, rest string) {
	t.Helper()
	w := httptest.NewRecorder()
	metrics.Handler(d, "1.2.3").ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Fatalf("%d %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	var mine, other strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "poolpatch_") {
			mine.WriteString(line)
		} else {
			other.WriteString(line)
		}
	}
	return mine.String(), other.String()
}

func TestExpositionGolden(t *testing.T) {
	t.Parallel()
	d := open(t)
	change(t, d, small)
	got, _ := scrape(t, d)
	const file = "testdata/exposition.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("exposition (-want +got); -update writes it anew:\n%s", diff)
	}
}

// Alerts compare with zero, so what there is none of is shown as 0, not left out.
func TestAnEmptyPoolShowsZeroes(t *testing.T) {
	t.Parallel()
	got, rest := scrape(t, open(t))
	for _, line := range []string{
		`poolpatch_patches{content="vdi"} 0`, `poolpatch_patches{content="file"} 0`, `poolpatch_patches{content="none"} 0`,
		`poolpatch_tasks{status="pending"} 0`, `poolpatch_tasks{status="failure"} 0`, `poolpatch_build_info{version="1.2.3"} 1`,
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %s in:\n%s", line, got)
		}
	}
	for _, name := range []string{"go_goroutines ", "process_resident_memory_bytes "} {
		if !strings.Contains(rest, "\n"+name) {
			t.Errorf("the process shows no %s", name)
		}
	}
}

// No counter can drift: what is shown is what the database has at that moment.
func TestEveryScrapeReadsTheDatabase(t *testing.T) {
	t.Parallel()
	d := open(t)
	change(t, d, small)
	before, _ := scrape(t, d)
	change(t, d, func(tx *db.Tx) error { return db.Delete[xenapi.VDI](tx, "OpaqueRef:v1") })
	after, _ := scrape(t, d)
	for _, c := range []struct{ text, line string }{
		{before, `poolpatch_patches{content="vdi"} 1`}, {before, `poolpatch_patches{content="none"} 1`},
		{after, `poolpatch_patches{content="vdi"} 0`}, {after, `poolpatch_patches{content="none"} 2`},
		{after, `poolpatch_vdis{name="Local \"fast\" storage",sr="sr-1"} 1`},
	} {
		if !strings.Contains(c.text, c.line+"\n") {
			t.Errorf("no line %s in:\n%s", c.line, c.text)
		}
	}
}
