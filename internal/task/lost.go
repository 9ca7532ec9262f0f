package task

import (
	"context"
	"log/slog"

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

// Lost are the hosts that do not live and of which FailLost would change something.
func Lost(tx *db.Tx, alive func(xenapi.Ref[xenapi.Host]) bool) map[xenapi.Ref[xenapi.Host]]bool {
	hosts := map[xenapi.Ref[xenapi.Host]]bool{}
	for _, rec := range db.All[xenapi.Task](tx) {
		if dead(tx, rec, alive) {
			hosts[rec.ResidentOn] = true
		}
	}
	for _, b := range db.All[Belonging](tx) {
		if b.Detail["mode"] == "RO" && lost(tx, b.Host, alive) {
			hosts[b.Host] = true
		}
	}
	return hosts
}

// dead tells a task whose work has ended with its host.
func dead(tx *db.Tx, rec xenapi.Task, alive func(xenapi.Ref[xenapi.Host]) bool) bool {
	return rec.Status == xenapi.TaskStatusPending && !rec.Roams && lost(tx, rec.ResidentOn, alive)
}

func lost(tx *db.Tx, host xenapi.Ref[xenapi.Host], alive func(xenapi.Ref[xenapi.Host]) bool) bool {
	_, known := db.Lookup(tx, host)
	return known && !alive(host)
}

// Bequeath makes what a host's tasks own on an SR the heir's of that SR, whose UndoEnded removes it. Where the
// heir is null, and of what is on no SR, the record is forgotten: the thing is gone with the host.
func Bequeath(tx *db.Tx, from xenapi.Ref[xenapi.Host], heir func(xenapi.Ref[xenapi.SR]) xenapi.Ref[xenapi.Host]) error {
	for ref, b := range db.All[Belonging](tx) {
		if b.Host != from {
			continue
		}
		var to xenapi.Ref[xenapi.Host]
		if sr := xenapi.Ref[xenapi.SR](b.Detail["SR"]); !sr.IsNull() {
			to = heir(sr)
		}
		if to.IsNull() {
			if err := db.Delete(tx, ref); err != nil {
				return err
			}
			continue
		}
		b.Host = to
		if err := db.Put(tx, ref, b); err != nil {
			return err
		}
	}
	return nil
}

// UndoEnded removes what this host has of tasks that have ended, as Recover does at the start for all of them. What cannot
// go yet stays for the next call. A task that ends while its work still runs here, as one does whose host was taken for dead,
// keeps what it has: the work may use it.
func (s *Service) UndoEnded(ctx context.Context, undo []KindUndo) {
	s.undo(ctx, undo, slog.LevelDebug, func(tx *db.Tx, b Belonging) bool {
		rec, ok := db.Lookup(tx, b.Task)
		return !s.runs(b.Task) && (!ok || rec.Status != xenapi.TaskStatusPending)
	})
}
