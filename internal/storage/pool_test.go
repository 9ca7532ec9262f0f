package storage_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/message"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

const (
	here  = xenapi.Ref[xenapi.Host]("OpaqueRef:here")
	there = xenapi.Ref[xenapi.Host]("OpaqueRef:there")
	mib   = int64(1 << 20)
)

// host is the storage of one host of a pool.
type host struct {
	*storage.Service
	tasks *task.Service
	db    *db.DB
	ref   xenapi.Ref[xenapi.Host]
}

// start starts a host's daemon over a pool's database and SRs, with the recovery of what its last one left.
func start(t testing.TB, store db.Store, ref xenapi.Ref[xenapi.Host], drivers storage.Drivers) host {
	t.Helper()
	return startStepping(t, store, ref, drivers, nil)
}

// startStepping is start of a daemon that calls a function at each named point.
func startStepping(t testing.TB, store db.Store, ref xenapi.Ref[xenapi.Host], drivers storage.Drivers, step func(string)) host {
	t.Helper()
	d, err := db.Open(t.Context(), store, db.Options{Writer: string(ref), Tables: []db.Table{
		db.TableOf[xenapi.Task](), db.TableOf[xenapi.Host](), db.TableOf[xenapi.SR](), db.TableOf[xenapi.PBD](),
		db.TableOf[xenapi.VDI](), db.TableOf[xenapi.VBD](), db.TableOf[xenapi.VM](), db.TableOf[xenapi.SM](), db.TableOf[xenapi.PoolPatch](), db.TableOf[task.Belonging](), message.Tables()[0], message.Tables()[1],
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	log := slog.New(slog.DiscardHandler)
	h := host{
		Service: storage.New(d, ref, drivers, t.TempDir(), log, storage.Options{Step: step}), db: d, ref: ref,
		tasks: task.New(d, ref, log, func(err error) *xenapi.Error { return xenapi.ErrInternalError(err.Error()).Because(err) }),
	}
	h.update(t, func(tx *db.Tx) error { return db.Put(tx, ref, xenapi.Host{}) })
	err = errors.Join(h.Start(t.Context()), h.tasks.Recover(t.Context(), h.Undo()), h.Recover(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.DetachAll(context.Background()) })
	return h
}

func (h host) update(t testing.TB, fn func(*db.Tx) error) {
	t.Helper()
	if err := h.db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// do runs a call under a task, as the API does.
func (h host) do(ctx context.Context, call func(ctx context.Context, t *task.Task) error) error {
	_, err := h.tasks.Do(ctx, task.Spec{Label: "test"}, func(ctx context.Context, t *task.Task) (any, error) {
		return nil, call(ctx, t)
	})
	return err
}

// get reads a record; it is zero when there is none.
func get[T xenapi.Object](h host, ref xenapi.Ref[T]) (rec T) {
	_ = h.db.View(func(tx *db.Tx) error {
		rec, _ = db.Lookup(tx, ref)
		return nil
	})
	return rec
}

func all[T xenapi.Object](h host) (refs []xenapi.Ref[T]) {
	_ = h.db.View(func(tx *db.Tx) error {
		for ref := range db.All[T](tx) {
			refs = append(refs, ref)
		}
		return nil
	})
	return refs
}

func (h host) belongings() (objects []string) {
	_ = h.db.View(func(tx *db.Tx) error {
		for _, b := range db.All[task.Belonging](tx) {
			objects = append(objects, b.Kind+" "+b.Object)
		}
		return nil
	})
	return objects
}

// pool is a host with an SR in memory.
type pool struct {
	host
	store  *memkv.Store
	driver *memsr.Driver
	sr     xenapi.Ref[xenapi.SR]
	pbd    xenapi.Ref[xenapi.PBD]
	second xenapi.Ref[xenapi.SR] // of tests that make one
}

func newPool(t testing.TB, o memsr.Options, faults ...memkv.Option) pool {
	t.Helper()
	p := pool{store: memkv.New(faults...), driver: memsr.New(t, o)}
	p.host = start(t, p.store, here, p.drivers())
	p.sr = p.newSR(t, false)
	p.pbd = p.pbdOf(p.sr)
	return p
}

func (p pool) drivers() storage.Drivers { return storage.Drivers{"mem": p.driver} }

// another is a second host of the pool.
func (p pool) another(t testing.TB) host {
	t.Helper()
	h := start(t, p.store, there, p.drivers())
	if err := p.db.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

func (p pool) newSR(t testing.TB, shared bool) (sr xenapi.Ref[xenapi.SR]) {
	t.Helper()
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) (err error) {
		sr, err = p.CreateSR(ctx, tk, storage.NewSR{Record: xenapi.SR{NameLabel: "memory", Type: "MEM", ContentType: "user", Shared: shared}, Host: here})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sr
}

func (p pool) pbdOf(sr xenapi.Ref[xenapi.SR]) (ref xenapi.Ref[xenapi.PBD]) {
	_ = p.db.View(func(tx *db.Tx) error {
		ref = db.Referrers[xenapi.PBD](tx, "SR", sr)[0]
		return nil
	})
	return ref
}

// newVDI makes a VDI of two MiB that differs from zero at its start.
func (p pool) newVDI(t testing.TB, sr xenapi.Ref[xenapi.SR]) xenapi.Ref[xenapi.VDI] {
	t.Helper()
	var ref xenapi.Ref[xenapi.VDI]
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) (err error) {
		if ref, err = p.CreateVDI(ctx, tk, vdiOf(sr)); err != nil {
			return err
		}
		return p.write(ctx, tk, ref, "original")
	})
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func vdiOf(sr xenapi.Ref[xenapi.SR]) xenapi.VDI {
	rec := xenapi.New[xenapi.VDI]()
	rec.SR, rec.NameLabel, rec.NameDescription, rec.VirtualSize = sr, "label", "description", 2*mib
	rec.Type, rec.Sharable = xenapi.VDITypeUser, true
	rec.OtherConfig, rec.XenstoreData = map[string]string{"o": "1"}, map[string]string{"x": "1"}
	rec.SMConfig, rec.Tags = map[string]string{"s": "1"}, []string{"tag"}
	return rec
}

func (h host) write(ctx context.Context, tk *task.Task, ref xenapi.Ref[xenapi.VDI], text string) error {
	a, err := h.Attach(ctx, tk, ref, storage.ReadWrite)
	if err != nil {
		return err
	}
	defer a.Detach(ctx)
	_, err = a.File.WriteAt([]byte(text), 0)
	return err
}

func (h host) read(t testing.TB, ref xenapi.Ref[xenapi.VDI]) string {
	t.Helper()
	text := make([]byte, 8)
	err := h.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		a, err := h.Attach(ctx, tk, ref, storage.ReadOnly)
		if err != nil {
			return err
		}
		defer a.Detach(ctx)
		_, err = a.File.ReadAt(text, 0)
		return err
	})
	if err != nil {
		t.Errorf("read VDI %s: %v", ref, err)
	}
	return string(text)
}

// images lists what is on the SR.
func (p pool) images(t testing.TB, sr xenapi.Ref[xenapi.SR]) []storage.Image {
	t.Helper()
	on, err := p.driver.Attach(t.Context(), storage.Config{UUID: get(p.host, sr).UUID})
	if err != nil {
		t.Fatal(err)
	}
	images, err := on.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// consistent is what must hold whenever nothing runs: images and rows match one to one, what they promise is
// known, nothing is owned or marked.
func (p pool) consistent(t testing.TB, h host, what string) {
	t.Helper()
	if owned := h.belongings(); len(owned) > 0 {
		t.Errorf("%s: still owned: %v", what, owned)
	}
	rows, promised := map[string]xenapi.VDI{}, map[xenapi.Ref[xenapi.SR]]int64{}
	for _, ref := range all[xenapi.VDI](h) {
		rec := get(h, ref)
		rows[rec.Location] = rec
		promised[rec.SR] += rec.VirtualSize
		if len(rec.CurrentOperations) > 0 {
			t.Errorf("%s: VDI %s is still marked with %v", what, rec.NameLabel, rec.CurrentOperations)
		}
	}
	for _, ref := range all[xenapi.VBD](h) {
		if ops := get(h, ref).CurrentOperations; len(ops) > 0 {
			t.Errorf("%s: VBD %s is still marked with %v", what, ref, ops)
		}
	}
	for _, sr := range all[xenapi.SR](h) {
		if ops := get(h, sr).CurrentOperations; len(ops) > 0 {
			t.Errorf("%s: the SR is still marked with %v", what, ops)
		}
		if says := get(h, sr).VirtualAllocation; says != promised[sr] {
			t.Errorf("%s: the SR says that %d bytes are promised, its VDIs %d", what, says, promised[sr])
		}
		for _, img := range p.images(t, sr) {
			row, known := rows[img.Location]
			if !known || img.Temporary || img.Incomplete || row.VirtualSize != img.Size || row.UUID != img.UUID {
				t.Errorf("%s: image %+v, row %t %+v", what, img, known, row)
			}
			delete(rows, img.Location)
		}
	}
	for location, row := range rows {
		t.Errorf("%s: the row %s has no image %s", what, row.NameLabel, location)
	}
	if faults, err := h.Audit(t.Context(), false); err != nil || len(faults) > 0 {
		t.Errorf("%s: the audit finds %v, %v", what, faults, err)
	}
}

func wantCode(t testing.TB, what string, err error, code string) {
	t.Helper()
	if got := xenapi.CodeOf(err); got != code || (err == nil) != (code == "") {
		t.Errorf("%s: got error %v, want code %q", what, err, code)
	}
}

func wantError(t testing.TB, what string, err error, want *xenapi.Error) {
	t.Helper()
	var got *xenapi.Error
	if !errors.As(err, &got) || !slices.Equal(got.Description(), want.Description()) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}
