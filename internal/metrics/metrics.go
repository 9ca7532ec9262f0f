// Package metrics shows the pool's state to Prometheus. Every number is read from the database when it is
// asked for, so that no counter can drift from what is true; it keeps no state and changes nothing.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"poolpatch/internal/db"
	"poolpatch/internal/patch"
	"poolpatch/internal/rollout"
	"poolpatch/xenapi"
)

var (
	patches = prometheus.NewDesc("poolpatch_patches", "Patches that the pool knows.", []string{"content"}, nil)
	applied = prometheus.NewDesc("poolpatch_host_patches", "Patches on hosts, by the state of their apply.", []string{"host", "state"}, nil)
	tasks   = prometheus.NewDesc("poolpatch_tasks", "Tasks, by status.", []string{"status"}, nil)
	srSize  = prometheus.NewDesc("poolpatch_sr_size_bytes", "Size of an SR.", []string{"sr", "name"}, nil)
	srUsed  = prometheus.NewDesc("poolpatch_sr_used_bytes", "Space of an SR that is used.", []string{"sr", "name"}, nil)
	vdis    = prometheus.NewDesc("poolpatch_vdis", "VDIs on an SR.", []string{"sr", "name"}, nil)
	live    = prometheus.NewDesc("poolpatch_host_live", "Whether a host lives.", []string{"host", "name"}, nil)
	rolling = prometheus.NewDesc("poolpatch_rollout_hosts", "Hosts of rollouts that have not ended, by how far the patch has come there.", []string{"patch", "step", "state"}, nil)
	build   = prometheus.NewDesc("poolpatch_build_info", "The version that runs.", []string{"version"}, nil)
)

// Handler answers GET /metrics.
func Handler(d *db.DB, version string) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(pool{d, version}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

type pool struct {
	db      *db.DB
	version string
}

// Describe lists what is shown.
func (p pool) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{patches, applied, tasks, srSize, srUsed, vdis, live, rolling, build} {
		ch <- d
	}
}

// Collect reads one snapshot of the database.
func (p pool) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(build, 1, p.version)
	_ = p.db.View(func(tx *db.Tx) error {
		for where, n := range countPatches(tx) {
			gauge(patches, n, where)
		}
		for key, n := range countHostPatches(tx) {
			gauge(applied, n, key[0], key[1])
		}
		for status, n := range countTasks(tx) {
			gauge(tasks, n, status)
		}
		for _, host := range db.All[xenapi.Host](tx) {
			rec, _ := db.Lookup(tx, host.Metrics)
			gauge(live, map[bool]float64{true: 1}[rec.Live], host.UUID, host.NameLabel)
		}
		for key, n := range countRollouts(tx) {
			gauge(rolling, n, key[0], key[1], key[2])
		}
		for ref, sr := range db.All[xenapi.SR](tx) {
			gauge(srSize, float64(sr.PhysicalSize), sr.UUID, sr.NameLabel)
			gauge(srUsed, float64(sr.PhysicalUtilisation), sr.UUID, sr.NameLabel)
			gauge(vdis, float64(len(db.Referrers[xenapi.VDI](tx, "SR", ref))), sr.UUID, sr.NameLabel)
		}
		return nil
	})
}

func countPatches(tx *db.Tx) map[string]float64 {
	n := map[string]float64{"vdi": 0, "file": 0, "none": 0}
	for _, rec := range db.All[xenapi.PoolPatch](tx) {
		_, inVDI := db.Lookup(tx, rec.VDI)
		switch {
		case inVDI:
			n["vdi"]++
		case rec.Filename != "":
			n["file"]++
		default:
			n["none"]++
		}
	}
	return n
}

func countHostPatches(tx *db.Tx) map[[2]string]float64 {
	n := map[[2]string]float64{}
	for _, rec := range db.All[xenapi.HostPatch](tx) {
		host, _ := db.Lookup(tx, rec.Host)
		n[[2]string{host.UUID, rec.State}]++
	}
	return n
}

func countTasks(tx *db.Tx) map[string]float64 {
	n := map[string]float64{}
	for _, status := range (xenapi.TaskStatus)("").Values() {
		n[status] = 0
	}
	for _, rec := range db.All[xenapi.Task](tx) {
		n[string(rec.Status)]++
	}
	return n
}

// countRollouts leaves out a record that it does not understand: a newer version has written it.
func countRollouts(tx *db.Tx) map[[3]string]float64 {
	n := map[[3]string]float64{}
	for _, row := range db.All[patch.Rolling](tx) {
		r, err := rollout.Parse([]byte(row.Record))
		if err != nil || row.Ended {
			continue
		}
		for _, t := range r.Rows() {
			n[[3]string{r.UUID, string(t.Step), string(t.State)}]++
		}
	}
	return n
}
