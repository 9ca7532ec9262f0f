package main

import (
	"testing"

	"poolpatch/xenapi"
)

func TestDescribeRotation(t *testing.T) {
	t.Parallel()
	members := map[xenapi.Ref[xenapi.Host]]xenapi.Host{
		"OpaqueRef:1": {UUID: "uuid-1", NameLabel: "one"},
		"OpaqueRef:2": {UUID: "uuid-2", NameLabel: "two"},
	}
	for _, c := range []struct{ phase, waiting, offline, want string }{
		{"steady", "", "", ""},
		{"spread", "uuid-2 uuid-1", "", "the pool's authority is being replaced: hosts come to trust the new authority; waiting for one, two"},
		{"renew", "uuid-2", "uuid-2", "the pool's authority is being replaced: hosts get certificates of the new authority; waiting for two (offline: start it, or destroy the host)"},
		{"retire", "uuid-1", "", "the pool's authority is being replaced: hosts forget the old authority; waiting for one"},
	} {
		if got := describeRotation(map[string]string{"phase": c.phase, "waiting": c.waiting, "offline": c.offline}, members); got != c.want {
			t.Errorf("%s: %q", c.phase, got)
		}
	}
}
