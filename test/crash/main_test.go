// Package crash holds no code: its tests kill the real daemon at each named point of its protocols, at
// random times and while a patch's program runs, start it again, and hold what is there against what the
// states of internal/patch/state.go say. Whether the tests would notice a broken promise is tested too.
package crash

import (
	"os"
	"testing"

	"poolpatch/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
