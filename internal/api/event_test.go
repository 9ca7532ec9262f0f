package api_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/api"
	"poolpatch/internal/db"
	"poolpatch/internal/rpc"
	"poolpatch/internal/storage"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

var (
	tokens = regexp.MustCompile(`[0-9]{20},[0-9]{20}`)
	ids    = regexp.MustCompile(`("id":"|<name>id</name><value>)[0-9]+`)
)

// from is the batch of a call to event.from.
func (p *pool) from(t testing.TB, token string, timeout any, selectors ...string) rpc.Value {
	t.Helper()
	return p.call(t, theRoot, "event.from", selectors, token, timeout)
}

// told are the events of a batch in short.
func told(batch rpc.Value) []string {
	all := []string{}
	for _, e := range member(batch, "events").Items {
		all = append(all, member(e, "operation").Text+" "+member(e, "class").Text+" "+member(e, "ref").Text)
	}
	return all
}

// What the wire looks like: the first batch of every class, and a later one that has all operations.
func TestEventsGolden(t *testing.T) {
	t.Parallel()
	p := newFixed(t)
	token := member(p.from(t, "", 0), "token").Text
	start := p.wire(t, "event.from", []string{"*"}, "", 0)
	p.update(t, func(tx *db.Tx) error {
		for _, err := range []error{
			db.Insert(tx, "OpaqueRef:new", xenapi.HostPatch{UUID: "u-new", Host: here, PoolPatch: "OpaqueRef:patch", TimestampApplied: time.Unix(0, 0)}),
			db.Delete[xenapi.Task](tx, "OpaqueRef:subtask"),
			db.Change(tx, "OpaqueRef:vm", func(vm *xenapi.VM) error { vm.NameLabel = "<changed>"; return nil }),
			db.Insert(tx, "OpaqueRef:second", xenapi.Message{UUID: "u-second", Name: "SECOND", Cls: "SR", Priority: 1}),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	for name, text := range map[string]map[string][]byte{
		"start": start,
		"later": p.wire(t, "event.from", []string{"vm", "task", "message", "host_patch", "pool_patch"}, token, 0.5),
	} {
		for notation, reply := range text {
			// The revision and the database's name in it are not the same twice; their shape is what counts.
			api.CompareGolden(t, filepath.Join("testdata/events", name+"."+notation), steady(reply))
		}
	}
}

// wire makes a call in both notations and gives the replies.
func (p *pool) wire(t *testing.T, method string, params ...any) map[string][]byte {
	t.Helper()
	params = append([]any{theRoot}, params...)
	fromJSON, err := rpc.JSON(t.Context(), p.api.For(p.caller), rpc.EncodeRequest(method, params))
	if err != nil {
		t.Fatal(err)
	}
	body := "<methodCall><methodName>" + method + "</methodName><params>"
	for _, param := range params {
		body += "<param>" + rpc.MarshalXMLValue(param) + "</param>"
	}
	fromXML, err := rpc.XML(t.Context(), p.api.For(p.caller), []byte(body+"</params></methodCall>"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"json": fromJSON, "xml": fromXML}
}

// steady makes a reply that is the same each time: revisions and tokens become zeroes, and each member stands in a line.
func steady(reply []byte) []byte {
	reply = tokens.ReplaceAll(reply, []byte("00000000000000000000,00000000000000000000"))
	reply = ids.ReplaceAll(reply, []byte("${1}0"))
	reply = bytes.ReplaceAll(reply, []byte("</member>"), []byte("</member>\n"))
	return bytes.ReplaceAll(reply, []byte(`,"`), []byte(",\n\""))
}

func TestEventsOverTheWire(t *testing.T) {
	t.Parallel()
	p := newFixed(t)
	token := member(p.from(t, "", 0, "*"), "token").Text
	for _, timeout := range []any{0, 0.0, "0", "0.0", -1.5} {
		if got := told(p.from(t, token, timeout, "*")); len(got) != 0 {
			t.Errorf("timeout %v: %q", timeout, got)
		}
	}
	p.refused(t, []string{xenapi.CodeEventFromTokenParseFailure, "x"}, "event.from", theRoot, []string{"*"}, "x", 0)
	p.refused(t, []string{xenapi.CodeSessionNotRegistered, theRoot}, "event.next", theRoot)
	p.refused(t, []string{xenapi.CodeHandleInvalid, "pool", "OpaqueRef:sr"}, "event.inject", theRoot, "pool", "OpaqueRef:sr")
	p.refused(t, []string{"Fault", "No async mode for this operation (rpc: Async.event.from)"}, "Async.event.from", theRoot, []string{"*"}, "", 0)
	if n := p.call(t, theRoot, "event.get_current_id").Int; n != p.db.Revision() {
		t.Errorf("the current id is %d, want %d", n, p.db.Revision())
	}
	weak := sessionOf(xenapi.RoleReadOnly)
	p.call(t, weak, "event.register", []string{"VM"})
	injected := p.call(t, weak, "event.inject", "vm", "OpaqueRef:vm").Text
	if got := told(p.from(t, injected, 10, "vm")); !slices.Equal(got, []string{"mod vm OpaqueRef:vm"}) {
		t.Errorf("injected: %q", got)
	}
	next := p.call(t, weak, "event.next").Items
	if len(next) != 1 || member(next[0], "ref").Text != "OpaqueRef:vm" || member(next[0], "id").Text == "" ||
		!strings.HasPrefix(member(next[0], "timestamp").Text, "1") {
		t.Errorf("next: %v", next)
	}
	p.call(t, weak, "event.unregister", []string{"vm"})
	p.refused(t, []string{xenapi.CodeSessionNotRegistered, weak}, "event.next", weak)
}

// To wait for events is no task, and commits nothing: it would be one more event for everybody who waits.
func TestWaitingForEventsChangesNothing(t *testing.T) {
	t.Parallel()
	p := newFixed(t)
	before := p.db.Revision()
	p.from(t, "", 0, "*")
	p.call(t, sessionOf(xenapi.RoleReadOnly), "event.inject", "pool", thePool)
	if after := p.db.Revision(); after != before {
		t.Errorf("revision %d has become %d", before, after)
	}
}

// A client that goes away while it waits is nothing that an administrator must look at.
func TestAClientThatGoesAwayIsNoInternalError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newFixed(t)
		ctx, cancel := context.WithCancel(t.Context())
		params := []rpc.Value{
			{Kind: rpc.String, Text: theRoot}, {Kind: rpc.Array}, {Kind: rpc.String}, {Kind: rpc.Int, Int: 60},
		}
		ended := make(chan error)
		go func() {
			_, err := p.api.For(p.caller).Dispatch(ctx, "event.from", params)
			ended <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; err == nil {
			t.Error("it was answered")
		}
		if lines := p.log.with("ERROR"); len(lines) != 0 {
			t.Errorf("the log says %q", lines)
		}
	})
}

func TestLogoutWakesWhoWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newFixed(t)
		mine := sessionOf(xenapi.RoleReadOnly)
		token := member(p.from(t, "", 0), "token").Text
		failed := make(chan string)
		go func() { failed <- p.code(t, "event.from", mine, []string{"*"}, token, 60.1) }()
		synctest.Wait()
		asked := time.Now()
		p.call(t, mine, "session.logout")
		if code := <-failed; code != xenapi.CodeSessionInvalid || time.Since(asked) > time.Second {
			t.Errorf("%s after %v", code, time.Since(asked))
		}
	})
}

// Records in events are those of get_record, also where what they show is kept in other rows.
func TestFollowingEventsGivesTheRecordsOfGetRecord(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	token := ""
	known := map[string]map[string]rpc.Value{}
	selectors := []string{"SR", "VDI", "PBD", "VBD", "VM", "host", "pool_patch", "host_patch", "pool_update"}
	for _, class := range selectors {
		known[class] = map[string]rpc.Value{}
	}
	follow := func() {
		t.Helper()
		batch := p.from(t, token, 0, selectors...)
		token = member(batch, "token").Text
		for _, e := range member(batch, "events").Items {
			i := slices.IndexFunc(selectors, func(c string) bool { return strings.EqualFold(c, member(e, "class").Text) })
			ref := member(e, "ref").Text
			if delete(known[selectors[i]], ref); member(e, "operation").Text != "del" {
				known[selectors[i]][ref] = member(e, "snapshot")
			}
		}
		for _, class := range selectors {
			all := map[string]rpc.Value{}
			for _, m := range p.call(t, theRoot, class+".get_all_records").Members {
				all[m.Name] = m.Value
			}
			if diff := cmp.Diff(all, known[class]); diff != "" {
				t.Errorf("%s (-there +known):\n%s", class, diff)
			}
		}
	}
	follow()
	sr := p.newSR(t)
	follow()
	vdi := p.newVDI(t, sr)
	p.newVDI(t, sr)
	follow()
	pbd := texts(p.call(t, theRoot, "SR.get_PBDs", sr))[0]
	p.call(t, theRoot, "PBD.unplug", pbd)
	follow()
	p.call(t, theRoot, "PBD.plug", pbd)
	follow()
	p.using(t, xenapi.Ref[xenapi.VDI](vdi), follow)
	follow()
	vbd := p.newVBD(t, vdi)
	follow()
	p.call(t, theRoot, "VBD.plug", vbd)
	follow()
	p.call(t, theRoot, "VBD.unplug", vbd)
	follow()
	p.call(t, theRoot, "VDI.destroy", vdi)
	follow()
	for _, step := range lifeOfAnUpdate() {
		p.update(t, step)
		follow()
	}
}

// lifeOfAnUpdate is what commits say of a patch that is applied on this host, and becomes an update only then.
func lifeOfAnUpdate() []func(*db.Tx) error {
	const patch, row, update = xenapi.Ref[xenapi.PoolPatch]("OpaqueRef:p"), xenapi.Ref[xenapi.HostPatch]("OpaqueRef:hp"), xenapi.Ref[xenapi.PoolUpdate]("OpaqueRef:u")
	applied := func(yes bool) func(*db.Tx) error {
		return func(tx *db.Tx) error {
			return db.Change(tx, row, func(rec *xenapi.HostPatch) error { rec.Applied = yes; return nil })
		}
	}
	return []func(*db.Tx) error{
		func(tx *db.Tx) error {
			return errors.Join(db.Insert(tx, patch, xenapi.PoolPatch{UUID: "p"}), db.Insert(tx, row, xenapi.HostPatch{UUID: "hp", Host: here, PoolPatch: patch, Applied: true}))
		},
		func(tx *db.Tx) error {
			return errors.Join(db.Insert(tx, update, xenapi.PoolUpdate{UUID: "u"}),
				db.Change(tx, patch, func(rec *xenapi.PoolPatch) error { rec.PoolUpdate = update; return nil }))
		},
		applied(false), applied(true),
		func(tx *db.Tx) error { return db.Delete(tx, row) },
		func(tx *db.Tx) error {
			return db.Insert(tx, row, xenapi.HostPatch{UUID: "hp", Host: here, PoolPatch: patch, Applied: true})
		},
		func(tx *db.Tx) error { return errors.Join(db.Delete(tx, update), db.Delete(tx, patch)) },
	}
}

// using runs fn while a task has a VDI attached.
func (p *pool) using(t *testing.T, vdi xenapi.Ref[xenapi.VDI], fn func()) {
	t.Helper()
	_, err := p.tasks.Do(t.Context(), task.Spec{Label: "use"}, func(ctx context.Context, job *task.Task) (any, error) {
		attached, err := p.storage.Attach(ctx, job, vdi, storage.ReadOnly)
		if err != nil {
			return nil, err
		}
		fn()
		attached.Detach(ctx)
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
