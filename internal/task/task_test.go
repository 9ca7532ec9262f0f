package task_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

const (
	here  = xenapi.Ref[xenapi.Host]("OpaqueRef:here")
	there = xenapi.Ref[xenapi.Host]("OpaqueRef:there")
)

var errPlain = errors.New("no domain error")

// node is a host of a pool: its tasks over the pool's store.
type node struct {
	*task.Service
	db *db.DB
}

// join opens a host over a store; it ends with the test.
func join(t testing.TB, store db.Store, host xenapi.Ref[xenapi.Host]) node {
	t.Helper()
	d, err := db.Open(t.Context(), store, db.Options{Writer: string(host), Tables: []db.Table{
		db.TableOf[xenapi.Task](), db.TableOf[xenapi.Host](), db.TableOf[xenapi.Session](), db.TableOf[task.Belonging](),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	internal := func(err error) *xenapi.Error { return xenapi.ErrInternalError(err.Error()) }
	return node{task.New(d, host, slog.New(slog.DiscardHandler), internal), d}
}

func (n node) update(t testing.TB, fn func(*db.Tx) error) {
	t.Helper()
	if err := n.db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// row reads a task; ok is false when it is gone.
func (n node) row(ref xenapi.Ref[xenapi.Task]) (rec xenapi.Task, ok bool) {
	_ = n.db.View(func(tx *db.Tx) error {
		rec, ok = db.Lookup(tx, ref)
		return nil
	})
	return rec, ok
}

// rows lists every task.
func (n node) rows() (refs []xenapi.Ref[xenapi.Task]) {
	_ = n.db.View(func(tx *db.Tx) error {
		for ref := range db.All[xenapi.Task](tx) {
			refs = append(refs, ref)
		}
		return nil
	})
	return refs
}

// ended waits for the end of a task and gives its row.
func (n node) ended(t testing.TB, ref xenapi.Ref[xenapi.Task]) (rec xenapi.Task) {
	t.Helper()
	err := n.db.Wait(t.Context(), func(tx *db.Tx) (bool, error) {
		rec, _ = db.Lookup(tx, ref)
		return rec.Status != xenapi.TaskStatusPending, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if got := xenapi.CodeOf(err); got != code || (err == nil) != (code == "") {
		t.Errorf("got error %v, want code %q", err, code)
	}
}

// TestOutcome runs work that ends in every way and reads what the row says of it.
func TestOutcome(t *testing.T) {
	t.Parallel()
	cancelledCtx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		spec   task.Spec
		work   func(n node) task.Func
		status xenapi.TaskStatus
		result string
		code   string // of the error
	}{
		{name: "text", work: gives("OpaqueRef:x"), status: xenapi.TaskStatusSuccess, result: "OpaqueRef:x"},
		{name: "encoded", spec: task.Spec{Encode: func(v any) string { return fmt.Sprintf("<%v>", v) }}, work: gives(7),
			status: xenapi.TaskStatusSuccess, result: "<7>"},
		{name: "domain error", work: fails(fmt.Errorf("create image: %w", xenapi.ErrSRFull(2, 1))),
			status: xenapi.TaskStatusFailure, code: xenapi.CodeSRFull},
		{name: "other error", work: fails(errPlain), status: xenapi.TaskStatusFailure, code: xenapi.CodeInternalError},
		{name: "caller went away", ctx: cancelledCtx, work: func(node) task.Func {
			return func(ctx context.Context, _ *task.Task) (any, error) { return nil, ctx.Err() }
		}, status: xenapi.TaskStatusCancelled, code: xenapi.CodeTaskCancelled},
		{name: "succeeded by itself, then failed", work: func(n node) task.Func {
			return func(ctx context.Context, t *task.Task) (any, error) {
				return nil, errors.Join(n.db.Update(ctx, func(tx *db.Tx) error { return t.Succeed(tx, "done") }), errPlain)
			}
		}, status: xenapi.TaskStatusSuccess, result: "done", code: xenapi.CodeInternalError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := join(t, memkv.New(), here)
			ctx := t.Context()
			var ref xenapi.Ref[xenapi.Task]
			work := tt.work(n)
			_, err := n.Keep(ctx, tt.spec, func(ctx context.Context, task *task.Task) (any, error) {
				ref = task.Ref()
				if tt.ctx != nil {
					ctx = tt.ctx
				}
				return work(ctx, task)
			})
			wantCode(t, err, tt.code)
			rec, _ := n.row(ref)
			if rec.Status != tt.status || rec.Result != tt.result {
				t.Errorf("the row says %q, result %q", rec.Status, rec.Result)
			}
			if rec.Progress != 1 || rec.Finished.IsZero() || len(rec.AllowedOperations) > 0 {
				t.Errorf("an ended task has progress %v, finished %v, allows %v", rec.Progress, rec.Finished, rec.AllowedOperations)
			}
			if tt.status != xenapi.TaskStatusSuccess && (len(rec.ErrorInfo) == 0 || rec.ErrorInfo[0] != tt.code) {
				t.Errorf("error_info is %q", rec.ErrorInfo)
			}
		})
	}
}

func gives(v any) func(node) task.Func {
	return func(node) task.Func {
		return func(context.Context, *task.Task) (any, error) { return v, nil }
	}
}

func fails(err error) func(node) task.Func {
	return func(node) task.Func {
		return func(context.Context, *task.Task) (any, error) { return nil, err }
	}
}

// TestRowWhileRunning reads what the spec says from the row of a task that has not ended.
func TestRowWhileRunning(t *testing.T) {
	t.Parallel()
	n := join(t, memkv.New(), here)
	spec := task.Spec{
		Label: "Async.VDI.copy", Description: "d", Session: "OpaqueRef:s", User: "root", Parent: "OpaqueRef:p",
		OtherConfig: map[string]string{"k": "v"},
	}
	_, err := n.Do(t.Context(), spec, func(_ context.Context, task *task.Task) (any, error) {
		rec, ok := n.row(task.Ref())
		if !ok || rec.Status != xenapi.TaskStatusPending || rec.ResidentOn != here || rec.Type != "<none/>" || rec.UUID == "" ||
			rec.NameLabel != spec.Label || rec.NameDescription != "d" || rec.Session != spec.Session || rec.AuthUser != "root" ||
			rec.SubtaskOf != spec.Parent || rec.OtherConfig["k"] != "v" ||
			!slices.Equal(rec.AllowedOperations, []xenapi.TaskAllowedOperation{xenapi.TaskAllowedOperationCancel}) {
			t.Errorf("the row of a running task: %+v", rec)
		}
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRowsAfterwards is about whose row stays: that of Keep, Go and Join, not that of Do.
func TestRowsAfterwards(t *testing.T) {
	t.Parallel()
	n := join(t, memkv.New(), here)
	work := gives("r")(n)
	if got, err := n.Do(t.Context(), task.Spec{}, work); got != "r" || err != nil {
		t.Errorf("Do gave %v, %v", got, err)
	}
	if _, err := n.Do(t.Context(), task.Spec{}, fails(errPlain)(n)); err == nil {
		t.Error("Do swallowed the error of its work")
	}
	if rows := n.rows(); len(rows) != 0 {
		t.Errorf("Do left %v", rows)
	}
	if _, err := n.Keep(t.Context(), task.Spec{}, work); err != nil {
		t.Fatal(err)
	}
	gone, leave := context.WithCancel(t.Context())
	ref, err := n.Go(gone, task.Spec{}, func(ctx context.Context, _ *task.Task) (any, error) { return "late", ctx.Err() })
	leave() // the caller of Go does not take the work with it
	if err != nil {
		t.Fatal(err)
	}
	n.Wait()
	if rec, _ := n.row(ref); rec.Result != "late" {
		t.Errorf("the row of Go: %+v", rec)
	}
	if rows := n.rows(); len(rows) != 2 {
		t.Errorf("%d rows, want those of Keep and Go", len(rows))
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	client, worker := join(t, store, here), join(t, store, there)
	ref, err := client.Create(t.Context(), task.Spec{Label: "upload"})
	if err != nil {
		t.Fatal(err)
	}
	if rec, _ := client.row(ref); rec.Status != xenapi.TaskStatusPending || len(rec.AllowedOperations) != 0 || rec.Progress != 0 || !rec.ByClient {
		t.Errorf("a client's new task: %+v", rec)
	}
	if err := worker.db.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = worker.Join(t.Context(), ref, task.Spec{}, func(context.Context, *task.Task) (any, error) {
		if rec, _ := worker.row(ref); rec.ResidentOn != there || len(rec.AllowedOperations) != 1 {
			t.Errorf("a joined task: %+v", rec)
		}
		return "OpaqueRef:p", nil
	})
	if rec, _ := worker.row(ref); err != nil || rec.Status != xenapi.TaskStatusSuccess || rec.Result != "OpaqueRef:p" {
		t.Errorf("a joined task ended as %+v, %v", rec, err)
	}
	_, err = worker.Join(t.Context(), ref, task.Spec{}, func(context.Context, *task.Task) (any, error) {
		t.Error("work ran under a task that had ended")
		return nil, nil
	})
	wantCode(t, err, xenapi.CodeOperationNotAllowed)
	_, err = worker.Join(t.Context(), "OpaqueRef:none", task.Spec{}, gives("")(worker))
	wantCode(t, err, xenapi.CodeHandleInvalid)
}

// TestFactAndStatusTogether looks at every state of the database for one in which only one of the two is there.
func TestFactAndStatusTogether(t *testing.T) {
	t.Parallel()
	n := join(t, memkv.New(), here)
	watching, stop := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() {
		watched <- n.db.Wait(watching, func(tx *db.Tx) (bool, error) {
			_, fact := db.Lookup(tx, here)
			for _, rec := range db.All[xenapi.Task](tx) {
				if fact != (rec.Status == xenapi.TaskStatusSuccess) || fact != (rec.Result == "made") || fact == rec.Finished.IsZero() {
					return false, fmt.Errorf("host %t, task %+v", fact, rec)
				}
			}
			return fact, nil
		})
	}()
	_, err := n.Keep(t.Context(), task.Spec{}, func(ctx context.Context, task *task.Task) (any, error) {
		return nil, n.db.Update(ctx, func(tx *db.Tx) error {
			return errors.Join(task.Succeed(tx, "made"), db.Insert(tx, here, xenapi.Host{UUID: "u"}))
		})
	})
	if err := errors.Join(err, <-watched); err != nil {
		t.Error(err)
	}
	stop()
}

// TestEndedOnce ends a task and then tries everything that ends one: the first outcome stays.
func TestEndedOnce(t *testing.T) {
	t.Parallel()
	n := join(t, memkv.New(), here)
	var ref xenapi.Ref[xenapi.Task]
	_, err := n.Keep(t.Context(), task.Spec{}, func(ctx context.Context, task *task.Task) (any, error) {
		ref = task.Ref()
		return nil, n.db.Update(ctx, func(tx *db.Tx) error {
			return errors.Join(task.Succeed(tx, "first"), task.Succeed(tx, "second"))
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := n.row(ref)
	wantCode(t, n.Cancel(t.Context(), ref, "OpaqueRef:by"), xenapi.CodeOperationNotAllowed)
	if err := errors.Join(n.Fail(t.Context(), ref, xenapi.ErrPermissionDenied("no")), n.Recover(t.Context(), nil)); err != nil {
		t.Error(err)
	}
	if after, _ := n.row(ref); before.Result != "first" || after.Status != before.Status || after.Result != "first" || !after.Finished.Equal(before.Finished) {
		t.Errorf("an ended task went from %+v to %+v", before, after)
	}
}

func TestFail(t *testing.T) {
	t.Parallel()
	n := join(t, memkv.New(), here)
	ref, err := n.Create(t.Context(), task.Spec{})
	if err := errors.Join(err, n.Fail(t.Context(), ref, xenapi.ErrRBACPermissionDenied("http/put_pool_patch_upload", "no"))); err != nil {
		t.Fatal(err)
	}
	want := []string{xenapi.CodeRBACPermissionDenied, "http/put_pool_patch_upload", "no"}
	if rec, _ := n.row(ref); rec.Status != xenapi.TaskStatusFailure || !slices.Equal(rec.ErrorInfo, want) {
		t.Errorf("the row says %q %q", rec.Status, rec.ErrorInfo)
	}
	if err := n.Fail(t.Context(), "OpaqueRef:gone", xenapi.ErrInternalError("")); err != nil {
		t.Errorf("a task that is gone: %v", err)
	}
}

// TestSetters writes as clients do, who run tasks of their own.
func TestSetters(t *testing.T) {
	t.Parallel()
	n := join(t, memkv.New(), here)
	ctx := t.Context()
	ref, err := n.Create(ctx, task.Spec{})
	err = errors.Join(err, n.SetProgress(ctx, ref, 0.5), n.SetResult(ctx, ref, "r"), n.SetErrorInfo(ctx, ref, []string{"E"}),
		n.SetStatus(ctx, ref, xenapi.TaskStatusPending))
	if rec, _ := n.row(ref); err != nil || rec.Progress != 0.5 || rec.Result != "r" || len(rec.ErrorInfo) != 1 || !rec.Finished.IsZero() {
		t.Errorf("a row that its client wrote: %+v, %v", rec, err)
	}
	if err := n.SetStatus(ctx, ref, xenapi.TaskStatusFailure); err != nil {
		t.Fatal(err)
	}
	if rec, _ := n.row(ref); rec.Status != xenapi.TaskStatusFailure || rec.Finished.IsZero() {
		t.Errorf("the status is %q, finished %v", rec.Status, rec.Finished)
	}
	before, _ := n.row(ref)
	err = n.SetStatus(ctx, ref, xenapi.TaskStatusSuccess)
	if rec, _ := n.row(ref); err != nil || !rec.Finished.Equal(before.Finished) {
		t.Errorf("the end moved from %v to %v, %v", before.Finished, rec.Finished, err)
	}
	wantCode(t, n.SetResult(ctx, "OpaqueRef:gone", ""), xenapi.CodeHandleInvalid)
}

// TestProgress counts what is written of ten progress reports a second.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := join(t, memkv.New(), here)
		_, err := n.Do(t.Context(), task.Spec{}, func(ctx context.Context, task *task.Task) (any, error) {
			start := n.db.Revision()
			for i := range 100 { // ten seconds
				task.Progress(ctx, float64(i+1)/200)
				time.Sleep(100 * time.Millisecond) // of the bubble's clock
			}
			if writes := n.db.Revision() - start; writes != 20 {
				t.Errorf("%d writes in ten seconds, want 20", writes)
			}
			time.Sleep(time.Minute)
			before, _ := n.row(task.Ref())
			start = n.db.Revision()
			task.Progress(ctx, 0.1)
			if n.db.Revision() != start {
				t.Error("progress that goes back was written")
			}
			if after, _ := n.row(task.Ref()); after.Progress != before.Progress || before.Progress != 0.48 {
				t.Errorf("progress went from %v to %v", before.Progress, after.Progress)
			}
			return nil, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestStages shows of each part of the work its share, and never less than before.
func TestStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := join(t, memkv.New(), here)
		_, err := n.Do(t.Context(), task.Spec{Label: "stages"}, func(ctx context.Context, work *task.Task) (any, error) {
			saw := func(what string, progress float64) {
				t.Helper()
				if rec, _ := n.row(work.Ref()); rec.NameDescription != what || math.Abs(rec.Progress-progress) > 1e-9 {
					t.Errorf("%q is at %v, want %q at %v", rec.NameDescription, rec.Progress, what, progress)
				}
			}
			n.update(t, func(tx *db.Tx) error { return work.Stage(tx, "copying", 0, 0.6) })
			time.Sleep(time.Second)
			work.Progress(ctx, 0.5)
			saw("copying", 0.3)
			n.update(t, func(tx *db.Tx) error { return work.Stage(tx, "running", 0.6, 1) })
			saw("running", 0.6)
			time.Sleep(time.Second)
			work.Progress(ctx, 0.25)
			saw("running", 0.7)
			return "", nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestProgressOfAClientsTask starts from what the client has written, and stops when the client has ended it.
func TestProgressOfAClientsTask(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := join(t, memkv.New(), here)
		ref, err := n.Create(t.Context(), task.Spec{})
		if err := errors.Join(err, n.SetProgress(t.Context(), ref, 0.4)); err != nil {
			t.Fatal(err)
		}
		_, err = n.Join(t.Context(), ref, task.Spec{}, func(ctx context.Context, task *task.Task) (any, error) {
			want := func(want float64) {
				if rec, _ := n.row(ref); rec.Progress != want {
					t.Errorf("the progress is %v, want %v", rec.Progress, want)
				}
				time.Sleep(time.Second) // of the bubble's clock
			}
			task.Progress(ctx, 0.2)
			want(0.4)
			task.Progress(ctx, 0.5)
			want(0.5)
			err := n.SetStatus(ctx, ref, xenapi.TaskStatusFailure)
			task.Progress(ctx, 0.6)
			want(0.5)
			return nil, err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestCollect ages rows and looks at which go.
func TestCollect(t *testing.T) {
	t.Parallel()
	now := time.Date(2015, 2, 20, 12, 0, 0, 0, time.UTC)
	ended := func(ago time.Duration) xenapi.Task {
		return xenapi.Task{Status: xenapi.TaskStatusSuccess, Created: now.Add(-ago - time.Hour), Finished: now.Add(-ago), ResidentOn: here}
	}
	pending := func(ago time.Duration, byClient bool, on xenapi.Ref[xenapi.Host]) xenapi.Task {
		return xenapi.Task{Status: xenapi.TaskStatusPending, Created: now.Add(-ago), ByClient: byClient, ResidentOn: on}
	}
	for _, tt := range []struct {
		name string
		rec  xenapi.Task
		goes bool
	}{
		{"ended an hour ago", ended(time.Hour), false},
		{"ended 66 minutes ago", ended(66 * time.Minute), true},
		{"client's of 23 hours", pending(23*time.Hour, true, here), false},
		{"client's of 25 hours", pending(25*time.Hour, true, here), true},
		{"client's of 25 hours on a host that lives", pending(25*time.Hour, true, there), false},
		{"client's of 25 hours on a host that left", pending(25*time.Hour, true, "OpaqueRef:left"), true},
		{"work of a week", pending(7*24*time.Hour, false, here), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := join(t, memkv.New(), here)
			n.update(t, func(tx *db.Tx) error {
				return errors.Join(db.Insert(tx, "OpaqueRef:t", tt.rec), db.Insert(tx, there, xenapi.Host{}))
			})
			if err := n.Collect(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			if _, stays := n.row("OpaqueRef:t"); stays == tt.goes {
				t.Errorf("the row stays: %t", stays)
			}
		})
	}
}

// TestCollectBeyondTheLimit has more rows than are kept: the oldest ended ones go, whatever is pending stays.
func TestCollectBeyondTheLimit(t *testing.T) {
	t.Parallel()
	n := join(t, memkv.New(), here)
	now := time.Date(2015, 2, 20, 12, 0, 0, 0, time.UTC)
	ref := func(i int) xenapi.Ref[xenapi.Task] { return xenapi.Ref[xenapi.Task](fmt.Sprintf("OpaqueRef:%03d", i)) }
	n.update(t, func(tx *db.Tx) error {
		for i := range 210 {
			rec := xenapi.Task{Status: xenapi.TaskStatusSuccess, Finished: now.Add(time.Duration(i-300) * time.Second)}
			if i < 5 {
				rec = xenapi.Task{Status: xenapi.TaskStatusPending, Created: now.Add(-time.Hour)}
			}
			if err := db.Insert(tx, ref(i), rec); err != nil {
				return err
			}
		}
		return nil
	})
	if err := n.Collect(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	for i := range 210 {
		if _, stays := n.row(ref(i)); stays != (i < 5 || i >= 15) {
			t.Errorf("row %d stays: %t", i, stays)
		}
	}
}

// TestCollectSparesWhatRuns has a client's task of two days that this host works on.
func TestCollectSparesWhatRuns(t *testing.T) {
	t.Parallel()
	n := join(t, memkv.New(), here)
	ref, err := n.Create(t.Context(), task.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = n.Join(t.Context(), ref, task.Spec{}, func(ctx context.Context, _ *task.Task) (any, error) {
		return nil, n.Collect(ctx, time.Now().Add(48*time.Hour))
	})
	if _, ok := n.row(ref); !ok || err != nil {
		t.Errorf("the row of running work is there: %t, %v", ok, err)
	}
}

// injected fails the commits that a test chooses.
type injected struct {
	fault memkv.Fault
	match func(ops []db.Op) bool
	used  int
}

func (f *injected) choose(_ int, _ []db.Guard, ops []db.Op) memkv.Fault {
	if f.used > 0 || f.match == nil || !f.match(ops) {
		return memkv.None
	}
	f.used++
	return f.fault
}

// TestFaults fails, one after the other, each commit of a task that owns something, as lost before or after it was
// done; the task succeeds in its own transaction or by returning. Whatever happens: the call says success only if the row does,
// an ended task is ended, and after a recovery nothing is owned.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, fault := range []memkv.Fault{memkv.FailNotPersisted, memkv.FailButPersisted} {
		for _, itself := range []bool{false, true} {
			for commit := 1; ; commit++ {
				name := fmt.Sprintf("fault %d of commit %d, succeeds itself %t", fault, commit, itself)
				if !faultOf(t, name, fault, commit, itself) {
					if commit < 6 {
						t.Errorf("%s: only %d commits were seen", name, commit-1)
					}
					break
				}
			}
		}
	}
}

// faultOf reports whether there was such a commit to fail.
func faultOf(t *testing.T, name string, fault memkv.Fault, commit int, itself bool) (reached bool) {
	synctest.Test(t, func(t *testing.T) {
		seen := 0
		f := &injected{fault: fault, match: func(ops []db.Op) bool {
			if touchesRows(ops) {
				seen++
			}
			reached = reached || seen == commit
			return seen == commit
		}}
		faulted(t, name, memkv.New(memkv.WithFaults(f.choose)), itself)
	})
	return reached
}

// touchesRows tells commits of a service from those that the database makes for itself.
func touchesRows(ops []db.Op) bool {
	return slices.ContainsFunc(ops, func(op db.Op) bool { return bytes.Contains([]byte(op.Key), []byte("/row/")) })
}

func faulted(t *testing.T, name string, store db.Store, itself bool) {
	n := join(t, store, here)
	ref := xenapi.Ref[xenapi.Task]("")
	result, err := n.Keep(t.Context(), task.Spec{}, func(ctx context.Context, task *task.Task) (any, error) {
		ref = task.Ref()
		return "made", owning(ctx, n, task, itself)
	})
	rec, exists := n.row(ref)
	switch {
	case ref == "":
		if err == nil {
			t.Errorf("%s: success without work", name)
		}
	case !exists || rec.Status == xenapi.TaskStatusPending:
		t.Errorf("%s: the work has ended, but the row says %+v", name, rec)
	case (err == nil) != (rec.Status == xenapi.TaskStatusSuccess):
		t.Errorf("%s: the call gave %v, %v; the row says %q", name, result, err, rec.Status)
	}
	if xenapi.CodeOf(err) == "" && ref != "" && err != nil {
		t.Errorf("%s: %v is no domain error", name, err)
	}
	restarted := join(t, store, here)
	if err := restarted.Recover(t.Context(), []task.KindUndo{{Kind: "thing", Undo: restarted.disown}}); err != nil {
		t.Errorf("%s: recover: %v", name, err)
	}
	if left := restarted.belongings("thing"); len(left) > 0 {
		t.Errorf("%s: still owned: %v", name, left)
	}
}

// owning makes a thing as a service does: owned first, then lasting together with the task's success if it says so itself.
func owning(ctx context.Context, n node, tk *task.Task, itself bool) error {
	if err := n.db.Update(ctx, func(tx *db.Tx) error { return tk.Own(tx, "thing", "a", nil) }); err != nil {
		return err
	}
	tk.Progress(ctx, 0.5)
	if err := n.db.Update(ctx, tk.Shield); err != nil {
		return err
	}
	return n.db.Update(ctx, func(tx *db.Tx) error {
		if !itself {
			return task.Disown(tx, "thing", "a")
		}
		return errors.Join(task.Disown(tx, "thing", "a"), tk.Succeed(tx, "made"))
	})
}
