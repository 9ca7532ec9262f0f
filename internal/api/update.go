package api

import (
	"context"

	"poolpatch/xenapi"
)

type updateRef = xenapi.Ref[xenapi.PoolUpdate]

func (a *API) updateIntroduce(ctx context.Context, c *call, vdi vdiRef) (updateRef, error) {
	return a.services.Patches.Introduce(ctx, c.task, vdi)
}

// updatePrecheck gives the status of a patch that has nothing to do with live patching.
func (a *API) updatePrecheck(ctx context.Context, c *call, self updateRef, host hostRef) (xenapi.LivepatchStatus, error) {
	return xenapi.LivepatchStatusOK, a.services.Patches.PrecheckUpdate(ctx, c.task, self, host)
}

func (a *API) updateApply(ctx context.Context, c *call, self updateRef, host hostRef) error {
	return a.services.Patches.ApplyUpdate(ctx, c.task, self, host)
}

func (a *API) updatePoolApply(ctx context.Context, c *call, self updateRef) error {
	return a.services.Patches.PoolApplyUpdate(ctx, c.task, self)
}

func (a *API) updatePoolClean(ctx context.Context, c *call, self updateRef) error {
	return a.services.Patches.PoolCleanUpdate(ctx, c.task, self)
}

func (a *API) updateDestroy(ctx context.Context, c *call, self updateRef) error {
	return a.services.Patches.DestroyUpdate(ctx, c.task, self)
}
