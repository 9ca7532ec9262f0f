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
	if err := a.view(func(tx *db.Tx) error { _, err := db.Get(tx, host); return err }); err != nil {
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
