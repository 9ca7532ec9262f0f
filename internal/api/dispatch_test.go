package api_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"poolpatch/internal/api"
	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

const (
	wrongType = 7 // an int is no string, so no ref either
	noSession = "OpaqueRef:nobody"
	dangling  = "OpaqueRef:dangling"
)

// Each call has every fault from its own on: the first in XenAPI's order is the one that it hears of
// (facts, section 1).
func TestErrorsComeInOrder(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	weak := sessionOf(xenapi.RoleVMAdmin)
	for _, c := range []struct {
		what, want string
		params     []any
	}{
		{"arity", xenapi.CodeMessageParameterCountMismatch, []any{noSession, wrongType}},
		{"unmarshalling", xenapi.CodeInternalError, []any{noSession, wrongType, dangling}},
		{"session", xenapi.CodeSessionInvalid, []any{noSession, dangling, dangling}},
		{"role", xenapi.CodeRBACPermissionDenied, []any{weak, dangling, dangling}},
		{"body", xenapi.CodeHandleInvalid, []any{theRoot, dangling, dangling}},
	} {
		if got := p.code(t, "pool_patch.apply", c.params...); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

func TestArity(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, c := range []struct {
		method             string
		params             []any
		expected, received string
	}{
		{"VDI.get_record", nil, "1", "0"},
		{"VDI.get_record", []any{theRoot}, "1", "0"},
		{"VDI.get_record", []any{theRoot, dangling, dangling}, "1", "2"},
		{"VDI_get_record", []any{theRoot}, "1", "0"},
		{"VDI.get_all", []any{theRoot, dangling}, "0", "1"},
		{"pool_patch.apply", []any{theRoot, dangling}, "2", "1"},
		{"Async.pool_patch.apply", []any{theRoot, dangling}, "2", "1"},
		{"SR.create", []any{theRoot, dangling}, "8", "1"},
		{"session.login_with_password", []any{"root"}, "2", "1"},
		{"session.logout", []any{theRoot, "more"}, "0", "1"},
		{"VDI.data_destroy", []any{theRoot}, "1", "0"}, // not served, but declared
	} {
		name := strings.Replace(strings.TrimPrefix(c.method, "Async."), "VDI_", "VDI.", 1)
		p.refused(t, []string{xenapi.CodeMessageParameterCountMismatch, name, c.expected, c.received}, c.method, c.params...)
	}
}

func TestOptionalParametersMayBeLeftOffAndMoreAreIgnored(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	if err := p.auth.EnsureRoot(t.Context(), rootPW); err != nil {
		t.Fatal(err)
	}
	for _, params := range [][]any{{"root", rootPW}, {"root", rootPW, "1.1"}, {"root", rootPW, "1.1", "tests"}, {"root", rootPW, "1.1", "tests", "more"}} {
		session, failure := p.try(t, "session.login_with_password", params...)
		if failure != nil {
			t.Errorf("%d parameters: %v", len(params), failure)
			continue
		}
		rec := get(p, xenapi.Ref[xenapi.Session](session.Text))
		if want := append(params, "", "")[3]; len(params) < 4 && rec.Originator != "" || len(params) >= 4 && rec.Originator != want {
			t.Errorf("%d parameters: the originator is %q", len(params), rec.Originator)
		}
	}
	sr := p.newSR(t) // without sm_config
	vdi := p.call(t, theRoot, "VDI.copy", p.newVDI(t, sr), sr).Text
	if got := p.call(t, theRoot, "VDI.get_SR", vdi).Text; got != sr.String() {
		t.Errorf("the copy is on %s", got)
	}
}

// newVDI makes a VDI of 1 MiB.
func (p *pool) newVDI(t testing.TB, sr xenapi.Ref[xenapi.SR]) string {
	t.Helper()
	return p.call(t, theRoot, "VDI.create", vdiRecord(sr)).Text
}

func vdiRecord(sr xenapi.Ref[xenapi.SR]) map[string]any {
	return map[string]any{
		"name_label": "disk", "SR": sr, "virtual_size": 1 << 20, "type": "USER", "sharable": false, "read_only": false,
		"other_config": map[string]string{"k": "v"},
	}
}

func TestBothNamesOfAMessage(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, method := range []string{"pool_patch.get_all", "pool_patch_get_all", "SR.get_by_name_label", "SR_get_by_name_label", "host_metrics_get_all"} {
		params := []any{theRoot}
		if strings.Contains(method, "label") {
			params = append(params, "none")
		}
		if code := p.code(t, method, params...); code != "" {
			t.Errorf("%s: %s", method, code)
		}
	}
	for _, method := range []string{"VDI.explode", "VDI_explode", "VDIget_all", "VDI.get.all", "vdi.get_all", "Async.VDI.explode", "InternalAsync.VDI.destroy", "", "."} {
		p.refused(t, []string{xenapi.CodeMessageMethodUnknown, method}, method, theRoot)
	}
}

func TestEveryDeclaredMessageIsKnown(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	listed := texts(p.call(t, theRoot, "host.list_methods"))
	for _, sig := range xenapi.Signatures() {
		if code := p.code(t, sig.FullName()); code == xenapi.CodeMessageMethodUnknown {
			t.Errorf("%s is not known", sig.FullName())
		}
		if slices.Contains(listed, sig.FullName()) == sig.Hidden {
			t.Errorf("%s: listed %v, hidden %v", sig.FullName(), !sig.Hidden, sig.Hidden)
		}
	}
	p.refused(t, []string{xenapi.CodeNotImplemented, "pool.enable_ha"}, "pool.enable_ha", theRoot, []string{}, map[string]string{})
	p.refused(t, []string{xenapi.CodeMessageRemoved}, "VDI.resize_online", theRoot, dangling, 1)
}

func TestSystemMessagesTakeNoSession(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	value, failure := p.try(t, "system.listMethods")
	if failure != nil {
		t.Fatal(failure)
	}
	listed := texts(value)
	if !slices.IsSorted(listed) || !slices.Contains(listed, "pool_patch.get_all_records") || slices.Contains(listed, "session.get_all_records") {
		t.Errorf("methods: %d, sorted %v", len(listed), slices.IsSorted(listed))
	}
	if alive, failure := p.try(t, "system.isAlive:42"); failure != nil || alive.Text != "42" {
		t.Errorf("system.isAlive: %v %v", alive, failure)
	}
	// Over XML-RPC the list has no envelope.
	reply, err := rpc.XML(t.Context(), p.api.For(p.caller), []byte("<methodCall><methodName>system.listMethods</methodName><params/></methodCall>"))
	if err != nil || strings.Contains(string(reply), "Status") || !strings.Contains(string(reply), "<value>pool_patch.apply</value>") {
		t.Errorf("listMethods: %v %.200s", err, reply)
	}
}

// A client calls get_all_records of every class that it finds so in the list.
func TestEveryListedClassCanBeRead(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, name := range p.api.Methods() {
		if strings.HasSuffix(name, ".get_all_records") {
			if code := p.code(t, name, sessionOf(xenapi.RoleReadOnly)); code != "" {
				t.Errorf("%s: %s", name, code)
			}
		}
	}
}

func TestAsyncGivesATaskWithAnXMLResult(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	sr := p.newSR(t)
	ref := xenapi.Ref[xenapi.Task](p.call(t, theRoot, "Async.VDI.create", vdiRecord(sr)).Text)
	p.tasks.Wait()
	rec := get(p, ref)
	if rec.Status != xenapi.TaskStatusSuccess || rec.NameLabel != "Async.VDI.create" || rec.Progress != 1 {
		t.Fatalf("task %+v", rec)
	}
	result, err := rpc.ParseXMLValue(rec.Result)
	if err != nil || get(p, xenapi.Ref[xenapi.VDI](result.Text)).NameLabel != "disk" {
		t.Errorf("result %q: %v", rec.Result, err)
	}
	ref = xenapi.Ref[xenapi.Task](p.call(t, theRoot, "Async.VDI.destroy", result.Text).Text)
	p.tasks.Wait()
	if rec := get(p, ref); rec.Result != "<value></value>" {
		t.Errorf("the result of a void message is %q", rec.Result)
	}
}

// Errors of roles and of the message itself end in the task; those before it in the reply.
func TestAsyncErrors(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	weak := sessionOf(xenapi.RoleReadOnly)
	for session, want := range map[string]string{weak: xenapi.CodeRBACPermissionDenied, theRoot: xenapi.CodeHandleInvalid} {
		ref := xenapi.Ref[xenapi.Task](p.call(t, session, "Async.VDI.destroy", dangling).Text)
		p.tasks.Wait()
		rec := get(p, ref)
		if rec.Status != xenapi.TaskStatusFailure || len(rec.ErrorInfo) == 0 || rec.ErrorInfo[0] != want {
			t.Errorf("task of %s: %s %q, want %s", session, rec.Status, rec.ErrorInfo, want)
		}
	}
	before := p.call(t, theRoot, "task.get_all")
	p.refused(t, []string{xenapi.CodeSessionInvalid, noSession}, "Async.VDI.destroy", noSession, dangling)
	p.refused(t, []string{xenapi.CodeMessageParameterCountMismatch, "VDI.destroy", "1", "0"}, "Async.VDI.destroy", theRoot)
	for _, sync := range []string{"VDI.get_record", "VDI.set_other_config", "task.create", "session.logout", "task.set_status"} {
		p.refused(t, []string{"Fault", "No async mode for this operation (rpc: Async." + sync + ")"}, "Async."+sync, theRoot)
	}
	if after := p.call(t, theRoot, "task.get_all"); len(after.Items) != len(before.Items) {
		t.Errorf("refused calls made tasks: %d before, %d after", len(before.Items), len(after.Items))
	}
}

// A call with an Async form is a task while it runs, with the client's notes, and leaves none.
func TestASyncCallIsATaskWhileItRuns(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	sr := p.newSR(t)
	p.caller.OtherConfig = map[string]string{"http:note": "n"}
	ref := xenapi.Ref[xenapi.Task](p.call(t, theRoot, "Async.SR.scan", sr).Text)
	p.tasks.Wait()
	if rec := get(p, ref); rec.OtherConfig["http:note"] != "n" || rec.Session != theRoot || rec.AuthUser != auth.Root {
		t.Errorf("task %+v", rec)
	}
	p.call(t, theRoot, "task.destroy", ref)
	p.call(t, theRoot, "SR.scan", sr)
	if left := texts(p.call(t, theRoot, "task.get_all")); len(left) > 0 {
		t.Errorf("tasks left: %v", left)
	}
}

// What is no error of the domain is told by an id; its text stands in the log alone.
func TestInternalErrorsKeepTheirText(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	failure, ok := errors.AsType[*xenapi.Error](p.api.Domain(errors.New("a path and a password")))
	if !ok || failure.Code != xenapi.CodeInternalError || len(failure.Params) != 1 {
		t.Fatalf("error %v", failure)
	}
	id, ok := strings.CutPrefix(failure.Params[0], "see the log for ")
	if _, isUUID := xenapi.ParseUUID(id); !ok || !isUUID {
		t.Errorf("the error says %q", failure.Params[0])
	}
	if len(p.log.with("ERROR", id, "a path and a password")) != 1 {
		t.Errorf("the log does not explain %s: %q", id, p.log.all)
	}
}

// A database that does not answer is no riddle: the error says so, and what became of the change.
func TestDatabaseThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := false
		p := newPool(t, memkv.WithFaults(func(int, []db.Guard, []db.Op) memkv.Fault {
			if broken {
				return memkv.FailNotPersisted
			}
			return memkv.None
		}))
		broken = true
		_, failure := p.try(t, "pool.set_name_label", theRoot, thePool, "x")
		broken = false
		if failure == nil || failure.Code != xenapi.CodePoolDatabaseUnavailable || !strings.Contains(failure.Params[0], "not known") {
			t.Errorf("error %v", failure)
		}
		if len(p.log.with("WARN", memkv.ErrInjected.Error())) != 1 {
			t.Errorf("the log says %q", p.log.all)
		}
	})
	err := fmt.Errorf("commit: %w", db.ErrUnavailable)
	if failure := api.Internal(slog.New(slog.DiscardHandler), err); failure.Code != xenapi.CodePoolDatabaseUnavailable || failure.Params[0] != "nothing was changed" {
		t.Errorf("error %v", failure)
	}
}

// A parameter of the wrong form is the caller's mistake: it is told what was expected where.
func TestWrongParameters(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, c := range []struct {
		method string
		params []any
		want   []string
	}{
		{"VDI.get_record", []any{theRoot, 7}, []string{xenapi.CodeInternalError, "parameter self of VDI.get_record: expected string, found int"}},
		{"VDI.get_record", []any{7, dangling}, []string{xenapi.CodeInternalError, "session of VDI.get_record: expected string, found int"}},
		{"pool_patch.get_record", []any{theRoot, "OpaqueRef:NULL"}, []string{xenapi.CodeHandleInvalid, "pool_patch", "OpaqueRef:NULL"}},
		{"pool_patch.get_record", []any{theRoot, ""}, []string{xenapi.CodeHandleInvalid, "pool_patch", "OpaqueRef:NULL"}},
		{"VDI.get_all", []any{""}, []string{xenapi.CodeSessionInvalid, "OpaqueRef:NULL"}},
	} {
		p.refused(t, c.want, c.method, c.params...)
	}
}

func TestDeprecatedMessagesWarn(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	for _, method := range []string{"pool_patch.clean", "pool_patch.pool_clean", "pool_patch.clean_on_host", "pool_patch.destroy"} {
		params := []any{theRoot, dangling}
		if strings.HasSuffix(method, "on_host") {
			params = append(params, dangling)
		}
		p.code(t, method, params...)
		warned := len(p.log.with("WARN deprecated message", "message="+method+" ", "use=VDI.destroy", "user=root"))
		if want := 1; method == "pool_patch.destroy" && warned > 0 || method != "pool_patch.destroy" && warned != want {
			t.Errorf("%s: %d warnings", method, warned)
		}
	}
	p.refused(t, []string{xenapi.CodeMessageDeprecated}, "host_patch.apply", theRoot, dangling)
	// Nothing took the place of this one.
	p.code(t, "user.destroy", theRoot, dangling)
	if got, want := p.log.with("message=user.destroy"), []string{"WARN deprecated message message=user.destroy user=root"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTheUnixSocketIsRoot(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.caller = api.Caller{Local: true, Origin: "the socket"}
	session, failure := p.try(t, "session.login_with_password", "anyone", "anything")
	if failure != nil {
		t.Fatal(failure)
	}
	rec := get(p, xenapi.Ref[xenapi.Session](session.Text))
	if !rec.IsLocalSuperuser || rec.Originator != "the socket" {
		t.Errorf("session %+v", rec)
	}
	p.call(t, session.Text, "session.logout")
	p.refused(t, []string{xenapi.CodeSessionInvalid, session.Text}, "pool.get_all", session.Text)
}

// The lowest role of a message is enough, and the next weaker one is not.
func TestRoles(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	weakestFirst := xenapi.Roles()
	slices.Reverse(weakestFirst)
	for method, lowest := range map[string]string{
		"pool.get_all": xenapi.RoleReadOnly, "pool_patch.precheck": xenapi.RolePoolOperator, "pool_patch.destroy": xenapi.RolePoolOperator,
		"VDI.destroy": xenapi.RoleVMAdmin, "VDI.copy": xenapi.RoleVMAdmin, "VDI.add_tags": xenapi.RoleVMOperator, "SR.scan": xenapi.RoleVMPowerAdmin,
		"SR.forget": xenapi.RolePoolOperator, "PBD.plug": xenapi.RolePoolOperator, "user.destroy": xenapi.RolePoolAdmin,
		"host.disable": xenapi.RolePoolOperator, "session.change_password": xenapi.RoleLocalRoot, "host.get_sched_gran": xenapi.RoleLocalRoot,
	} {
		allowed := false
		for _, role := range weakestFirst {
			allowed = allowed || role == lowest
			params := []any{sessionOf(role)}
			for range arity(method) {
				params = append(params, dangling)
			}
			if got := p.code(t, method, params...) != xenapi.CodeRBACPermissionDenied; got != allowed {
				t.Errorf("%s with role %s: allowed %v", method, role, got)
			}
		}
	}
	p.refused(t, []string{xenapi.CodeRBACPermissionDenied, "pool_patch.apply",
		"No permission in user session. (Roles with this permission: pool-admin, pool-operator)"}, "pool_patch.apply", sessionOf(xenapi.RoleVMPowerAdmin), dangling, here)
}

// arity counts a message's parameters besides the session.
func arity(method string) int {
	for _, sig := range xenapi.Signatures() {
		if sig.FullName() == method {
			return len(sig.Params)
		}
	}
	return map[string]int{"pool.get_all": 0, "VDI.add_tags": 2}[method]
}

// Clients keep notes in some keys of a task's other_config: those need less than the map (facts, section 3).
func TestKeysOfATasksOtherConfig(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	mine := func(role string) string { return p.call(t, sessionOf(role), "task.create", "l", "d").Text }
	for _, c := range []struct {
		role, key  string
		permission string // that is denied; "" for none
	}{
		{xenapi.RoleVMOperator, "applies_to", ""},
		{xenapi.RoleVMOperator, "XenCenterUUID", ""},
		{xenapi.RoleVMOperator, "XenCenterMeddlingActionTitle", ""},
		{xenapi.RoleReadOnly, "XenCenterUUID", "/key:xencenteruuid"},
		{xenapi.RoleVMOperator, "other", ""},
		{xenapi.RolePoolOperator, "other", ""},
	} {
		ref := mine(c.role)
		denied := c.permission != "" || c.role == xenapi.RoleVMOperator && c.key == "other"
		for _, method := range []string{"task.add_to_other_config", "task.remove_from_other_config"} {
			params := []any{sessionOf(c.role), ref, c.key, "v"}
			if strings.Contains(method, "remove") {
				params = params[:3]
			}
			_, failure := p.try(t, method, params...)
			switch {
			case !denied && failure != nil:
				t.Errorf("%s %s as %s: %v", method, c.key, c.role, failure)
			case denied && (failure == nil || failure.Code != xenapi.CodeRBACPermissionDenied || failure.Params[0] != method+c.permission):
				t.Errorf("%s %s as %s: %v, want %s to be denied", method, c.key, c.role, failure, method+c.permission)
			}
		}
	}
}

func TestATaskIsItsOwners(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	owner, stranger, operator := sessionOf(xenapi.RoleReadOnly), sessionOf(xenapi.RoleVMAdmin), sessionOf(xenapi.RolePoolOperator)
	denied := []string{xenapi.CodeRBACPermissionDenied, "task.destroy/any", "No permission in user session. (Roles with this permission: pool-admin, pool-operator)"}
	ref := p.call(t, owner, "task.create", "label", "description").Text
	for _, c := range []struct {
		method string
		value  []any
	}{
		{"task.set_progress", []any{0.5}}, {"task.set_result", []any{"r"}}, {"task.set_error_info", []any{[]string{"E", "1"}}},
		{"task.set_status", []any{"failure"}}, {"task.destroy", nil},
	} {
		p.refused(t, denied, c.method, append([]any{stranger, ref}, c.value...)...)
		p.call(t, owner, c.method, append([]any{ref}, c.value...)...)
		if rec := get(p, xenapi.Ref[xenapi.Task](ref)); c.method == "task.set_status" &&
			(rec.Status != xenapi.TaskStatusFailure || rec.Progress != 0.5 || rec.Result != "r" || !slices.Equal(rec.ErrorInfo, []string{"E", "1"})) {
			t.Errorf("the owner's task: %+v", rec)
		}
	}
	// A key that the stranger's role may write, in a task that is not the stranger's.
	ref = p.call(t, owner, "task.create", "label", "description").Text
	p.refused(t, denied, "task.add_to_other_config", stranger, ref, "applies_to", "v")
	p.call(t, operator, "task.add_to_other_config", ref, "applies_to", "v")
	p.refused(t, denied, "task.remove_from_other_config", stranger, ref, "applies_to")
	for _, method := range []string{"task.cancel", "task.destroy"} {
		ref := p.call(t, owner, "task.create", "label", "description").Text
		p.refused(t, denied, method, stranger, ref)
		p.call(t, operator, method, ref)
	}
	p.refused(t, []string{xenapi.CodeHandleInvalid, "task", dangling}, "task.destroy", owner, dangling)
	p.refused(t, []string{xenapi.CodeHandleInvalid, "task", dangling}, "task.set_other_config", operator, dangling, map[string]string{})
}

func TestOnlyThisHostAnswersForItself(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	insert(t, p, "OpaqueRef:there", xenapi.Host{UUID: "uuid-there"})
	if code := p.code(t, "host.get_servertime", theRoot, here); code != "" {
		t.Error(code)
	}
	p.refused(t, []string{xenapi.CodeHostOffline, "OpaqueRef:there"}, "host.get_servertime", theRoot, "OpaqueRef:there")
	p.refused(t, []string{xenapi.CodeHandleInvalid, "host", dangling}, "host.get_servertime", theRoot, dangling)
	for _, enabled := range []bool{true, false} {
		p.call(t, theRoot, map[bool]string{true: "host.enable", false: "host.disable"}[enabled], here)
		if get(p, here).Enabled != enabled {
			t.Errorf("enabled is %v", !enabled)
		}
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	create := func(name, cls, object string) string {
		return p.call(t, theRoot, "message.create", name, 3, cls, object, "body of "+name).Text
	}
	first, second := create("first", "Host", "uuid-here"), create("second", "pool", "uuid-pool")
	found := func(v rpc.Value) (refs []string) {
		for _, m := range v.Members {
			refs = append(refs, m.Name)
		}
		slices.Sort(refs)
		return refs
	}
	both := []string{first, second}
	slices.Sort(both)
	for _, c := range []struct {
		got  rpc.Value
		want []string
	}{
		{p.call(t, theRoot, "message.get", "host", "uuid-here", "19700101T00:00:00Z"), []string{first}},
		{p.call(t, theRoot, "message.get", "host", "uuid-pool", "19700101T00:00:00Z"), nil},
		{p.call(t, theRoot, "message.get", "host", "uuid-here", "29700101T00:00:00Z"), nil},
		{p.call(t, theRoot, "message.get_since", "19700101T00:00:00Z"), both},
		{p.call(t, theRoot, "message.get_all_records"), both},
	} {
		if got := found(c.got); !slices.Equal(got, c.want) {
			t.Errorf("messages %v, want %v", got, c.want)
		}
	}
	p.refused(t, []string{xenapi.CodeHandleInvalid, "message", dangling}, "message.destroy_many", theRoot, []string{first, dangling})
	p.call(t, theRoot, "message.destroy", second)
	if left := texts(p.call(t, theRoot, "message.get_all")); fmt.Sprint(left) != fmt.Sprint([]string{first}) {
		t.Errorf("messages left: %v, want %v", left, first)
	}
}
