package task

import (
	"context"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// FailLost ends the pending tasks of hosts that do not live with HOST_OFFLINE: what they had claimed is free then. What their
// tasks own stays recorded for their next start, but for attachments that only read.
func FailLost(tx *db.Tx, alive func(xenapi.Ref[xenapi.Host]) bool) error {
	for ref, rec := range db.All[xenapi.Task](tx) {
		if dead(tx, rec, alive) {
			if err := end(tx, ref, func(rec *xenapi.Task) { setFailure(rec, xenapi.ErrHostOffline(rec.ResidentOn)) }); err != nil {
				return err
			}
		}
	}
	for ref, b := range db.All[Belonging](tx) {
		if b.Detail["mode"] == "RO" && lost(tx, b.Host, alive) {
			if err := db.Delete(tx, ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// Lost reports whether FailLost would change anything.
func Lost(tx *db.Tx, alive func(xenapi.Ref[xenapi.Host]) bool) bool {
	for _, rec := range db.All[xenapi.Task](tx) {
		if dead(tx, rec, alive) {
			return true
		}
	}
	return false
}

// dead tells a task whose work has ended with its host.
func dead(tx *db.Tx, rec xenapi.Task, alive func(xenapi.Ref[xenapi.Host]) bool) bool {
	return rec.Status == xenapi.TaskStatusPending && !rec.ByClient && !rec.Roams && lost(tx, rec.ResidentOn, alive)
}

func lost(tx *db.Tx, host xenapi.Ref[xenapi.Host], alive func(xenapi.Ref[xenapi.Host]) bool) bool {
	_, known := db.Lookup(tx, host)
	return known && !alive(host)
}

// Bequeath makes what a host's tasks own on SRs that the heir can reach the heir's, and forgets the rest: it is gone with
// the host, or out of reach with its storage.
func Bequeath(tx *db.Tx, from, heir xenapi.Ref[xenapi.Host], reaches func(xenapi.Ref[xenapi.SR]) bool) error {
	for ref, b := range db.All[Belonging](tx) {
		if b.Host != from {
			continue
		}
		if sr := xenapi.Ref[xenapi.SR](b.Detail["SR"]); sr == "" || !reaches(sr) {
			if err := db.Delete(tx, ref); err != nil {
				return err
			}
			continue
		}
		b.Host = heir
		if err := db.Put(tx, ref, b); err != nil {
			return err
		}
	}
	return nil
}

// UndoEnded removes what this host has of tasks that have ended, as Recover does at the start for all of them.
func (s *Service) UndoEnded(ctx context.Context, undo []KindUndo) {
	s.undo(ctx, undo, func(tx *db.Tx, b Belonging) bool {
		rec, ok := db.Lookup(tx, b.Task)
		return !ok || rec.Status != xenapi.TaskStatusPending
	})
}
