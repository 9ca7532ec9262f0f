package pool

import (
	"context"
	"errors"

	"poolpatch/internal/db"
	"poolpatch/internal/storage"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// ErrEjected says that the pool whose database this is knows this host no more.
var ErrEjected = errors.New("this host was ejected from its pool")

// Eject takes a host that lives out of the pool. It becomes a pool of its own, with its local storage. Errors:
// HANDLE_INVALID, HOST_OFFLINE, OPERATION_NOT_ALLOWED for the coordinator, for a host that is busy with anything but
// the task that ejects it, and for one that has a VBD plugged.
func (c *Cluster) Eject(ctx context.Context, by xenapi.Ref[xenapi.Task], host xenapi.Ref[xenapi.Host]) error {
	return c.remove(ctx, host, func(tx *db.Tx) error {
		switch {
		case len(InOrder(tx)) == 1:
			return xenapi.ErrOperationNotAllowed("the host is the only one of its pool: it is a pool of its own already")
		case host == Coordinator(tx):
			return xenapi.ErrOperationNotAllowed("the host is the pool's coordinator: designate another one first")
		case !Alive(tx, host):
			return xenapi.ErrHostOffline(host)
		}
		for ref, rec := range db.All[xenapi.Task](tx) {
			if ref != by && rec.ResidentOn == host && rec.Status == xenapi.TaskStatusPending {
				return xenapi.ErrOperationNotAllowed("the host runs the task " + rec.NameLabel + " (" + ref.String() + ")")
			}
		}
		for _, b := range db.All[task.Belonging](tx) {
			if b.Host == host {
				return xenapi.ErrOperationNotAllowed("the host still has temporary things: " + b.Kind + " " + b.Object)
			}
		}
		return noDiskAttached(tx, host) // last: where nothing else is in the way, the caller may unplug it and try again
	})
}

// ErrDiskAttached is in the chain of what refuses a host whose disk is attached.
var ErrDiskAttached = errors.New("a VBD of the host is plugged")

// noDiskAttached refuses while a VBD of the host is plugged: whoever writes the disk would go on when the pool knows of it no more.
func noDiskAttached(tx *db.Tx, host xenapi.Ref[xenapi.Host]) error {
	rec, _ := db.Lookup(tx, host)
	for _, ref := range db.Referrers[xenapi.VBD](tx, "VM", rec.ControlDomain) {
		if vbd, _ := db.Lookup(tx, ref); vbd.CurrentlyAttached {
			return xenapi.ErrOperationNotAllowed("the host has a disk attached, as " + vbd.Device + ": unplug the VBD " + vbd.UUID).Because(ErrDiskAttached)
		}
	}
	return nil
}

// Destroy takes a dead host out of the pool for good. What its tasks had begun on SRs that this host sees too becomes this
// host's to remove: the caller does that afterwards. Errors: HANDLE_INVALID, HOST_IS_LIVE, HOST_CANNOT_DESTROY_SELF.
func (c *Cluster) Destroy(ctx context.Context, host xenapi.Ref[xenapi.Host]) error {
	return c.remove(ctx, host, func(tx *db.Tx) error {
		if host == c.Me {
			return xenapi.ErrHostCannotDestroySelf(host)
		}
		if Alive(tx, host) {
			return xenapi.ErrHostIsLive(host)
		}
		if err := task.FailLost(tx, func(h xenapi.Ref[xenapi.Host]) bool { return h != host }); err != nil {
			return err
		}
		return task.Bequeath(tx, host, func(sr xenapi.Ref[xenapi.SR]) xenapi.Ref[xenapi.Host] { return c.heir(tx, sr) })
	})
}

// heir is the host that removes what a dead host has left on an SR: this one if it sees the SR, or else one that does. A
// shared SR that nobody sees now is this host's, whose starts try again. An SR of the dead host alone goes with it.
func (c *Cluster) heir(tx *db.Tx, sr xenapi.Ref[xenapi.SR]) xenapi.Ref[xenapi.Host] {
	if Sees(tx, c.Me, sr) {
		return c.Me
	}
	if hosts := Seeing(tx, sr); len(hosts) > 0 {
		return hosts[0]
	}
	if rec, ok := db.Lookup(tx, sr); ok && rec.Shared {
		return c.Me
	}
	return ""
}

// remove takes the host's rows away, then its copy of the database. The host itself notices either.
func (c *Cluster) remove(ctx context.Context, host xenapi.Ref[xenapi.Host], check func(*db.Tx) error) error {
	var rec xenapi.Host
	err := c.DB.Update(ctx, func(tx *db.Tx) (err error) {
		if Coordinating(tx, c.Me) != nil {
			return notCoordinator(tx)
		}
		if rec, err = db.Get(tx, host); err != nil {
			return err
		}
		if err := check(tx); err != nil {
			return err
		}
		if err := forget(tx, host, rec); err != nil {
			return err
		}
		url := URL(rec.Address)
		return db.Put(tx, departedRef(url), departed{url})
	})
	if err != nil {
		return err
	}
	// A crash here leaves a copy of the database that nobody has: SettleDeparted removes it, here or on the next coordinator.
	// So it does when the copy cannot be removed now, as when the host that goes has led the database: the host is out.
	if err := c.removeCopy(ctx, URL(rec.Address)); err != nil {
		c.Log.Warn("remove the database of a host that has left; trying again", "host", rec.UUID, "error", err)
	}
	return nil
}

// forget deletes what the pool knows of a host: its rows, and the storage that it alone saw.
func forget(tx *db.Tx, host xenapi.Ref[xenapi.Host], rec xenapi.Host) error {
	for _, ref := range db.Referrers[xenapi.HostPatch](tx, "host", host) {
		if err := db.Delete(tx, ref); err != nil {
			return err
		}
	}
	for _, ref := range db.Referrers[xenapi.PBD](tx, "host", host) {
		pbd, _ := db.Lookup(tx, ref)
		if err := db.Delete(tx, ref); err != nil {
			return err
		}
		if err := forgetSR(tx, pbd.SR); err != nil {
			return err
		}
	}
	for _, ref := range db.Referrers[xenapi.Certificate](tx, "host", host) {
		if err := db.Delete(tx, ref); err != nil {
			return err
		}
	}
	return errors.Join(deleteIfThere(tx, rec.Metrics), forgetVBDs(tx, "VM", rec.ControlDomain), deleteIfThere(tx, rec.ControlDomain),
		deleteIfThere(tx, presenceOf(host)), deleteIfThere(tx, followedBy(host)), db.Delete(tx, host))
}

// forgetSR deletes the rows of an SR that no host has a PBD of any more, unless it is a shared one.
func forgetSR(tx *db.Tx, sr xenapi.Ref[xenapi.SR]) error {
	rec, ok := db.Lookup(tx, sr)
	if !ok || rec.Shared || len(db.Referrers[xenapi.PBD](tx, "SR", sr)) > 0 {
		return nil
	}
	if err := storage.TellForgotten(tx, sr); err != nil {
		return err
	}
	for _, vdi := range db.Referrers[xenapi.VDI](tx, "SR", sr) {
		if err := errors.Join(forgetVBDs(tx, "VDI", vdi), db.Delete(tx, vdi)); err != nil {
			return err
		}
	}
	if ref, pool, ok := thePool(tx); ok && pool.DefaultSR == sr {
		pool.DefaultSR = ""
		if err := db.Put(tx, ref, pool); err != nil {
			return err
		}
	}
	return db.Delete(tx, sr)
}

// forgetVBDs deletes the VBDs that refer to an object which goes: those that were plugged on a dead host have gone with it.
func forgetVBDs[T xenapi.Object](tx *db.Tx, field string, to xenapi.Ref[T]) error {
	for _, ref := range db.Referrers[xenapi.VBD](tx, field, to) {
		if err := db.Delete(tx, ref); err != nil {
			return err
		}
	}
	return nil
}

func deleteIfThere[T xenapi.Object](tx *db.Tx, ref xenapi.Ref[T]) error {
	if _, ok := db.Lookup(tx, ref); !ok {
		return nil
	}
	return db.Delete(tx, ref)
}

// Evicted returns when the pool knows this host no more.
func Evicted(ctx context.Context, d *db.DB, me xenapi.Ref[xenapi.Host]) error {
	return d.Wait(ctx, func(tx *db.Tx) (bool, error) {
		_, there := db.Lookup(tx, me)
		return !there, nil
	})
}
