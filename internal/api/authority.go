package api

import (
	"context"
	"strconv"
	"strings"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

// poolRotateAuthority begins the replacement; pool.get_authority_state says when it is done.
func (a *API) poolRotateAuthority(ctx context.Context, _ *call) error {
	return a.services.Cluster.RotateAuthority(ctx)
}

// databaseDeadline bounds the question whether the database takes changes.
const databaseDeadline = 5 * time.Second

// poolDatabaseState says whether the pool's database takes changes: "writable" is true or false. Without a majority of its
// copies it does not, and what the pool says of hosts is what was known last.
func (a *API) poolDatabaseState(ctx context.Context, _ *call) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, databaseDeadline)
	defer cancel()
	return map[string]string{"writable": strconv.FormatBool(a.services.DB.Sync(ctx) == nil)}, nil
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
