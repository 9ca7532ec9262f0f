// Package pool holds no code: its tests run a pool as it stands in a machine room. Each host is the real daemon in a
// network namespace of its own, with an address of its own, plugged into one bridge; hosts are killed, paused and
// unplugged, and afterwards every host must find that all promises were kept and that no patch ran twice.
//
// What one host does alone is tested in test/e2e, and what it leaves when it dies at a named point, in test/crash. The named
// points of what two hosts do are here.
//
// The invariant of the bed: its network goes with the test. Namespaces are known to the mount namespace of the test
// process alone and die with it; the names of what can stay behind a killed run carry its process id, and the next
// run removes them. Start with [bed] in bed_test.go, then network_test.go.
package pool

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"poolpatch/test/harness"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(etcdDirectory); dir != "" {
		if err := runEtcd(dir, os.Getenv(etcdAddress)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Pools wait for leases most of the time: more of them than cores may do so at once. A flag on the command line wins.
	if err := flag.Set("test.parallel", "3"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(harness.Main(m))
}
