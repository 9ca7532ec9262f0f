package api_test

import (
	"slices"
	"testing"

	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// Messages that ask for what is so already succeed and change nothing, but not of a pool or host that is none.
func TestWhatIsSoAlready(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, c := range []struct {
		method, class string
		self          any
		more          []any
	}{
		{"pool.disable_ssl_legacy", "pool", thePool, nil},
		{"pool.disable_local_storage_caching", "pool", thePool, nil},
		{"pool.detect_nonhomogeneous_external_auth", "pool", thePool, nil},
		{"pool.disable_client_certificate_auth", "pool", thePool, nil},
		{"pool.disable_repository_proxy", "pool", thePool, nil},
		{"pool.disable_external_auth", "pool", thePool, []any{map[string]string{}}},
		{"pool.apply_edition", "pool", thePool, []any{"free"}},
		{"host.disable_external_auth", "host", here, []any{map[string]string{}}},
		{"host.disable_local_storage_caching", "host", here, nil},
		{"host.set_ssl_legacy", "host", here, []any{false}},
		{"host.apply_edition", "host", here, []any{"free", false}},
		{"host.license_remove", "host", here, nil},
	} {
		p.call(t, theRoot, c.method, append([]any{c.self}, c.more...)...)
		p.refused(t, []string{xenapi.CodeHandleInvalid, c.class, dangling}, c.method, append([]any{theRoot, dangling}, c.more...)...)
	}
	p.call(t, theRoot, "pool.disable_redo_log")
	if got := p.call(t, theRoot, "pool.recover_slaves"); len(got.Items) > 0 {
		t.Errorf("hosts that were lost to the coordinator: %v", got)
	}
	p.refused(t, []string{xenapi.CodeValueNotSupported, "value", "true", "TLS before 1.2 is not spoken"}, "host.set_ssl_legacy", theRoot, here, true)
	p.refused(t, []string{xenapi.CodeInvalidValue, "edition", "gold"}, "pool.apply_edition", theRoot, thePool, "gold")
	p.refused(t, []string{xenapi.CodeInvalidValue, "edition", "gold"}, "host.apply_edition", theRoot, here, "gold", true)
	want := map[string]string{"edition": "free", "expiry": "never"}
	if got := p.call(t, theRoot, "pool.get_license_state", thePool); rpc.MarshalXMLValue(got) != rpc.MarshalXMLValue(want) {
		t.Errorf("license %v", got)
	}
}

// How many passwords are checked at once is the pool's to say, within what a host's memory bears.
func TestLocalAuthThreads(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, c := range []struct {
		value int64
		code  string
	}{{1, ""}, {64, ""}, {65, xenapi.CodeValueNotSupported}, {0, xenapi.CodeInvalidValue}, {-1, xenapi.CodeInvalidValue}} {
		if code := p.code(t, "pool.set_local_auth_max_threads", theRoot, thePool, c.value); code != c.code {
			t.Errorf("%d: %s, want %q", c.value, code, c.code)
		}
	}
	if got := get[xenapi.Pool](p, thePool).LocalAuthMaxThreads; got != 64 {
		t.Errorf("%d threads", got)
	}
	p.refused(t, []string{xenapi.CodeHandleInvalid, "pool", dangling}, "pool.set_local_auth_max_threads", theRoot, dangling, 3)
}

func TestSettings(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.call(t, theRoot, "host.set_numa_affinity_policy", here, "best_effort")
	if got := get(p, here).NUMAAffinityPolicy; got != "best_effort" {
		t.Errorf("policy %q", got)
	}
	p.call(t, theRoot, "pool.remove_from_guest_agent_config", thePool, "k")
	p.call(t, theRoot, "pool.add_to_guest_agent_config", thePool, "k", "v")
	p.refused(t, []string{xenapi.CodeMapDuplicateKey, "pool", "guest_agent_config", thePool, "k"}, "pool.add_to_guest_agent_config", theRoot, thePool, "k", "w")
	if got := get[xenapi.Pool](p, thePool).GuestAgentConfig; got["k"] != "v" {
		t.Errorf("config %v", got)
	}
	p.call(t, theRoot, "pool.remove_from_guest_agent_config", thePool, "k")
	if got := get[xenapi.Pool](p, thePool).GuestAgentConfig; len(got) > 0 {
		t.Errorf("config %v", got)
	}
	p.call(t, theRoot, "pool.set_wlb_enabled", thePool, true)
	p.call(t, theRoot, "pool.deconfigure_wlb")
	if get[xenapi.Pool](p, thePool).WLBEnabled {
		t.Error("a pool without workload balancing balances it")
	}
	p.call(t, theRoot, "host.emergency_reenable_tls_verification")
	if !get(p, here).TLSVerificationEnabled || get[xenapi.Pool](p, thePool).TLSVerificationEnabled {
		t.Error("the host alone was to verify")
	}
	insert(t, p, second, xenapi.Host{UUID: "u-second"})
	p.call(t, theRoot, "host.set_https_only", here, true)
	if !get(p, here).HTTPSOnly || get(p, second).HTTPSOnly {
		t.Error("one host alone was to answer over HTTPS alone")
	}
	p.call(t, theRoot, "pool.set_https_only", thePool, false)
	p.refused(t, []string{xenapi.CodeHandleInvalid, "pool", dangling}, "pool.set_https_only", theRoot, dangling, true)
	if get(p, here).HTTPSOnly || get(p, second).HTTPSOnly {
		t.Error("the pool's hosts were to answer in plain text too")
	}
	p.call(t, theRoot, "pool.enable_tls_verification")
	if !get(p, second).TLSVerificationEnabled || !get[xenapi.Pool](p, thePool).TLSVerificationEnabled {
		t.Error("the pool does not verify")
	}
}

// Whoever knew the old secret is in no more.
func TestRotateSecret(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.update(t, func(tx *db.Tx) error {
		return db.Change(tx, thePool, func(rec *xenapi.Pool) error { rec.Secret = "old"; return nil })
	})
	session, err := p.auth.LoginPool(t.Context(), "old", "a host")
	if err != nil {
		t.Fatal(err)
	}
	p.call(t, theRoot, "pool.rotate_secret")
	secret := get[xenapi.Pool](p, thePool).Secret
	if _, err := p.auth.LoginPool(t.Context(), "old", "a host"); xenapi.CodeOf(err) != xenapi.CodeSessionAuthenticationFailed || len(secret) < 32 {
		t.Errorf("with the old one: %v; the new one has %d bytes", err, len(secret))
	}
	if _, err := p.auth.Authenticate(t.Context(), auth.Credentials{PoolSecret: secret}, "a host"); err != nil {
		t.Errorf("with the new one: %v", err)
	}
	p.refused(t, []string{xenapi.CodeSessionInvalid, session.String()}, "VDI.get_all", session)
	p.call(t, theRoot, "VDI.get_all")
}

func TestBecomeMaster(t *testing.T) {
	t.Parallel()
	p, _ := newFarm(t)
	enable(p, t, true)
	p.call(t, theRoot, "pool.emergency_transition_to_master")
	if got := get[xenapi.Pool](p, thePool).Master; got != here {
		t.Errorf("the coordinator is %s", got)
	}
}

// No virtual machine is protected: one host that is left is enough.
func TestFailoverPlans(t *testing.T) {
	t.Parallel()
	p, _ := newFarm(t) // of four hosts
	for n, want := range map[int]bool{-1: false, 0: true, 3: true, 4: false} {
		if got := p.call(t, theRoot, "pool.ha_failover_plan_exists", n).Bool; got != want {
			t.Errorf("a plan for %d failures: %v", n, got)
		}
	}
	if got := p.call(t, theRoot, "pool.ha_compute_max_host_failures_to_tolerate").Int; got != 3 {
		t.Errorf("%d hosts may fail", got)
	}
	if got := p.call(t, theRoot, "pool.ha_compute_hypothetical_max_host_failures_to_tolerate", map[string]string{}).Int; got != 3 {
		t.Errorf("%d hosts could fail", got)
	}
	if got := p.call(t, theRoot, "pool.ha_compute_vm_failover_plan", []string{third.String()}, []string{}); len(got.Members) > 0 {
		t.Errorf("plan %v", got)
	}
	insert(t, p, "OpaqueRef:vm", xenapi.VM{UUID: "u-vm", IsControlDomain: true})
	refused := []string{xenapi.CodeOperationNotAllowed, "a control domain cannot be protected"}
	p.refused(t, refused, "pool.ha_compute_vm_failover_plan", theRoot, []string{}, []string{"OpaqueRef:vm"})
	p.refused(t, refused, "pool.ha_compute_hypothetical_max_host_failures_to_tolerate", theRoot, map[string]string{"OpaqueRef:vm": "restart"})
	p.refused(t, []string{xenapi.CodeHandleInvalid, "host", dangling}, "pool.ha_compute_vm_failover_plan", theRoot, []string{dangling}, []string{})
	p.refused(t, []string{xenapi.CodeHandleInvalid, "VM", dangling}, "pool.ha_compute_vm_failover_plan", theRoot, []string{}, []string{dangling})
}

// The bits come in base64, as clients that back up expect them.
func TestChangedBlockTracking(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	vdi := p.newVDI(t, p.newSR(t))
	p.call(t, theRoot, "VDI.enable_cbt", vdi)
	if !get[xenapi.VDI](p, xenapi.Ref[xenapi.VDI](vdi)).CBTEnabled {
		t.Error("it is not enabled")
	}
	from := p.call(t, theRoot, "VDI.snapshot", vdi).Text
	if got := p.call(t, theRoot, "VDI.list_changed_blocks", from, vdi).Text; got != "AAA=" {
		t.Errorf("changed: %q", got)
	}
	p.call(t, theRoot, "VDI.data_destroy", from)
	if got := get[xenapi.VDI](p, xenapi.Ref[xenapi.VDI](from)).Type; got != xenapi.VDITypeCBTMetadata {
		t.Errorf("it is of type %s", got)
	}
	p.call(t, theRoot, "VDI.disable_cbt", vdi)
	p.refused(t, []string{xenapi.CodeVDINoCBTMetadata, vdi}, "VDI.list_changed_blocks", theRoot, from, vdi)
	for _, method := range []string{"VDI.enable_cbt", "VDI.disable_cbt", "VDI.data_destroy"} {
		p.refused(t, []string{xenapi.CodeHandleInvalid, "VDI", dangling}, method, theRoot, dangling)
	}
}

// What a driver or a pool cannot do is refused as XenAPI does, and of nothing that is none.
func TestRefusals(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	sr := p.newSR(t)
	p.refused(t, []string{xenapi.CodeSROperationNotSupported, sr.String()}, "SR.assert_can_host_ha_statefile", theRoot, sr)
	p.refused(t, []string{xenapi.CodeHandleInvalid, "SR", dangling}, "SR.assert_can_host_ha_statefile", theRoot, dangling)
	p.refused(t, []string{xenapi.CodeXenAPIMissingPlugin, "updater.py"}, "host.call_plugin", theRoot, here, "updater.py", "check", map[string]string{})
	if code := p.code(t, "host.call_plugin", sessionOf(xenapi.RolePoolOperator), here, "p", "f", map[string]string{}); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("a plug-in for a pool-operator: %q", code)
	}
	p.refused(t, []string{xenapi.CodeMessageDeprecated}, "SR.make", theRoot, here, map[string]string{}, 0, "", "", "", "")
	if got := p.call(t, theRoot, "VDI.get_nbd_info", p.newVDI(t, sr)); len(got.Items) > 0 {
		t.Errorf("a VDI over NBD: %v", got)
	}
	p.refused(t, []string{xenapi.CodeHandleInvalid, "VDI", dangling}, "VDI.get_nbd_info", theRoot, dangling)
}

// Every message that is refused says so in the table, and no served one has a refusal.
func TestRefusedAndServed(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, class := range p.api.Whole().Classes {
		for _, m := range class.Messages {
			if m.Refused == "" || !m.Session {
				continue
			}
			params := []any{theRoot}
			for range m.Parameters {
				params = append(params, dangling)
			}
			got := p.code(t, class.Name+"."+m.Name, params...)
			if !slices.Contains([]string{m.Refused, xenapi.CodeHandleInvalid}, got) {
				t.Errorf("%s.%s: %q, the table says %s", class.Name, m.Name, got, m.Refused)
			}
		}
	}
}
