package api

import (
	"context"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

type (
	repositoryRef = xenapi.Ref[xenapi.Repository]
	secretRef     = xenapi.Ref[xenapi.Secret]
)

func (a *API) repositoryIntroduce(ctx context.Context, _ *call, label, description, binaryURL, sourceURL string, update bool, keyPath string) (repositoryRef, error) {
	rec := xenapi.New[xenapi.Repository]()
	rec.NameLabel, rec.NameDescription, rec.BinaryURL, rec.SourceURL = label, description, binaryURL, sourceURL
	rec.Update, rec.GPGKeyPath = update, keyPath
	return a.services.Repositories.Introduce(ctx, rec)
}

func (a *API) repositoryForget(ctx context.Context, _ *call, self repositoryRef) error {
	return a.services.Repositories.Forget(ctx, self)
}

func (a *API) repositorySetKeyPath(ctx context.Context, _ *call, self repositoryRef, value string) error {
	return a.services.Repositories.SetKeyPath(ctx, self, value)
}

func (a *API) poolAddRepository(ctx context.Context, _ *call, self poolRef, value repositoryRef) error {
	return a.services.Repositories.Add(ctx, self, value)
}

func (a *API) poolRemoveRepository(ctx context.Context, _ *call, self poolRef, value repositoryRef) error {
	return a.services.Repositories.Remove(ctx, self, value)
}

func (a *API) poolSetRepositories(ctx context.Context, _ *call, self poolRef, value []repositoryRef) error {
	return a.services.Repositories.Set(ctx, self, value)
}

// poolSyncUpdates takes no token: those are for the vendor's own servers, and poolpatch's repositories are known by their
// signatures. What the caller gave is a secret, and not repeated.
func (a *API) poolSyncUpdates(ctx context.Context, c *call, self poolRef, force bool, token, tokenID string) (string, error) {
	if err := exists(a, self); err != nil {
		return "", err
	}
	if token != "" || tokenID != "" {
		return "", xenapi.ErrValueNotSupported("token", "", "repositories are public, and known by their signatures")
	}
	return a.services.Repositories.Sync(ctx, c.task, force)
}

func (a *API) poolCheckUpdateReadiness(_ context.Context, _ *call, self poolRef, requiresReboot bool) ([][]string, error) {
	return a.services.Repositories.Unready(self, requiresReboot)
}

func (a *API) poolConfigureRepositoryProxy(ctx context.Context, _ *call, self poolRef, url, username, password string) error {
	return a.services.Repositories.SetProxy(ctx, self, url, username, password)
}

func (a *API) poolDisableRepositoryProxy(ctx context.Context, _ *call, self poolRef) error {
	return a.services.Repositories.ClearProxy(ctx, self)
}

func (a *API) poolConfigureUpdateSync(ctx context.Context, _ *call, self poolRef, frequency xenapi.UpdateSyncFrequency, day int64) error {
	return a.services.Repositories.Schedule(ctx, self, frequency, day)
}

func (a *API) poolSetUpdateSyncEnabled(ctx context.Context, _ *call, self poolRef, value bool) error {
	return a.services.Repositories.SetEnabled(ctx, self, value)
}

func (a *API) hostApplyUpdates(ctx context.Context, c *call, self hostRef, hash string) ([][]string, error) {
	return a.services.Repositories.ApplyUpdates(ctx, c.task, self, hash)
}

func (a *API) secretCreate(ctx context.Context, _ *call, rec xenapi.Secret) (secretRef, error) {
	rec.UUID = xenapi.NewUUID()
	return a.insertSecret(ctx, rec)
}

func (a *API) secretIntroduce(ctx context.Context, _ *call, uuid, value string, otherConfig map[string]string) (secretRef, error) {
	own, ok := xenapi.ParseUUID(uuid)
	if !ok {
		return "", xenapi.ErrInvalidValue("uuid", uuid)
	}
	return a.insertSecret(ctx, xenapi.Secret{UUID: own, Value: value, OtherConfig: otherConfig})
}

func (a *API) insertSecret(ctx context.Context, rec xenapi.Secret) (secretRef, error) {
	ref := xenapi.NewRef[xenapi.Secret]()
	return ref, a.services.DB.Update(ctx, func(tx *db.Tx) error { return db.Insert(tx, ref, rec) })
}

func (a *API) secretDestroy(ctx context.Context, _ *call, self secretRef) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		if _, err := db.Get(tx, self); err != nil {
			return err
		}
		return db.Delete(tx, self)
	})
}
