package crash

import (
	"bytes"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// updatePoints are those of the upload's protocol that tell most when the patch comes from a disk, and those of the clean-up that
// an update has alone.
func updatePoints(t *testing.T) (names []string) {
	t.Helper()
	for _, point := range points(t) {
		if point == "upload-mounted" || point == "upload-published" || strings.HasPrefix(point, "clean-") {
			names = append(names, point)
		}
	}
	return names
}

// TestAtPointsOfAnUpdate kills the daemon while an update is introduced, and while it is destroyed: the update is there or not,
// its disk stays until it is destroyed, and whoever asks again gets what he asked for (I2, I4, I5).
func TestAtPointsOfAnUpdate(t *testing.T) {
	t.Parallel()
	for _, point := range updatePoints(t) {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := begin(t, harness.Options{Build: crashing, CrashAt: point}, harness.Program{})
			_, pool := harness.Only[xenapi.Pool](s.d)
			vdi, err := s.d.Client().ImportNewVDI(t.Context(), pool.DefaultSR, bytes.NewReader(s.patch), int64(len(s.patch)), nil)
			if err != nil {
				t.Fatal(err)
			}
			ask := func(method string, on any) (died bool) {
				s.task = s.d.Async(method, on)
				return s.d.Died(s.task)
			}
			update := func() xenapi.Ref[xenapi.PoolUpdate] {
				for ref := range harness.Records[xenapi.PoolUpdate](s.d) {
					return ref
				}
				return ""
			}
			if ask("pool_update.introduce", vdi) {
				s.recovered(vdi)
				there := harness.Call[xenapi.Ref[xenapi.PoolUpdate]](s.d, "pool_update.introduce", vdi)
				if _, patch := harness.Only[xenapi.PoolPatch](s.d); update() != there || patch.PoolUpdate != there {
					t.Errorf("introduced again it is %s beside %s, and of the patch %+v", there, update(), patch)
				}
				s.d.Clean()
				harness.Call[any](s.d, "pool_update.destroy", there)
			} else if gone := update(); ask("pool_update.destroy", gone) {
				s.recovered(vdi)
				harness.Call[any](s.d, "pool_update.destroy", gone)
			} else {
				t.Fatal("neither an introduction nor a destruction comes to this point")
			}
			if n := len(harness.Records[xenapi.VDI](s.d)) + len(harness.Records[xenapi.PoolPatch](s.d)) + len(harness.Records[xenapi.PoolUpdate](s.d)); n != 0 {
				t.Errorf("%d records are left", n)
			}
			s.d.Clean()
		})
	}
}
