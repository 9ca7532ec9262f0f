package storage_test

import (
	"fmt"
	"os"
	"testing"

	"poolpatch/internal/volume"
)

func TestMain(m *testing.M) {
	if err := volume.Isolate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
