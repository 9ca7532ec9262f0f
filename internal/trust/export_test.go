package trust

import "poolpatch/internal/db"

// Damage makes a revocation list that cannot be read.
func Damage(tx *db.Tx) error {
	return db.Insert(tx, "OpaqueRef:damaged", list{Name: "damaged", PEM: "no list"})
}
