package clients

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"poolpatch/test/harness"
)

// modules is where build/deps has installed what the programs for Node import.
func modules(t *testing.T) string {
	t.Helper()
	module, err := harness.Module()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(module, ".cache/node/node_modules")
	if _, err := os.Stat(filepath.Join(dir, "xen-api")); err != nil {
		t.Fatalf("%v: run build/deps", err)
	}
	return dir
}

// node drives the client of Xen Orchestra, over both of its codecs.
func node(t *testing.T, d *harness.Daemon) {
	for _, transport := range []string{"json-rpc", "xml-rpc"} {
		t.Run(transport, func(t *testing.T) {
			d := d.For(t)
			applied := &harness.Program{Label: "With a length", Guidance: "restartHost", Tail: strings.Repeat("n", 3<<20)}
			piped := &harness.Program{Label: "Without one", Tail: strings.Repeat("n", 3<<20)}
			buffered := &harness.Program{Label: "In memory", Precheck: "echo '<error errorcode=\"PATCH_PRECHECK_FAILED_VM_RUNNING\"/>'; exit 1"}
			files := signed(t, applied, piped, buffered)
			drive(t, append([]string{"node", "node/mission.mjs", modules(t), transport, "https://" + d.Address(), harness.Password}, files...)...)
			ran(t, d, applied)
		})
	}
}

// TestNodeOverRestarts has Xen Orchestra's client follow a daemon that is started again, and one that is killed.
func TestNodeOverRestarts(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Trusted: []*harness.Key{harness.TheKey(t)}})
	d.KeepAddress()
	var known atomic.Value // what it printed last
	known.Store("nothing")
	cmd := exec.CommandContext(t.Context(), "node", "node/follow.mjs", modules(t), "https://"+d.Address(), harness.Password)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			known.Store(lines.Text())
		}
	}()
	knows := func(what string, patches ...*harness.Program) {
		t.Helper()
		var uuids []string
		for _, p := range patches {
			uuids = append(uuids, p.UUID)
		}
		slices.Sort(uuids)
		harness.Eventually(t, what, func() bool { return known.Load() == strings.Join(uuids, " ") })
	}
	one, two, three := &harness.Program{}, &harness.Program{}, &harness.Program{}
	first, second := d.Upload(one.Signed(t)), d.Upload(two.Signed(t))
	knows("both patches are known", one, two)
	d.Restart()
	d.Do("pool_patch.destroy", first)
	knows("what has gone after a restart is not known any more", two)
	d.Kill()
	d.Again(harness.Build{})
	d.Do("pool_patch.destroy", second)
	d.Upload(three.Signed(t))
	knows("what came and went after a kill is known", three)
	_ = cmd.Process.Kill()
	<-ended
	_ = cmd.Wait() // it was killed
	d.Clean()
}
