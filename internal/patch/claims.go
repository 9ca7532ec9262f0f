package patch

import (
	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// The operations on a patch. Those that only read its content run beside one another; the others are
// alone, so that nobody replaces, cleans or destroys what a host is copying.
const (
	opPrecheck  = "precheck"
	opApply     = "apply"
	opDownload  = "download"
	opPoolApply = "pool_apply"
	opIntroduce = "introduce"
	opReplace   = "replace"
	opClean     = "clean"
	opDestroy   = "destroy"
)

func readsContent(op string) bool {
	return op == opPrecheck || op == opApply || op == opDownload || op == opIntroduce
}

// claim enters an operation into the patch's record, or refuses it with OTHER_OPERATION_IN_PROGRESS. It
// does not wait: an administrator who starts two things at once wants to hear of it.
func claim(tx *db.Tx, patch xenapi.Ref[xenapi.PoolPatch], t xenapi.Ref[xenapi.Task], op string, host xenapi.Ref[xenapi.Host]) error {
	return claimBy(tx, patch, t, xenapi.PatchClaim{Operation: op, Host: host})
}

func claimBy(tx *db.Tx, patch xenapi.Ref[xenapi.PoolPatch], t xenapi.Ref[xenapi.Task], c xenapi.PatchClaim) error {
	return db.Change(tx, patch, func(rec *xenapi.PoolPatch) error {
		dropDead(tx, rec)
		if err := collides(tx, patch, *rec, t, c.Operation, c.Host); err != nil {
			return err
		}
		if rec.Claims == nil {
			rec.Claims = map[xenapi.Ref[xenapi.Task]]xenapi.PatchClaim{}
		}
		rec.Claims[t] = c
		return nil
	})
}

// collides lets a task beside its own claims and those of the task that it is a part of.
func collides(tx *db.Tx, patch xenapi.Ref[xenapi.PoolPatch], rec xenapi.PoolPatch, t xenapi.Ref[xenapi.Task], op string, host xenapi.Ref[xenapi.Host]) error {
	own, _ := db.Lookup(tx, t)
	for other, held := range rec.Claims {
		if other == t || other == own.SubtaskOf || beside(op, host, held) {
			continue
		}
		return xenapi.ErrOtherOperationInProgress("Pool_patch", patch.String(), held.Operation)
	}
	return nil
}

// beside reports whether an operation may run while another is held. pool_apply applies on every host
// under the claims of its subtasks, so it stands beside readers; a second one does not.
func beside(op string, host xenapi.Ref[xenapi.Host], held xenapi.PatchClaim) bool {
	if op == opPoolApply || held.Operation == opPoolApply {
		return readsContent(op) || readsContent(held.Operation)
	}
	if !readsContent(op) || !readsContent(held.Operation) {
		return false
	}
	return op != opApply || held.Operation != opApply || held.Host != host
}

// unclaim takes the task's operation out of the record.
func unclaim(tx *db.Tx, patch xenapi.Ref[xenapi.PoolPatch], t xenapi.Ref[xenapi.Task]) error {
	rec, ok := db.Lookup(tx, patch)
	if _, held := rec.Claims[t]; !ok || !held {
		return nil
	}
	delete(rec.Claims, t)
	return db.Put(tx, patch, rec)
}

// forgetClaims removes the claims of tasks that have ended: a dead daemon left them.
func forgetClaims(tx *db.Tx) error {
	for ref, rec := range db.All[xenapi.PoolPatch](tx) {
		if dropDead(tx, &rec) {
			if err := db.Put(tx, ref, rec); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropDead takes the claims out of a record whose tasks have ended: the host that ran them has died.
func dropDead(tx *db.Tx, rec *xenapi.PoolPatch) (dropped bool) {
	for t := range rec.Claims {
		if !pending(tx, t) {
			delete(rec.Claims, t)
			dropped = true
		}
	}
	return dropped
}
