package replica_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/message"
	"poolpatch/internal/replica"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

const (
	here    = xenapi.Ref[xenapi.Host]("OpaqueRef:here")
	there   = xenapi.Ref[xenapi.Host]("OpaqueRef:there")
	thePool = xenapi.Ref[xenapi.Pool]("OpaqueRef:pool")
	poolID  = "3f1c0000-4064-4452-bd7a-0ba5840291c3"
)

func tables() []db.Table {
	return append(message.Tables(), db.TableOf[xenapi.Task](), db.TableOf[xenapi.Host](), db.TableOf[xenapi.Pool](), db.TableOf[xenapi.SR](), db.TableOf[xenapi.PBD](),
		db.TableOf[xenapi.VDI](), db.TableOf[xenapi.VBD](), db.TableOf[xenapi.VM](), db.TableOf[xenapi.SM](), db.TableOf[xenapi.User](), db.TableOf[task.Belonging]())
}

// host is what keeps replicas on one host of a pool.
type host struct {
	*replica.Service
	db      *db.DB
	tasks   *task.Service
	storage *storage.Service
	root    string
	pool    *pool
}

// pool is what its hosts share.
type pool struct {
	store  *memkv.Store
	driver *memsr.Driver

	mu     sync.Mutex
	turn   xenapi.Ref[xenapi.Host]         // the host that writes
	by     map[xenapi.Ref[xenapi.Host]]int // by which host
	bodies int                             // that were written
	step   func(string)                    // at each point of a write; nil is nothing
	denied error                           // what the next backups fail with
}

func newPool(t testing.TB, o memsr.Options) *pool {
	return &pool{store: memkv.New(), driver: memsr.New(t, o), turn: here, by: map[xenapi.Ref[xenapi.Host]]int{}}
}

func (p *pool) at(host xenapi.Ref[xenapi.Host], name string) {
	p.mu.Lock()
	step := p.step
	if name == "replica-body" {
		p.bodies++
		p.by[host]++
	}
	p.mu.Unlock()
	if step != nil {
		step(name)
	}
}

func (p *pool) written() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bodies
}

func (p *pool) writes(host xenapi.Ref[xenapi.Host]) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.turn == host
}

func (p *pool) writtenBy() map[xenapi.Ref[xenapi.Host]]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.by)
}

func (p *pool) give(host xenapi.Ref[xenapi.Host]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn = host
}

// stepping calls a function at each point of a write from now on.
func (p *pool) stepping(step func(string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step = step
}

// deny has backups fail, as a database does that does not answer.
func (p *pool) deny(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.denied = err
}

func (p *pool) backup(ctx context.Context, w io.Writer, out func(class, ref string) bool) error {
	p.mu.Lock()
	denied := p.denied
	p.mu.Unlock()
	if denied != nil {
		return denied
	}
	_, err := db.Backup(ctx, p.store, w, time.Now(), db.Omission{Row: out, Secrets: tables()})
	return err
}

// start starts a host, with the recovery of what its last daemon left. Nobody writes by himself until it runs.
func (p *pool) start(t testing.TB, ref xenapi.Ref[xenapi.Host]) *host {
	t.Helper()
	d, err := db.Open(t.Context(), p.store, db.Options{Writer: string(ref), Tables: tables()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	log := slog.New(slog.DiscardHandler)
	h := &host{db: d, root: t.TempDir(), pool: p}
	h.tasks = task.New(d, ref, log, func(err error) *xenapi.Error { return xenapi.ErrInternalError(err.Error()).Because(err) })
	h.storage = storage.New(d, ref, storage.Drivers{"mem": p.driver}, t.TempDir(), log, storage.Options{})
	h.Service = replica.New(d, h.tasks, h.storage, log, replica.Options{
		Backup: p.backup, Tables: tables(), Root: h.root, Step: func(name string) { p.at(ref, name) },
		Writes:  func(*db.Tx, xenapi.Ref[xenapi.SR]) bool { return p.writes(ref) },
		Passing: []string{xenapi.Task{}.Class(), task.Belonging{}.Class()},
	})
	h.update(t, func(tx *db.Tx) error {
		return errors.Join(db.Put(tx, ref, xenapi.Host{UUID: string(ref)}), db.Put(tx, thePool, xenapi.Pool{UUID: poolID, Master: here, Secret: "the secret"}))
	})
	if err := errors.Join(h.storage.Start(t.Context()), h.tasks.Recover(t.Context(), h.storage.Undo()), h.storage.Recover(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.storage.DetachAll(context.Background()) })
	return h
}

// run has the host write what is due, until the function that it gives is called.
func (h *host) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = h.Run(ctx) })
	return func() { cancel(); running.Wait(); h.tasks.Wait() }
}

func (h *host) update(t testing.TB, fn func(*db.Tx) error) {
	t.Helper()
	if err := h.db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// rename makes a change of the database that matters.
func (h *host) rename(t testing.TB, name string) {
	t.Helper()
	h.update(t, func(tx *db.Tx) error {
		return db.Change(tx, thePool, func(rec *xenapi.Pool) error { rec.NameLabel = name; return nil })
	})
}

func (h *host) do(t testing.TB, call func(context.Context, *task.Task) error) error {
	t.Helper()
	_, err := h.tasks.Do(t.Context(), task.Spec{Label: "test"}, func(ctx context.Context, t *task.Task) (any, error) { return nil, call(ctx, t) })
	return err
}

func (h *host) newSR(t testing.TB, shared bool) (sr xenapi.Ref[xenapi.SR]) {
	t.Helper()
	rec := xenapi.New[xenapi.SR]()
	rec.Type, rec.Shared, rec.NameLabel = "mem", shared, "memory"
	if err := h.do(t, func(ctx context.Context, tk *task.Task) (err error) {
		sr, err = h.storage.CreateSR(ctx, tk, storage.NewSR{Record: rec, Host: here, DeviceConfig: map[string]string{}})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return sr
}

// plug has the second host see an SR.
func (h *host) plug(t testing.TB, sr xenapi.Ref[xenapi.SR]) {
	t.Helper()
	h.update(t, func(tx *db.Tx) error {
		return db.Insert(tx, "OpaqueRef:pbd", xenapi.PBD{UUID: "pbd", Host: there, SR: sr})
	})
	if err := h.do(t, func(ctx context.Context, tk *task.Task) error { return h.storage.PlugPBD(ctx, tk, "OpaqueRef:pbd") }); err != nil {
		t.Fatal(err)
	}
}

func (h *host) enable(t testing.TB, sr xenapi.Ref[xenapi.SR]) error {
	return h.do(t, func(ctx context.Context, tk *task.Task) error { return h.Enable(ctx, tk, sr) })
}

// replicas lists the VDIs of a type.
func (h *host) replicas(kind xenapi.VDIType) (refs []xenapi.Ref[xenapi.VDI]) {
	_ = h.db.View(func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.VDI](tx) {
			if rec.Type == kind {
				refs = append(refs, ref)
			}
		}
		return nil
	})
	return refs
}

// named is what the pool is called in a replica.
func (h *host) named(t testing.TB, vdi xenapi.Ref[xenapi.VDI]) (name string) {
	t.Helper()
	if err := h.do(t, func(ctx context.Context, tk *task.Task) error {
		opened, err := h.Open(ctx, tk, vdi)
		if err != nil {
			return err
		}
		defer opened.Close()
		return opened.View(func(tx *db.Tx) error {
			rec, err := db.Get(tx, thePool)
			if name = rec.NameLabel; rec.Secret != "" {
				t.Error("the pool's secret is in the VDI")
			}
			for _, b := range db.All[task.Belonging](tx) {
				t.Errorf("the replica says that it is being written: %+v", b)
			}
			return err
		})
	}); err != nil {
		t.Fatal(err)
	}
	return name
}

func get[T xenapi.Object](h *host, ref xenapi.Ref[T]) (rec T) {
	_ = h.db.View(func(tx *db.Tx) error { rec, _ = db.Lookup(tx, ref); return nil })
	return rec
}

func (h *host) messages() (names []string) {
	_ = h.db.View(func(tx *db.Tx) error {
		for _, m := range db.All[xenapi.Message](tx) {
			names = append(names, m.Name)
		}
		return nil
	})
	return names
}

func wantCode(t testing.TB, what string, err error, code string) {
	t.Helper()
	if xenapi.CodeOf(err) != code || (err == nil) != (code == "") {
		t.Errorf("%s: %v, want %q", what, err, code)
	}
}

// TestEnable: when the call returns the database is there, and nobody else has a hand in its VDI until it is ended.
func TestEnable(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Clone: true})
	h := p.start(t, here)
	sr := h.newSR(t, false)
	h.rename(t, "one")
	if err := h.enable(t, sr); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "enabled twice", h.enable(t, sr), "")
	all := h.replicas(xenapi.VDITypeMetadata)
	if len(all) != 1 {
		t.Fatalf("%d VDIs", len(all))
	}
	vdi := all[0]
	rec := get(h, vdi)
	if rec.NameLabel != "Metadata for DR" || !rec.MetadataLatest || rec.MetadataOfPool != thePool || rec.SR != sr {
		t.Errorf("the VDI is %+v", rec)
	}
	if name := h.named(t, vdi); name != "one" {
		t.Errorf("the pool is called %q there", name)
	}
	for what, call := range map[string]func(context.Context, *task.Task) error{
		"destroy": func(ctx context.Context, tk *task.Task) error { return h.storage.DestroyVDI(ctx, tk, vdi) },
		"forget":  func(ctx context.Context, tk *task.Task) error { return h.storage.ForgetVDI(ctx, tk, vdi) },
		"resize":  func(ctx context.Context, tk *task.Task) error { return h.storage.ResizeVDI(ctx, tk, vdi, 1<<30) },
		"write": func(ctx context.Context, tk *task.Task) error {
			return h.storage.ImportRaw(ctx, tk, vdi, strings.NewReader("x"), 1)
		},
	} {
		wantCode(t, what, h.do(t, call), xenapi.CodeVDIInUse)
	}
	other := xenapi.New[xenapi.VDI]()
	other.SR, other.Type, other.VirtualSize = sr, xenapi.VDITypeMetadata, 1<<20
	wantCode(t, "write what is no replica", h.do(t, func(ctx context.Context, tk *task.Task) error {
		ref, err := h.storage.CreateTemporary(ctx, tk, other)
		if err != nil {
			return err
		}
		defer h.storage.Discard(ctx, tk, ref)
		_, err = h.storage.AttachReplica(ctx, tk, ref)
		return err
	}), xenapi.CodeOperationNotAllowed)
	disable := func(ctx context.Context, tk *task.Task) error { return h.Disable(ctx, tk, sr) }
	wantCode(t, "disable", h.do(t, disable), "")
	wantCode(t, "disable again", h.do(t, disable), "")
	if left := h.replicas(xenapi.VDITypeMetadata); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	p.driver.CheckEmpty()
}

// TestSupport: an SR that not every host sees, or where VDIs cannot be made, is refused, and nothing is left of the attempt.
func TestSupport(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	h := p.start(t, here)
	sr := h.newSR(t, true)
	assert := func() error { return h.AssertSupported(sr) }
	wantCode(t, "good", assert(), "")
	wantCode(t, "no SR", h.AssertSupported("OpaqueRef:none"), xenapi.CodeHandleInvalid)
	h.update(t, func(tx *db.Tx) error {
		return db.Change(tx, sr, func(rec *xenapi.SR) error { rec.Capabilities = []string{"VDI_CREATE"}; return nil })
	})
	wantCode(t, "not able", assert(), xenapi.CodeSROperationNotSupported)
	h.update(t, func(tx *db.Tx) error { return db.Put(tx, there, xenapi.Host{UUID: "there"}) })
	wantCode(t, "another host does not see it", assert(), xenapi.CodeSRHasNoPBDs)
	wantCode(t, "enable", h.enable(t, sr), xenapi.CodeSRHasNoPBDs)
	if all := h.replicas(xenapi.VDITypeMetadata); len(all) > 0 {
		t.Errorf("left: %v", all)
	}
}

// TestEnableThatCannotWrite leaves neither a VDI nor the belief that the database is kept there.
func TestEnableThatCannotWrite(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	h := p.start(t, here)
	sr := h.newSR(t, false)
	p.deny(xenapi.ErrVDIIOError("the disk is on fire"))
	wantCode(t, "enable", h.enable(t, sr), xenapi.CodeVDIIOError)
	p.deny(nil)
	if all := h.replicas(xenapi.VDITypeMetadata); len(all) > 0 {
		t.Errorf("left: %v", all)
	}
	p.driver.CheckEmpty()
}

// TestPace: a database that changes all the time is written every few seconds, one that does not change is not written, and
// what ends with the daemons makes no write.
func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{})
		h := p.start(t, here)
		sr := h.newSR(t, false)
		if err := h.enable(t, sr); err != nil {
			t.Fatal(err)
		}
		defer h.run()()
		time.Sleep(time.Hour) // of the bubble's clock
		quiet := p.written()
		for i := range 200 {
			h.rename(t, fmt.Sprint("name ", i))
			time.Sleep(100 * time.Millisecond)
		}
		busy := p.written() - quiet
		time.Sleep(time.Hour)
		vdi := h.replicas(xenapi.VDITypeMetadata)[0]
		if name := h.named(t, vdi); name != "name 199" || busy < 8 || busy > 11 {
			t.Errorf("in 20 s it was written %d times, and holds %q", busy, name)
		}
		before := p.written()
		for range 20 {
			_ = h.do(t, func(context.Context, *task.Task) error { return nil })
			h.rename(t, "name 199")
			time.Sleep(time.Minute)
		}
		if n := p.written() - before; n != 0 {
			t.Errorf("without a change it was written %d times", n)
		}
	})
}

// TestRedoLog: each commit is followed by a write, and there is one log.
func TestRedoLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{})
		h := p.start(t, here)
		sr, other := h.newSR(t, false), h.newSR(t, false)
		on := func(sr xenapi.Ref[xenapi.SR]) error {
			return h.do(t, func(ctx context.Context, tk *task.Task) error { return h.EnableRedoLog(ctx, tk, sr) })
		}
		off := func() error { return h.do(t, h.DisableRedoLog) }
		wantCode(t, "there is none", off(), "")
		defer h.run()()
		wantCode(t, "enable", on(sr), "")
		wantCode(t, "again", on(sr), "")
		wantCode(t, "elsewhere", on(other), xenapi.CodeRedoLogIsEnabled)
		vdi := h.replicas(xenapi.VDITypeRedoLog)[0]
		if pool := get(h, thePool); !pool.RedoLogEnabled || pool.RedoLogVDI != vdi || get(h, vdi).MetadataOfPool != "" {
			t.Errorf("the pool says %t, %s", pool.RedoLogEnabled, pool.RedoLogVDI)
		}
		for i := range 10 {
			before, name := p.written(), fmt.Sprint("name ", i)
			h.rename(t, name)
			synctest.Wait() // no time passes
			if got := h.named(t, vdi); got != name || p.written() == before {
				t.Errorf("right after it was named %q it is %q in the log", name, got)
			}
		}
		wantCode(t, "disable", off(), "")
		if pool := get(h, thePool); pool.RedoLogEnabled || pool.RedoLogVDI != "" || len(h.replicas(xenapi.VDITypeRedoLog)) > 0 {
			t.Errorf("afterwards the pool says %t, %s", pool.RedoLogEnabled, pool.RedoLogVDI)
		}
		wantCode(t, "elsewhere now", on(other), "")
	})
}

// TestFailureHasOneMessage, and its end another one. It is tried again meanwhile.
func TestFailureHasOneMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{})
		h := p.start(t, here)
		if err := h.enable(t, h.newSR(t, false)); err != nil {
			t.Fatal(err)
		}
		defer h.run()()
		time.Sleep(time.Minute)
		p.deny(xenapi.ErrVDIIOError("the disk is on fire"))
		h.rename(t, "after the fire")
		time.Sleep(3 * time.Minute)
		if got := h.messages(); len(got) != 1 || got[0] != message.MetadataLUNBroken {
			t.Errorf("messages: %v", got)
		}
		p.deny(nil)
		time.Sleep(time.Minute)
		if got := h.messages(); len(got) != 2 || got[1] != message.MetadataLUNHealthy && got[0] != message.MetadataLUNHealthy {
			t.Errorf("messages: %v", got)
		}
		if name := h.named(t, h.replicas(xenapi.VDITypeMetadata)[0]); name != "after the fire" {
			t.Errorf("it holds %q", name)
		}
	})
}

// TestAReaderIsWaitedFor: somebody who copies the VDI holds the writer up, which is no failure.
func TestAReaderIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{})
		h := p.start(t, here)
		if err := h.enable(t, h.newSR(t, false)); err != nil {
			t.Fatal(err)
		}
		vdi := h.replicas(xenapi.VDITypeMetadata)[0]
		defer h.run()()
		time.Sleep(time.Minute)
		err := h.do(t, func(ctx context.Context, tk *task.Task) error {
			a, err := h.storage.Attach(ctx, tk, vdi, storage.ReadOnly)
			if err != nil {
				return err
			}
			defer a.Detach(ctx)
			h.rename(t, "meanwhile")
			time.Sleep(20 * time.Second)
			return nil
		})
		time.Sleep(time.Second)
		if name := h.named(t, vdi); err != nil || name != "meanwhile" || len(h.messages()) > 0 {
			t.Errorf("%v; it holds %q; messages %v", err, name, h.messages())
		}
	})
}

// TestTheWriterDies: at each point of a write a host is gone. What the VDI holds then is whole; no other host writes it until
// what the dead one had is settled, and then that is all forgotten.
func TestTheWriterDies(t *testing.T) {
	t.Parallel()
	for point, want := range map[string]string{"replica-attached": "old", "replica-body": "old", "replica-header": "new"} {
		synctest.Test(t, func(t *testing.T) {
			p := newPool(t, memsr.Options{})
			h := p.start(t, here)
			h.rename(t, "old")
			if err := h.enable(t, h.newSR(t, true)); err != nil {
				t.Fatal(err)
			}
			vdi := h.replicas(xenapi.VDITypeMetadata)[0]
			h.rename(t, "new")
			died, dead := make(chan struct{}), make(chan struct{})
			p.stepping(func(name string) {
				if name == point {
					close(died)
					<-dead // nothing that it does afterwards counts
				}
			})
			stop := h.run()
			<-died
			raw := p.content(t, h, vdi)
			if got := nameIn(t, raw); got != want {
				t.Errorf("%s: the image holds %q, want %q", point, got, want)
			}
			p.stepping(nil)
			other := p.start(t, there)
			other.plug(t, get(h, vdi).SR)
			wantCode(t, point+": another host", other.do(t, func(ctx context.Context, tk *task.Task) error {
				_, err := other.storage.AttachReplica(ctx, tk, vdi)
				return err
			}), xenapi.CodeVDIInUse)
			close(dead)
			stop()
		})
	}
}

// content is the image of a VDI as it is now, whoever uses it.
func (p *pool) content(t testing.TB, h *host, vdi xenapi.Ref[xenapi.VDI]) []byte {
	t.Helper()
	rec := get(h, vdi)
	on, err := p.driver.Attach(t.Context(), storage.Config{UUID: get(h, rec.SR).UUID, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	file, err := on.Open(t.Context(), rec.Location, storage.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.NewSectionReader(file, 0, rec.VirtualSize))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// nameIn is what the pool is called in an image, read as a restoration does.
func nameIn(t testing.TB, raw []byte) (name string) {
	t.Helper()
	saved, err := replica.Read(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	store := memkv.New()
	if _, err := db.Restore(t.Context(), store, saved); err != nil {
		t.Fatal(err)
	}
	d, err := db.Open(t.Context(), store, db.Options{Tables: tables()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_ = d.View(func(tx *db.Tx) error { rec, _ := db.Lookup(tx, thePool); name = rec.NameLabel; return nil })
	return name
}

// TestAnotherHostGoesOn where the last one left off.
func TestAnotherHostGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{})
		h := p.start(t, here)
		sr := h.newSR(t, true)
		if err := h.enable(t, sr); err != nil {
			t.Fatal(err)
		}
		other := p.start(t, there)
		vdi := h.replicas(xenapi.VDITypeMetadata)[0]
		other.plug(t, sr)
		defer h.run()()
		defer other.run()()
		for i, writer := range []xenapi.Ref[xenapi.Host]{here, there, here} {
			p.give(writer)
			name := fmt.Sprint("name ", i)
			before := p.writtenBy()
			other.rename(t, name)
			time.Sleep(time.Minute)
			after := p.writtenBy()
			for _, host := range []xenapi.Ref[xenapi.Host]{here, there} {
				if wrote := after[host] > before[host]; wrote != (host == writer) {
					t.Errorf("it is the turn of %s: %s writes: %t", writer, host, wrote)
				}
			}
			if got := other.named(t, vdi); got != name {
				t.Errorf("%s writes: it holds %q, want %q", writer, got, name)
			}
		}
		if got := h.messages(); len(got) > 0 {
			t.Errorf("messages: %v", got)
		}
	})
}

// TestForgottenSR ends what was kept there, with a message.
func TestForgottenSR(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{})
		h := p.start(t, here)
		sr := h.newSR(t, false)
		err := h.do(t, func(ctx context.Context, tk *task.Task) error {
			return errors.Join(h.Enable(ctx, tk, sr), h.EnableRedoLog(ctx, tk, sr))
		})
		if err != nil {
			t.Fatal(err)
		}
		locations := []string{}
		for _, kind := range []xenapi.VDIType{xenapi.VDITypeMetadata, xenapi.VDITypeRedoLog} {
			locations = append(locations, get(h, h.replicas(kind)[0]).Location)
		}
		defer h.run()()
		time.Sleep(time.Minute)
		if err := h.do(t, func(ctx context.Context, tk *task.Task) error {
			for pbd := range h.pbds() {
				if err := h.storage.UnplugPBD(ctx, tk, pbd); err != nil {
					return err
				}
			}
			return h.storage.ForgetSR(ctx, tk, sr)
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if pool := get(h, thePool); pool.RedoLogEnabled || pool.RedoLogVDI != "" {
			t.Error("the pool says that it has a redo log")
		}
		if got := h.messages(); len(got) != 2 || got[0] != message.ReplicationEnded || got[1] != message.ReplicationEnded {
			t.Errorf("messages: %v", got)
		}
		p.driver.CheckEmpty(locations...)
	})
}

func (h *host) pbds() map[xenapi.Ref[xenapi.PBD]]xenapi.PBD {
	all := map[xenapi.Ref[xenapi.PBD]]xenapi.PBD{}
	_ = h.db.View(func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.PBD](tx) {
			all[ref] = rec
		}
		return nil
	})
	return all
}

// TestMostReplicas: each costs a write of the database with every change.
func TestMostReplicas(t *testing.T) {
	t.Parallel()
	h := newPool(t, memsr.Options{}).start(t, here)
	for range 8 {
		if err := h.enable(t, h.newSR(t, false)); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, "the ninth", h.enable(t, h.newSR(t, false)), xenapi.CodeNoMoreRedoLogsAllowed)
}

// TestWhatIsNoReplica is not opened.
func TestWhatIsNoReplica(t *testing.T) {
	t.Parallel()
	h := newPool(t, memsr.Options{}).start(t, here)
	sr := h.newSR(t, false)
	vdi := func(kind xenapi.VDIType) (ref xenapi.Ref[xenapi.VDI]) {
		rec := xenapi.New[xenapi.VDI]()
		rec.SR, rec.Type, rec.VirtualSize = sr, kind, 1<<20
		if err := h.do(t, func(ctx context.Context, tk *task.Task) (err error) {
			ref, err = h.storage.CreateVDI(ctx, tk, rec)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return ref
	}
	for ref, code := range map[xenapi.Ref[xenapi.VDI]]string{
		vdi(xenapi.VDITypeUser): xenapi.CodeVDIIncompatibleType, vdi(xenapi.VDITypeMetadata): xenapi.CodeCouldNotImportDatabase, "OpaqueRef:none": xenapi.CodeHandleInvalid,
	} {
		wantCode(t, "open", h.do(t, func(ctx context.Context, tk *task.Task) error { _, err := h.Open(ctx, tk, ref); return err }), code)
		wantCode(t, "whose", h.do(t, func(ctx context.Context, tk *task.Task) error { _, err := h.PoolUUID(ctx, tk, ref); return err }), code)
	}
}

// TestOpenFile takes whole backups, from regular files below the root.
func TestOpenFile(t *testing.T) {
	t.Parallel()
	h := newPool(t, memsr.Options{}).start(t, here)
	h.rename(t, "filed")
	var good bytes.Buffer
	if _, err := db.Backup(t.Context(), h.pool.store, &good, time.Now(), db.Omission{}); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "good")
	large, lerr := os.Create(filepath.Join(h.root, "large"))
	if err := errors.Join(lerr, os.WriteFile(filepath.Join(h.root, "good"), good.Bytes(), 0o600), os.WriteFile(outside, good.Bytes(), 0o600),
		os.WriteFile(filepath.Join(h.root, "torn"), good.Bytes()[:good.Len()/2], 0o600), os.Symlink(outside, filepath.Join(h.root, "out")),
		os.Symlink("good", filepath.Join(h.root, "link")), os.Mkdir(filepath.Join(h.root, "dir"), 0o700), large.Truncate(1<<30), large.Close()); err != nil {
		t.Fatal(err)
	}
	for path, code := range map[string]string{
		"/good": "", "/link": "", "/torn": xenapi.CodeCouldNotImportDatabase, "/out": xenapi.CodeCouldNotImportDatabase, "/none": xenapi.CodeCouldNotImportDatabase,
		"good": xenapi.CodeCouldNotImportDatabase, "/../good": xenapi.CodeCouldNotImportDatabase, "/": xenapi.CodeCouldNotImportDatabase, "": xenapi.CodeCouldNotImportDatabase,
		"/large": xenapi.CodeCouldNotImportDatabase, "/dir": xenapi.CodeCouldNotImportDatabase,
	} {
		opened, err := h.OpenFile(t.Context(), path)
		wantCode(t, path, err, code)
		if why := map[string]string{"/dir": "no regular file", "/large": "at most"}[path]; why != "" && !strings.Contains(fmt.Sprint(err), why) {
			t.Errorf("%s: %v does not say %q", path, err, why)
		}
		if err == nil {
			_ = opened.View(func(tx *db.Tx) error {
				if rec, _ := db.Lookup(tx, thePool); rec.NameLabel != "filed" {
					t.Errorf("%s: the pool is called %q", path, rec.NameLabel)
				}
				return nil
			})
			opened.Close()
		}
	}
}

// TestImageGone: a scan does not take the belief away that the database is kept in a VDI whose image has gone, nor what the SR
// remembers of that, so all is well when the image is back. The check tells, and how to give it up.
func TestImageGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{})
		h := p.start(t, here)
		sr := h.newSR(t, false)
		if err := h.enable(t, sr); err != nil {
			t.Fatal(err)
		}
		vdi := h.replicas(xenapi.VDITypeMetadata)[0]
		defer h.run()()
		time.Sleep(time.Minute)
		p.driver.Lose(get(h, sr).UUID, get(h, vdi).UUID)
		h.rename(t, "later")
		time.Sleep(time.Minute)
		if err := h.do(t, func(ctx context.Context, tk *task.Task) error { return h.storage.ScanSR(ctx, tk, sr) }); err != nil {
			t.Fatal(err)
		}
		if !get(h, vdi).MetadataLatest {
			t.Error("the scan has ended it")
		}
		if got := h.messages(); len(got) != 1 || got[0] != message.MetadataLUNBroken {
			t.Errorf("messages: %v", got)
		}
		faults, err := h.storage.Audit(t.Context(), false)
		if err != nil || len(faults) != 1 || !strings.Contains(faults[0].Advice, "sr-disable-database-replication") {
			t.Errorf("%v; faults: %+v", err, faults)
		}
		wantCode(t, "given up", h.do(t, func(ctx context.Context, tk *task.Task) error { return h.Disable(ctx, tk, sr) }), "")
		if all := h.replicas(xenapi.VDITypeMetadata); len(all) > 0 {
			t.Errorf("left: %v", all)
		}
	})
}
