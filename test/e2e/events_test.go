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
		args = append([]string{"python3", "testdata/events.py", "https://" + d.Address() + "/", harness.Password}, args...)
		out, err := harness.Output("", args...)
		if err != nil {
			t.Fatal(err)
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
