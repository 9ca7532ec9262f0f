package crash

import (
	"testing"

	"poolpatch/test/harness"
)

// leastPoints is a number of points that there surely are.
const leastPoints = 12

// points lists the named points of the upload's and the apply's protocol.
func points(t *testing.T) []string {
	t.Helper()
	return harness.Points(t, "internal/patch", leastPoints)
}
