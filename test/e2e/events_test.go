package e2e

import (
	"strings"
	"testing"

	"poolpatch/test/harness"
)

// A client that others wrote, Python's xmlrpc.client, follows events over HTTPS; and again after the daemon was started again,
// with its old token.
func TestEvents(t *testing.T) {
	t.Parallel()
	d := start(t)
	follow := func(args ...string) string {
		t.Helper()
		args = append([]string{"testdata/events.py", "https://" + d.Address() + "/", harness.Password}, args...)
		out, err := harness.Output("", "python3", args...)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(out)
	}
	token := follow()
	d.Restart()
	follow(token)
	d.Kill()
	d.Again(harness.Build{})
	follow(token)
}
