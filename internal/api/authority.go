package api

import (
	"context"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

// poolRotateAuthority begins the replacement; pool.get_authority_state says when it is done.
func (a *API) poolRotateAuthority(ctx context.Context, _ *call) error {
	return a.services.Cluster.RotateAuthority(ctx)
}

// poolAuthorityState says how far the replacement of the pool's authority is: "phase" is steady, spread, renew or retire, and
// "waiting" are the UUIDs of the hosts that have not followed, parted by spaces; "offline" are those of them that do not
// live.
func (a *API) poolAuthorityState(context.Context, *call) (map[string]string, error) {
	var waiting, offline []string
	var phase pool.Phase
	err := a.view(func(tx *db.Tx) error {
		var hosts []xenapi.Ref[xenapi.Host]
		phase, hosts = pool.Rotation(tx)
		for _, host := range hosts {
			rec, _ := db.Lookup(tx, host)
			waiting = append(waiting, rec.UUID)
			if !pool.Alive(tx, host) {
				offline = append(offline, rec.UUID)
			}
		}
		return nil
	})
	return map[string]string{"phase": string(phase), "waiting": strings.Join(waiting, " "), "offline": strings.Join(offline, " ")}, err
}
