package api

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

// maxTokenLife bounds how long a join token may count.
const maxTokenLife = 7 * 24 * time.Hour

func (a *API) poolJoin(ctx context.Context, c *call, address, user, password string) error {
	return a.services.Cluster.Join(ctx, c.task.Ref(), address, user, password, false)
}

func (a *API) poolJoinForce(ctx context.Context, c *call, address, user, password string) error {
	return a.services.Cluster.Join(ctx, c.task.Ref(), address, user, password, true)
}

// poolAdmit is what a joining host asks. It has the session of somebody who may admit it, or a token.
func (a *API) poolAdmit(ctx context.Context, _ *call, session, application string) (string, error) {
	var who pool.Applicant
	if err := json.Unmarshal([]byte(application), &who); err != nil {
		return "", xenapi.ErrInvalidValue("application", err.Error())
	}
	allowed := session != ""
	if allowed {
		caller, err := a.services.Auth.Session(ctx, xenapi.ParseRef[xenapi.Session](session))
		if err != nil {
			return "", err
		}
		if err := auth.Authorize(caller, "pool.join", xenapi.RolePoolOperator); err != nil {
			return "", err
		}
	}
	admitted, err := a.services.Cluster.Admit(ctx, who, allowed)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(admitted)
	return string(text), err
}

// poolEject has the host give back the disks that it has attached, once they are all that is in the way.
func (a *API) poolEject(ctx context.Context, c *call, host hostRef) error {
	err := a.services.Cluster.Eject(ctx, c.task.Ref(), host)
	if !errors.Is(err, pool.ErrDiskAttached) {
		return err
	}
	if err := a.services.Storage.UnplugVBDsOf(ctx, c.task, host); err != nil {
		return err
	}
	return a.services.Cluster.Eject(ctx, c.task.Ref(), host)
}

func (a *API) poolCreateJoinToken(ctx context.Context, _ *call, lifetime int64) (string, error) {
	life := time.Duration(lifetime) * time.Second
	if life <= 0 || life > maxTokenLife {
		return "", xenapi.ErrInvalidValue("lifetime", "a token counts for 1 second to 7 days")
	}
	return a.services.Cluster.NewToken(ctx, life)
}

// hostDestroy also removes what the host's tasks had begun where this host can reach it.
func (a *API) hostDestroy(ctx context.Context, _ *call, host hostRef) error {
	if err := a.services.Cluster.Destroy(ctx, host); err != nil {
		return err
	}
	a.services.Tasks.UndoEnded(ctx, a.services.Storage.Undo())
	return nil
}

// poolLevel applies on a host what it lacks, one patch after another.
func (a *API) poolLevel(ctx context.Context, c *call, host hostRef) error {
	var lacking []patchRef
	if err := a.view(func(tx *db.Tx) error {
		_, err := db.Get(tx, host)
		lacking = pool.Lacking(tx, host)
		return err
	}); err != nil {
		return err
	}
	for i, patch := range lacking {
		if err := c.task.Delegate(ctx, "pool_patch.apply", func(ctx context.Context, t xenapi.Ref[xenapi.Task]) error {
			return a.services.Others.CallFor(ctx, host, "", t, nil, "pool_patch.apply", patch, host)
		}); err != nil {
			return err
		}
		c.task.Progress(ctx, float64(i+1)/float64(len(lacking)))
	}
	return nil
}
