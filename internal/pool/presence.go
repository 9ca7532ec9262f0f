package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

const (
	// presenceTTL is how long a host that is not heard of counts as alive.
	presenceTTL = 7 * time.Second
	// grace is how long a pool without coordinator waits for the one it had, which may only be starting again.
	// Together with presenceTTL, and some seconds in which the database elects its leader and begins each lease anew, it
	// bounds the time that a pool has none.
	grace = 3500 * time.Millisecond
	// retryPause lies between two attempts to show that this host lives.
	retryPause = time.Second
	// leaveTimeout bounds the last word of a daemon that stops.
	leaveTimeout = 3 * time.Second
)

// ErrNotCoordinator ends a transaction that only the coordinator may make.
var ErrNotCoordinator = errors.New("this host is not the pool's coordinator")

// presence is a host's sign of life. Its row goes with a lease of the host's daemon.
type presence struct {
	Since time.Time `json:"since" xenapi:"internal"`
}

// Class names the table.
func (presence) Class() string { return "presence" }

func presenceOf(host xenapi.Ref[xenapi.Host]) xenapi.Ref[presence] {
	return xenapi.Ref[presence](host.String())
}

// Tables are what the package keeps in the database besides XenAPI's classes.
func Tables() []db.Table {
	return []db.Table{db.TableOf[presence](), db.TableOf[trust](), db.TableOf[joinToken](), db.TableOf[followed](), db.TableOf[departed]()}
}

// Alive reports whether a host's daemon lives. A transaction that has asked conflicts with a change of the answer.
func Alive(tx *db.Tx, host xenapi.Ref[xenapi.Host]) bool {
	_, ok := db.Lookup(tx, presenceOf(host))
	return ok
}

// Coordinating is nil in a transaction of the host that is the pool's coordinator, alive in everybody's eyes, when
// the transaction commits. A host that was coordinator and does not know yet that it no longer is commits nothing: the
// rows that this has read have changed.
func Coordinating(tx *db.Tx, me xenapi.Ref[xenapi.Host]) error {
	if _, rec, ok := thePool(tx); !ok || rec.Master != me || !Alive(tx, me) {
		return ErrNotCoordinator
	}
	return nil
}

// thePool is the one row of its class.
func thePool(tx *db.Tx) (xenapi.Ref[xenapi.Pool], xenapi.Pool, bool) {
	for ref, rec := range db.All[xenapi.Pool](tx) {
		return ref, rec, true
	}
	return "", xenapi.Pool{}, false
}

// Stay shows the pool that this host lives, until ctx ends. When the database does not answer for long enough the others
// take the host for dead; it shows itself again as soon as it can.
func Stay(ctx context.Context, d *db.DB, me xenapi.Ref[xenapi.Host], log *slog.Logger) error {
	for {
		err := stay(ctx, d, me)
		if ctx.Err() != nil {
			return nil
		}
		log.Warn("the pool may take this host for dead", "error", err)
		if err := pause(ctx, retryPause); err != nil {
			return nil
		}
	}
}

// stay returns when the sign of life is gone.
func stay(ctx context.Context, d *db.DB, me xenapi.Ref[xenapi.Host]) (err error) {
	lease, err := d.Grant(ctx, presenceTTL)
	if err != nil {
		return err
	}
	defer func() {
		// A daemon that stops in good order is not waited for.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
		defer cancel()
		err = errors.Join(err, lease.Release(ctx))
	}()
	if err := d.Update(ctx, func(tx *db.Tx) error {
		return db.PutUnder(tx, lease, presenceOf(me), presence{time.Now().UTC()})
	}); err != nil {
		return fmt.Errorf("show that this host lives: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-lease.Lost():
		return errors.New("the database has not heard of this host in time")
	}
}

// Coordinate makes this host the pool's coordinator when the one that was is gone, until ctx ends. Every host
// runs it, and the first one to commit is it.
func Coordinate(ctx context.Context, d *db.DB, me xenapi.Ref[xenapi.Host], log *slog.Logger) error {
	for {
		if err := d.Wait(ctx, func(tx *db.Tx) (bool, error) { return vacant(tx, me), nil }); err != nil {
			return err
		}
		if err := pause(ctx, grace); err != nil {
			return err
		}
		took := false
		err := d.Update(ctx, func(tx *db.Tx) error {
			if took = vacant(tx, me); !took {
				return nil // it is back, or another host was faster
			}
			ref, _, _ := thePool(tx)
			return db.Change(tx, ref, func(rec *xenapi.Pool) error { rec.Master = me; return nil })
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			log.Warn("become coordinator", "error", err)
		case took:
			log.Warn("this host is the pool's coordinator now: the one that was is gone")
		}
	}
}

// Designate makes a host the coordinator. What the former one has begun as such it does not commit. Errors:
// HANDLE_INVALID, HOST_OFFLINE, HOST_DISABLED.
func Designate(ctx context.Context, d *db.DB, host xenapi.Ref[xenapi.Host]) error {
	return d.Update(ctx, func(tx *db.Tx) error {
		rec, err := db.Get(tx, host)
		switch {
		case err != nil:
			return err
		case !Alive(tx, host):
			return xenapi.ErrHostOffline(host)
		case !rec.Enabled:
			return xenapi.ErrHostDisabled(host)
		}
		ref, _, _ := thePool(tx)
		return db.Change(tx, ref, func(rec *xenapi.Pool) error { rec.Master = host; return nil })
	})
}

// vacant reports whether me, which lives, should become coordinator because nobody who lives is.
func vacant(tx *db.Tx, me xenapi.Ref[xenapi.Host]) bool {
	_, rec, ok := thePool(tx)
	return ok && rec.Master != me && !Alive(tx, rec.Master) && Alive(tx, me)
}

// Lead runs work each time that this host becomes the pool's coordinator, until ctx ends. Work that takes long asks for
// [Coordinating] in each of its transactions.
func Lead(ctx context.Context, d *db.DB, me xenapi.Ref[xenapi.Host], work func(context.Context)) error {
	for {
		if err := d.Wait(ctx, func(tx *db.Tx) (bool, error) { return Coordinating(tx, me) == nil, nil }); err != nil {
			return err
		}
		work(ctx)
		if err := d.Wait(ctx, func(tx *db.Tx) (bool, error) { return Coordinating(tx, me) != nil, nil }); err != nil {
			return err
		}
	}
}

// attend does, on the coordinator, what has become due, and returns when it has, or ctx ends. It waits for delay in between, for
// what passes by itself, so do looks again whether it is due still. What fails is tried again, and is for the log.
func attend(ctx context.Context, d *db.DB, me xenapi.Ref[xenapi.Host], log *slog.Logger, what string, delay time.Duration,
	due func(*db.Tx) bool, do func(*db.Tx) error) error {

	for {
		if err := d.Wait(ctx, func(tx *db.Tx) (bool, error) { return Coordinating(tx, me) == nil && due(tx), nil }); err != nil {
			return err
		}
		if err := pause(ctx, delay); err != nil {
			return err
		}
		err := d.Update(ctx, func(tx *db.Tx) error {
			if err := Coordinating(tx, me); err != nil {
				return err
			}
			return do(tx)
		})
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrNotCoordinator):
			continue // another host attends to it
		case ctx.Err() == nil:
			log.Warn(what, "error", err)
		}
		if err := pause(ctx, retryPause); err != nil {
			return err
		}
	}
}

// FollowHosts keeps host_metrics.live true to who lives, on the coordinator, until ctx ends.
func FollowHosts(ctx context.Context, d *db.DB, me xenapi.Ref[xenapi.Host], log *slog.Logger) error {
	due := func(tx *db.Tx) bool { return len(changed(tx)) > 0 }
	for {
		err := attend(ctx, d, me, log, "record which hosts live", 0, due, func(tx *db.Tx) error {
			for ref, live := range changed(tx) {
				if err := db.Change(tx, ref, func(rec *xenapi.HostMetrics) error {
					rec.Live, rec.LastUpdated = live, time.Now().UTC()
					return nil
				}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// SettleLost ends, on the coordinator, the tasks of hosts that have died, until ctx ends: what those had claimed is free
// then. A host that is only starting again settles its own.
func SettleLost(ctx context.Context, d *db.DB, me xenapi.Ref[xenapi.Host], log *slog.Logger) error {
	var dead map[xenapi.Ref[xenapi.Host]]bool
	due := func(tx *db.Tx) bool {
		dead = task.Lost(tx, func(host xenapi.Ref[xenapi.Host]) bool { return Alive(tx, host) })
		return len(dead) > 0
	}
	for {
		err := attend(ctx, d, me, log, "end the tasks of a host that has died", grace, due, func(tx *db.Tx) error {
			// One that died only during the pause has its own.
			return task.FailLost(tx, func(host xenapi.Ref[xenapi.Host]) bool { return !dead[host] || Alive(tx, host) })
		})
		if err != nil {
			return err
		}
	}
}

// changed are the metrics that are not true, and what would be.
func changed(tx *db.Tx) map[xenapi.Ref[xenapi.HostMetrics]]bool {
	all := map[xenapi.Ref[xenapi.HostMetrics]]bool{}
	for ref, host := range db.All[xenapi.Host](tx) {
		if rec, ok := db.Lookup(tx, host.Metrics); ok && rec.Live != Alive(tx, ref) {
			all[host.Metrics] = !rec.Live
		}
	}
	return all
}

// pause waits, and gives ctx's error when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
