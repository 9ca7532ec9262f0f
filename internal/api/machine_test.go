package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// What an administrator may do to a machine, and to the daemon on it.
func TestMachine(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, method := range []string{"host.reboot", "host.shutdown"} {
		p.refused(t, []string{xenapi.CodeHostNotDisabled}, method, enable(p, t, true), here)
	}
	enable(p, t, false)
	p.call(t, theRoot, "host.reboot", here)
	p.call(t, theRoot, "host.shutdown", here)
	p.call(t, theRoot, "host.set_hostname_live", here, "one.lab")
	p.refused(t, []string{xenapi.CodeHostNameInvalid, "it is not made of letters, digits and hyphens, with dots between its parts"}, "host.set_hostname_live", theRoot, here, "-")
	p.call(t, theRoot, "host.restart_agent", here)
	p.call(t, theRoot, "host.shutdown_agent")
	if want := []string{"shutdown -r now", "shutdown -P now", "hostname one.lab", "restart", "stop"}; !slices.Equal(p.done, want) {
		t.Errorf("done %q, want %q", p.done, want)
	}
	if got := p.call(t, theRoot, "host.get_hostname", here).Text; got != "one.lab" {
		t.Errorf("the record says %q", got)
	}
	for method, want := range map[string]string{"host.dmesg": "cleared: false", "host.dmesg_clear": "cleared: true", "host.get_server_certificate": "PEM"} {
		if got := p.call(t, theRoot, method, here).Text; got != want {
			t.Errorf("%s: %q, want %q", method, got, want)
		}
	}
	p.call(t, theRoot, "host.sync_data", here)
	if free := p.call(t, theRoot, "host.compute_free_memory", here).Int; free <= 0 {
		t.Errorf("%d bytes are free", free)
	}
	if got := p.call(t, theRoot, "host.compute_memory_overhead", here).Int; got != 0 {
		t.Errorf("virtual machines cost %d bytes", got)
	}
	p.refused(t, []string{xenapi.CodeHandleInvalid, "host", dangling}, "host.compute_memory_overhead", theRoot, dangling)
}

// enable also gives root's session, for the next call.
func enable(p *pool, t *testing.T, enabled bool) string {
	t.Helper()
	p.update(t, func(tx *db.Tx) error {
		return db.Change(tx, here, func(rec *xenapi.Host) error { rec.Enabled = enabled; return nil })
	})
	return theRoot
}

// Another certificate is shown by a daemon that begins anew; the one among hosts changes while it runs.
func TestServerCertificate(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.call(t, theRoot, "host.install_server_certificate", here, "C", "K")
	p.call(t, theRoot, "host.reset_server_certificate", here)
	p.call(t, theRoot, "host.emergency_reset_server_certificate")
	p.call(t, theRoot, "host.refresh_server_certificate", here)
	if want := []string{"certificate C", "restart", "no certificate", "restart", "no certificate", "restart", "identity"}; !slices.Equal(p.done, want) {
		t.Errorf("done %q, want %q", p.done, want)
	}
	if code := p.code(t, "host.install_server_certificate", sessionOf(xenapi.RolePoolOperator), here, "C", "K"); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("by a pool-operator: %q", code)
	}
}

// Guidance goes when it was followed: that of the toolstack with its restart, all of it when an administrator says so.
func TestGuidanceThatIsFollowed(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	both := []xenapi.UpdateGuidance{xenapi.UpdateGuidanceRestartToolstack, xenapi.UpdateGuidanceRebootHost}
	p.update(t, func(tx *db.Tx) error {
		return db.Change(tx, here, func(rec *xenapi.Host) error { rec.PendingGuidances = both; return nil })
	})
	p.call(t, theRoot, "host.restart_agent", here)
	if got := get(p, here).PendingGuidances; !slices.Equal(got, both[1:]) {
		t.Errorf("after the restart: %q", got)
	}
	if code := p.code(t, "host.emergency_clear_mandatory_guidance", sessionOf(xenapi.RolePoolAdmin)); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("cleared by a pool-admin: %q", code)
	}
	p.call(t, theRoot, "host.emergency_clear_mandatory_guidance")
	if got := get(p, here).PendingGuidances; len(got) > 0 {
		t.Errorf("after all was cleared: %q", got)
	}
}

// A host that is declared dead has its tasks ended; one that lives is not dead, whoever says so.
func TestDeclareDead(t *testing.T) {
	t.Parallel()
	p, _ := newFarm(t)
	p.update(t, func(tx *db.Tx) error { // this host is the coordinator
		return db.Change(tx, thePool, func(rec *xenapi.Pool) error { rec.Master = here; return nil })
	})
	insert(t, p, "OpaqueRef:metrics", xenapi.HostMetrics{UUID: "u-metrics", Live: true})
	p.update(t, func(tx *db.Tx) error {
		return db.Change(tx, fourth, func(rec *xenapi.Host) error { rec.Metrics = "OpaqueRef:metrics"; return nil })
	})
	for ref, host := range map[xenapi.Ref[xenapi.Task]]xenapi.Ref[xenapi.Host]{"OpaqueRef:dead": fourth, "OpaqueRef:alive": third} {
		insert(t, p, ref, xenapi.Task{UUID: ref.String(), Status: xenapi.TaskStatusPending, ResidentOn: host, Created: time.Now()})
	}
	p.refused(t, []string{xenapi.CodeHostIsLive, third.String()}, "host.declare_dead", theRoot, third)
	p.refused(t, []string{xenapi.CodeHandleInvalid, "host", dangling}, "host.declare_dead", theRoot, dangling)
	p.call(t, theRoot, "host.declare_dead", fourth)
	if rec := get[xenapi.Task](p, "OpaqueRef:dead"); rec.Status != xenapi.TaskStatusFailure || !slices.Equal(rec.ErrorInfo, []string{xenapi.CodeHostOffline, fourth.String()}) {
		t.Errorf("the dead host's task: %+v", rec)
	}
	if rec := get[xenapi.Task](p, "OpaqueRef:alive"); rec.Status != xenapi.TaskStatusPending {
		t.Errorf("another host's task: %+v", rec)
	}
	if get[xenapi.HostMetrics](p, "OpaqueRef:metrics").Live {
		t.Error("the dead host lives")
	}
}

func TestDataSources(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	sr := p.newSR(t)
	p.update(t, func(tx *db.Tx) error {
		return db.Change(tx, sr, func(rec *xenapi.SR) error {
			rec.PhysicalSize, rec.PhysicalUtilisation, rec.VirtualAllocation = 100, 30, 70
			return nil
		})
	})
	for name, want := range map[string]float64{"physical_size": 100, "physical_utilisation": 30, "virtual_allocation": 70} {
		if got := p.call(t, theRoot, "SR.query_data_source", sr, name).Double; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for class, ref := range map[string]any{"SR": sr, "host": here} {
		names := []string{}
		for _, s := range p.call(t, theRoot, class+".get_data_sources", ref).Items {
			names = append(names, member(s, "name_label").Text)
			if !member(s, "enabled").Bool || member(s, "max").Double < member(s, "value").Double {
				t.Errorf("%s: %v", class, s)
			}
		}
		for _, name := range names {
			p.call(t, theRoot, class+".query_data_source", ref, name)
		}
		if want := map[string]int{"SR": 3, "host": 4}[class]; len(names) != want {
			t.Errorf("sources of %s: %q", class, names)
		}
		p.refused(t, []string{xenapi.CodeInvalidValue, "data_source", "x"}, class+".query_data_source", theRoot, ref, "x")
		p.refused(t, []string{xenapi.CodeHandleInvalid, class, dangling}, class+".get_data_sources", theRoot, dangling)
	}
}

// TestRecording: what is recorded is written down for every host, and forgotten here at once.
func TestRecording(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	sr := p.newSR(t)
	for class, object := range map[string]struct{ ref, source string }{"host": {here.String(), "loadavg"}, "SR": {sr.String(), "physical_size"}} {
		enabled := func() bool {
			for _, s := range p.call(t, theRoot, class+".get_data_sources", object.ref).Items {
				if member(s, "name_label").Text == object.source {
					return member(s, "enabled").Bool
				}
			}
			t.Fatalf("%s has no source %s", class, object.source)
			return false
		}
		p.done = nil
		p.call(t, theRoot, class+".forget_data_source_archives", object.ref, object.source)
		p.call(t, theRoot, class+".forget_data_source_archives", object.ref, object.source)
		if enabled() || len(p.done) != 2 || !strings.HasPrefix(p.done[0], "forget "+object.source+" of ") {
			t.Errorf("%s: enabled %t, done %q", class, enabled(), p.done)
		}
		p.call(t, theRoot, class+".record_data_source", object.ref, object.source)
		if !enabled() {
			t.Errorf("%s: it is not recorded again", class)
		}
		for _, message := range []string{"record_data_source", "forget_data_source_archives"} {
			p.refused(t, []string{xenapi.CodeInvalidValue, "data_source", "x"}, class+"."+message, theRoot, object.ref, "x")
			p.refused(t, []string{xenapi.CodeHandleInvalid, class, dangling}, class+"."+message, theRoot, dangling, object.source)
		}
	}
	p.done = nil
	p.call(t, theRoot, "host.backup_rrds", here, 0.01)
	if !slices.Equal(p.done, []string{"save"}) {
		t.Errorf("done %q", p.done)
	}
	for _, delay := range []float64{-1, 3601} {
		p.refused(t, []string{xenapi.CodeInvalidValue, "delay", fmt.Sprint(delay)}, "host.backup_rrds", theRoot, here, delay)
	}
}
