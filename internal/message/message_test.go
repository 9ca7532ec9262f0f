package message_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/message"
	"poolpatch/xenapi"
)

func open(t *testing.T) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), memkv.New(), db.Options{
		Tables: append(message.Tables(), db.TableOf[xenapi.Host](), db.TableOf[xenapi.SR](), db.TableOf[xenapi.Pool]()),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func update(t *testing.T, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := d.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// names counts the messages of each name.
func names(d *db.DB) map[string]int {
	all := map[string]int{}
	_ = d.View(func(tx *db.Tx) error {
		for _, m := range db.All[xenapi.Message](tx) {
			all[m.Name]++
		}
		return nil
	})
	return all
}

func want(t *testing.T, d *db.DB, wanted map[string]int) {
	t.Helper()
	if got := names(d); !maps.Equal(got, wanted) {
		t.Errorf("messages %v, want %v", got, wanted)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := open(t)
		for i := range 1005 {
			time.Sleep(time.Second)
			update(t, d, func(tx *db.Tx) error {
				_, err := message.Post(tx, xenapi.Message{Name: fmt.Sprint(i)})
				return err
			})
		}
		all := names(d)
		if len(all) != 1000 || all["4"] != 0 || all["5"] != 1 || all["1004"] != 1 {
			t.Errorf("%d messages, from %v", len(all), slices.Sorted(maps.Keys(all))[:3])
		}
		update(t, d, func(tx *db.Tx) error { return message.Collect(tx, time.Now().Add(90*24*time.Hour)) })
		want(t, d, map[string]int{"1004": 1})
	})
}

// A condition has one message until it is over, also when an administrator has destroyed that.
func TestAConditionHasOneMessage(t *testing.T) {
	t.Parallel()
	d := open(t)
	full := xenapi.Message{Name: message.SRNearlyFull, Cls: xenapi.MessageClassSR, ObjUUID: "u"}
	raise := func() { update(t, d, func(tx *db.Tx) error { return message.Raise(tx, full) }) }
	update(t, d, func(tx *db.Tx) error { return db.Insert(tx, "OpaqueRef:sr", xenapi.SR{UUID: "u"}) })
	raise()
	raise()
	want(t, d, map[string]int{message.SRNearlyFull: 1})
	update(t, d, func(tx *db.Tx) error {
		for ref := range db.All[xenapi.Message](tx) {
			return db.Delete(tx, ref)
		}
		return nil
	})
	update(t, d, func(tx *db.Tx) error { return message.Collect(tx, time.Now()) })
	raise()
	want(t, d, map[string]int{})
	for range 2 {
		update(t, d, func(tx *db.Tx) error { return message.Clear(tx, full.Name, full.ObjUUID) })
	}
	raise()
	want(t, d, map[string]int{message.SRNearlyFull: 1})
	update(t, d, func(tx *db.Tx) error { return db.Delete[xenapi.SR](tx, "OpaqueRef:sr") })
	update(t, d, func(tx *db.Tx) error { return message.Collect(tx, time.Now()) })
	_ = d.View(func(tx *db.Tx) error {
		if message.Raised(tx, full.Name, full.ObjUUID) {
			t.Error("the alarm of an SR that is gone is still there")
		}
		return nil
	})
}

func TestACertificateThatExpires(t *testing.T) {
	t.Parallel()
	d := open(t)
	end := time.Date(2030, 3, 31, 0, 0, 0, 0, time.UTC)
	about := xenapi.Message{Name: "HOST_SERVER_CERTIFICATE", Cls: xenapi.MessageClassHost, ObjUUID: "u", Body: "The certificate"}
	look := func(end time.Time, days int) {
		t.Helper()
		update(t, d, func(tx *db.Tx) error { return message.Expiring(tx, about, end, end.AddDate(0, 0, -days)) })
	}
	wanted := map[string]int{}
	for _, c := range []struct {
		days int
		name string
	}{{31, ""}, {30, "_EXPIRING_30"}, {29, ""}, {14, "_EXPIRING_14"}, {13, ""}, {7, "_EXPIRING_07"}, {1, ""}, {0, "_EXPIRED"}, {-1, ""}} {
		look(end, c.days)
		if c.name != "" {
			wanted[about.Name+c.name]++
		}
		want(t, d, wanted)
	}
	look(end.AddDate(1, 0, 0), 365) // it was renewed
	look(end.AddDate(1, 0, 0), 10)  // the daemon was off for long: the most urgent alone
	wanted[about.Name+"_EXPIRING_14"]++
	want(t, d, wanted)
}
