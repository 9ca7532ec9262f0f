// Package e2e holds no code: its tests run the real daemon on real loop devices and mounts, with the
// clients that administrators have, and look at the whole machine afterwards. What a daemon does when it
// is killed is tested beside it, in test/crash.
package e2e

import (
	"os"
	"testing"

	"poolpatch/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// start starts a daemon that trusts the key that patches are signed with.
func start(t *testing.T) *harness.Daemon {
	t.Helper()
	return harness.Start(t, harness.Options{Trusted: []*harness.Key{harness.TheKey(t)}})
}
