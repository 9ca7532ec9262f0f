package db_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/xenapi"
)

// hosts opens n databases over one store.
func hosts(store db.Store, n int) (all []*db.DB, stop func(), err error) {
	stop = func() {
		for _, d := range all {
			d.Close()
		}
	}
	for range n {
		d, err := db.Open(context.Background(), store, db.Options{Tables: tables})
		if err != nil {
			return nil, stop, err
		}
		all = append(all, d)
	}
	return all, stop, nil
}

// TestTransfersAreSerializable moves amounts between accounts (SRs, whose size is the balance) from several
// hosts at once. Each transfer reads all accounts and refuses unless the sum is right, so a transaction
// that saw a state which no serial order has shows itself. Every host must end with the same sum.
func TestTransfersAreSerializable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		accounts := rapid.IntRange(2, 4).Draw(t, "accounts")
		workers := rapid.IntRange(2, 6).Draw(t, "workers")
		transfers := rapid.IntRange(1, 8).Draw(t, "transfers")
		all, stop, err := hosts(memkv.New(), rapid.IntRange(1, 3).Draw(t, "hosts"))
		defer stop()
		if err != nil {
			t.Fatal(err)
		}
		if err := all[0].Update(context.Background(), func(tx *db.Tx) error { return openAccounts(tx, accounts) }); err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			if err := d.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		errs := make(chan error, workers*transfers)
		var work sync.WaitGroup
		for w := range workers {
			work.Go(func() {
				for i := range transfers {
					from, to := account((w+i)%accounts), account((w+i+1)%accounts)
					d := all[w%len(all)]
					errs <- d.Update(context.Background(), func(tx *db.Tx) error { return transfer(tx, from, to, int64(accounts)*100) })
				}
			})
		}
		work.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range all {
			if err := d.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := d.View(func(tx *db.Tx) error { return checkSum(tx, int64(accounts)*100) }); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func account(i int) xenapi.Ref[xenapi.SR] { return xenapi.Ref[xenapi.SR](fmt.Sprintf("account%d", i)) }

func openAccounts(tx *db.Tx, n int) error {
	for i := range n {
		if err := db.Insert(tx, account(i), xenapi.SR{PhysicalSize: 100}); err != nil {
			return err
		}
	}
	return nil
}

func transfer(tx *db.Tx, from, to xenapi.Ref[xenapi.SR], sum int64) error {
	add := func(n int64) func(*xenapi.SR) error {
		return func(sr *xenapi.SR) error { sr.PhysicalSize += n; return nil }
	}
	if err := errors.Join(db.Change(tx, from, add(-7)), db.Change(tx, to, add(7))); err != nil {
		return err
	}
	return checkSum(tx, sum)
}

func checkSum(tx *db.Tx, want int64) error {
	var got int64
	for _, sr := range db.All[xenapi.SR](tx) {
		got += sr.PhysicalSize
	}
	if got != want {
		return fmt.Errorf("the accounts hold %d, want %d", got, want)
	}
	return nil
}

// TestOneConditionOneWinner lets every worker claim something if it finds it free, in each of the ways
// to find that out. Exactly one may win.
func TestOneConditionOneWinner(t *testing.T) {
	t.Parallel()
	ref := func(w int) xenapi.Ref[xenapi.SR] { return xenapi.Ref[xenapi.SR](fmt.Sprintf("sr%d", w)) }
	lost := errors.New("another won")
	claims := map[string]func(*db.Tx, int) error{
		"insert a ref":  func(tx *db.Tx, w int) error { return db.Insert(tx, "one", xenapi.SR{}) },
		"insert a uuid": func(tx *db.Tx, w int) error { return db.Insert(tx, ref(w), xenapi.SR{UUID: "u"}) },
		"look one up": func(tx *db.Tx, w int) error {
			if _, ok := db.Lookup[xenapi.VDI](tx, "claimed"); ok {
				return lost
			}
			return db.Put(tx, "claimed", xenapi.VDI{NameLabel: fmt.Sprint(w)})
		},
		"scan a table": func(tx *db.Tx, w int) error {
			if len(tx.Refs("SR")) > 0 {
				return lost
			}
			return db.Insert(tx, ref(w), xenapi.SR{})
		},
		"look for referrers": func(tx *db.Tx, w int) error {
			if len(tx.ReferrersOf("VDI", "SR", "sr")) > 0 {
				return lost
			}
			return db.Insert(tx, xenapi.Ref[xenapi.VDI](fmt.Sprint(w)), xenapi.VDI{SR: "sr"})
		},
		"look for a uuid": func(tx *db.Tx, w int) error {
			if _, taken := tx.RefByUUID("SR", "u"); taken {
				return lost
			}
			return db.Insert(tx, ref(w), xenapi.SR{UUID: "u"})
		},
	}
	for name, claim := range claims {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// No host knows of another's claim when it makes its own, because the watches are slow.
			synctest.Test(t, func(t *testing.T) {
				all, stop, err := hosts(slow{memkv.New(), time.Second}, 3)
				defer stop()
				if err != nil {
					t.Fatal(err)
				}
				var winners atomic.Int32
				var work sync.WaitGroup
				for w := range 12 {
					work.Go(func() {
						if all[w%3].Update(context.Background(), func(tx *db.Tx) error { return claim(tx, w) }) == nil {
							winners.Add(1)
						}
					})
				}
				work.Wait()
				if winners.Load() != 1 {
					t.Errorf("%d won", winners.Load())
				}
			})
		})
	}
}

// slow delays what a watch tells, so that a cache is behind its store.
type slow struct {
	db.Store
	delay time.Duration
}

func (s slow) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[db.Batch, error] {
	return func(yield func(db.Batch, error) bool) {
		for b, err := range s.Store.Watch(ctx, prefix, after) {
			time.Sleep(s.delay)
			if !yield(b, err) {
				return
			}
		}
	}
}

func TestAnUpdateIsSeenWhenItReturns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := open(t, slow{memkv.New(), 50 * time.Millisecond})
		for i := range 20 {
			label := fmt.Sprint(i)
			update(t, d, func(tx *db.Tx) error { return db.Put(tx, "sr", xenapi.SR{NameLabel: label}) })
			read(t, d, func(tx *db.Tx) {
				if sr, _ := db.Lookup[xenapi.SR](tx, "sr"); sr.NameLabel != label {
					t.Errorf("after writing %s there is %q", label, sr.NameLabel)
				}
			})
		}
	})
}

// A cache that is behind makes an update run again, on the state that is.
func TestAStaleUpdateRunsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		quick, late := open(t, store), open(t, slow{store, time.Second})
		update(t, quick, func(tx *db.Tx) error { return db.Insert(tx, "sr", xenapi.SR{PhysicalSize: 1}) })
		runs := 0
		update(t, late, func(tx *db.Tx) error {
			runs++
			sr, _ := db.Lookup[xenapi.SR](tx, "sr")
			sr.PhysicalSize *= 10
			return db.Put(tx, "sr", sr)
		})
		read(t, late, func(tx *db.Tx) {
			if sr, _ := db.Lookup[xenapi.SR](tx, "sr"); sr.PhysicalSize != 10 || runs != 2 {
				t.Errorf("after %d runs the size is %d", runs, sr.PhysicalSize)
			}
		})
	})
}

// A host that syncs sees what another host committed before.
func TestSync(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		quick, late := open(t, store), open(t, slow{store, time.Second})
		update(t, quick, func(tx *db.Tx) error { return db.Insert(tx, "sr", xenapi.SR{}) })
		if err := late.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		read(t, late, func(tx *db.Tx) {
			if _, ok := db.Lookup[xenapi.SR](tx, "sr"); !ok {
				t.Error("the row is not there after a sync")
			}
		})
	})
}

func TestContentionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		d, other := open(t, store), open(t, store)
		runs := 0
		err := d.Update(context.Background(), func(tx *db.Tx) error {
			runs++
			update(t, other, func(tx *db.Tx) error { return db.Put(tx, "sr", xenapi.SR{PhysicalSize: int64(runs)}) })
			synctest.Wait()
			return db.Put(tx, "sr", xenapi.SR{PhysicalSize: -1})
		})
		if !errors.Is(err, db.ErrContention) || runs < 10 {
			t.Errorf("after %d runs: %v", runs, err)
		}
	})
}

func TestACacheReloadsOverAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		d, other := open(t, slow{store, time.Second}), open(t, store)
		update(t, other, func(tx *db.Tx) error {
			return errors.Join(db.Insert(tx, "sr0", xenapi.SR{}), db.Insert(tx, "keep", xenapi.SR{UUID: "u"}))
		})
		for i := range 5 {
			update(t, other, func(tx *db.Tx) error {
				return errors.Join(db.Delete(tx, srRef(i)), db.Insert(tx, srRef(i+1), xenapi.SR{}))
			})
		}
		store.Compact()
		store.Interrupt()
		err := d.Wait(context.Background(), func(tx *db.Tx) (bool, error) { return len(srs(tx)) == 2 && srs(tx)[1] == "sr5", nil })
		if err != nil {
			t.Fatal(err)
		}
		update(t, other, func(tx *db.Tx) error { return db.Delete[xenapi.SR](tx, "keep") })
		err = d.Wait(context.Background(), func(tx *db.Tx) (bool, error) {
			_, taken := tx.RefByUUID("SR", "u")
			return !taken && len(srs(tx)) == 1, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func srRef(i int) xenapi.Ref[xenapi.SR] { return xenapi.Ref[xenapi.SR](fmt.Sprintf("sr%d", i)) }

// armed is a store that fails the next commits as told; the zero value fails none.
type armed struct{ next atomic.Pointer[[]memkv.Fault] }

func (a *armed) arm(faults ...memkv.Fault) { a.next.Store(&faults) }

func (a *armed) fault(int, []db.Guard, []db.Op) memkv.Fault {
	faults := a.next.Load()
	if faults == nil || len(*faults) == 0 {
		return memkv.None
	}
	rest := (*faults)[1:]
	a.next.Store(&rest)
	return (*faults)[0]
}

// A lost reply is settled: the caller learns whether the commit landed, and nothing runs twice.
func TestALostReplyIsSettled(t *testing.T) {
	t.Parallel()
	const lost, landed = memkv.FailNotPersisted, memkv.FailButPersisted
	tests := []struct {
		faults []memkv.Fault // of the commit, then of the attempts to settle its fate
		landed bool
	}{
		{[]memkv.Fault{landed}, true},
		{[]memkv.Fault{lost}, false},
		{[]memkv.Fault{lost, lost}, false},
		{[]memkv.Fault{lost, landed}, false},
		{[]memkv.Fault{lost, lost, lost, landed}, false},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.faults), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var a armed
				d := open(t, memkv.New(memkv.WithFaults(a.fault)))
				a.arm(test.faults...)
				runs := 0
				err := d.Update(context.Background(), func(tx *db.Tx) error {
					runs++
					return db.Insert(tx, "sr", xenapi.SR{})
				})
				if (err == nil) != test.landed || runs != 1 || errors.Is(err, db.ErrUnknownOutcome) {
					t.Errorf("after %d runs: %v", runs, err)
				}
				if !test.landed && !errors.Is(err, memkv.ErrInjected) {
					t.Errorf("the cause is gone from %v", err)
				}
				// Whatever happened, the next update works and finds the truth.
				update(t, d, func(tx *db.Tx) error {
					if _, ok := db.Lookup[xenapi.SR](tx, "sr"); ok != test.landed {
						t.Errorf("the row is there: %v, want %v", ok, test.landed)
					}
					return db.Put(tx, "sr", xenapi.SR{})
				})
			})
		})
	}
}

// delayed answers the next commit with an error and carries it out only later, as a server that was slow may.
type delayed struct {
	db.Store
	armed atomic.Bool
	late  func() error
}

var errTimeout = errors.New("request timed out")

func (s *delayed) Commit(ctx context.Context, guards []db.Guard, ops []db.Op) (int64, error) {
	if !s.armed.CompareAndSwap(true, false) {
		return s.Store.Commit(ctx, guards, ops)
	}
	s.late = func() error {
		_, err := s.Store.Commit(context.Background(), guards, ops)
		return err
	}
	return 0, errTimeout
}

// A commit that was reported as lost cannot land afterwards.
func TestALateCommitIsFencedOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &delayed{Store: memkv.New()}
		d := open(t, store)
		store.armed.Store(true)
		err := d.Update(context.Background(), func(tx *db.Tx) error { return db.Insert(tx, "sr", xenapi.SR{}) })
		if !errors.Is(err, errTimeout) || errors.Is(err, db.ErrUnknownOutcome) {
			t.Errorf("update gave %v", err)
		}
		if err := store.late(); !errors.Is(err, db.ErrConflict) {
			t.Errorf("the late commit gave %v", err)
		}
	})
}

// When the store stays away the caller learns that nobody knows; the cache shows the truth when it is back.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		store := memkv.New(memkv.WithFaults(func(_ int, _ []db.Guard, ops []db.Op) memkv.Fault {
			if away.Load() {
				return memkv.FailNotPersisted
			}
			return memkv.None
		}))
		d := open(t, store)
		away.Store(true)
		began := time.Now()
		err := d.Update(context.Background(), func(tx *db.Tx) error { return db.Insert(tx, "sr", xenapi.SR{}) })
		if !errors.Is(err, db.ErrUnknownOutcome) || !errors.Is(err, memkv.ErrInjected) {
			t.Errorf("update gave %v", err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %v", took)
		}
		away.Store(false)
		update(t, d, func(tx *db.Tx) error { return db.Put(tx, "sr", xenapi.SR{}) })
	})
}

// refusing is a store that may be full.
type refusing struct {
	db.Store
	full atomic.Bool
}

func (s *refusing) Commit(ctx context.Context, guards []db.Guard, ops []db.Op) (int64, error) {
	if s.full.Load() {
		return 0, fmt.Errorf("full: %w", db.ErrRefused)
	}
	return s.Store.Commit(ctx, guards, ops)
}

func TestARefusalIsFinal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &refusing{Store: memkv.New()}
		d := open(t, store)
		store.full.Store(true)
		runs := 0
		err := d.Update(context.Background(), func(tx *db.Tx) error { runs++; return db.Insert(tx, "sr", xenapi.SR{}) })
		if !errors.Is(err, db.ErrRefused) || errors.Is(err, db.ErrUnknownOutcome) || runs != 1 {
			t.Errorf("after %d runs: %v", runs, err)
		}
	})
}

func TestWaitSeesEveryStateThatMatters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		d, other := open(t, store), open(t, store)
		ended := make(chan error, 1)
		go func() {
			ended <- d.Wait(context.Background(), func(tx *db.Tx) (bool, error) { return len(srs(tx)) == 2, nil })
		}()
		for i := range 2 {
			synctest.Wait()
			select {
			case err := <-ended:
				t.Fatalf("wait ended early: %v", err)
			default:
			}
			update(t, other, func(tx *db.Tx) error { return db.Insert(tx, srRef(i), xenapi.SR{}) })
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := open(t, memkv.New())
		never := func(*db.Tx) (bool, error) { return false, nil }
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := d.Wait(ctx, never); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("past its deadline wait gave %v", err)
		}
		sentinel := errors.New("no")
		if err := d.Wait(context.Background(), func(*db.Tx) (bool, error) { return false, sentinel }); err != sentinel {
			t.Errorf("wait gave %v", err)
		}
		time.AfterFunc(time.Second, d.Close)
		if err := d.Wait(context.Background(), never); !errors.Is(err, db.ErrClosed) {
			t.Errorf("after close wait gave %v", err)
		}
		err := d.Update(context.Background(), func(tx *db.Tx) error { return db.Insert(tx, "sr", xenapi.SR{}) })
		if !errors.Is(err, db.ErrClosed) {
			t.Errorf("after close update gave %v", err)
		}
	})
}

// A caller that has gone away before the commit changes nothing.
func TestACancelledUpdate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := open(t, memkv.New())
		ctx, cancel := context.WithCancel(context.Background())
		err := d.Update(ctx, func(tx *db.Tx) error {
			cancel()
			return db.Insert(tx, "sr", xenapi.SR{})
		})
		read(t, d, func(tx *db.Tx) {
			if _, ok := db.Lookup[xenapi.SR](tx, "sr"); ok == (err != nil) {
				t.Errorf("update gave %v and the row is there: %v", err, ok)
			}
		})
	})
}

func raw(t *testing.T, store db.Store, key, value string) {
	t.Helper()
	if _, err := store.Commit(context.Background(), nil, []db.Op{{Key: key, Value: []byte(value)}}); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, key, value string
		want             error
	}{
		{"a newer schema", "/poolpatch/schema", "2", db.ErrNewerSchema},
		{"no number", "/poolpatch/schema", "one", db.ErrDamaged},
		{"rows without a schema", "/poolpatch/row/SR/sr1", "{}", db.ErrDamaged},
	}
	for _, test := range tests {
		store := memkv.New()
		raw(t, store, test.key, test.value)
		_, err := db.Open(context.Background(), store, db.Options{Tables: tables})
		if !errors.Is(err, test.want) {
			t.Errorf("%s: open gave %v", test.name, err)
		}
	}
	store := memkv.New()
	open(t, store)
	raw(t, store, "/poolpatch/row/SR/sr1", "no JSON")
	if _, err := db.Open(context.Background(), store, db.Options{Tables: tables}); !errors.Is(err, db.ErrDamaged) || !strings.Contains(err.Error(), "SR/sr1") {
		t.Errorf("a broken row: open gave %v", err)
	}
}

// A newer poolpatch that takes over a running one's database ends its writing.
func TestASchemaThatChangesUnderUs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		d := open(t, slow{store, time.Second})
		raw(t, store, "/poolpatch/schema", "2")
		insert := func(tx *db.Tx) error { return db.Insert(tx, "sr", xenapi.SR{}) }
		if err := d.Update(context.Background(), insert); !errors.Is(err, db.ErrNewerSchema) {
			t.Errorf("update gave %v", err)
		}
		if items, _, _ := store.Load(context.Background(), "/poolpatch/row/"); len(items) != 0 {
			t.Errorf("the old program wrote %v", items)
		}
	})
}

func TestRowsOfUnknownClassesAreKept(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	d := open(t, store)
	raw(t, store, "/poolpatch/row/future/f1", `{"x":1}`)
	update(t, d, func(tx *db.Tx) error { return db.Insert(tx, "sr", xenapi.SR{}) })
	open(t, store)
	items, _, _ := store.Load(context.Background(), "/poolpatch/row/future/")
	if len(items) != 1 || string(items[0].Value) != `{"x":1}` {
		t.Errorf("the unknown row is %v", items)
	}
}

// Hosts that meet an empty store at once all find one database.
func TestHostsCreateOneDatabase(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			d, err := db.Open(context.Background(), store, db.Options{Tables: tables})
			if err != nil {
				t.Error(err)
				return
			}
			d.Close()
		})
	}
	work.Wait()
}
