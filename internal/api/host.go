package api

import (
	"context"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

func (a *API) hostListMethods(context.Context, *call) ([]string, error) { return a.Methods(), nil }

func (a *API) hostServertime(_ context.Context, _ *call, host xenapi.Ref[xenapi.Host]) (time.Time, error) {
	return time.Now().UTC(), a.here(host)
}

// here refuses a host that this daemon does not serve.
func (a *API) here(host xenapi.Ref[xenapi.Host]) error {
	if host == a.services.Host {
		return nil
	}
	if err := exists(a, host); err != nil {
		return err
	}
	return xenapi.ErrHostOffline(host)
}

func (a *API) hostEnable(ctx context.Context, _ *call, host xenapi.Ref[xenapi.Host]) error {
	return a.setEnabled(ctx, host, true)
}

func (a *API) hostDisable(ctx context.Context, _ *call, host xenapi.Ref[xenapi.Host]) error {
	return a.setEnabled(ctx, host, false)
}

func (a *API) poolDesignate(ctx context.Context, _ *call, host xenapi.Ref[xenapi.Host]) error {
	return pool.Designate(ctx, a.services.DB, host)
}

func (a *API) setEnabled(ctx context.Context, host xenapi.Ref[xenapi.Host], enabled bool) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, host, func(rec *xenapi.Host) error { rec.Enabled = enabled; return nil })
	})
}

// exists is what there is to say of an object where the rest is the same of all of its class.
func exists[T xenapi.Object](a *API, ref xenapi.Ref[T]) error {
	return a.view(func(tx *db.Tx) error { _, err := db.Get(tx, ref); return err })
}

// A host runs its control domain alone, which stays where it is: there is nothing to evacuate, and nothing in the way of it.
func (a *API) hostAssertCanEvacuate(_ context.Context, _ *call, host xenapi.Ref[xenapi.Host]) error {
	return exists(a, host)
}

func (a *API) hostEvacuate(_ context.Context, _ *call, host xenapi.Ref[xenapi.Host], _ xenapi.Ref[network], _ int64) error {
	return exists(a, host)
}

func (a *API) hostVMsInTheWay(_ context.Context, _ *call, self xenapi.Ref[xenapi.Host]) (map[xenapi.Ref[xenapi.VM]][]string, error) {
	return map[xenapi.Ref[xenapi.VM]][]string{}, exists(a, self)
}

func (a *API) hostUncooperativeVMs(_ context.Context, _ *call, self xenapi.Ref[xenapi.Host]) ([]xenapi.Ref[xenapi.VM], error) {
	return nil, exists(a, self)
}

// network stands for the class of a parameter that is not looked at.
type network struct{}

// Class names the XenAPI class.
func (network) Class() string { return "network" }

// poolSyncDatabase makes sure that this host sees all that was committed; what was is on a majority of the members' disks.
func (a *API) poolSyncDatabase(ctx context.Context, _ *call) error { return a.services.DB.Sync(ctx) }
