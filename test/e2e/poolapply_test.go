package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// rolling is what a test reads of the record of a rollout.
type rolling struct {
	Phase string
	Hosts []struct {
		Host  xenapi.Ref[xenapi.Host]
		State string
		Error *struct{ Code string }
	}
}

func statusOf(t *testing.T, d *harness.Daemon, patch xenapi.Ref[xenapi.PoolPatch]) (r rolling) {
	t.Helper()
	if err := json.Unmarshal([]byte(harness.Call[string](d, "pool_patch.get_pool_apply_status", patch)), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r rolling) of(host xenapi.Ref[xenapi.Host]) string {
	for _, turn := range r.Hosts {
		if turn.Host == host {
			return turn.State
		}
	}
	return ""
}

// TestPoolApply: one message applies a patch on every host, once, with the coordinator first; a host that has it is skipped.
func TestPoolApply(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, 3)
	program := harness.Program{UUID: xenapi.NewUUID()}
	ref := hosts[1].Upload(program.Signed(t))
	hosts[0].Do("pool_patch.apply", ref, ownHost(hosts[2]))
	for range 2 {
		hosts[1].Do("pool_patch.pool_apply", ref)
		for i, d := range hosts {
			if ran := d.Read(harness.Ran); strings.Count(ran, program.UUID) != 1 {
				t.Errorf("on host %d ran %q", i+1, ran)
			}
		}
	}
	if !harness.Record(hosts[2], ref).PoolApplied {
		t.Error("pool_applied is false")
	}

	failing := harness.Program{UUID: xenapi.NewUUID(), Precheck: "[ -e $POOLPATCH_ROOT/ready ] || exit 7"}
	bad := hosts[0].Upload(failing.Signed(t))
	hosts[0].Write("ready", "", 0o600)
	hosts[1].Write("ready", "", 0o600)
	err := hosts[0].Refused(xenapi.CodePatchPrecheckFailedUnknownError, "pool_patch.pool_apply", bad)
	if name := harness.Record(hosts[0], ownHost(hosts[2])).NameLabel; !strings.Contains(err.Error(), name) {
		t.Errorf("the error does not name the host: %v", err)
	}
	for i, d := range hosts {
		if strings.Contains(d.Read(harness.Ran), failing.UUID) {
			t.Errorf("host %d was changed though a precheck failed", i+1)
		}
		d.Clean()
	}
}

// TestPoolApplyOutlivesTheCoordinator: the coordinator dies while hosts apply; the next one goes on, nothing runs twice, and
// the dead host is told apart.
func TestPoolApplyOutlivesTheCoordinator(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, 3)
	var refs []xenapi.Ref[xenapi.Host]
	for _, d := range hosts {
		refs = append(refs, ownHost(d))
	}
	program := harness.Program{UUID: xenapi.NewUUID(), Apply: harness.GateWait("gate")}
	ref := hosts[0].Upload(program.Signed(t))
	first, second := harness.NewGate(t, hosts[0], "gate"), harness.NewGate(t, hosts[1], "gate")
	third := harness.NewGate(t, hosts[2], "gate")
	task := hosts[1].Async("pool_patch.pool_apply", ref)
	first.Arrived()() // the coordinator goes first, and ends
	openSecond, openThird := second.Arrived(), third.Arrived()
	hosts[0].Kill()
	harness.Eventually(t, "another host is coordinator", func() bool { return coordinator(hosts[1]) != refs[0] })
	openSecond()
	openThird()
	rec := harness.Wait(hosts[1], task)
	if err := harness.Failure(rec); err != nil {
		t.Errorf("the rollout ended with %v", err)
	}
	if r := statusOf(t, hosts[2], ref); r.Phase != "done" || r.of(refs[0]) != "applied" || r.of(refs[1]) != "applied" || r.of(refs[2]) != "applied" {
		t.Errorf("the rollout is %+v", r)
	}
	if err := hosts[0].Launch(); err != nil {
		t.Fatal(err)
	}
	for i, d := range hosts {
		if ran := d.Read(harness.Ran); strings.Count(ran, program.UUID) != 1 {
			t.Errorf("on host %d ran %q", i+1, ran)
		}
		d.Clean()
	}
}

// TestCanary: the rollout waits after the canary for a person, who may end it.
func TestCanary(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, 2)
	canary := ownHost(hosts[1])
	for _, end := range []string{"pool_patch.pool_apply_continue", "pool_patch.pool_apply_cancel"} {
		program := harness.Program{UUID: xenapi.NewUUID()}
		ref := hosts[0].Upload(program.Signed(t))
		hosts[0].Do("pool_patch.add_to_other_config", ref, "poolpatch:canary", string(canary))
		hosts[0].Do("pool_patch.add_to_other_config", ref, "poolpatch:pause_after", "canary")
		task := hosts[0].Async("pool_patch.pool_apply", ref)
		harness.Eventually(t, "the rollout waits", func() bool {
			text, err := harness.Try[string](hosts[1], "pool_patch.get_pool_apply_status", ref)
			return err == nil && strings.Contains(text, `"phase":"paused"`)
		})
		if ran := hosts[1].Read(harness.Ran); strings.Count(ran, program.UUID) != 1 {
			t.Errorf("on the canary ran %q", ran)
		}
		if hosts[0].Exists(harness.Ran) && strings.Contains(hosts[0].Read(harness.Ran), program.UUID) {
			t.Error("the coordinator did not wait")
		}
		hosts[1].Refused(xenapi.CodeOtherOperationInProgress, "pool_patch.pool_apply", ref)
		hosts[1].Do(end, ref)
		err := harness.Failure(harness.Wait(hosts[0], task))
		if end == "pool_patch.pool_apply_cancel" {
			harness.WantCode(t, "the cancelled rollout", err, xenapi.CodeTaskCancelled)
		} else if err != nil {
			t.Errorf("the rollout that went on: %v", err)
		}
		hosts[0].Clean()
		hosts[1].Clean()
	}
}
