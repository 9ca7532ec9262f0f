package patch

import (
	"context"
	"sync"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/rollout"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// driver carries one rollout out on the coordinator. It remembers only which steps it has sent off itself.
type driver struct {
	service *Service
	patch   xenapi.Ref[xenapi.PoolPatch]
	begun   map[xenapi.Ref[xenapi.Task]]bool
	sent    sync.WaitGroup // steps that have not come back
}

// step is a precheck or an apply that is to be sent to a host, as a task that the record names.
type step struct {
	host xenapi.Ref[xenapi.Host]
	task xenapi.Ref[xenapi.Task]
	op   string // opPrecheck or opApply
}

// turn takes in what has happened, decides, and sends off what was decided. The record and the tasks of the steps are
// written in one transaction before anything is sent: a crash after it leaves tasks that no host has taken, and the
// next driver sends them off; a host takes each but once.
func (d *driver) turn(ctx context.Context) (done bool, err error) {
	s := d.service
	var row Rolling
	var r rollout.Rollout
	var steps []step
	var kills []rollout.Command
	err = s.db.Update(ctx, func(tx *db.Tx) (err error) {
		steps, kills = nil, nil
		if !s.coordinating(tx) {
			return errNotCoordinator
		}
		row, _ = db.Lookup(tx, rollingOf(d.patch))
		if r, err = rollout.Parse([]byte(row.Record)); err != nil || row.Ended {
			return err
		}
		before := row.Record
		now := time.Now().UTC()
		d.observe(tx, &row, &r, now)
		for _, c := range r.Next(now) {
			switch c.Action {
			case rollout.StartPrecheck, rollout.StartApply:
				if err := d.newStep(tx, &row, c); err != nil {
					return err
				}
			case rollout.Finish:
				row.Ended = true
			default:
				kills = append(kills, c)
			}
		}
		steps = d.untaken(tx, row, r)
		if row.Ended {
			if err := d.conclude(tx, row, r); err != nil {
				return err
			}
		}
		if record, err := r.Bytes(); err != nil || string(record) == before && !row.Ended {
			return err
		}
		return write(tx, row, r)
	})
	if err != nil {
		return false, err
	}
	if row.Ended {
		return true, d.tell(ctx, row, r)
	}
	s.progress(ctx, row.Task, r.Progress())
	for _, c := range kills {
		d.kill(ctx, row, c)
	}
	for _, st := range steps {
		d.send(ctx, st)
	}
	return false, nil
}

// observe tells the rollout what the database says of its hosts, its steps and the person's wishes. What the rollout
// knows already changes nothing.
func (d *driver) observe(tx *db.Tx, row *Rolling, r *rollout.Rollout, now time.Time) {
	tell := func(e rollout.Event) {
		e.At = now
		_ = r.Observe(e) // what cannot be is no news
	}
	if rec, ok := db.Lookup(tx, row.Task); row.Cancelled || ok && rec.CancelRequested {
		tell(rollout.Event{Kind: rollout.Cancel, Kill: row.Killed})
	}
	if row.Continued {
		tell(rollout.Event{Kind: rollout.Continue})
		row.Continued = false
	}
	there := map[xenapi.Ref[xenapi.Host]]bool{}
	for _, host := range d.service.hostsOf(tx, d.patch) {
		there[host.Ref] = true
		tell(rollout.Event{Kind: rollout.HostJoined, Host: host.Ref, Name: host.Name})
	}
	for _, t := range r.Hosts {
		if !there[t.Host] {
			tell(rollout.Event{Kind: rollout.HostLeft, Host: t.Host})
			continue
		}
		if e, ok := d.heardOf(tx, t, row.Steps[t.Host]); ok {
			tell(e)
		}
		kind := rollout.HostLost
		if d.service.alive(tx, t.Host) {
			kind = rollout.HostLive
		}
		if t.Live != (kind == rollout.HostLive) || t.State == rollout.Away {
			tell(rollout.Event{Kind: kind, Host: t.Host})
		}
	}
}

// heardOf is what the rows say of a host's step. Of an apply the host_patch row has the word, which the host settles by
// itself after a crash; its task tells what went wrong.
func (d *driver) heardOf(tx *db.Tx, t rollout.Turn, sub xenapi.Ref[xenapi.Task]) (rollout.Event, bool) {
	e := rollout.Event{Host: t.Host}
	_, row := hostPatchOf(tx, d.patch, t.Host)
	rec, there := db.Lookup(tx, sub)
	ended := there && rec.Status != xenapi.TaskStatusPending
	switch {
	case row.Applied:
		e.Kind = rollout.ApplyDone
	case State(row.State) == Interrupted && t.State != rollout.Applying:
		e.Kind = rollout.ApplyInterrupted
	case State(row.State) == Interrupted && (ended || !there):
		e.Kind = rollout.ApplyInterrupted
	case State(row.State).Busy():
		e.Kind = rollout.ApplyRunning
		return e, t.State == rollout.Silent && d.service.alive(tx, t.Host)
	case t.Step == rollout.StepApply && ended && rec.Status == xenapi.TaskStatusSuccess:
		e.Kind = rollout.ApplyDone
	case t.Step == rollout.StepApply && ended:
		e.Kind, e.Err = rollout.ApplyFailed, d.whyNotApplied(rec)
	case t.Step == rollout.StepApply && !there:
		e.Kind = rollout.ApplyAbsent
	case t.Step == rollout.StepPrecheck && ended && rec.Status == xenapi.TaskStatusSuccess:
		e.Kind = rollout.PrecheckPassed
	case t.Step == rollout.StepPrecheck && ended:
		e.Kind, e.Err = rollout.PrecheckFailed, failureOf(rec)
		if unreached(rec) && d.service.alive(tx, t.Host) {
			e.Err = xenapi.ErrPatchPrecheckFailedUnknownError(d.patch, "the host lives, but cannot be reached from the coordinator")
		}
	case t.Step == rollout.StepPrecheck && !there:
		e.Kind = rollout.PrecheckGone
	default:
		return e, false
	}
	return e, true
}

// unreached tells a step that its host never got.
func unreached(rec xenapi.Task) bool {
	return rec.ResidentOn.IsNull() && len(rec.ErrorInfo) > 0 && rec.ErrorInfo[0] == xenapi.CodeHostOffline
}

// whyNotApplied is the error of an apply that has left no row on its host. Where the host was lost on the way, nobody starts
// it again by himself: the program may have run and failed there.
func (d *driver) whyNotApplied(rec xenapi.Task) error {
	switch err := failureOf(rec); {
	case unreached(rec):
		return xenapi.ErrPatchApplyFailed("the host could not be reached, and nothing was begun on it")
	case xenapi.CodeOf(err) == xenapi.CodeHostOffline:
		return xenapi.ErrPatchApplyFailed("the host was lost while it was to apply the patch, which is not applied there")
	default:
		return err
	}
}

func failureOf(rec xenapi.Task) error {
	if len(rec.ErrorInfo) == 0 {
		return xenapi.ErrInternalError("the task says no error")
	}
	return xenapi.NewError(rec.ErrorInfo[0], rec.ErrorInfo[1:]...)
}

// newStep makes the task of a step, at home nowhere until its host takes it, in the place of the host's last one.
func (d *driver) newStep(tx *db.Tx, row *Rolling, c rollout.Command) error {
	op := opPrecheck
	if c.Action == rollout.StartApply {
		op = opApply
	}
	if err := d.drop(tx, row.Steps[c.Host]); err != nil {
		return err
	}
	ref, err := d.service.tasks.Prepare(tx, task.Spec{Label: "pool_patch." + op, Parent: row.Task})
	if row.Steps == nil {
		row.Steps = map[xenapi.Ref[xenapi.Host]]xenapi.Ref[xenapi.Task]{}
	}
	row.Steps[c.Host] = ref
	return err
}

func (d *driver) drop(tx *db.Tx, ref xenapi.Ref[xenapi.Task]) error {
	if rec, ok := db.Lookup(tx, ref); !ok || rec.Status == xenapi.TaskStatusPending {
		return nil
	}
	return db.Delete(tx, ref)
}

// untaken lists the steps that no host has taken and this driver has not sent off.
func (d *driver) untaken(tx *db.Tx, row Rolling, r rollout.Rollout) (steps []step) {
	for _, t := range r.Hosts {
		ref := row.Steps[t.Host]
		rec, ok := db.Lookup(tx, ref)
		if !ok || rec.Status != xenapi.TaskStatusPending || !rec.Roams || !t.State.Busy() || d.begun[ref] {
			continue
		}
		op := opPrecheck
		if t.Step == rollout.StepApply {
			op = opApply
		}
		steps = append(steps, step{t.Host, ref, op})
	}
	return steps
}

// send has a host do a step. How it went is in the step's task, whatever becomes of this call.
func (d *driver) send(ctx context.Context, st step) {
	if d.begun[st.task] {
		return
	}
	d.begun[st.task] = true
	s := d.service
	d.sent.Add(1)
	s.driving.work.Go(func() {
		defer d.sent.Done()
		var err error
		if st.host == s.host {
			_, err = s.tasks.Join(context.WithoutCancel(ctx), st.task, s.specOf(d.patch, st), func(ctx context.Context, t *task.Task) (any, error) {
				if st.op == opApply {
					return s.Apply(ctx, t, d.patch, st.host)
				}
				return s.Precheck(ctx, t, d.patch, st.host)
			})
		} else {
			err = s.others.Call(ctx, st.host, st.task, nil, "pool_patch."+st.op, d.patch, st.host)
		}
		if err != nil {
			s.log.Info("step of a rollout", "host", st.host, "step", st.op, "error", err)
		}
	})
}

// specOf is the task of a step on this host.
func (s *Service) specOf(patch xenapi.Ref[xenapi.PoolPatch], st step) task.Spec {
	return task.Spec{
		Label: "pool_patch." + st.op, Encode: s.encode,
		Audit: &task.Audit{Object: "pool_patch " + s.uuidOf(patch), Originator: "rollout"},
	}
}

// kill ends the step that runs on a host.
func (d *driver) kill(ctx context.Context, row Rolling, c rollout.Command) {
	if err := d.service.tasks.Kill(ctx, row.Steps[c.Host], row.Task, c.Action == rollout.KillApply); err != nil {
		d.service.log.Info("step of a rollout goes on", "host", c.Host, "reason", err)
	}
}

// conclude is what the transaction that ends a rollout says of the patch.
func (d *driver) conclude(tx *db.Tx, row Rolling, r rollout.Rollout) error {
	for _, ref := range row.Steps {
		if err := d.drop(tx, ref); err != nil {
			return err
		}
	}
	if err := unclaim(tx, d.patch, row.Task); err != nil {
		return err
	}
	if !r.Complete() {
		return nil
	}
	return db.Change(tx, d.patch, func(rec *xenapi.PoolPatch) error { rec.PoolApplied = true; return nil })
}

// tell ends the rollout's task. A driver that finds an ended rollout with a pending task does the same again.
func (d *driver) tell(ctx context.Context, row Rolling, r rollout.Rollout) error {
	s := d.service
	d.sent.Wait() // hosts clean up after a step whose result is known
	if err := row.outcome(r); err != nil {
		domain, ok := err.(*xenapi.Error)
		if !ok {
			domain = xenapi.ErrInternalError(err.Error())
		}
		return s.tasks.Fail(ctx, row.Task, domain)
	}
	return s.tasks.Settle(ctx, row.Task, s.encode(""))
}

func (s *Service) progress(ctx context.Context, ref xenapi.Ref[xenapi.Task], fraction float64) {
	_ = s.db.Update(ctx, func(tx *db.Tx) error {
		if rec, ok := db.Lookup(tx, ref); !ok || rec.Progress >= fraction || rec.Status != xenapi.TaskStatusPending {
			return nil
		}
		return db.Change(tx, ref, func(rec *xenapi.Task) error { rec.Progress = fraction; return nil })
	})
}

// drivers are the rollouts that this host drives.
type drivers struct {
	mu      sync.Mutex
	patches map[xenapi.Ref[xenapi.PoolPatch]]bool
	work    sync.WaitGroup
}

func (d *drivers) has(ref xenapi.Ref[xenapi.PoolPatch]) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.patches[ref]
}

func (d *drivers) begin(ref xenapi.Ref[xenapi.PoolPatch]) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.patches[ref] {
		return false
	}
	if d.patches == nil {
		d.patches = map[xenapi.Ref[xenapi.PoolPatch]]bool{}
	}
	d.patches[ref] = true
	return true
}

func (d *drivers) end(ref xenapi.Ref[xenapi.PoolPatch]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.patches, ref)
}
