package db_test

import (
	"fmt"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/xenapi"
)

func filled(b *testing.B, rows int) *db.DB {
	d := open(b, memkv.New())
	update(b, d, func(tx *db.Tx) error {
		for i := range rows {
			rec := xenapi.New[xenapi.VDI]()
			rec.UUID, rec.SR, rec.OtherConfig = fmt.Sprint(i), "sr", map[string]string{"k": "v"}
			if err := db.Insert(tx, xenapi.Ref[xenapi.VDI](fmt.Sprint(i)), rec); err != nil {
				return err
			}
		}
		return nil
	})
	return d
}

func BenchmarkViewGet(b *testing.B) {
	d := filled(b, 1000)
	for b.Loop() {
		_ = d.View(func(tx *db.Tx) error {
			_, err := db.Get[xenapi.VDI](tx, "500")
			return err
		})
	}
}

func BenchmarkViewAll1000(b *testing.B) {
	d := filled(b, 1000)
	for b.Loop() {
		_ = d.View(func(tx *db.Tx) error {
			for range db.All[xenapi.VDI](tx) {
			}
			return nil
		})
	}
}

func BenchmarkUpdate(b *testing.B) {
	d := filled(b, 1000)
	for b.Loop() {
		update(b, d, func(tx *db.Tx) error {
			return db.Change(tx, "500", func(v *xenapi.VDI) error { v.VirtualSize++; return nil })
		})
	}
}
