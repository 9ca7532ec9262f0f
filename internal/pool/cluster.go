package pool

import (
	"context"
	"log/slog"
	"sync"

	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Keepers are the hosts that have a copy of the database.
type Keepers interface {
	// AddKeeper makes room for a host that is reached at url (https://address:port), and says where its database will be.
	// For the same url it says the same again.
	AddKeeper(ctx context.Context, url string) (Place, error)
	// RemoveKeeper takes away the copy of the host at url, if it has one.
	RemoveKeeper(ctx context.Context, url string) error
}

// Move has this host's daemon start again where its database then is; see [Files.Move]. What it was asked for is recorded
// when it returns.
type Move func(ctx context.Context, to Place, as Credential) error

// Cluster is who is in the pool, as this host can change it.
type Cluster struct {
	DB       *db.DB
	Me       xenapi.Ref[xenapi.Host]
	Identity Identity
	Keys     *authority.Keyholder
	Keepers  Keepers
	Move     Move
	Log      *slog.Logger

	mu sync.Mutex // over what removeCopy looks at and does
}

// notCoordinator sends whoever asked to the host that is the coordinator.
func notCoordinator(tx *db.Tx) error {
	rec, err := db.Get(tx, Coordinator(tx))
	if err != nil {
		return err
	}
	return xenapi.ErrHostIsSlave(rec.Address)
}

// URL is where the hosts reach one another at an address.
func URL(address string) string { return "https://" + WithPort(address) }
