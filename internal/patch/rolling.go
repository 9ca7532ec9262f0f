package patch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/rollout"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Rolling is a patch that goes onto the whole pool, or went: the last time that it did. Its row outlives the coordinator
// that began it.
type Rolling struct {
	Patch xenapi.Ref[xenapi.PoolPatch] `json:"patch" xenapi:"internal"`
	// Update is the one by which the patch was called; null where it was called itself.
	Update xenapi.Ref[xenapi.PoolUpdate] `json:"update" xenapi:"internal"`
	// Task is told how it ends.
	Task xenapi.Ref[xenapi.Task] `json:"task" xenapi:"internal"`
	// Record is a rollout.Rollout.
	Record string `json:"record" xenapi:"internal"`
	// Steps are the tasks of the last step on each host. They are made in the transaction that decides the step.
	Steps map[xenapi.Ref[xenapi.Host]]xenapi.Ref[xenapi.Task] `json:"steps" xenapi:"internal"`
	// Continued and Killed are what a person has asked for and the rollout has not taken in yet.
	Continued bool `json:"continued" xenapi:"internal"`
	Cancelled bool `json:"cancelled" xenapi:"internal"`
	Killed    bool `json:"killed" xenapi:"internal"`
	Ended     bool `json:"ended" xenapi:"internal"`
}

// Class names the table.
func (Rolling) Class() string { return "rollout" }

// Tables are what the package keeps in the database besides XenAPI's classes.
func Tables() []db.Table { return []db.Table{db.TableOf[Rolling]()} }

func rollingOf(patch xenapi.Ref[xenapi.PoolPatch]) xenapi.Ref[Rolling] {
	return xenapi.Ref[Rolling](patch.String())
}

// awayLimit is how long a host on which something runs may stay away.
const awayLimit = 15 * time.Minute

// The keys of pool_patch.other_config that say how the next pool_apply goes about it, which takes them out.
const (
	keyMaxParallel = "poolpatch:max_parallel"
	keyMaxFailures = "poolpatch:max_failures"
	keyCanary      = "poolpatch:canary" // UUID or ref of a host
	keyPauseAfter  = "poolpatch:pause_after"
	keySkipOffline = "poolpatch:skip_offline"
)

// wishes reads how a rollout is to go. Errors: INVALID_VALUE naming the key.
func wishes(tx *db.Tx, patch xenapi.PoolPatch) (o rollout.Options, err error) {
	config := patch.OtherConfig
	for key, into := range map[string]*int{keyMaxParallel: &o.MaxParallel, keyMaxFailures: &o.MaxFailures} {
		if text := config[key]; text != "" {
			if *into, err = strconv.Atoi(text); err != nil || *into < 1 {
				return o, xenapi.ErrInvalidValue(key, text)
			}
		}
	}
	switch text := config[keyPauseAfter]; rollout.Pause(text) {
	case rollout.PauseNever, rollout.PauseCanary, rollout.PauseEach:
		o.PauseAfter = rollout.Pause(text)
	default:
		return o, xenapi.ErrInvalidValue(keyPauseAfter, text)
	}
	if text := config[keySkipOffline]; text != "" {
		if o.SkipOffline, err = strconv.ParseBool(text); err != nil {
			return o, xenapi.ErrInvalidValue(keySkipOffline, text)
		}
	}
	if text := config[keyCanary]; text != "" {
		if o.Canary = xenapi.ParseRef[xenapi.Host](text); o.Canary.IsNull() {
			if o.Canary, err = db.ByUUID[xenapi.Host](tx, text); err != nil {
				return o, xenapi.ErrInvalidValue(keyCanary, text)
			}
		}
	}
	return o, nil
}

// forgetWishes takes the wishes out of the patch: they are for one rollout, and must not steer the next one.
func forgetWishes(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch]) error {
	return db.Change(tx, ref, func(rec *xenapi.PoolPatch) error {
		rec.OtherConfig = maps.Clone(rec.OtherConfig)
		for _, key := range []string{keyMaxParallel, keyMaxFailures, keyCanary, keyPauseAfter, keySkipOffline} {
			delete(rec.OtherConfig, key)
		}
		return nil
	})
}

// oneAtATime refuses a rollout beside another one: two patches at once on one host would be in each other's way.
func oneAtATime(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch]) error {
	for _, row := range db.All[Rolling](tx) {
		if row.Patch != ref && !row.Ended {
			return xenapi.ErrOtherOperationInProgress("Pool_patch", row.Patch.String(), opPoolApply)
		}
	}
	return nil
}

// begin plans a rollout, and makes its task one that is at home on whichever host is the coordinator.
func (s *Service) begin(tx *db.Tx, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch], update xenapi.Ref[xenapi.PoolUpdate]) error {
	if !s.coordinating(tx) {
		return errNotCoordinator
	}
	if err := claim(tx, ref, t.Ref(), opPoolApply, s.host); err != nil {
		return err
	}
	if err := oneAtATime(tx, ref); err != nil {
		return err
	}
	patch, err := db.Get(tx, ref)
	if err != nil {
		return err
	}
	options, err := wishes(tx, patch)
	if err != nil {
		return err
	}
	if err := forgetWishes(tx, ref); err != nil {
		return err
	}
	options.Patch, options.UUID, options.Task, options.AwayLimit = ref, patch.UUID, t.Ref(), awayLimit
	hosts := s.hostsOf(tx, ref)
	if !update.IsNull() && !slices.ContainsFunc(hosts, func(h rollout.Host) bool { return !h.Applied }) {
		return xenapi.ErrUpdateAlreadyAppliedInPool(update)
	}
	r, err := rollout.New(options, hosts, time.Now().UTC())
	if err != nil {
		return err
	}
	if err := t.Roam(tx); err != nil {
		return err
	}
	return write(tx, Rolling{Patch: ref, Update: update, Task: t.Ref()}, r)
}

func write(tx *db.Tx, row Rolling, r rollout.Rollout) error {
	record, err := r.Bytes()
	if err != nil {
		return err
	}
	row.Record = string(record)
	return db.Put(tx, rollingOf(row.Patch), row)
}

// outcome is how the rollout ended, in the words of whichever the patch was called by.
func (row Rolling) outcome(r rollout.Rollout) error {
	err := r.Err()
	switch failed := r.FailedHosts(); {
	case err == nil || row.Update.IsNull():
		return err
	case len(failed) > 0:
		return xenapi.ErrUpdatePoolApplyFailed(failed...).Because(err)
	}
	return twins{row.Update, row.Patch}.tell(err)
}

// hostsOf lists the hosts of the pool as a rollout wants to know them.
func (s *Service) hostsOf(tx *db.Tx, patch xenapi.Ref[xenapi.PoolPatch]) (hosts []rollout.Host) {
	var master xenapi.Ref[xenapi.Host]
	for _, pool := range db.All[xenapi.Pool](tx) {
		master = pool.Master
	}
	for ref, rec := range db.All[xenapi.Host](tx) {
		_, row := hostPatchOf(tx, patch, ref)
		hosts = append(hosts, rollout.Host{
			Ref: ref, Name: rec.NameLabel, Coordinator: ref == master, Live: s.alive(tx, ref),
			Applied: row.Applied, Interrupted: State(row.State) == Interrupted,
		})
	}
	return hosts
}

// Status is the record of the patch's last pool_apply, as JSON. Errors: HANDLE_INVALID; INVALID_VALUE when there was none.
func (s *Service) Status(ref xenapi.Ref[xenapi.PoolPatch]) (record string, err error) {
	return record, s.db.View(func(tx *db.Tx) error {
		if _, err := db.Get(tx, ref); err != nil {
			return err
		}
		row, ok := db.Lookup(tx, rollingOf(ref))
		if !ok {
			return xenapi.ErrOperationNotAllowed("the patch was never applied on the whole pool")
		}
		record = row.Record
		return nil
	})
}

// Continue lets a rollout go on that waits for a person. Errors: OPERATION_NOT_ALLOWED when it does not wait.
func (s *Service) Continue(ctx context.Context, ref xenapi.Ref[xenapi.PoolPatch]) error {
	return s.wish(ctx, ref, func(row *Rolling, r rollout.Rollout) error {
		if r.Phase != rollout.PhasePaused {
			return xenapi.ErrOperationNotAllowed(fmt.Sprintf("the rollout does not wait: its phase is %s", r.Phase))
		}
		row.Continued = true
		return nil
	})
}

// Stop ends a rollout: no further host is started, and prechecks that run are killed. An apply that runs goes on to its
// end, unless kill is set: then its host may be half patched.
func (s *Service) Stop(ctx context.Context, ref xenapi.Ref[xenapi.PoolPatch], kill bool) error {
	return s.wish(ctx, ref, func(row *Rolling, _ rollout.Rollout) error {
		row.Cancelled, row.Killed = true, row.Killed || kill
		return nil
	})
}

func (s *Service) wish(ctx context.Context, ref xenapi.Ref[xenapi.PoolPatch], fn func(*Rolling, rollout.Rollout) error) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		row, ok := db.Lookup(tx, rollingOf(ref))
		if !ok || row.Ended {
			return xenapi.ErrOperationNotAllowed("the patch is not being applied on the pool")
		}
		r, err := rollout.Parse([]byte(row.Record))
		if err != nil {
			return err
		}
		if err := fn(&row, r); err != nil {
			return err
		}
		return db.Put(tx, rollingOf(ref), row)
	})
}
