package api_test

import (
	"testing"

	"poolpatch/xenapi"
)

// The log says of each call that changes something, or was refused, who made it, and says nothing of the others.
func TestTheLogSaysWhoCalledWhat(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	sr := p.newSR(t)
	uuid := get(p, sr).UUID
	operator := sessionOf(xenapi.RolePoolOperator)
	p.call(t, operator, "SR.scan", sr)
	p.call(t, operator, "SR.set_name_label", sr, "renamed")
	p.code(t, "SR.scan", sessionOf(xenapi.RoleReadOnly), sr)
	p.code(t, "SR.destroy", operator, sr)
	p.call(t, operator, "SR.get_record", sr)
	p.call(t, operator, "session.get_this_host", operator)
	p.call(t, theRoot, "session.local_logout")
	p.call(t, operator, "task.create", "a client's own", "")
	for _, c := range []struct {
		what  string
		words []string
		lines int
	}{
		{"all", []string{"call ended"}, 5},
		{"SR.create", []string{"INFO call ended call=SR.create object=SR " + uuid + " user=root"}, 1},
		{"SR.scan", []string{"INFO call ended call=SR.scan object=SR " + uuid + " user=pool-operator originator= seconds="}, 1},
		{"a field", []string{"call=SR.set_name_label object=SR " + uuid + " user=pool-operator"}, 1},
		{"a call that the role does not allow", []string{"call=SR.scan", "user=read-only", "error=RBAC_PERMISSION_DENIED"}, 1},
		{"a call that was refused", []string{"call=SR.destroy", "error=SR_HAS_PBD"}, 1},
	} {
		if found := p.log.with(c.words...); len(found) != c.lines {
			t.Errorf("%s: %d lines with %q: %q", c.what, len(found), c.words, p.log.all)
		}
	}
}

// A call that another host carries out is in that host's log.
func TestTheLogLeavesOutWhatRunsElsewhere(t *testing.T) {
	t.Parallel()
	p, sr := newFarm(t)
	p.code(t, "SR.scan", theRoot, sr.seconds)
	p.code(t, "VDI.set_name_label", theRoot, "OpaqueRef:vdi-seconds", "name")
	p.code(t, "VDI.set_read_only", theRoot, "OpaqueRef:vdi-seconds", true)
	if found := p.log.with("call ended"); len(found) > 0 {
		t.Errorf("the log says %q", found)
	}
}
