package pool

import (
	"cmp"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Coordinator is the host that pool.master names; null where there is no pool yet.
func Coordinator(tx *db.Tx) xenapi.Ref[xenapi.Host] {
	_, rec, _ := thePool(tx)
	return rec.Master
}

// InOrder lists the hosts of the pool, the coordinator first, then by UUID.
func InOrder(tx *db.Tx) []xenapi.Ref[xenapi.Host] {
	type named struct {
		ref  xenapi.Ref[xenapi.Host]
		uuid string
	}
	var all []named
	for ref, rec := range db.All[xenapi.Host](tx) {
		all = append(all, named{ref, rec.UUID})
	}
	first := Coordinator(tx)
	slices.SortFunc(all, func(a, b named) int {
		switch first {
		case a.ref:
			return -1
		case b.ref:
			return 1
		}
		return cmp.Compare(a.uuid, b.uuid)
	})
	refs := make([]xenapi.Ref[xenapi.Host], len(all))
	for i, host := range all {
		refs[i] = host.ref
	}
	return refs
}

// Sees reports whether a host has an SR plugged.
func Sees(tx *db.Tx, host xenapi.Ref[xenapi.Host], sr xenapi.Ref[xenapi.SR]) bool {
	for _, ref := range db.Referrers[xenapi.PBD](tx, "SR", sr) {
		if pbd, ok := db.Lookup(tx, ref); ok && pbd.Host == host && pbd.CurrentlyAttached {
			return true
		}
	}
	return false
}

// Seeing lists the hosts that live and have an SR plugged, in the order of [InOrder].
func Seeing(tx *db.Tx, sr xenapi.Ref[xenapi.SR]) []xenapi.Ref[xenapi.Host] {
	return slices.DeleteFunc(InOrder(tx), func(host xenapi.Ref[xenapi.Host]) bool {
		return !Sees(tx, host, sr) || !Alive(tx, host)
	})
}

// Nearest chooses a host that sees an SR: me if it does, else the coordinator if it does. Where no host that lives does,
// it is one that would if it lived; null where none would.
func Nearest(tx *db.Tx, me xenapi.Ref[xenapi.Host], sr xenapi.Ref[xenapi.SR]) xenapi.Ref[xenapi.Host] {
	if Sees(tx, me, sr) {
		return me
	}
	if hosts := Seeing(tx, sr); len(hosts) > 0 {
		return hosts[0]
	}
	for _, host := range InOrder(tx) {
		if Sees(tx, host, sr) {
			return host
		}
	}
	return ""
}

// Writer is the one host that writes what the pool itself keeps on an SR: the coordinator if it sees the SR, else the first
// that does; the coordinator again where none does, for somebody to say so.
func Writer(tx *db.Tx, sr xenapi.Ref[xenapi.SR]) xenapi.Ref[xenapi.Host] {
	if hosts := Seeing(tx, sr); len(hosts) > 0 {
		return hosts[0]
	}
	return Coordinator(tx)
}

// Lacking lists the patches that the coordinator has and a host has not, in the order in which the coordinator got them.
func Lacking(tx *db.Tx, host xenapi.Ref[xenapi.Host]) []xenapi.Ref[xenapi.PoolPatch] {
	var rows []xenapi.HostPatch
	for _, ref := range db.Referrers[xenapi.HostPatch](tx, "host", Coordinator(tx)) {
		row, _ := db.Lookup(tx, ref)
		patch, _ := db.Lookup(tx, row.PoolPatch)
		if row.Applied && !slices.Contains(appliedOn(tx, host), patch.UUID) {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b xenapi.HostPatch) int { return a.TimestampApplied.Compare(b.TimestampApplied) })
	refs := make([]xenapi.Ref[xenapi.PoolPatch], len(rows))
	for i, row := range rows {
		refs[i] = row.PoolPatch
	}
	return refs
}
