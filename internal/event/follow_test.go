package event_test

import (
	"context"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/event"
	"poolpatch/xenapi"
)

// known is an object as a client knows it.
type known struct{ class, ref string }

// client follows event.from as Xen Orchestra does.
type client struct {
	classes []string
	token   string
	records map[known]any
}

// poll takes one batch in. An event of an object that the client cannot have, or lacks, is a defect.
func (c *client) poll(t *rapid.T, h *host) event.Batch {
	b, err := h.From(context.Background(), event.Query{Session: session, Classes: c.classes, Token: c.token}, show)
	if xenapi.CodeOf(err) == xenapi.CodeEventsLost {
		c.token, c.records = "", map[known]any{}
		return c.poll(t, h)
	}
	if err != nil {
		t.Fatalf("from %q: %v", c.token, err)
	}
	for _, e := range b.Events {
		k := known{e.Class, e.Ref}
		if _, has := c.records[k]; has != (e.Operation != xenapi.EventOperationAdd) {
			t.Fatalf("%s %v, which the client has: %v", e.Operation, k, has)
		}
		if c.records[k] = e.Snapshot; e.Operation == xenapi.EventOperationDel {
			delete(c.records, k)
		}
	}
	c.token = b.Token
	return b
}

// live is what there is of the client's classes, and the counts of all.
func live(h *host, classes []string) (map[known]any, map[string]int64) {
	all, counts := map[known]any{}, map[string]int64{}
	_ = h.db.View(func(tx *db.Tx) error {
		for name, class := range map[string]string{
			"sr": "SR", "vdi": "VDI", "host": "host", "host_patch": "host_patch", "pool_patch": "pool_patch", "message": "message",
			"session": "session", "task": "task", "pool": "pool", "pbd": "PBD", "vm": "VM", "role": "role", "user": "user",
		} {
			refs := tx.Refs(class)
			counts[name] = int64(len(refs))
			for _, selected := range classes {
				if selected != "*" && selected != class || name == "session" {
					continue
				}
				for _, ref := range refs {
					all[known{name, ref}], _ = show(tx, class, ref)
				}
			}
		}
		return nil
	})
	return all, counts
}

// touch changes some rows in one commit.
func touch(t *rapid.T, h *host) {
	pick := func(what string) string { return rapid.StringMatching(`OpaqueRef:[a-c]`).Draw(t, what) }
	h.update(t, func(tx *db.Tx) error {
		for range rapid.IntRange(1, 4).Draw(t, "rows") {
			var err error
			switch ref, other := pick("ref"), pick("other"); rapid.IntRange(0, 6).Draw(t, "class") {
			case 0:
				err = flip(t, tx, xenapi.Ref[xenapi.SR](ref), xenapi.SR{NameLabel: other})
			case 1, 2:
				err = flip(t, tx, xenapi.Ref[xenapi.VDI](ref), xenapi.VDI{
					SR: xenapi.Ref[xenapi.SR](other), SnapshotOf: xenapi.Ref[xenapi.VDI](pick("of")),
				})
			case 3:
				err = flip(t, tx, xenapi.Ref[xenapi.HostPatch](ref), xenapi.HostPatch{
					Host: xenapi.Ref[xenapi.Host](other), PoolPatch: xenapi.Ref[xenapi.PoolPatch](pick("patch")),
				})
			case 4:
				err = flip(t, tx, xenapi.Ref[xenapi.PoolPatch](ref), xenapi.PoolPatch{NameLabel: other})
			case 5:
				err = flip(t, tx, xenapi.Ref[xenapi.Message](ref), xenapi.Message{Body: other})
			case 6:
				err = flip(t, tx, xenapi.Ref[xenapi.Session](ref), xenapi.Session{AuthUserName: other})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// flip writes a row, or deletes it when it is there.
func flip[T xenapi.Object](t *rapid.T, tx *db.Tx, ref xenapi.Ref[T], rec T) error {
	if _, there := db.Lookup(tx, ref); there && rapid.Bool().Draw(t, "delete") {
		return db.Delete(tx, ref)
	}
	return db.Put(tx, ref, rec)
}

// TestAFollowerKnowsWhatThereIs is the promise of the package: whatever happens, on whichever host a client asks, and whether its
// tokens are old or new, the records that it has after a batch are those that there are, and so are the counts.
func TestAFollowerKnowsWhatThereIs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		store := memkv.New()
		hosts := []*host{serve(t, store), serve(t, store)}
		defer func() { hosts[0].stop(); hosts[1].stop() }()
		clients := []*client{
			{classes: []string{"*"}}, {classes: []string{"SR", "VDI"}}, {classes: []string{"host_patch", "pool_patch", "message"}},
		}
		for _, c := range clients {
			c.records = map[known]any{}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			i := rapid.IntRange(0, 1).Draw(t, "host")
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			default:
				touch(t, hosts[i])
			case 0, 1, 2:
				rapid.SampledFrom(clients).Draw(t, "client").poll(t, hosts[i])
			case 3:
				store.Interrupt()
			case 4:
				hosts[i].stop()
				hosts[i] = serve(t, store)
			case 5:
				_, _ = hosts[i].Inject(context.Background(), "sr", "OpaqueRef:a") // it may not be there
			}
		}
		h := hosts[rapid.IntRange(0, 1).Draw(t, "last")]
		if err := h.db.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, c := range clients {
			b := c.poll(t, h)
			records, counts := live(h, c.classes)
			if diff := cmp.Diff(records, c.records); diff != "" {
				t.Fatalf("records of %v (-live +known):\n%s", c.classes, diff)
			}
			if !maps.Equal(b.Counts, counts) {
				t.Fatalf("counts %v, want %v", b.Counts, counts)
			}
		}
	})
}
