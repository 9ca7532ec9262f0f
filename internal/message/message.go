// Package message makes the messages that tell administrators what they must see: a patch that failed on a host, an SR
// that is nearly full, a host that is lost, a certificate that expires.
//
// It is not for answers to calls (those are errors) nor for what goes well. A message is made in the transaction that
// makes it true. The invariant: messages are bounded, in number and in age, and a condition that lasts has one message, also
// when somebody has destroyed that meanwhile, until the condition is over. Start reading with Post, then alarm.go.
package message

import (
	"cmp"
	"slices"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

const (
	// most is how many messages are kept: the oldest go.
	most = 1000
	// life is how long a message is kept.
	life = 90 * 24 * time.Hour
)

// Priorities, as XenAPI has them: 1 is what stops a service, 5 is for the record.
const (
	Critical = 1
	Major    = 2
	Warning  = 3
	Notice   = 5
)

// Names of messages. Certificates have more; see Expiring.
const (
	PatchApplyFailed      = "PATCH_APPLY_FAILED"
	PatchApplyInterrupted = "PATCH_APPLY_INTERRUPTED"
	SRNearlyFull          = "SR_NEARLY_FULL"
	HostLost              = "HOST_LOST"
	HostBack              = "HOST_BACK"
	MetadataLUNBroken     = "METADATA_LUN_BROKEN"  // the pool's database cannot be written into a VDI
	MetadataLUNHealthy    = "METADATA_LUN_HEALTHY" // and again it can
	ReplicationEnded      = "DATABASE_REPLICATION_ENDED"
	UpdateSyncFailed      = "PERIODIC_UPDATE_SYNC_FAILED"
	UnlikeAuth            = "AUTH_EXTERNAL_POOL_NON_HOMOGENEOUS"
)

// Tables are what the package keeps.
func Tables() []db.Table { return []db.Table{db.TableOf[xenapi.Message](), db.TableOf[alarm]()} }

// Post makes a message of now. When there are too many, the oldest go.
func Post(tx *db.Tx, m xenapi.Message) (xenapi.Ref[xenapi.Message], error) {
	m.UUID, m.Timestamp = xenapi.NewUUID(), time.Now().UTC()
	if excess := tx.Count(m.Class()) - most + 1; excess > 0 {
		for _, old := range byAge(tx)[:excess] {
			if err := db.Delete(tx, old); err != nil {
				return "", err
			}
		}
	}
	ref := xenapi.NewRef[xenapi.Message]()
	return ref, db.Insert(tx, ref, m)
}

func byAge(tx *db.Tx) []xenapi.Ref[xenapi.Message] {
	at := map[xenapi.Ref[xenapi.Message]]time.Time{}
	var refs []xenapi.Ref[xenapi.Message]
	for ref, m := range db.All[xenapi.Message](tx) {
		at[ref], refs = m.Timestamp, append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b xenapi.Ref[xenapi.Message]) int {
		return cmp.Or(at[a].Compare(at[b]), cmp.Compare(a, b))
	})
	return refs
}

// Collect removes messages that are too old, and the alarms of objects that are gone.
func Collect(tx *db.Tx, now time.Time) error {
	for ref, m := range db.All[xenapi.Message](tx) {
		if now.Sub(m.Timestamp) > life {
			if err := db.Delete(tx, ref); err != nil {
				return err
			}
		}
	}
	return collectAlarms(tx)
}
