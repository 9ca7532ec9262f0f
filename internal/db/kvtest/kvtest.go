// Package kvtest is what every db.Store must obey, as tests that its package runs.
//
// It is not for the database above a store. Start reading with Run.
package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/db"
)

// patience is how long a store may take for what it must do at once.
const patience = 20 * time.Second

// Run tests the stores that open makes. Each call of open may give the same store: every test keeps to keys
// of its own.
func Run(t *testing.T, open func(*testing.T) db.Store) {
	tests := map[string]func(*testing.T, *kv){
		"LoadGivesItemsInKeyOrder":    loadGivesItemsInKeyOrder,
		"LoadIsOneRevision":           loadIsOneRevision,
		"GuardsHoldOrNothingChanges":  guardsHoldOrNothingChanges,
		"AbsentGuard":                 absentGuard,
		"GuardOfADeletedKey":          guardOfADeletedKey,
		"DeleteOfAbsentKey":           deleteOfAbsentKey,
		"CreateRevisionOutlivesPuts":  createRevisionOutlivesPuts,
		"EmptyValueIsNoDeletion":      emptyValueIsNoDeletion,
		"AKeyTwiceIsRefused":          aKeyTwiceIsRefused,
		"OneBatchPerRevision":         oneBatchPerRevision,
		"WatchFromThePast":            watchFromThePast,
		"WatchSeesLaterCommits":       watchSeesLaterCommits,
		"PrefixesAreApart":            prefixesAreApart,
		"LargeValues":                 largeValues,
		"ManyKeys":                    manyKeys,
		"ConcurrentCommitsAreCounted": concurrentCommitsAreCounted,
		"CancelledContexts":           cancelledContexts,
		"ALeaseTakesItsKeysAlong":     aLeaseTakesItsKeysAlong,
		"AKeyLeavesItsLease":          aKeyLeavesItsLease,
		"ALeaseThatHasEnded":          aLeaseThatHasEnded,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			t.Cleanup(cancel)
			test(t, &kv{t: t, ctx: ctx, store: open(t), prefix: "/kvtest/" + name + "/"})
		})
	}
}

// kv is a store below a prefix that fails its test by itself.
type kv struct {
	t      *testing.T
	ctx    context.Context
	store  db.Store
	prefix string
}

func (k *kv) put(name, value string) db.Op { return db.Op{Key: k.prefix + name, Value: []byte(value)} }
func (k *kv) del(name string) db.Op        { return db.Op{Key: k.prefix + name} }
func (k *kv) at(name string, mod int64) db.Guard {
	return db.Guard{Key: k.prefix + name, ModRevision: mod}
}

func (k *kv) commit(ops ...db.Op) int64 {
	k.t.Helper()
	rev, err := k.store.Commit(k.ctx, nil, ops)
	if err != nil {
		k.t.Fatalf("commit: %v", err)
	}
	return rev
}

func (k *kv) load() ([]db.Item, int64) {
	k.t.Helper()
	items, rev, err := k.store.Load(k.ctx, k.prefix)
	if err != nil {
		k.t.Fatalf("load: %v", err)
	}
	return items, rev
}

// state is what is stored, as name=value words.
func (k *kv) state() string {
	k.t.Helper()
	items, _ := k.load()
	return k.words(items)
}

func (k *kv) words(items []db.Item) string {
	var words []string
	for _, item := range items {
		value := string(item.Value)
		if item.Value == nil {
			value = "<deleted>"
		}
		words = append(words, strings.TrimPrefix(item.Key, k.prefix)+"="+value)
	}
	return strings.Join(words, " ")
}

func (k *kv) wantState(want string) {
	k.t.Helper()
	if got := k.state(); got != want {
		k.t.Errorf("state is %q, want %q", got, want)
	}
}

func (k *kv) wantConflict(guards []db.Guard, ops ...db.Op) {
	k.t.Helper()
	if _, err := k.store.Commit(k.ctx, guards, ops); !errors.Is(err, db.ErrConflict) {
		k.t.Errorf("commit gave %v, want a conflict", err)
	}
}

// watch takes n batches and ends the watch.
func (k *kv) watch(after int64, n int) []db.Batch {
	k.t.Helper()
	var got []db.Batch
	for b, err := range k.store.Watch(k.ctx, k.prefix, after) {
		if err != nil {
			k.t.Fatalf("watch ended after %d of %d batches: %v", len(got), n, err)
		}
		if got = append(got, b); len(got) == n {
			break
		}
	}
	return got
}

func loadGivesItemsInKeyOrder(t *testing.T, k *kv) {
	if items, _ := k.load(); len(items) != 0 {
		t.Errorf("an empty prefix holds %v", items)
	}
	rev := k.commit(k.put("b", "2"), k.put("a", "1"), k.put("a/x", "3"))
	items, at := k.load()
	want := []db.Item{
		{Key: k.prefix + "a", Value: []byte("1"), CreateRevision: rev, ModRevision: rev},
		{Key: k.prefix + "a/x", Value: []byte("3"), CreateRevision: rev, ModRevision: rev},
		{Key: k.prefix + "b", Value: []byte("2"), CreateRevision: rev, ModRevision: rev},
	}
	if diff := cmp.Diff(want, items); diff != "" {
		t.Errorf("items differ:\n%s", diff)
	}
	if at < rev {
		t.Errorf("loaded at revision %d, before the commit %d", at, rev)
	}
}

// loadIsOneRevision writes two far keys alike while it loads; no load may see them differ.
func loadIsOneRevision(t *testing.T, k *kv) {
	for i := range 600 {
		k.commit(k.put(fmt.Sprintf("m%03d", i), "x"))
	}
	var writer sync.WaitGroup
	defer writer.Wait()
	ctx, stop := context.WithCancel(k.ctx)
	defer stop()
	writer.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			v := fmt.Sprint(i)
			_, _ = k.store.Commit(ctx, nil, []db.Op{k.put("a", v), k.put("z", v)})
		}
	})
	for range 10 {
		items, _ := k.load()
		first, last := items[0], items[len(items)-1]
		if strings.HasSuffix(first.Key, "/a") && !bytes.Equal(first.Value, last.Value) {
			t.Fatalf("one load saw %q and %q", first.Value, last.Value)
		}
	}
}

func guardsHoldOrNothingChanges(t *testing.T, k *kv) {
	first := k.commit(k.put("a", "1"), k.put("b", "1"))
	second := k.commit(k.put("a", "2"))
	k.wantConflict([]db.Guard{k.at("b", first), k.at("a", first)}, k.put("a", "3"), k.put("c", "3"), k.del("b"))
	k.wantState("a=2 b=1")
	rev, err := k.store.Commit(k.ctx, []db.Guard{k.at("b", first), k.at("a", second)}, []db.Op{k.put("a", "3"), k.del("b")})
	if err != nil || rev <= second {
		t.Errorf("commit with true guards gave revision %d after %d, %v", rev, second, err)
	}
	k.wantState("a=3")
}

func absentGuard(t *testing.T, k *kv) {
	if _, err := k.store.Commit(k.ctx, []db.Guard{k.at("a", 0)}, []db.Op{k.put("a", "1")}); err != nil {
		t.Errorf("first insert: %v", err)
	}
	k.wantConflict([]db.Guard{k.at("a", 0)}, k.put("a", "2"))
	k.wantState("a=1")
}

func guardOfADeletedKey(_ *testing.T, k *kv) {
	rev := k.commit(k.put("a", "1"))
	k.commit(k.del("a"))
	k.wantConflict([]db.Guard{k.at("a", rev)}, k.put("a", "2"))
	again := k.commit(k.put("a", "1"))
	k.wantConflict([]db.Guard{k.at("a", rev)}, k.put("a", "2"))
	if _, err := k.store.Commit(k.ctx, []db.Guard{k.at("a", again)}, []db.Op{k.del("a")}); err != nil {
		k.t.Errorf("commit: %v", err)
	}
	k.wantState("")
}

func deleteOfAbsentKey(t *testing.T, k *kv) {
	_, start := k.load()
	k.commit(k.del("a"), k.put("b", "1"))
	if got := k.words(k.watch(start, 1)[0].Items); got != "b=1" {
		t.Errorf("the batch is %q, want b=1", got)
	}
}

func createRevisionOutlivesPuts(t *testing.T, k *kv) {
	first := k.commit(k.put("a", "1"))
	second := k.commit(k.put("a", "2"))
	items, _ := k.load()
	if len(items) != 1 || items[0].CreateRevision != first || items[0].ModRevision != second {
		t.Errorf("after revisions %d and %d: %+v", first, second, items)
	}
	k.commit(k.del("a"))
	third := k.commit(k.put("a", "3"))
	if items, _ := k.load(); items[0].CreateRevision != third {
		t.Errorf("made again at %d: %+v", third, items)
	}
}

func emptyValueIsNoDeletion(t *testing.T, k *kv) {
	_, start := k.load()
	k.commit(k.put("a", ""))
	k.commit(k.del("a"))
	got := k.watch(start, 2)
	if got[0].Items[0].Value == nil || got[1].Items[0].Value != nil {
		t.Errorf("watch gave %+v", got)
	}
}

func aKeyTwiceIsRefused(t *testing.T, k *kv) {
	_, err := k.store.Commit(k.ctx, nil, []db.Op{k.put("a", "1"), k.put("a", "2")})
	if !errors.Is(err, db.ErrRefused) {
		t.Errorf("commit gave %v, want a refusal", err)
	}
	k.wantState("")
}

func oneBatchPerRevision(t *testing.T, k *kv) {
	_, start := k.load()
	first := k.commit(k.put("b", "1"), k.put("a", "1"), k.put("c", "1"))
	second := k.commit(k.put("a", "2"), k.del("b"))
	got := k.watch(start, 2)
	want := []db.Batch{
		{Revision: first, Items: []db.Item{
			{Key: k.prefix + "a", Value: []byte("1"), CreateRevision: first, ModRevision: first},
			{Key: k.prefix + "b", Value: []byte("1"), CreateRevision: first, ModRevision: first},
			{Key: k.prefix + "c", Value: []byte("1"), CreateRevision: first, ModRevision: first},
		}},
		{Revision: second, Items: []db.Item{
			{Key: k.prefix + "a", Value: []byte("2"), CreateRevision: first, ModRevision: second},
			{Key: k.prefix + "b", ModRevision: second},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("batches differ:\n%s", diff)
	}
}

func watchFromThePast(t *testing.T, k *kv) {
	var revs []int64
	for i := range 20 {
		revs = append(revs, k.commit(k.put("a", fmt.Sprint(i))))
	}
	got := k.watch(revs[9], 10)
	for i, b := range got {
		if b.Revision != revs[10+i] || string(b.Items[0].Value) != fmt.Sprint(10+i) {
			t.Errorf("batch %d is %+v, want revision %d", i, b, revs[10+i])
		}
	}
}

func watchSeesLaterCommits(t *testing.T, k *kv) {
	_, start := k.load()
	next, stop := iter.Pull2(k.store.Watch(k.ctx, k.prefix, start))
	defer stop()
	for i := range 20 {
		rev := k.commit(k.put("a", fmt.Sprint(i)))
		b, err, ok := next()
		if !ok || err != nil || b.Revision != rev {
			t.Fatalf("after commit %d the watch gave %+v, %v, %v", rev, b, err, ok)
		}
	}
}

func prefixesAreApart(t *testing.T, k *kv) {
	_, start := k.load()
	other := db.Op{Key: strings.TrimSuffix(k.prefix, "/") + "0", Value: []byte("x")}
	k.commit(other)
	k.commit(k.put("a", "1"), db.Op{Key: other.Key})
	k.wantState("a=1")
	if got := k.words(k.watch(start, 1)[0].Items); got != "a=1" {
		t.Errorf("the watch gave %q, want a=1", got)
	}
}

func largeValues(t *testing.T, k *kv) {
	_, start := k.load()
	large := bytes.Repeat([]byte("0123456789abcdef"), 512<<10/16)
	k.commit(db.Op{Key: k.prefix + "a", Value: large})
	items, _ := k.load()
	if len(items) != 1 || !bytes.Equal(items[0].Value, large) {
		t.Error("a value of 512 KiB came back different")
	}
	if b := k.watch(start, 1)[0]; !bytes.Equal(b.Items[0].Value, large) {
		t.Error("a value of 512 KiB came different through the watch")
	}
}

func manyKeys(t *testing.T, k *kv) {
	const n = 1500
	for i := 0; i < n; i += 100 {
		var ops []db.Op
		for j := range 100 {
			ops = append(ops, k.put(fmt.Sprintf("%04d", i+j), "x"))
		}
		k.commit(ops...)
	}
	items, _ := k.load()
	if len(items) != n {
		t.Fatalf("loaded %d items of %d", len(items), n)
	}
	for i, item := range items {
		if item.Key != k.prefix+fmt.Sprintf("%04d", i) {
			t.Fatalf("item %d is %s", i, item.Key)
		}
	}
}

// concurrentCommitsAreCounted adds to one counter from many sides; no addition may be lost or made twice.
func concurrentCommitsAreCounted(t *testing.T, k *kv) {
	const sides, each = 8, 25
	var work sync.WaitGroup
	for range sides {
		work.Go(func() {
			for range each {
				if err := k.increment("n"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	items, _ := k.load()
	if len(items) != 1 || len(items[0].Value) != sides*each {
		t.Errorf("the counter is at %d, want %d", len(items[0].Value), sides*each)
	}
}

// increment makes a value one byte longer.
func (k *kv) increment(name string) error {
	for {
		items, _, err := k.store.Load(k.ctx, k.prefix+name)
		if err != nil {
			return err
		}
		var old db.Item
		if len(items) > 0 {
			old = items[0]
		}
		guards := []db.Guard{k.at(name, old.ModRevision)}
		_, err = k.store.Commit(k.ctx, guards, []db.Op{k.put(name, string(old.Value)+"+")})
		if !errors.Is(err, db.ErrConflict) {
			return err
		}
	}
}

func cancelledContexts(t *testing.T, k *kv) {
	_, start := k.load()
	ctx, cancel := context.WithCancel(k.ctx)
	ended := make(chan error, 1)
	go func() {
		var last error
		for _, err := range k.store.Watch(ctx, k.prefix, start) {
			last = err
		}
		ended <- last
	}()
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the watch ended with %v", err)
		}
	case <-k.ctx.Done():
		t.Error("the watch outlives its context")
	}
	if _, _, err := k.store.Load(ctx, k.prefix); err == nil {
		t.Error("load with a cancelled context succeeds")
	}
	if _, err := k.store.Commit(ctx, nil, []db.Op{k.put("a", "1")}); err == nil {
		t.Error("commit with a cancelled context succeeds")
	}
}

// ttl is so long that no lease ends by itself in a test.
const ttl = time.Hour

func (k *kv) grant() db.Lease {
	k.t.Helper()
	l, err := k.store.Grant(k.ctx, ttl)
	if err != nil {
		k.t.Fatalf("grant: %v", err)
	}
	k.t.Cleanup(func() { l.Release(context.Background()) })
	return l
}

func (k *kv) release(l db.Lease) {
	k.t.Helper()
	if err := l.Release(k.ctx); err != nil {
		k.t.Fatalf("release: %v", err)
	}
	select {
	case <-l.Lost():
	case <-k.ctx.Done():
		k.t.Error("a lease that was released is not lost")
	}
}

func (k *kv) under(l db.Lease, name, value string) db.Op {
	op := k.put(name, value)
	op.Lease = l.ID()
	return op
}

func aLeaseTakesItsKeysAlong(t *testing.T, k *kv) {
	one, other := k.grant(), k.grant()
	if one.ID() == 0 || one.ID() == other.ID() {
		t.Errorf("two leases have the IDs %d and %d", one.ID(), other.ID())
	}
	rev := k.commit(k.under(one, "a", "1"), k.under(one, "b", "1"), k.under(other, "c", "2"), k.put("d", "3"))
	k.release(one)
	k.wantState("c=2 d=3")
	batches := k.watch(rev, 1)
	if got := k.words(batches[0].Items); got != "a=<deleted> b=<deleted>" || batches[0].Revision <= rev {
		t.Errorf("the watch shows %q at revision %d, after %d", got, batches[0].Revision, rev)
	}
	select {
	case <-other.Lost():
		t.Error("the other lease is lost too")
	default:
	}
	k.release(other)
	k.wantState("d=3")
}

func aKeyLeavesItsLease(t *testing.T, k *kv) {
	one, other := k.grant(), k.grant()
	k.commit(k.under(one, "lasts", "1"), k.under(one, "moves", "1"), k.under(one, "made again", "1"))
	k.commit(k.put("lasts", "2"), k.under(other, "moves", "2"), k.del("made again"))
	k.commit(k.put("made again", "2"))
	k.release(one)
	k.wantState("lasts=2 made again=2 moves=2")
	k.release(other)
	k.wantState("lasts=2 made again=2")
}

func aLeaseThatHasEnded(t *testing.T, k *kv) {
	l := k.grant()
	k.release(l)
	_, err := k.store.Commit(k.ctx, nil, []db.Op{k.put("a", "1"), k.under(l, "b", "1")})
	if !errors.Is(err, db.ErrRefused) || !errors.Is(err, db.ErrLeaseEnded) {
		t.Errorf("a commit under a lease that has ended: %v", err)
	}
	k.wantState("")
	if err := l.Release(k.ctx); err != nil {
		t.Errorf("released again: %v", err)
	}
}
