// Package clients holds no code: its tests have clients that others wrote, as they come, drive a patch through its whole
// life. What each of them does is in a program of its own in its own language; what the daemon makes of it beyond what a
// client can see is tested in test/e2e.
package clients

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"poolpatch/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// TestClients gives each client a daemon: a host applies one patch at a time.
func TestClients(t *testing.T) {
	t.Parallel()
	for name, drive := range map[string]func(*testing.T, *harness.Daemon){
		"Node": node, "Python": python, "Python, by updates": pythonUpdates, "curl": curl, "old ones": old, "Go": golang,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := harness.Start(t, harness.Options{Trusted: []*harness.Key{harness.TheKey(t)}})
			drive(t, d)
			d.Clean()
		})
	}
}

// signed writes signed patches to files.
func signed(t *testing.T, programs ...*harness.Program) (files []string) {
	t.Helper()
	dir := harness.Dir(t)
	for _, p := range programs {
		patch := p.Signed(t)
		file := filepath.Join(dir, p.UUID)
		write(t, file, patch)
		files = append(files, file)
	}
	return files
}

// ran reports whether a patch has run exactly once.
func ran(t *testing.T, d *harness.Daemon, p *harness.Program) {
	t.Helper()
	if n := bytes.Count([]byte(d.Read(harness.Ran)), []byte(p.UUID)); n != 1 {
		t.Errorf("the program of the patch ran %d times", n)
	}
}

// drive runs a client's program.
func drive(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := harness.Output("", argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
