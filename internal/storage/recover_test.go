package storage_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

var errBroken = errors.New("broken")

// chaos fails one step of a call: a commit or a call of the driver, before or after it was done. After a crash
// everything fails until peace.
type chaos struct {
	mu      sync.Mutex
	at      int // the step that fails, counted from 1; 0 is peace
	done    bool
	crash   bool
	alive   bool // the driver survives the crash: only the database is lost
	step    int
	reached bool
	after   bool // the driver call that runs now fails at its end
	dead    bool
}

// next counts a step and reports whether it is the one.
func (c *chaos) next() bool {
	if c.at == 0 {
		return false
	}
	c.step++
	if c.step != c.at {
		return false
	}
	c.reached, c.dead = true, c.crash
	return true
}

func (c *chaos) commit(_ int, _ []db.Guard, ops []db.Op) memkv.Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.dead:
		return memkv.FailNotPersisted
	case !touchesRows(ops) || !c.next():
		return memkv.None
	case c.done:
		return memkv.FailButPersisted
	}
	return memkv.FailNotPersisted
}

// touchesRows tells commits of a service from those that the database makes for itself.
func touchesRows(ops []db.Op) bool {
	for _, op := range ops {
		if strings.Contains(op.Key, "/row/") {
			return true
		}
	}
	return false
}

func (c *chaos) before(string, string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead && !c.alive {
		return errBroken
	}
	if !c.next() {
		return nil
	}
	if c.done {
		c.after = true
		return nil
	}
	return errBroken
}

func (c *chaos) afterwards(string, string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.after {
		return nil
	}
	c.after = false
	return errBroken
}

func (c *chaos) peace() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.dead, c.after = 0, false, false
}

// faultedCall is a call whose every step fails once. check looks, on a pool where nothing runs any more, for what
// the call has promised.
type faultedCall struct {
	name  string
	least int // steps, so that the test notices when it fails none
	call  func(ctx context.Context, p pool, tk *task.Task, src xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error)
	check func(p pool, h host, src, made xenapi.Ref[xenapi.VDI]) error
	// forgets is a call that leaves an image without a row on purpose.
	forgets bool
}

// bothThere is a check that the original and what was made are there.
func bothThere(p pool, h host, src, made xenapi.Ref[xenapi.VDI]) error {
	for _, ref := range []xenapi.Ref[xenapi.VDI]{src, made} {
		if get(h, ref).UUID == "" {
			return fmt.Errorf("VDI %s is lost", ref)
		}
	}
	return nil
}

var faultedCalls = []faultedCall{
	{"create", 5, func(ctx context.Context, p pool, tk *task.Task, _ xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
		return p.CreateVDI(ctx, tk, vdiOf(p.sr))
	}, bothThere, false},
	{"clone", 5, func(ctx context.Context, p pool, tk *task.Task, src xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
		return p.CloneVDI(ctx, tk, src)
	}, bothThere, false},
	{"snapshot", 5, func(ctx context.Context, p pool, tk *task.Task, src xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
		return p.SnapshotVDI(ctx, tk, src)
	}, bothThere, false},
	{"copy", 12, func(ctx context.Context, p pool, tk *task.Task, src xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
		return p.CopyVDI(ctx, tk, src, p.sr, "", "")
	}, bothThere, false},
	{"keep", 5, func(ctx context.Context, p pool, tk *task.Task, _ xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
		ref, err := p.CreateTemporary(ctx, tk, vdiOf(p.sr))
		if err != nil {
			return "", err
		}
		err = p.Keep(ctx, tk, ref, func(vdi *xenapi.VDI) { vdi.NameLabel = "kept" }, func(tx *db.Tx) error {
			return db.Insert(tx, "OpaqueRef:p", xenapi.PoolPatch{VDI: ref})
		})
		if err != nil {
			p.Discard(ctx, tk, ref)
		}
		return ref, err
	}, func(p pool, h host, src, made xenapi.Ref[xenapi.VDI]) error {
		if vdi := get(h, xenapi.Ref[xenapi.PoolPatch]("OpaqueRef:p")).VDI; vdi != made {
			return fmt.Errorf("the record points at %s", vdi)
		}
		return bothThere(p, h, src, made)
	}, false},
	{"discard", 6, func(ctx context.Context, p pool, tk *task.Task, _ xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
		ref, err := p.CreateTemporary(ctx, tk, vdiOf(p.sr))
		if err == nil {
			p.Discard(ctx, tk, ref)
		}
		return ref, err
	}, func(_ pool, h host, _, made xenapi.Ref[xenapi.VDI]) error {
		if get(h, made).UUID != "" {
			return errors.New("a discarded VDI is there")
		}
		return nil
	}, false},
	{"destroy", 3, func(ctx context.Context, p pool, tk *task.Task, src xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
		return "", p.DestroyVDI(ctx, tk, src)
	}, func(_ pool, h host, src, _ xenapi.Ref[xenapi.VDI]) error {
		if get(h, src).UUID != "" {
			return errors.New("a destroyed VDI is there")
		}
		return nil
	}, false},
	{"resize", 3, func(ctx context.Context, p pool, tk *task.Task, src xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
		return "", p.ResizeVDI(ctx, tk, src, 4*mib)
	}, func(_ pool, h host, src, _ xenapi.Ref[xenapi.VDI]) error {
		if size := get(h, src).VirtualSize; size != 4*mib {
			return fmt.Errorf("it has %d bytes", size)
		}
		return nil
	}, false},
	{"forget and introduce", 4, func(ctx context.Context, p pool, tk *task.Task, src xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
		rec := get(p.host, src)
		if err := p.ForgetVDI(ctx, tk, src); err != nil {
			return "", err
		}
		return p.IntroduceVDI(ctx, tk, rec)
	}, func(_ pool, h host, _, made xenapi.Ref[xenapi.VDI]) error {
		if get(h, made).UUID == "" {
			return errors.New("an introduced VDI is lost")
		}
		return nil
	}, true},
	{"data_destroy", 12, func(ctx context.Context, p pool, tk *task.Task, src xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
		if err := p.SetCBT(ctx, src, true); err != nil {
			return "", err
		}
		snapshot, err := p.SnapshotVDI(ctx, tk, src)
		if err != nil {
			return "", err
		}
		return snapshot, p.DestroyData(ctx, tk, snapshot)
	}, func(_ pool, h host, src, made xenapi.Ref[xenapi.VDI]) error {
		if rec := get(h, made); rec.Type != xenapi.VDITypeCBTMetadata || rec.VirtualSize != 4096 {
			return fmt.Errorf("it is %+v", rec)
		}
		return nil
	}, false},
	{"migrate", 15, func(ctx context.Context, p pool, tk *task.Task, src xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.VDI], error) {
		if err := p.db.Update(ctx, func(tx *db.Tx) error { return follow(tx, "", src) }); err != nil {
			return "", err
		}
		return p.MigrateVDI(ctx, tk, src, p.second, follow)
	}, func(_ pool, h host, src, made xenapi.Ref[xenapi.VDI]) error {
		if get(h, made).SR == "" || get(h, src).SR != "" {
			return errors.New("it has not moved")
		}
		return nil
	}, false},
}

// TestEveryStepFails fails each step of each call, as not done and as done, and goes on or dies there. In the end,
// after a start, no image is without a row and no row without an image, nothing is owned or marked, and what
// a call has promised is so.
func TestEveryStepFails(t *testing.T) {
	t.Parallel()
	for _, c := range faultedCalls {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, crash := range []bool{false, true} {
				for _, done := range []bool{false, true} {
					at := 1
					for failStep(t, c, &chaos{at: at, done: done, crash: crash}) {
						at++
					}
					if at <= c.least {
						t.Errorf("only %d steps were failed", at-1)
					}
				}
			}
		})
	}
}

// failStep reports whether the call had such a step.
func failStep(t *testing.T, c faultedCall, chaos *chaos) bool {
	what := fmt.Sprintf("%s, step %d, done %t, crash %t", c.name, chaos.at, chaos.done, chaos.crash)
	synctest.Test(t, func(t *testing.T) {
		at := chaos.at
		chaos.at = 0
		p := newPool(t, memsr.Options{Clone: true, Size: 1 << 30, Before: chaos.before, After: chaos.afterwards}, memkv.WithFaults(chaos.commit))
		p.second = p.newSR(t, true)
		src := p.newVDI(t, p.sr)
		var made xenapi.Ref[xenapi.VDI]
		_, err := p.tasks.Keep(t.Context(), task.Spec{}, func(ctx context.Context, tk *task.Task) (_ any, err error) {
			chaos.mu.Lock()
			chaos.at = at
			chaos.mu.Unlock()
			made, err = c.call(ctx, p, tk, src)
			return nil, err
		})
		chaos.peace()
		if !chaos.crash && !c.forgets {
			p.accountedFor(t, what)
		}
		inDoubt := c.name == "destroy" || c.name == "data_destroy" || c.name == "migrate" && errors.Is(err, db.ErrUnknownOutcome)
		if owned := p.belongings(); !chaos.crash && err != nil && !inDoubt && len(owned) > 0 {
			t.Errorf("%s: what failed once was not cleaned up at once: %v", what, owned)
		}
		p.db.Close()
		again := start(t, p.store, here, p.drivers())
		if err := again.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return again.ScanSR(ctx, tk, p.sr) }); err != nil {
			t.Errorf("%s: scan: %v", what, err)
		}
		p.consistent(t, again, what)
		for _, vdi := range all[xenapi.VDI](again) {
			if rec := get(again, vdi); rec.Type != xenapi.VDITypeCBTMetadata && rec.CBTEnabled && again.read(t, vdi) != "original" {
				t.Errorf("%s: a VDI has lost its data", what)
			}
		}
		for _, patch := range all[xenapi.PoolPatch](again) {
			if vdi := get(again, patch).VDI; get(again, vdi).UUID == "" {
				t.Errorf("%s: the patch points at a VDI that is not there", what)
			}
		}
		if err == nil {
			if err := c.check(p, again, src, made); err != nil {
				t.Errorf("%s: the call succeeded, but %v", what, err)
			}
		}
	})
	return chaos.reached
}

// accountedFor is what must hold after a call, whatever failed in it: each image has a row or an owner, and each
// row an image or an owner.
func (p pool) accountedFor(t testing.TB, what string) {
	t.Helper()
	rows, owned := map[string]bool{}, map[string]bool{}
	_ = p.db.View(func(tx *db.Tx) error {
		for _, rec := range db.All[xenapi.VDI](tx) {
			rows[rec.UUID] = true
		}
		for _, b := range task.Belongings(tx, "vdi") {
			owned[b.Object] = true
		}
		return nil
	})
	lost := maps.Clone(rows)
	var images []storage.Image
	for _, sr := range all[xenapi.SR](p.host) {
		images = append(images, p.images(t, sr)...)
	}
	for _, img := range images {
		delete(lost, img.UUID)
		if (img.Temporary || !rows[img.UUID]) && !owned[img.UUID] {
			t.Errorf("%s: nobody owns image %+v", what, img)
		}
	}
	for uuid := range lost {
		if !owned[uuid] {
			t.Errorf("%s: VDI %s has a row and no image", what, uuid)
		}
	}
}

// TestEveryStepOfPluggingFails: an SR can be used exactly while the database says that it is plugged.
func TestEveryStepOfPluggingFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []func() *chaos{
		func() *chaos { return &chaos{} },
		func() *chaos { return &chaos{done: true} },
		func() *chaos { return &chaos{crash: true, alive: true} },
	} {
		at := 1
		for failPlugging(t, fault(), at) {
			at++
		}
		if at < 5 {
			t.Errorf("only %d steps were failed", at-1)
		}
	}
}

// failPlugging reports whether there was such a step.
func failPlugging(t *testing.T, c *chaos, at int) bool {
	what := fmt.Sprintf("step %d, done %t, crash %t", at, c.done, c.crash)
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, memsr.Options{Before: c.before, After: c.afterwards}, memkv.WithFaults(c.commit))
		toggle := func(call func(ctx context.Context, tk *task.Task, ref xenapi.Ref[xenapi.PBD]) error) error {
			return p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return call(ctx, tk, p.pbd) })
		}
		err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
			c.mu.Lock()
			c.at = at
			c.mu.Unlock()
			return errors.Join(p.UnplugPBD(ctx, tk, p.pbd), p.PlugPBD(ctx, tk, p.pbd))
		})
		c.peace()
		_, unusable := p.Capabilities(p.sr)
		if plugged := get(p.host, p.pbd).CurrentlyAttached; unusable == nil && !plugged || err == nil && unusable != nil && plugged {
			t.Errorf("%s: plugged %t, but %v", what, plugged, unusable)
		}
		if c.crash {
			return // the SR is marked until the next start
		}
		if err := errors.Join(toggle(p.PlugPBD), toggle(p.UnplugPBD), toggle(p.PlugPBD)); err != nil {
			t.Errorf("%s: then: %v", what, err)
		}
		if _, err := p.Capabilities(p.sr); err != nil {
			t.Errorf("%s: plugged, but %v", what, err)
		}
	})
	return c.reached
}

// TestDestroyFails leaves a VDI to its row when its image is whole, and to the next call when it is not.
func TestDestroyFails(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	whole, half := p.newVDI(t, p.sr), p.newVDI(t, p.sr)
	p.driver.Inject(failing("Destroy"), nil)
	wantCode(t, "destroy", p.destroy(t, whole), xenapi.CodeSRBackendFailure)
	if owned := p.belongings(); len(owned) != 0 || p.read(t, whole) != "original" {
		t.Errorf("a VDI that could not be destroyed: owned %v", owned)
	}
	uuid, location := get(p.host, p.sr).UUID, get(p.host, half).Location
	p.driver.Inject(func(method, at string) error {
		if method != "Destroy" {
			return nil
		}
		p.driver.Break(uuid, location)
		return failing("Destroy")(method, at)
	}, nil)
	wantCode(t, "destroy", p.destroy(t, half), xenapi.CodeSRBackendFailure)
	if owned := p.belongings(); len(owned) != 1 {
		t.Errorf("a VDI that is half destroyed: owned %v", owned)
	}
	p.driver.Inject(nil, nil)
	wantCode(t, "destroy again", p.destroy(t, half), "")
	wantCode(t, "destroy again", p.destroy(t, whole), "")
	p.driver.CheckEmpty()
	p.consistent(t, p.host, "afterwards")
}

// TestCleanupFails leaves an image that could neither be made nor be removed to the next start.
func TestCleanupFails(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	p.driver.Inject(failing("Destroy"), failing("Create"))
	_, err := p.create(t, vdiOf(p.sr))
	wantCode(t, "create", err, xenapi.CodeSRBackendFailure)
	p.accountedFor(t, "create")
	if images := p.images(t, p.sr); len(images) != 1 {
		t.Errorf("%d images: the faults did not do what the test is about", len(images))
	}
	p.driver.Inject(nil, nil)
	p.consistent(t, start(t, p.store, here, p.drivers()), "after a start")
	p.driver.CheckEmpty()
}

// TestDiscardFails keeps the owner of a temporary VDI, so that the next start removes it.
func TestDiscardFails(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		ref, err := p.CreateTemporary(ctx, tk, vdiOf(p.sr))
		p.driver.Inject(failing("Destroy"), nil)
		p.Discard(ctx, tk, ref)
		return err
	})
	if owned := p.belongings(); len(owned) != 1 || err != nil {
		t.Errorf("owned: %v, %v", owned, err)
	}
	faults, err := p.Audit(t.Context(), false)
	if len(faults) == 0 || err != nil {
		t.Errorf("the audit finds nothing, %v", err)
	}
	p.driver.Inject(nil, nil)
	again := start(t, p.store, here, p.drivers())
	p.consistent(t, again, "after a start")
	p.driver.CheckEmpty()
}
