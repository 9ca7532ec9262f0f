package api_test

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"testing"

	"poolpatch/internal/db"
	hosts "poolpatch/internal/pool"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// elsewhere is the other hosts of a pool: it writes down what is sent to them.
type elsewhere struct {
	mu      sync.Mutex
	host    xenapi.Ref[xenapi.Host]
	session xenapi.Ref[xenapi.Session]
	task    xenapi.Ref[xenapi.Task]
	message string
	params  []any
	answer  func(e *elsewhere, result any) error
}

func (e *elsewhere) CallFor(_ context.Context, host xenapi.Ref[xenapi.Host], session xenapi.Ref[xenapi.Session],
	t xenapi.Ref[xenapi.Task], result any, message string, params ...any) error {

	e.mu.Lock()
	defer e.mu.Unlock()
	e.host, e.session, e.task, e.message, e.params = host, session, t, message, params
	if e.answer != nil {
		return e.answer(e, result)
	}
	return nil
}

const (
	second = xenapi.Ref[xenapi.Host]("OpaqueRef:second") // the coordinator, and lives
	third  = xenapi.Ref[xenapi.Host]("OpaqueRef:third")  // lives
	fourth = xenapi.Ref[xenapi.Host]("OpaqueRef:fourth") // is dead
)

// storages are the SRs of a pool of four hosts, named for who sees them.
type storages struct{ mine, seconds, thirds, fourths, shared, nobodys xenapi.Ref[xenapi.SR] }

// newFarm is a pool of four hosts, of which this one is not the coordinator.
func newFarm(t *testing.T) (*pool, storages) {
	t.Helper()
	p := newPool(t)
	p.update(t, func(tx *db.Tx) error {
		for i, host := range []xenapi.Ref[xenapi.Host]{second, third, fourth} {
			if err := db.Insert(tx, host, xenapi.Host{UUID: fmt.Sprintf("uuid-%d", i)}); err != nil {
				return err
			}
		}
		return db.Change(tx, thePool, func(rec *xenapi.Pool) error { rec.Master = second; return nil })
	})
	for _, host := range []xenapi.Ref[xenapi.Host]{here, second, third} {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); _ = hosts.Stay(ctx, p.db, host, slog.New(slog.DiscardHandler)) }()
		t.Cleanup(func() { cancel(); <-done })
		if err := p.db.Wait(t.Context(), func(tx *db.Tx) (bool, error) { return hosts.Alive(tx, host), nil }); err != nil {
			t.Fatal(err)
		}
	}
	sr := func(name string, plugged ...xenapi.Ref[xenapi.Host]) xenapi.Ref[xenapi.SR] {
		ref := xenapi.Ref[xenapi.SR]("OpaqueRef:sr-" + name)
		insert(t, p, ref, xenapi.SR{UUID: "uuid-sr-" + name})
		for _, host := range plugged {
			insert(t, p, xenapi.Ref[xenapi.PBD]("OpaqueRef:pbd-"+name+string(host)),
				xenapi.PBD{UUID: "uuid-pbd-" + name + string(host), Host: host, SR: ref, CurrentlyAttached: true})
		}
		insert(t, p, xenapi.Ref[xenapi.VDI]("OpaqueRef:vdi-"+name), xenapi.VDI{UUID: "uuid-vdi-" + name, SR: ref, Managed: true})
		return ref
	}
	return p, storages{
		mine: sr("mine", here), seconds: sr("seconds", second), thirds: sr("thirds", third), fourths: sr("fourths", fourth),
		shared: sr("shared", third, second, fourth), nobodys: sr("nobodys"),
	}
}

func TestWhereMessagesRun(t *testing.T) {
	t.Parallel()
	p, sr := newFarm(t)
	vdi := func(name string) xenapi.Ref[xenapi.VDI] { return xenapi.Ref[xenapi.VDI]("OpaqueRef:vdi-" + name) }
	patch := xenapi.NewRef[xenapi.PoolPatch]()
	insert(t, p, patch, xenapi.PoolPatch{UUID: "uuid-patch"})
	for name, host := range map[string]xenapi.Ref[xenapi.Host]{"thirds": third, "fourths": fourth} {
		insert(t, p, xenapi.Ref[xenapi.VM]("OpaqueRef:vm-"+name), xenapi.VM{UUID: "uuid-vm-" + name, ResidentOn: host})
		insert(t, p, xenapi.Ref[xenapi.VBD]("OpaqueRef:vbd-"+name), xenapi.VBD{UUID: "uuid-vbd-" + name, VM: xenapi.Ref[xenapi.VM]("OpaqueRef:vm-" + name), Empty: true})
	}
	record := func(sr xenapi.Ref[xenapi.SR]) xenapi.VDI {
		rec := xenapi.New[xenapi.VDI]()
		rec.SR, rec.Type = sr, xenapi.VDITypeUser
		return rec
	}
	newSR := func(host xenapi.Ref[xenapi.Host], shared bool) []any {
		return []any{host, map[string]string{}, 0, "name", "", "mem", "user", shared}
	}
	for _, c := range []struct {
		message string
		params  []any
		host    xenapi.Ref[xenapi.Host]
		code    string // instead of being sent
	}{
		{message: "pool_patch.apply", params: []any{patch, third}, host: third},
		{message: "pool_patch.precheck", params: []any{patch, second}, host: second},
		{message: "pool_patch.clean_on_host", params: []any{patch, third}, host: third},
		{message: "pool_patch.apply", params: []any{patch, fourth}, code: xenapi.CodeHostOffline},
		{message: "pool_patch.apply", params: []any{patch, "OpaqueRef:nobody"}, code: xenapi.CodeHandleInvalid},
		{message: "pool_patch.clean", params: []any{patch}, host: second},
		{message: "pool_patch.pool_clean", params: []any{patch}, host: second},
		{message: "pool_patch.destroy", params: []any{patch}, host: second},
		{message: "pool_patch.pool_apply", params: []any{patch}, host: second},
		{message: "host.get_servertime", params: []any{third}, host: third},
		{message: "host.reboot", params: []any{third}, host: third},
		{message: "host.shutdown", params: []any{fourth}, code: xenapi.CodeHostOffline},
		{message: "host.restart_agent", params: []any{third}, host: third},
		{message: "host.set_hostname_live", params: []any{third, "x"}, host: third},
		{message: "host.dmesg", params: []any{third}, host: third},
		{message: "host.dmesg_clear", params: []any{third}, host: third},
		{message: "host.compute_free_memory", params: []any{third}, host: third},
		{message: "host.get_data_sources", params: []any{third}, host: third},
		{message: "host.query_data_source", params: []any{third, "loadavg"}, host: third},
		{message: "host.sync_data", params: []any{third}, host: third},
		{message: "host.get_server_certificate", params: []any{third}, host: third},
		{message: "host.install_server_certificate", params: []any{third, "C", "K"}, host: third},
		{message: "host.reset_server_certificate", params: []any{third}, host: third},
		{message: "host.refresh_server_certificate", params: []any{third}, host: third},
		{message: "host.declare_dead", params: []any{fourth}, host: second},

		{message: "PBD.plug", params: []any{"OpaqueRef:pbd-thirds" + string(third)}, host: third},
		{message: "PBD.unplug", params: []any{"OpaqueRef:pbd-fourths" + string(fourth)}, code: xenapi.CodeHostOffline},
		{message: "SR.create", params: newSR(third, false), host: third},
		{message: "SR.create", params: newSR(third, true), host: second},
		{message: "VBD.plug", params: []any{"OpaqueRef:vbd-thirds"}, host: third},
		{message: "VBD.unplug", params: []any{"OpaqueRef:vbd-thirds"}, host: third},
		{message: "VBD.unplug_force", params: []any{"OpaqueRef:vbd-thirds"}, host: third},
		{message: "VBD.plug", params: []any{"OpaqueRef:vbd-fourths"}, code: xenapi.CodeHostOffline},
		{message: "VBD.plug", params: []any{"OpaqueRef:vbd-gone"}, code: xenapi.CodeHandleInvalid},
		{message: "VBD.assert_attachable", params: []any{"OpaqueRef:vbd-thirds"}, code: xenapi.CodeVBDIsEmpty}, // the database knows
		{message: "SR.scan", params: []any{sr.thirds}, host: third},
		{message: "SR.scan", params: []any{sr.shared}, host: second},
		{message: "SR.scan", params: []any{sr.nobodys}, code: xenapi.CodeSRHasNoPBDs},
		{message: "SR.scan", params: []any{"OpaqueRef:none"}, code: xenapi.CodeHandleInvalid},
		{message: "SR.destroy", params: []any{sr.thirds}, host: third},
		{message: "SR.destroy", params: []any{sr.fourths}, code: xenapi.CodeHostOffline},

		{message: "VDI.create", params: []any{record(sr.thirds)}, host: third},
		{message: "VDI.create", params: []any{record(sr.fourths)}, code: xenapi.CodeHostOffline},
		{message: "VDI.destroy", params: []any{vdi("seconds")}, host: second},
		{message: "VDI.destroy", params: []any{vdi("shared")}, host: second},
		{message: "VDI.destroy", params: []any{vdi("nobodys")}, code: xenapi.CodeSRHasNoPBDs},
		{message: "VDI.resize", params: []any{vdi("thirds"), 1}, host: third},
		{message: "VDI.set_name_label", params: []any{vdi("thirds"), "x"}, host: third},
		{message: "VDI.copy", params: []any{vdi("shared"), sr.thirds}, host: third},                         // it sees both
		{message: "VDI.copy", params: []any{vdi("thirds"), sr.shared}, host: third},                         // and so here
		{message: "VDI.copy", params: []any{vdi("mine"), sr.thirds}, host: third},                           // it pulls
		{message: "VDI.copy", params: []any{vdi("mine"), xenapi.NullRef, "", vdi("seconds")}, host: second}, // into a VDI there
		{message: "VDI.copy", params: []any{vdi("mine"), sr.thirds, xenapi.NullRef, vdi("gone")}, code: xenapi.CodeHandleInvalid},
	} {
		*p.others = elsewhere{}
		_, err := p.try(t, c.message, append([]any{theRoot}, c.params...)...)
		if p.others.host != c.host || c.host != "" && p.others.message != c.message {
			t.Errorf("%s%v was sent to %q, and not to %q", c.message, c.params, p.others.host, c.host)
		}
		if code := xenapi.CodeOf(errorOf(err)); code != c.code {
			t.Errorf("%s%v: %q, not %q", c.message, c.params, code, c.code)
		}
		if c.host != "" && p.others.session != theRoot {
			t.Errorf("%s is sent for the session %q", c.message, p.others.session)
		}
	}
}

// errorOf keeps a nil *xenapi.Error from becoming an error.
func errorOf(err *xenapi.Error) error {
	if err == nil {
		return nil
	}
	return err
}

// The task of a call is there while another host runs it, and its result is the call's.
func TestResultOfAnotherHost(t *testing.T) {
	t.Parallel()
	p, _ := newFarm(t)
	made := xenapi.NewRef[xenapi.VDI]()
	p.others.answer = func(e *elsewhere, result any) error {
		rec := get(p, e.task)
		if rec.Status != xenapi.TaskStatusPending || rec.NameLabel != "VDI.clone" {
			t.Errorf("the task is %+v", rec)
		}
		reflect.ValueOf(result).Elem().SetString(made.String())
		return nil
	}
	vdi := "OpaqueRef:vdi-thirds"
	if got := p.call(t, theRoot, "VDI.clone", vdi); got.Text != made.String() {
		t.Errorf("the result is %q", got.Text)
	}
	if rec := get(p, p.others.task); rec.UUID != "" {
		t.Errorf("the task of a call that has its answer is still there: %+v", rec)
	}
	p.others.answer = func(*elsewhere, any) error { return xenapi.ErrSRFull(2, 1) }
	p.refused(t, []string{xenapi.CodeSRFull, "2", "1"}, "VDI.clone", theRoot, vdi)
}

// What a host sends runs here, as the task and with the rights that it says, and is never sent on.
func TestCallOfAnotherHost(t *testing.T) {
	t.Parallel()
	p, _ := newFarm(t)
	work := p.tasks
	ref, err := work.Create(t.Context(), task.Spec{Label: "theirs"})
	if err != nil {
		t.Fatal(err)
	}
	p.caller.Host, p.caller.Task = "uuid-second", ref
	_, refused := p.try(t, "VDI.destroy", xenapi.NullRef, "OpaqueRef:vdi-thirds")
	if xenapi.CodeOf(errorOf(refused)) != xenapi.CodeSRHasNoPBDs || p.others.message != "" {
		t.Errorf("a call that should not have come here: %v, sent on: %q", refused, p.others.message)
	}
	if rec := get(p, ref); rec.Status != xenapi.TaskStatusFailure || rec.ResidentOn != here {
		t.Errorf("their task is %+v", rec)
	}
	if _, err := p.try(t, "pool.get_all", xenapi.NullRef); err != nil {
		t.Errorf("a host without a session: %v", err)
	}
	if _, err := p.try(t, "VDI.destroy", sessionOf(xenapi.RoleReadOnly), "OpaqueRef:vdi-thirds"); xenapi.CodeOf(errorOf(err)) != xenapi.CodeOperationNotAllowed {
		t.Errorf("a task that has ended is run again: %v", err)
	}
	p.caller.Host = ""
	if _, err := p.try(t, "pool.get_all", xenapi.NullRef); xenapi.CodeOf(errorOf(err)) != xenapi.CodeSessionInvalid {
		t.Errorf("anybody without a session: %v", err)
	}
}
