package task_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// belongings names what is owned of a kind.
func (n node) belongings(kind string) (objects []string) {
	_ = n.db.View(func(tx *db.Tx) error {
		for _, b := range task.Belongings(tx, kind) {
			objects = append(objects, b.Object)
		}
		return nil
	})
	return objects
}

// disown is an undo for things that exist only as their record.
func (n node) disown(ctx context.Context, b task.Belonging) error {
	return n.db.Update(ctx, func(tx *db.Tx) error { return task.Disown(tx, b.Kind, b.Object) })
}

func TestBelonging(t *testing.T) {
	t.Parallel()
	n := join(t, memkv.New(), here)
	_, err := n.Do(t.Context(), task.Spec{}, func(ctx context.Context, tk *task.Task) (any, error) {
		own := func(kind, object string) error {
			return n.db.Update(ctx, func(tx *db.Tx) error { return tk.Own(tx, kind, object, map[string]string{"SR": "s"}) })
		}
		if err := errors.Join(own("vdi", "a"), own("attachment", "a")); err != nil {
			return nil, err
		}
		wantCode(t, own("vdi", "a"), xenapi.CodeDBUniquenessConstraintViolation)
		_ = n.db.View(func(tx *db.Tx) error {
			b, ok := task.Owner(tx, "vdi", "a")
			if !ok || b.Task != tk.Ref() || b.Host != here || b.Kind != "vdi" || b.Object != "a" || b.Detail["SR"] != "s" || b.Created.IsZero() {
				t.Errorf("the belonging is %+v, %t", b, ok)
			}
			if _, ok := task.Owner(tx, "vdi", "b"); ok {
				t.Error("something is owned that nobody owns")
			}
			return nil
		})
		for range 2 { // the second time it is gone
			if err := n.disown(ctx, task.Belonging{Kind: "vdi", Object: "a"}); err != nil {
				t.Error(err)
			}
		}
		if vdi, other := n.belongings("vdi"), n.belongings("attachment"); len(vdi) != 0 || len(other) != 1 {
			t.Errorf("owned: %v %v", vdi, other)
		}
		return nil, nil
	})
	if err != nil {
		t.Error(err)
	}
}

// crash leaves what a dead daemon of the host leaves: pending tasks, one of a client, each with belongings.
func crash(t *testing.T, n node, kinds ...string) (refs []xenapi.Ref[xenapi.Task]) {
	t.Helper()
	for i, kind := range kinds {
		ref, err := n.Create(t.Context(), task.Spec{})
		if err != nil {
			t.Fatal(err)
		}
		n.update(t, func(tx *db.Tx) error {
			return db.Change(tx, ref, func(rec *xenapi.Task) error { rec.ByClient = i == 0; return nil })
		})
		_, err = n.Join(t.Context(), ref, task.Spec{}, func(ctx context.Context, tk *task.Task) (any, error) {
			for j := range 2 {
				time.Sleep(time.Second) // of the bubble's clock, so that there is an oldest
				n.update(t, func(tx *db.Tx) error { return tk.Own(tx, kind, fmt.Sprint(kind, j), nil) })
			}
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		n.update(t, func(tx *db.Tx) error { // as if it had never ended
			return db.Change(tx, ref, func(rec *xenapi.Task) error {
				rec.Status, rec.Finished, rec.Progress = xenapi.TaskStatusPending, time.Time{}, 0
				return nil
			})
		})
		refs = append(refs, ref)
	}
	return refs
}

// TestRecover crashes a host of two and starts it again.
func TestRecover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		n, other := join(t, store, here), join(t, store, there)
		dead := crash(t, n, "vdi", "attachment")
		alive := crash(t, other, "vdi-there")
		asked, err := n.Create(t.Context(), task.Spec{})
		if err != nil {
			t.Fatal(err)
		}
		n.update(t, func(tx *db.Tx) error { // destroyed while it ran
			return db.Change(tx, asked, func(rec *xenapi.Task) error {
				rec.CurrentOperations = map[string]xenapi.TaskAllowedOperation{asked.String(): xenapi.TaskAllowedOperationDestroy}
				return nil
			})
		})

		restarted := join(t, store, here)
		var order []string
		undo := func(stuck string) task.Undo {
			return func(ctx context.Context, b task.Belonging) error {
				order = append(order, b.Object)
				if b.Object == stuck {
					return errPlain
				}
				return restarted.disown(ctx, b)
			}
		}
		list := func(stuck string) []task.KindUndo {
			return []task.KindUndo{{Kind: "attachment", Undo: undo(stuck)}, {Kind: "vdi", Undo: undo(stuck)}, {Kind: "vdi-there", Undo: undo(stuck)}}
		}
		if err := restarted.Recover(t.Context(), list("attachment1")); err != nil {
			t.Error(err)
		}
		if want := []string{"attachment1", "attachment0", "vdi1", "vdi0"}; !slices.Equal(order, want) {
			t.Errorf("undone in the order %v, want %v", order, want)
		}
		if left := restarted.belongings("attachment"); !slices.Equal(left, []string{"attachment1"}) {
			t.Errorf("after an undo that failed %v are still recorded", left)
		}
		for _, ref := range dead {
			if rec := restarted.ended(t, ref); rec.Status != xenapi.TaskStatusCancelled || rec.ErrorInfo[0] != xenapi.CodeTaskCancelled {
				t.Errorf("a dead task is %q %q", rec.Status, rec.ErrorInfo)
			}
		}
		if _, ok := restarted.row(asked); ok {
			t.Error("a dead task that was destroyed is still there")
		}
		if rec, _ := restarted.row(alive[0]); rec.Status != xenapi.TaskStatusPending || len(restarted.belongings("vdi-there")) != 2 {
			t.Errorf("another host's task is %q and owns %v", rec.Status, restarted.belongings("vdi-there"))
		}
		if err := restarted.Recover(t.Context(), list("")); err != nil || len(restarted.belongings("attachment")) != 0 {
			t.Errorf("the next start left %v, %v", restarted.belongings("attachment"), err)
		}
	})
}

// TestUndoEnded removes what ended tasks have, and nothing of a task whose work goes on, whatever its row says.
func TestUndoEnded(t *testing.T) {
	t.Parallel()
	n := join(t, memkv.New(), here)
	own := func(object string) task.Func {
		return func(_ context.Context, tk *task.Task) (any, error) {
			n.update(t, func(tx *db.Tx) error { return tk.Own(tx, "vdi", object, nil) })
			return nil, nil
		}
	}
	undo := []task.KindUndo{{Kind: "vdi", Undo: n.disown}}
	_, err := n.Do(t.Context(), task.Spec{}, own("gone"))
	_, kerr := n.Keep(t.Context(), task.Spec{}, own("ended"))
	if err := errors.Join(err, kerr); err != nil {
		t.Fatal(err)
	}
	_, err = n.Do(t.Context(), task.Spec{}, func(ctx context.Context, tk *task.Task) (any, error) {
		_, err := own("pending")(ctx, tk)
		n.UndoEnded(ctx, undo)
		if left := n.belongings("vdi"); !slices.Equal(left, []string{"pending"}) {
			t.Errorf("while a task runs %v are left", left)
		}
		n.update(t, func(tx *db.Tx) error { return tk.Succeed(tx, nil) })
		n.UndoEnded(ctx, undo)
		if left := n.belongings("vdi"); !slices.Equal(left, []string{"pending"}) {
			t.Errorf("of a task that has ended and works on %v are left", left)
		}
		return nil, err
	})
	n.UndoEnded(t.Context(), undo)
	if left := n.belongings("vdi"); err != nil || len(left) != 0 {
		t.Errorf("in the end %v are left, %v", left, err)
	}
}

// silent is a store that, while it is so, does what it is told and tells nobody.
type silent struct {
	*memkv.Store
	now atomic.Bool
}

func (s *silent) Load(ctx context.Context, prefix string) ([]db.Item, int64, error) {
	if s.now.Load() {
		return nil, 0, memkv.ErrInjected
	}
	return s.Store.Load(ctx, prefix)
}

func (s *silent) Commit(ctx context.Context, guards []db.Guard, ops []db.Op) (int64, error) {
	revision, err := s.Store.Commit(ctx, guards, ops)
	if s.now.Load() {
		return 0, memkv.ErrInjected
	}
	return revision, err
}

// TestEndWorkless: a task whose row came about although its maker was told that nobody knows does not stay pending for ever.
// Tasks that have work, or may get some, do.
func TestEndWorkless(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &silent{Store: memkv.New()}
		n := join(t, store, here)
		clients, err := n.Create(t.Context(), task.Spec{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.Keep(t.Context(), task.Spec{Label: "working"}, func(ctx context.Context, tk *task.Task) (any, error) {
			store.now.Store(true)
			_, lost := n.Go(ctx, task.Spec{Label: "lost"}, func(context.Context, *task.Task) (any, error) { panic("worked on") })
			store.now.Store(false)
			if !errors.Is(lost, db.ErrUnknownOutcome) {
				t.Errorf("a task that nobody knows of began with %v", lost)
			}
			return nil, n.EndWorkless(ctx)
		})
		if err != nil {
			t.Error(err)
		}
		want := map[string]xenapi.TaskStatus{"": xenapi.TaskStatusPending, "working": xenapi.TaskStatusSuccess, "lost": xenapi.TaskStatusCancelled}
		got := map[string]xenapi.TaskStatus{}
		_ = n.db.View(func(tx *db.Tx) error {
			for _, rec := range db.All[xenapi.Task](tx) {
				got[rec.NameLabel] = rec.Status
			}
			return nil
		})
		if !maps.Equal(got, want) {
			t.Errorf("tasks are %v, want %v", got, want)
		}
		if _, err := n.Join(t.Context(), clients, task.Spec{}, func(context.Context, *task.Task) (any, error) { return nil, nil }); err != nil {
			t.Errorf("a client's task can have no work any more: %v", err)
		}
	})
}
