package crash

import (
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestAtEveryPointOfAReplica kills the daemon at each named point of keeping the database on an SR, and of ending that. After a
// start it is kept there, whole, or nothing is left of it (I2, I4, I5).
func TestAtEveryPointOfAReplica(t *testing.T) {
	t.Parallel()
	for _, point := range harness.Points(t, "internal/replica", 5) {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			d := harness.Start(t, harness.Options{Build: crashing, CrashAt: point})
			sr, _ := harness.Only[xenapi.SR](d)
			if !d.Died(d.Async("SR.enable_database_replication", sr)) && !d.Died(d.Async("SR.disable_database_replication", sr)) {
				t.Fatal("neither of the two comes to this point")
			}
			d.Again(plain)
			pool, rec := harness.Only[xenapi.Pool](d)
			d.Do("SR.enable_database_replication", sr)
			kept := harness.Call[[]xenapi.Ref[xenapi.VDI]](d, "pool.get_metadata_VDIs", pool)
			d.Clean(kept...)
			for _, vdi := range kept {
				if harness.Record(d, vdi).MetadataLatest && harness.Call[string](d, "VDI.read_database_pool_uuid", vdi) != rec.UUID {
					t.Error("the VDI does not hold the pool's database")
				}
			}
			d.Do("SR.disable_database_replication", sr)
			d.Clean()
		})
	}
}
