package etcdkv_test

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/etcdkv"
	"poolpatch/xenapi"
)

// BenchmarkUpdate is a change of one record, durable and visible. It reports the median and the resident
// memory of the process, server included.
func BenchmarkUpdate(b *testing.B) {
	d, err := db.Open(b.Context(), etcdkv.New(startClient(b)), db.Options{Tables: []db.Table{db.TableOf[xenapi.VDI]()}})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	err = d.Update(b.Context(), func(tx *db.Tx) error { return db.Insert(tx, "v", xenapi.New[xenapi.VDI]()) })
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		err := d.Update(context.Background(), func(tx *db.Tx) error {
			return db.Change(tx, "v", func(v *xenapi.VDI) error { v.VirtualSize++; return nil })
		})
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs/p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs/p99")
	b.ReportMetric(residentMiB(b), "MiB-resident")
}

func residentMiB(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	kib, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}
