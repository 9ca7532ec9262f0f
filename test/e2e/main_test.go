package e2e

import (
	"os"
	"testing"

	"poolpatch/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
