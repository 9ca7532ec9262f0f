package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Build is a way to build poolpatch. The zero Build is the release, with the race detector.
type Build struct {
	// Raceless leaves the race detector out, which looks at every byte that is copied.
	Raceless bool
	// Crash adds the variables POOLPATCH_CRASH_AT and POOLPATCH_STOP_AT.
	Crash bool
	// Change makes one change to the source first, to see a test notice it.
	Change Change
}

// Change is what stands in a file of the module, once, and what stands there instead.
type Change struct{ File, Old, New string }

var builds = struct {
	sync.Mutex
	made map[Build]func() (string, error)
}{made: map[Build]func() (string, error){}}

// Binary builds poolpatch, once per test run and way, and gives its path.
func Binary(t testing.TB, b Build) string {
	t.Helper()
	builds.Lock()
	if builds.made[b] == nil {
		name := filepath.Join(work, fmt.Sprintf("poolpatch-%d", len(builds.made)))
		builds.made[b] = sync.OnceValues(func() (string, error) { return name, b.build(name) })
	}
	made := builds.made[b]
	builds.Unlock()
	binary, err := made()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// Module is the module's root.
func Module() (string, error) {
	out, err := Output("", "go", "env", "GOMOD")
	return filepath.Dir(strings.TrimSpace(out)), err
}

func (b Build) build(name string) error {
	module, err := Module()
	if err != nil {
		return err
	}
	argv := []string{"go", "build", "-o", name}
	if !b.Raceless {
		argv = append(argv, "-race")
	}
	if b.Crash {
		argv = append(argv, "-tags", "crashpoints")
	}
	if b.Change != (Change{}) {
		overlay, err := b.Change.overlay(module, name)
		if err != nil {
			return err
		}
		argv = append(argv, "-overlay", overlay)
	}
	return Run("", append(argv, filepath.Join(module, "cmd/poolpatch"))...)
}

// overlay writes the changed file, and what tells go build to take that instead.
func (c Change) overlay(module, name string) (string, error) {
	original := filepath.Join(module, c.File)
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), c.Old); n != 1 {
		return "", fmt.Errorf("%s has %q %d times, not once", c.File, c.Old, n)
	}
	changed, overlay := name+".go", name+".json"
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), c.Old, c.New, 1)), 0o600); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		return "", err
	}
	return overlay, os.WriteFile(overlay, text, 0o600)
}
