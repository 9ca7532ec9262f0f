package api_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// replicated is a pool whose database is kept on its SR.
func replicated(t *testing.T) (p *pool, sr xenapi.Ref[xenapi.SR], vdi string) {
	t.Helper()
	p = newPool(t)
	insert(t, p, "OpaqueRef:dom0", xenapi.VM{UUID: "uuid-dom0", NameLabel: "Control domain", IsControlDomain: true, ResidentOn: here})
	sr = p.newSR(t)
	p.call(t, theRoot, "SR.assert_supports_database_replication", sr)
	p.call(t, theRoot, "SR.enable_database_replication", sr)
	all := p.call(t, theRoot, "pool.get_metadata_VDIs", thePool).Items
	if len(all) != 1 {
		t.Fatalf("pool.metadata_VDIs: %v", all)
	}
	return p, sr, all[0].Text
}

func TestReplicationMessages(t *testing.T) {
	t.Parallel()
	p, sr, vdi := replicated(t)
	if got := p.call(t, theRoot, "VDI.read_database_pool_uuid", vdi).Text; got != "uuid-pool" {
		t.Errorf("the pool in the VDI is %q", got)
	}
	p.refused(t, []string{xenapi.CodeVDIInUse, vdi, "destroy"}, "VDI.destroy", theRoot, vdi)
	if allowed := texts(p.call(t, theRoot, "VDI.get_allowed_operations", vdi)); slices.Contains(allowed, "destroy") || slices.Contains(allowed, "forget") {
		t.Errorf("allowed: %v", allowed)
	}
	other := p.newVDI(t, sr)
	p.refused(t, []string{xenapi.CodeVDIIncompatibleType, other, "user"}, "VDI.read_database_pool_uuid", theRoot, other)
	p.refused(t, []string{xenapi.CodeVDIIncompatibleType, other, "user"}, "VDI.open_database", theRoot, other)
	p.call(t, theRoot, "pool.enable_redo_log", sr)
	if !get[xenapi.Pool](p, thePool).RedoLogEnabled {
		t.Error("the pool has no redo log")
	}
	p.call(t, theRoot, "pool.disable_redo_log")
	p.call(t, theRoot, "SR.disable_database_replication", sr)
	for _, method := range []string{"SR.assert_supports_database_replication", "SR.enable_database_replication", "SR.disable_database_replication", "pool.enable_redo_log"} {
		p.refused(t, []string{xenapi.CodeHandleInvalid, "SR", dangling}, method, theRoot, dangling)
		if code := p.code(t, method, sessionOf(xenapi.RoleVMPowerAdmin), sr); code != xenapi.CodeRBACPermissionDenied {
			t.Errorf("a vm-power-admin sends %s: %q", method, code)
		}
	}
	if left := p.call(t, theRoot, "VDI.get_all").Items; len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// TestOpenedDatabase: the session reads what was in the VDI, in every way that objects are read; the pool goes on meanwhile.
func TestOpenedDatabase(t *testing.T) {
	t.Parallel()
	p, sr, vdi := replicated(t)
	operator := sessionOf(xenapi.RolePoolOperator)
	opened := p.call(t, operator, "VDI.open_database", vdi).Text
	p.call(t, theRoot, "SR.set_name_label", sr, "renamed")
	p.call(t, theRoot, "VM.get_all")
	p.update(t, func(tx *db.Tx) error { return db.Delete(tx, xenapi.Ref[xenapi.VM]("OpaqueRef:dom0")) })
	for session, name := range map[string]string{theRoot: "renamed", opened: "memory"} {
		if got := p.call(t, session, "SR.get_name_label", sr).Text; got != name {
			t.Errorf("SR.get_name_label: %q, want %q", got, name)
		}
		if got := members(p.call(t, session, "SR.get_record", sr))["name_label"]; got != name {
			t.Errorf("SR.get_record: %q, want %q", got, name)
		}
		for method, param := range map[string]string{
			"SR.get_by_name_label": name, "SR.get_by_uuid": get[xenapi.SR](p, sr).UUID, "SR.get_all_where": `field "name_label" = "` + name + `"`,
		} {
			if got := p.call(t, session, method, param); got.Text != sr.String() && (len(got.Items) != 1 || got.Items[0].Text != sr.String()) {
				t.Errorf("%s(%s): %v", method, param, got)
			}
		}
		for _, method := range []string{"SR.get_all_records", "SR.get_all_records_where"} {
			params := []any{session, "true"}[:1+strings.Count(method, "where")]
			rec, _ := p.call(t, session, method, params[1:]...).Member(sr.String())
			if got := members(rec)["name_label"]; got != name {
				t.Errorf("%s: %q, want %q", method, got, name)
			}
		}
	}
	if got := p.call(t, opened, "VM.get_all").Items; len(got) != 1 {
		t.Errorf("a VM that is gone from the pool: %v", got)
	}
	p.refused(t, []string{xenapi.CodeHandleInvalid, "VM", "OpaqueRef:dom0"}, "VM.get_record", theRoot, "OpaqueRef:dom0")
	p.onlyReads(t, opened, sr, vdi)
	p.call(t, opened, "session.logout")
	p.refused(t, []string{xenapi.CodeSessionInvalid, opened}, "SR.get_all", opened)
	p.call(t, operator, "SR.get_all") // whose session goes on
}

// onlyReads holds that a session can do nothing but read what everybody may.
func (p *pool) onlyReads(t *testing.T, session string, sr xenapi.Ref[xenapi.SR], vdi string) {
	t.Helper()
	for method, params := range map[string][]any{
		"SR.set_name_description": {sr, "x"}, "SR.add_to_other_config": {sr, "a", "b"}, "SR.set_tags": {sr, []string{}}, "SR.scan": {sr}, "VDI.destroy": {vdi},
		"VDI.open_database": {vdi}, "event.from": {[]string{"*"}, "", 0}, "event.register": {[]string{"*"}}, "user.get_all_records": {}, "task.create": {"a", "b"},
		"session.get_uuid": {session}, "session.get_record": {theRoot}, "user.get_record": {"OpaqueRef:user"}, "host.get_servertime": {here}, "Async.SR.scan": {sr},
		"session.get_all_subject_identifiers": {}, "pool.create_join_token": {60}, "session.change_password": {"a", "b"},
	} {
		if code := p.code(t, method, append([]any{session}, params...)...); code != xenapi.CodeRBACPermissionDenied {
			if method == "Async.SR.scan" && code == "" {
				continue // the task has the error
			}
			t.Errorf("%s: %q", method, code)
		}
	}
}

// TestOpenedDatabasesAreBounded, and go with the session that opened them.
func TestOpenedDatabasesAreBounded(t *testing.T) {
	t.Parallel()
	p, _, vdi := replicated(t)
	operator := sessionOf(xenapi.RolePoolOperator)
	var opened []string
	for range 4 {
		opened = append(opened, p.call(t, operator, "VDI.open_database", vdi).Text)
	}
	p.refused(t, []string{xenapi.CodeTooBusy}, "VDI.open_database", theRoot, vdi)
	p.call(t, operator, "session.logout")
	p.refused(t, []string{xenapi.CodeSessionInvalid, opened[0]}, "SR.get_all", opened[0])
	last := p.call(t, theRoot, "VDI.open_database", vdi).Text // in the room of those
	p.call(t, last, "SR.get_all")
	p.auth.CloseDatabases()
	p.refused(t, []string{xenapi.CodeSessionInvalid, last}, "SR.get_all", last)
}

// TestDatabaseFile: root on the host, and nobody else, opens a backup.
func TestDatabaseFile(t *testing.T) {
	t.Parallel()
	p, sr, _ := replicated(t)
	file, err := os.Create(filepath.Join(p.root, "backup"))
	if err == nil {
		err = p.backup(context.Background(), file)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.call(t, theRoot, "SR.set_name_label", sr, "renamed")
	if code := p.code(t, "session.create_from_db_file", theRoot, "/backup"); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("over the network: %q", code)
	}
	p.caller.Local = true
	opened := p.call(t, theRoot, "session.create_from_db_file", "/backup").Text
	if got := p.call(t, opened, "SR.get_name_label", sr).Text; got != "memory" {
		t.Errorf("the file says %q", got)
	}
	if code := p.code(t, "session.create_from_db_file", theRoot, "/none"); code != xenapi.CodeCouldNotImportDatabase {
		t.Errorf("a file that is not there: %q", code)
	}
	if code := p.code(t, "session.create_from_db_file", sessionOf(xenapi.RolePoolAdmin), "/backup"); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("a pool-admin: %q", code)
	}
}
