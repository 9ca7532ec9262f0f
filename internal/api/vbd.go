package api

import (
	"context"

	"poolpatch/xenapi"
)

type vbdRef = xenapi.Ref[xenapi.VBD]

func (a *API) vbdCreate(ctx context.Context, _ *call, rec xenapi.VBD) (vbdRef, error) {
	return a.services.Storage.CreateVBD(ctx, rec)
}

func (a *API) vbdDestroy(ctx context.Context, _ *call, self vbdRef) error {
	return a.services.Storage.DestroyVBD(ctx, self)
}

func (a *API) vbdPlug(ctx context.Context, c *call, self vbdRef) error {
	return a.services.Storage.PlugVBD(ctx, c.task, self)
}

func (a *API) vbdUnplug(ctx context.Context, c *call, self vbdRef) error {
	return a.services.Storage.UnplugVBD(ctx, c.task, self, false)
}

func (a *API) vbdUnplugForce(ctx context.Context, c *call, self vbdRef) error {
	return a.services.Storage.UnplugVBD(ctx, c.task, self, true)
}

func (a *API) vbdInsert(ctx context.Context, _ *call, vbd vbdRef, vdi vdiRef) error {
	return a.services.Storage.InsertVDI(ctx, vbd, vdi)
}

func (a *API) vbdEject(ctx context.Context, _ *call, vbd vbdRef) error {
	return a.services.Storage.EjectVDI(ctx, vbd)
}

func (a *API) vbdSetMode(ctx context.Context, _ *call, self vbdRef, value xenapi.VBDMode) error {
	return a.services.Storage.SetVBDMode(ctx, self, value)
}

func (a *API) vbdAssertAttachable(_ context.Context, _ *call, self vbdRef) error {
	return a.services.Storage.AssertAttachable(self)
}
