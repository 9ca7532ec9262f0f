package e2e

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestUpdateOnTwoHosts: an update comes from a disk that only the other host sees, onto both hosts, whichever is asked.
func TestUpdateOnTwoHosts(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.sharedSR(t)
	program := harness.Program{UUID: xenapi.NewUUID(), Precheck: "[ -e $POOLPATCH_ROOT/ready ] || exit 7"}
	patch := program.Signed(t)
	vdi, err := p.two.Client().ImportNewVDI(t.Context(), p.other, bytes.NewReader(patch), int64(len(patch)), nil)
	if err != nil {
		t.Fatal(err)
	}
	update := harness.Call[xenapi.Ref[xenapi.PoolUpdate]](p.one, "pool_update.introduce", vdi)
	_, twin := harness.Only[xenapi.PoolPatch](p.one)
	if harness.Record(p.one, twin.VDI).SR == p.other || twin.PoolUpdate != update {
		t.Errorf("the patch is %+v", twin)
	}

	e := p.one.Refused(xenapi.CodeUpdatePrecheckFailedUnknownError, "pool_update.precheck", update, p.second)
	if e.Params[0] != update.String() {
		t.Errorf("the precheck of the other host names %v", e.Params)
	}
	p.one.Write("ready", "", 0o600)
	if status := harness.Call[xenapi.LivepatchStatus](p.two, "pool_update.precheck", update, p.first); status != xenapi.LivepatchStatusOK {
		t.Errorf("the precheck gives %q", status)
	}
	e = p.two.Refused(xenapi.CodeUpdatePoolApplyFailed, "pool_update.pool_apply", update)
	if !slices.Equal(e.Params, []string{p.second.String()}) {
		t.Errorf("it failed on %v, not on %s", e.Params, p.second)
	}
	p.two.Write("ready", "", 0o600)
	rec := harness.Wait(p.two, p.two.Async("pool_update.pool_apply", update))
	if rec.Status != xenapi.TaskStatusSuccess || strings.Contains(rec.Result, "applied") {
		t.Errorf("pool_apply ended as %s with %q %v", rec.Status, rec.Result, rec.ErrorInfo)
	}
	if hosts := harness.Record(p.one, update).Hosts; len(hosts) != 2 {
		t.Errorf("it is applied on %v", hosts)
	}
	p.one.Refused(xenapi.CodeUpdateAlreadyAppliedInPool, "pool_update.pool_apply", update)
	p.one.Do("pool_update.pool_clean", update) // the VDI that only the other host sees, too
	if n := len(harness.Records[xenapi.VDI](p.one)); n != 0 {
		t.Errorf("%d VDIs are left", n)
	}
	p.one.Clean()
	p.two.Clean()
}
