package clients

import (
	"os"
	"path/filepath"
	"strings"
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
