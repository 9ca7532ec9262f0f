package api

import (
	"context"

	"poolpatch/xenapi"
)

type (
	patchRef = xenapi.Ref[xenapi.PoolPatch]
	hostRef  = xenapi.Ref[xenapi.Host]
)

func (a *API) patchPrecheck(ctx context.Context, c *call, self patchRef, host hostRef) (string, error) {
	return a.services.Patches.Precheck(ctx, c.task, self, host)
}

func (a *API) patchApply(ctx context.Context, c *call, self patchRef, host hostRef) (string, error) {
	return a.services.Patches.Apply(ctx, c.task, self, host)
}

func (a *API) patchPoolApply(ctx context.Context, c *call, self patchRef) error {
	return a.services.Patches.PoolApply(ctx, c.task, self)
}

func (a *API) patchPoolApplyContinue(ctx context.Context, _ *call, self patchRef) error {
	return a.services.Patches.Continue(ctx, self)
}

func (a *API) patchPoolApplyCancel(ctx context.Context, _ *call, self patchRef, kill bool) error {
	return a.services.Patches.Stop(ctx, self, kill)
}

func (a *API) patchPoolApplyStatus(_ context.Context, _ *call, self patchRef) (string, error) {
	return a.services.Patches.Status(self)
}

func (a *API) patchClean(ctx context.Context, c *call, self patchRef) error {
	return a.services.Patches.Clean(ctx, c.task, self)
}

func (a *API) patchCleanOnHost(ctx context.Context, c *call, self patchRef, host hostRef) error {
	return a.services.Patches.CleanOnHost(ctx, c.task, self, host)
}

func (a *API) patchPoolClean(ctx context.Context, c *call, self patchRef) error {
	return a.services.Patches.PoolClean(ctx, c.task, self)
}

func (a *API) patchDestroy(ctx context.Context, c *call, self patchRef) error {
	return a.services.Patches.Destroy(ctx, c.task, self)
}

func (a *API) hostPatchDestroy(ctx context.Context, _ *call, self xenapi.Ref[xenapi.HostPatch]) error {
	return a.services.Patches.Forget(ctx, self)
}
