package patch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/hotfix"
	"poolpatch/internal/message"
	"poolpatch/internal/rollout"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Precheck runs the patch's precheck on this host and gives what it printed. Errors: the
// PATCH_PRECHECK_FAILED family, CANNOT_FIND_PATCH, INVALID_PATCH, HOST_HAS_NO_PATCH_SR.
func (s *Service) Precheck(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch], host xenapi.Ref[xenapi.Host]) (string, error) {
	if err := s.here(host); err != nil {
		return "", err
	}
	release, err := s.hold(ctx, t, ref, opPrecheck)
	if err != nil {
		return "", err
	}
	defer release()
	var output string
	err = s.withContent(ctx, t, ref, func(c content) (err error) {
		output, err = s.runPrecheck(ctx, ref, c)
		return err
	})
	return output, err
}

// hold claims a patch for an operation that reads its content on this host, and returns what gives the
// claim back.
func (s *Service) hold(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch], op string) (release func(), err error) {
	if err := s.db.Update(ctx, func(tx *db.Tx) error { return claim(tx, ref, t.Ref(), op, s.host) }); err != nil {
		return nil, err
	}
	return func() {
		if err := s.update(ctx, func(tx *db.Tx) error { return unclaim(tx, ref, t.Ref()) }); err != nil {
			s.log.Error("claim not given back; the next start does it", "patch", ref, "operation", op, "error", err)
		}
	}, nil
}

// Apply applies the patch on this host and gives what its programs printed. A precheck comes first, on
// the same private copy. Errors: PATCH_ALREADY_APPLIED, OTHER_OPERATION_IN_PROGRESS, those of Precheck,
// PATCH_APPLY_FAILED, PATCH_APPLY_FAILED_BACKUP_FILES_EXIST.
func (s *Service) Apply(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch], host xenapi.Ref[xenapi.Host]) (string, error) {
	return s.apply(ctx, t, attempt{patch: ref}, host)
}

// ApplyUnattended is Apply where no person has named the patch: one that was interrupted on the host is PATCH_APPLY_FAILED,
// and is not run again (I3).
func (s *Service) ApplyUnattended(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch], host xenapi.Ref[xenapi.Host]) (string, error) {
	return s.apply(ctx, t, attempt{patch: ref, unattended: true}, host)
}

func (s *Service) apply(ctx context.Context, t *task.Task, a attempt, host xenapi.Ref[xenapi.Host]) (string, error) {
	if err := s.here(host); err != nil {
		return "", err
	}
	if err := s.claimApply(ctx, t, &a); err != nil {
		return "", err
	}
	s.step("apply-claimed")
	// A crash from here to "running" leaves the row, the claim and a copy that belongs to the task:
	// recovery removes the copy, drops the claim and puts the row back.
	err := s.withContent(ctx, t, a.patch, func(c content) error { return s.execute(ctx, t, &a, c) })
	if err != nil {
		return "", errors.Join(err, s.giveUp(ctx, t, a))
	}
	return a.output, nil
}

// attempt is one apply on this host.
type attempt struct {
	patch  xenapi.Ref[xenapi.PoolPatch]
	update xenapi.Ref[xenapi.PoolUpdate] // by which the patch was called; null where it was called itself
	// unattended says that no person has named the patch.
	unattended bool
	row        xenapi.Ref[xenapi.HostPatch]
	ran        bool // the program has ended well: what fails from here on is only the record of it
	torn       bool // the program was ended by force: nobody knows how far it came
	output     string
}

// result is what the message gives: that of an update nothing.
func (a attempt) result() string {
	if !a.update.IsNull() {
		return ""
	}
	return a.output
}

// execute is the part of an apply that changes the host. Its order is the proof that the patch does not
// run twice by itself: the row says running before the program starts, the stamp is on stable storage
// before the row says applied.
func (s *Service) execute(ctx context.Context, t *task.Task, a *attempt, c content) error {
	prechecked, err := s.runPrecheck(ctx, a.patch, c)
	if err != nil {
		return err
	}
	s.step("apply-prechecked")
	// What the stamp is to say is asked before anything changes: afterwards nothing may fail but the record.
	info, err := s.identify(ctx, a.patch, c)
	if err != nil {
		return err
	}
	if err := s.db.Update(ctx, func(tx *db.Tx) error {
		// From here on a cancellation comes too late: the program is not torn.
		if err := t.Shield(tx); err != nil {
			return err
		}
		if err := running.begin(tx, t); err != nil {
			return err
		}
		return change(tx, a.row, Start, func(*xenapi.HostPatch) {})
	}); err != nil {
		return err
	}
	s.step("apply-running")
	// A crash from here to the stamp makes the row interrupted: nobody knows how far the program came.
	output, err := s.runApply(t.UntilKilled(), a.patch, c)
	if err != nil {
		a.torn = errors.Is(err, hotfix.ErrTorn)
		return err
	}
	a.ran, a.output = true, prechecked+output
	s.step("apply-ran")
	if err := s.stamps.write(info); err != nil {
		return err
	}
	s.step("apply-stamped")
	// A crash here leaves stamp and running row: recovery finds the stamp and records the patch as applied.
	if err := s.update(ctx, func(tx *db.Tx) error {
		if err := s.recordApplied(tx, a.row, info); err != nil {
			return err
		}
		if err := unclaim(tx, a.patch, t.Ref()); err != nil {
			return err
		}
		return t.Succeed(tx, a.result())
	}); err != nil {
		return err
	}
	s.step("apply-recorded")
	// The patch may have brought stamps of others with it. It is applied whether their records follow now
	// or at the next start.
	if err := s.Follow(ctx); err != nil {
		s.log.Warn("stamps of other patches not recorded; the next start does it", "error", err)
	}
	return nil
}

// identify asks the program what it is. It must be what the record says: a stamp under another name would be another
// patch's.
func (s *Service) identify(ctx context.Context, ref xenapi.Ref[xenapi.PoolPatch], c content) (hotfix.Info, error) {
	info, err := s.runInfo(ctx, c)
	if err != nil {
		return info, err
	}
	if uuid := s.uuidOf(ref); info.UUID != uuid {
		return info, xenapi.ErrInvalidPatch(fmt.Sprintf("the patch was uploaded as %s and says now that it is %s", uuid, info.UUID))
	}
	return info, nil
}

// claimApply makes the host_patch row of an attempt.
func (s *Service) claimApply(ctx context.Context, t *task.Task, a *attempt) error {
	return s.db.Update(ctx, func(tx *db.Tx) (err error) {
		if _, err := db.Get(tx, a.patch); err != nil {
			return err
		}
		rec := xenapi.HostPatch{}
		a.row, rec = s.hostPatch(tx, a.patch)
		switch state := State(rec.State); {
		case state == Applied:
			return xenapi.ErrPatchAlreadyApplied(a.patch)
		case state.Busy():
			return xenapi.ErrOtherOperationInProgress("Pool_patch", a.patch.String(), opApply)
		case state == Interrupted && a.unattended:
			return interrupted(tx, a.patch, s.host)
		}
		if err := claimBy(tx, a.patch, t.Ref(), xenapi.PatchClaim{Operation: opApply, Host: s.host, Update: a.update}); err != nil {
			return err
		}
		if err := s.noOther(tx, a.patch); err != nil {
			return err
		}
		if a.row.IsNull() {
			if a.row, err = s.insertHostPatch(tx, a.patch); err != nil {
				return err
			}
		}
		return change(tx, a.row, Claim, func(rec *xenapi.HostPatch) { rec.Task = t.Ref() })
	})
}

// interrupted is the error of a host of which nobody knows how far a patch came.
func interrupted(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch], on xenapi.Ref[xenapi.Host]) *xenapi.Error {
	patch, _ := db.Lookup(tx, ref)
	host, _ := db.Lookup(tx, on)
	return rollout.Interruption(patch.UUID, host.NameLabel)
}

// Torn lists an error for each patch that was interrupted on a host, in the order of the rows.
func Torn(tx *db.Tx, host xenapi.Ref[xenapi.Host]) (all []*xenapi.Error) {
	for _, row := range db.Referrers[xenapi.HostPatch](tx, "host", host) {
		if rec, ok := db.Lookup(tx, row); ok && State(rec.State) == Interrupted {
			all = append(all, interrupted(tx, rec.PoolPatch, host))
		}
	}
	return all
}

// noOther refuses an apply while another patch is applied on this host: their programs would change it at the same time.
func (s *Service) noOther(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch]) error {
	for _, row := range db.Referrers[xenapi.HostPatch](tx, "host", s.host) {
		rec, ok := db.Lookup(tx, row)
		if ok && rec.PoolPatch != ref && State(rec.State).Busy() && pending(tx, rec.Task) {
			return xenapi.ErrOtherOperationInProgress("Pool_patch", rec.PoolPatch.String(), opApply)
		}
	}
	return nil
}

// giveUp ends a failed attempt: the row goes, or goes back to interrupted. When the program itself ended
// well, or was ended by force, the row must not forget that: it becomes interrupted, unless the stamp tells the next
// start more.
func (s *Service) giveUp(ctx context.Context, t *task.Task, a attempt) error {
	event := Fail
	if a.ran || a.torn {
		event = Crash
	}
	return s.update(ctx, func(tx *db.Tx) error {
		if err := change(tx, a.row, event, func(*xenapi.HostPatch) {}); err != nil {
			return err
		}
		return unclaim(tx, a.patch, t.Ref())
	})
}

// recordApplied is what one transaction says when a patch has been applied.
func (s *Service) recordApplied(tx *db.Tx, row xenapi.Ref[xenapi.HostPatch], info hotfix.Info) error {
	if err := change(tx, row, Succeed, func(rec *xenapi.HostPatch) { rec.TimestampApplied = time.Now().UTC() }); err != nil {
		return err
	}
	return s.ask(tx, row, info.AfterApplyGuidance)
}

// here refuses a host that this daemon does not serve.
func (s *Service) here(host xenapi.Ref[xenapi.Host]) error {
	if host == s.host {
		return nil
	}
	if err := s.db.View(func(tx *db.Tx) error { _, err := db.Get(tx, host); return err }); err != nil {
		return err
	}
	return xenapi.ErrHostOffline(host)
}

// hostPatch finds the row of a patch on this host; it is null where there is none.
func (s *Service) hostPatch(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch]) (xenapi.Ref[xenapi.HostPatch], xenapi.HostPatch) {
	return hostPatchOf(tx, ref, s.host)
}

func hostPatchOf(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch], host xenapi.Ref[xenapi.Host]) (xenapi.Ref[xenapi.HostPatch], xenapi.HostPatch) {
	for _, row := range db.Referrers[xenapi.HostPatch](tx, "pool_patch", ref) {
		if rec, ok := db.Lookup(tx, row); ok && rec.Host == host {
			return row, rec
		}
	}
	return "", xenapi.HostPatch{}
}

func (s *Service) insertHostPatch(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch]) (xenapi.Ref[xenapi.HostPatch], error) {
	row := xenapi.NewRef[xenapi.HostPatch]()
	rec := xenapi.New[xenapi.HostPatch]()
	rec.UUID, rec.Host, rec.PoolPatch, rec.State = xenapi.NewUUID(), s.host, ref, string(None)
	return row, db.Insert(tx, row, rec)
}

// change moves a host_patch row along the table of state.go, and is the only function that does. The
// columns that the state implies are written with it; a row that comes to None goes.
func change(tx *db.Tx, row xenapi.Ref[xenapi.HostPatch], e Event, edit func(*xenapi.HostPatch)) error {
	rec, err := db.Get(tx, row)
	if err != nil {
		return err
	}
	next, err := State(rec.State).Next(e)
	if err != nil {
		return fmt.Errorf("host_patch %s: %w", rec.UUID, err)
	}
	if err := tell(tx, rec, e); err != nil {
		return err
	}
	if next == None {
		return db.Delete(tx, row)
	}
	edit(&rec)
	rec.State, rec.Applied = string(next), next == Applied
	tellState(&rec)
	if !next.Busy() {
		rec.Task = ""
	}
	return db.Put(tx, row, rec)
}

// keyState is the key of host_patch.other_config that tells clients the state of a row that does not say applied: XenAPI has no
// field for it.
const keyState = "poolpatch:state"

func tellState(rec *xenapi.HostPatch) {
	config := maps.Clone(rec.OtherConfig)
	if rec.Applied {
		delete(config, keyState)
	} else if config == nil {
		config = map[string]string{keyState: rec.State}
	} else {
		config[keyState] = rec.State
	}
	rec.OtherConfig = config
}

// tell makes the message of a program that has begun to change the host and has not ended well.
func tell(tx *db.Tx, rec xenapi.HostPatch, e Event) error {
	if State(rec.State) != Running || e != Fail && e != Crash {
		return nil
	}
	host, _ := db.Lookup(tx, rec.Host)
	patch, _ := db.Lookup(tx, rec.PoolPatch)
	m := xenapi.Message{
		Name: message.PatchApplyFailed, Priority: message.Major, Cls: xenapi.MessageClassHost, ObjUUID: host.UUID,
		Body: fmt.Sprintf("Patch %s (%s) failed on host %s. The host may be half patched.", patch.UUID, patch.NameLabel, host.NameLabel),
	}
	if e == Crash {
		m.Name = message.PatchApplyInterrupted
		m.Body = fmt.Sprintf("Patch %s (%s) was interrupted on host %s: nobody knows how far it came. Apply it again to let its precheck decide.",
			patch.UUID, patch.NameLabel, host.NameLabel)
	}
	_, err := message.Post(tx, m)
	return err
}

// uuidOf names a patch to a person.
func (s *Service) uuidOf(ref xenapi.Ref[xenapi.PoolPatch]) (uuid string) {
	_ = s.db.View(func(tx *db.Tx) error {
		rec, _ := db.Lookup(tx, ref)
		uuid = rec.UUID
		return nil
	})
	return uuid
}

// sizeOf is the length of a patch's signed file in bytes; 0 where the record does not know it.
func (s *Service) sizeOf(ref xenapi.Ref[xenapi.PoolPatch]) (size int64) {
	_ = s.db.View(func(tx *db.Tx) error {
		rec, _ := db.Lookup(tx, ref)
		size = rec.Size
		return nil
	})
	return size
}
