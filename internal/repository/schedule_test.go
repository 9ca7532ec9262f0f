package repository_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/repository"
	"poolpatch/xenapi"
)

func TestWhichDaysCanBe(t *testing.T) {
	t.Parallel()
	x := newSite(t).start(t, repository.Options{})
	for _, c := range []struct {
		frequency xenapi.UpdateSyncFrequency
		day       int64
		code      string
	}{
		{"weekly", 0, ""}, {"weekly", 6, ""}, {"weekly", 7, xenapi.CodeInvalidUpdateSyncDay}, {"weekly", -1, xenapi.CodeInvalidUpdateSyncDay},
		{"daily", 1, xenapi.CodeInvalidUpdateSyncDay}, {"daily", 0, ""},
	} {
		if code := xenapi.CodeOf(x.Schedule(t.Context(), thePool, c.frequency, c.day)); code != c.code {
			t.Errorf("%s on %d: %q", c.frequency, c.day, code)
		}
	}
	if p := get(x, thePool); p.UpdateSyncFrequency != "daily" || p.UpdateSyncDay != 0 {
		t.Errorf("%s on %d", p.UpdateSyncFrequency, p.UpdateSyncDay)
	}
}

// clocked runs a pool that syncs by itself in a time of its own. The server stands outside of that, where connections need no
// time.
func clocked(t *testing.T, coordinating func() bool, do func(t *testing.T, x daemon, log func() []time.Time)) {
	t.Helper()
	outside := newServer(t)
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.server.Close()
		s.server = outside
		var at []time.Time
		x := s.start(t, repository.Options{Location: time.UTC, Coordinating: func(*db.Tx) bool { return coordinating() }, TLS: nil,
			Step: func(point string) {
				if point == "sync-recorded" {
					at = append(at, time.Now().UTC())
				}
			}})
		s.offerIndex(t, 1)
		x.repository(t, "ours", outside.URL+"/dir")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- x.SyncWhenDue(ctx) }()
		do(t, x, func() []time.Time { synctest.Wait(); all := at; at = nil; return all })
		cancel()
		<-ended
		x.db.Close()
	})
}

func always() bool { return true }

// A pool syncs at once when that is switched on, then once a day, or a week on the day that was chosen, at its own moment.
func TestSyncsByItself(t *testing.T) {
	clocked(t, always, func(t *testing.T, x daemon, log func() []time.Time) {
		const day = 24 * time.Hour
		time.Sleep(30 * day)
		if got := log(); len(got) != 0 {
			t.Errorf("switched off it has synced at %v", got)
		}
		if err := x.SetEnabled(t.Context(), thePool, true); err != nil {
			t.Fatal(err)
		}
		if got := log(); len(got) != 1 || time.Since(got[0]) > time.Second {
			t.Errorf("switched on: %v", got)
		}
		if err := x.Schedule(t.Context(), thePool, "weekly", 3); err != nil {
			t.Fatal(err)
		}
		time.Sleep(28 * day)
		weekly := log()
		if len(weekly) != 4 {
			t.Fatalf("in four weeks: %v", weekly)
		}
		for i, at := range weekly {
			if at.Weekday() != time.Wednesday || i > 0 && at.Sub(weekly[i-1]) != 7*day {
				t.Errorf("weekly: %v", at)
			}
		}
		if err := x.Schedule(t.Context(), thePool, "daily", 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * day)
		daily := log()
		if len(daily) < 5 || len(daily) > 6 {
			t.Fatalf("in five days: %v", daily)
		}
		for i, at := range daily[2:] {
			if at.Sub(daily[i+1]) != day || at.Format(time.TimeOnly) != weekly[0].Format(time.TimeOnly) {
				t.Errorf("daily: %v", daily)
			}
		}
	})
}

// What fails has one message and is tried again less and less often; a success ends that.
func TestAFailureIsToldOnce(t *testing.T) {
	clocked(t, always, func(t *testing.T, x daemon, log func() []time.Time) {
		x.site.server.answer(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusTeapot); return true })
		if err := x.SetEnabled(t.Context(), thePool, true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(72 * time.Hour)
		synctest.Wait()
		// 1, 2, 4 … 256 minutes, then six hours each time.
		if n := len(strings.Fields(x.site.server.requests())); n < 18 || n > 24 {
			t.Errorf("asked %d times in three days", n)
		}
		told := all[xenapi.Message](x)
		if len(told) != 1 || told[0].Name != "PERIODIC_UPDATE_SYNC_FAILED" || told[0].ObjUUID != "uuid-pool" || !strings.Contains(told[0].Body, "418") {
			t.Errorf("messages %+v", told)
		}
		x.site.server.answer(nil)
		time.Sleep(6 * time.Hour)
		if got := log(); len(got) != 1 {
			t.Errorf("it has synced at %v", got)
		}
		x.site.server.answer(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusTeapot); return true })
		time.Sleep(8 * 24 * time.Hour)
		synctest.Wait()
		if told := all[xenapi.Message](x); len(told) != 2 {
			t.Errorf("another failure after a success: %d messages", len(told))
		}
	})
}

// Only the coordinator syncs; it takes away the mark of one that has died in the middle.
func TestOnlyTheCoordinatorSyncs(t *testing.T) {
	leading := false
	clocked(t, func() bool { return leading }, func(t *testing.T, x daemon, log func() []time.Time) {
		mark := func(tx *db.Tx) error {
			return db.Change(tx, thePool, func(p *xenapi.Pool) error {
				p.CurrentOperations = map[string]xenapi.PoolAllowedOperation{"OpaqueRef:dead": xenapi.PoolAllowedOperationSyncUpdates}
				return nil
			})
		}
		x.update(t, mark)
		if err := x.SetEnabled(t.Context(), thePool, true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour)
		if got := log(); len(got) != 0 {
			t.Errorf("it has synced at %v", got)
		}
		leading = true
		x.update(t, mark)
		if got := log(); len(got) != 1 || len(get(x, thePool).CurrentOperations) > 0 {
			t.Errorf("synced %v, marks %v", got, get(x, thePool).CurrentOperations)
		}
	})
}
