package task_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"poolpatch/internal/db/memkv"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

const asker = xenapi.Ref[xenapi.Task]("OpaqueRef:asker")

// watch passes requests to cancel on until the test ends.
func watch(t testing.TB, n node) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.WatchCancels(ctx)
	}()
	t.Cleanup(func() { stop(); <-done })
}

// untilCancelled is work that ends only when it is cancelled.
func untilCancelled(ctx context.Context, _ *task.Task) (any, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		// request asks for the end of a task that runs on n; other is another host.
		request func(ctx context.Context, n, other node, ref xenapi.Ref[xenapi.Task]) error
	}{
		{"on its host", func(ctx context.Context, n, _ node, ref xenapi.Ref[xenapi.Task]) error {
			return n.Cancel(ctx, ref, asker)
		}},
		{"from another host", func(ctx context.Context, _, other node, ref xenapi.Ref[xenapi.Task]) error {
			return errors.Join(other.db.Sync(ctx), other.Cancel(ctx, ref, asker))
		}},
		{"by the daemon's stop", func(_ context.Context, n, _ node, _ xenapi.Ref[xenapi.Task]) error { n.CancelAll(); return nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := memkv.New()
				n, other := join(t, store, here), join(t, store, there)
				watch(t, n)
				watch(t, other)
				ref, err := n.Go(t.Context(), task.Spec{}, untilCancelled)
				synctest.Wait() // it runs
				if err := errors.Join(err, tt.request(t.Context(), n, other, ref)); err != nil {
					t.Fatal(err)
				}
				n.Wait()
				rec, _ := n.row(ref)
				if rec.Status != xenapi.TaskStatusCancelled || len(rec.ErrorInfo) != 2 ||
					rec.ErrorInfo[0] != xenapi.CodeTaskCancelled || rec.ErrorInfo[1] != ref.String() {
					t.Errorf("a cancelled task is %q %q", rec.Status, rec.ErrorInfo)
				}
			})
		})
	}
}

// TestAbandon: who gives up a task that another host was to run says why; a host that has taken it ends it so, and one that has
// not takes it no more. What has ended stays as it is.
func TestAbandon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, lost := memkv.New(), xenapi.ErrHostOffline(there)
		n, other := join(t, store, here), join(t, store, there)
		watch(t, other)
		taken, err := n.Create(t.Context(), task.Spec{})
		untaken, err2 := n.Create(t.Context(), task.Spec{})
		if err := errors.Join(err, err2, other.db.Sync(t.Context())); err != nil {
			t.Fatal(err)
		}
		joined := make(chan error, 1)
		go func() {
			_, err := other.Join(t.Context(), taken, task.Spec{}, untilCancelled)
			joined <- err
		}()
		synctest.Wait() // it runs
		for _, ref := range []xenapi.Ref[xenapi.Task]{taken, untaken} {
			if err := errors.Join(n.db.Sync(t.Context()), n.Abandon(t.Context(), ref, there, lost)); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-joined; xenapi.CodeOf(err) != xenapi.CodeHostOffline {
			t.Errorf("the work ended with %v", err)
		}
		if err := errors.Join(n.db.Sync(t.Context()), n.Abandon(t.Context(), taken, there, xenapi.ErrClientError())); err != nil {
			t.Fatal(err)
		}
		for _, ref := range []xenapi.Ref[xenapi.Task]{taken, untaken} {
			if rec, _ := n.row(ref); rec.Status != xenapi.TaskStatusFailure || !slices.Equal(rec.ErrorInfo, lost.Description()) {
				t.Errorf("an abandoned task is %q %q", rec.Status, rec.ErrorInfo)
			}
		}
		if _, err := other.Join(t.Context(), untaken, task.Spec{}, untilCancelled); xenapi.CodeOf(err) != xenapi.CodeOperationNotAllowed {
			t.Errorf("a task that was abandoned before it was taken: %v", err)
		}
	})
}

// TestCancelIsARecord shows who asked while the work has not noticed yet.
func TestCancelIsARecord(t *testing.T) {
	t.Parallel()
	n := join(t, memkv.New(), here) // nobody watches
	_, err := n.Do(t.Context(), task.Spec{}, func(ctx context.Context, tk *task.Task) (any, error) {
		if err := n.Cancel(ctx, tk.Ref(), asker); err != nil {
			return nil, err
		}
		rec, _ := n.row(tk.Ref())
		if rec.Status != xenapi.TaskStatusPending || rec.CurrentOperations[asker.String()] != xenapi.TaskAllowedOperationCancel {
			t.Errorf("a task that is asked to stop: %+v", rec)
		}
		wantCode(t, n.db.Update(ctx, tk.Shield), xenapi.CodeTaskCancelled) // too late to become uncancellable
		return nil, nil
	})
	if err != nil {
		t.Error(err)
	}
	wantCode(t, n.Cancel(t.Context(), "OpaqueRef:gone", asker), xenapi.CodeHandleInvalid)
}

// TestCancelBeforeTheWork asks when the ref is known but nothing runs yet, and nothing changes afterwards
// that could remind the host.
func TestCancelBeforeTheWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := join(t, memkv.New(), here)
		ref, err := n.Create(t.Context(), task.Spec{})
		if err := errors.Join(err, n.Cancel(t.Context(), ref, asker)); err != nil {
			t.Fatal(err)
		}
		_, err = n.Join(t.Context(), ref, task.Spec{}, untilCancelled)
		wantCode(t, err, xenapi.CodeTaskCancelled)
		if rec, _ := n.row(ref); rec.Status != xenapi.TaskStatusCancelled {
			t.Errorf("the row says %q", rec.Status)
		}
	})
}

// TestShield asks a task that has reached a step which must not be torn: the request is refused, and where
// it is made on a host that can not know better, it has no effect.
func TestShield(t *testing.T) {
	t.Parallel()
	for _, byClient := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := memkv.New()
			n, other := join(t, store, here), join(t, store, there)
			watch(t, n)
			work := func(ctx context.Context, tk *task.Task) (any, error) {
				if err := errors.Join(n.db.Update(ctx, tk.Shield), other.db.Sync(ctx)); err != nil {
					return nil, err
				}
				wantCode(t, n.Cancel(ctx, tk.Ref(), asker), xenapi.CodeOperationNotAllowed)
				if err := other.Cancel(ctx, tk.Ref(), asker); err != nil && xenapi.CodeOf(err) != xenapi.CodeOperationNotAllowed {
					t.Errorf("cancel from another host: %v", err)
				}
				synctest.Wait()
				return "done", ctx.Err()
			}
			ref := runAs(t, n, byClient, work)
			if rec, _ := n.row(ref); rec.Status != xenapi.TaskStatusSuccess {
				t.Errorf("by client %t: the shielded task ended as %q %q", byClient, rec.Status, rec.ErrorInfo)
			}
		})
	}
}

// runAs runs work under a task of the host or of a client.
func runAs(t *testing.T, n node, byClient bool, work task.Func) xenapi.Ref[xenapi.Task] {
	if !byClient {
		ref, err := n.Go(t.Context(), task.Spec{}, work)
		if err != nil {
			t.Fatal(err)
		}
		n.Wait()
		return ref
	}
	ref, err := n.Create(t.Context(), task.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = n.Join(t.Context(), ref, task.Spec{}, work)
	return ref
}

func TestDestroy(t *testing.T) {
	t.Parallel()
	n := join(t, memkv.New(), here)
	ctx := t.Context()

	wantCode(t, n.Destroy(ctx, "OpaqueRef:gone"), xenapi.CodeHandleInvalid)

	ended, _ := n.Go(ctx, task.Spec{}, gives("")(n))
	n.Wait()
	if err := n.Destroy(ctx, ended); err != nil {
		t.Error(err)
	}
	unused, _ := n.Create(ctx, task.Spec{})
	if err := n.Destroy(ctx, unused); err != nil {
		t.Error(err)
	}
	if rows := n.rows(); len(rows) != 0 {
		t.Errorf("destroyed, but there: %v", rows)
	}
	for _, outcome := range []error{nil, errPlain} {
		for _, byClient := range []bool{false, true} {
			ref := runAs(t, n, byClient, func(ctx context.Context, tk *task.Task) (any, error) {
				if err := n.Destroy(ctx, tk.Ref()); err != nil {
					t.Error(err)
				}
				rec, ok := n.row(tk.Ref())
				if !ok || rec.CurrentOperations[tk.Ref().String()] != xenapi.TaskAllowedOperationDestroy {
					t.Errorf("a running task that is to go: %t %+v", ok, rec)
				}
				return nil, outcome
			})
			if _, ok := n.row(ref); ok {
				t.Errorf("by client %t, outcome %v: the task outlived its end", byClient, outcome)
			}
		}
	}
}
