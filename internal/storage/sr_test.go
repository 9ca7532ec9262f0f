package storage_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"poolpatch/internal/check"
	"poolpatch/internal/db"
	"poolpatch/internal/message"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

func TestPBD(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	ctx := t.Context()
	shared := p.newSR(t, true)
	pbd := p.pbdOf(shared)
	create := func(rec xenapi.PBD) error { _, err := p.CreatePBD(ctx, rec); return err }
	unplug := func() error {
		return p.do(ctx, func(ctx context.Context, tk *task.Task) error { return p.UnplugPBD(ctx, tk, pbd) })
	}
	plug := func(ref xenapi.Ref[xenapi.PBD]) error {
		return p.do(ctx, func(ctx context.Context, tk *task.Task) error { return p.PlugPBD(ctx, tk, ref) })
	}

	wantError(t, "a second PBD", create(xenapi.PBD{Host: here, SR: shared}), xenapi.ErrPBDExists(shared, here, pbd))
	wantCode(t, "a reserved key", create(xenapi.PBD{Host: here, SR: shared, DeviceConfig: map[string]string{"SRmaster": "true"}}), xenapi.CodeValueNotSupported)
	wantError(t, "no SR", create(xenapi.PBD{Host: here, SR: "OpaqueRef:x"}), xenapi.ErrHandleInvalid("SR", "OpaqueRef:x"))
	wantError(t, "no host", create(xenapi.PBD{Host: "OpaqueRef:x", SR: shared}), xenapi.ErrHandleInvalid("host", "OpaqueRef:x"))
	wantError(t, "destroy a plugged PBD", p.DestroyPBD(ctx, pbd), xenapi.ErrOperationNotAllowed("PBD is currently attached"))

	wantCode(t, "plug again", plug(pbd), "")
	wantCode(t, "plug nothing", plug("OpaqueRef:x"), xenapi.CodeHandleInvalid)
	for range 2 {
		wantCode(t, "unplug", unplug(), "")
	}
	if get(p.host, pbd).CurrentlyAttached {
		t.Error("an unplugged PBD is attached")
	}
	_, err := p.Capabilities(shared)
	wantError(t, "use an unplugged SR", err, xenapi.ErrSRHasNoPBDs(shared))
	wantCode(t, "plug", plug(pbd), "")
	if _, err := p.Capabilities(shared); err != nil || !get(p.host, pbd).CurrentlyAttached {
		t.Errorf("use a plugged SR: %v", err)
	}
	wantCode(t, "unplug", unplug(), "")
	wantCode(t, "destroy", p.DestroyPBD(ctx, pbd), "")
	wantError(t, "destroy again", p.DestroyPBD(ctx, pbd), xenapi.ErrHandleInvalid("PBD", pbd.String()))
	p.consistent(t, p.host, "afterwards")
}

// TestUnplugWhileUsed names the VDIs that are in the way.
func TestUnplugWhileUsed(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	vdi := p.newVDI(t, p.sr)
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		a, err := p.Attach(ctx, tk, vdi, storage.ReadOnly)
		if err != nil {
			return err
		}
		wantError(t, "unplug under an attached VDI", p.UnplugPBD(ctx, tk, p.pbd), xenapi.ErrVDIsInUse(vdi.String()))
		a.Detach(ctx)
		temporary, err := p.CreateTemporary(ctx, tk, vdiOf(p.sr))
		wantError(t, "unplug under a temporary VDI", p.UnplugPBD(ctx, tk, p.pbd), xenapi.ErrVDIsInUse(temporary.String()))
		a, aerr := p.Attach(ctx, tk, temporary, storage.ReadWrite)
		if err := errors.Join(err, aerr); err != nil {
			return err
		}
		wantError(t, "unplug under one that is attached too", p.UnplugPBD(ctx, tk, p.pbd), xenapi.ErrVDIsInUse(temporary.String()))
		a.Detach(ctx)
		p.Discard(ctx, tk, temporary)
		return errors.Join(err, p.UnplugPBD(ctx, tk, p.pbd))
	})
	wantCode(t, "unplug", err, "")
}

// TestTwoHosts shares an SR, and does not share one that is not shared.
func TestTwoHosts(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	shared := p.newSR(t, true)
	other := p.another(t)
	plug := func(sr xenapi.Ref[xenapi.SR]) error {
		pbd, err := other.CreatePBD(t.Context(), xenapi.PBD{Host: there, SR: sr})
		if err != nil {
			return err
		}
		return other.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return other.PlugPBD(ctx, tk, pbd) })
	}
	wantError(t, "plug a local SR elsewhere", plug(p.sr), xenapi.ErrSRNotSharable(p.sr, here))
	wantCode(t, "plug a shared SR", plug(shared), "")
	if err := p.db.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "make an SR of two hosts local", p.SetShared(t.Context(), shared, false), xenapi.CodeSRHasMultiplePBDs)
	vdi := p.newVDI(t, shared)
	if err := other.db.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := other.read(t, vdi); got != "original" {
		t.Errorf("the other host reads %q", got)
	}
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		return p.PlugPBD(ctx, tk, xenapi.Ref[xenapi.PBD](pbdOn(other, shared)))
	})
	wantError(t, "plug another host's PBD", err, xenapi.ErrHostCannotSeeSR(here, shared))
}

func pbdOn(h host, sr xenapi.Ref[xenapi.SR]) (ref xenapi.Ref[xenapi.PBD]) {
	for _, pbd := range all[xenapi.PBD](h) {
		if rec := get(h, pbd); rec.SR == sr && rec.Host == h.ref {
			ref = pbd
		}
	}
	return ref
}

func TestCreateSR(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Size: 64 * mib})
	rec, pbd := get(p.host, p.sr), get(p.host, p.pbd)
	if rec.Type != "mem" || rec.NameLabel != "memory" || rec.ContentType != "user" || rec.PhysicalSize != 64*mib || rec.PhysicalUtilisation != 0 {
		t.Errorf("a new SR: %+v", rec)
	}
	if !pbd.CurrentlyAttached || pbd.Host != here || pbd.UUID == "" {
		t.Errorf("its PBD: %+v", pbd)
	}
	create := func(n storage.NewSR) error {
		return p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { _, err := p.CreateSR(ctx, tk, n); return err })
	}
	wantError(t, "unknown type", create(storage.NewSR{Record: xenapi.SR{Type: "NFS"}, Host: here}), xenapi.ErrSRUnknownDriver("nfs"))
	wantCode(t, "unknown host", create(storage.NewSR{Record: xenapi.SR{Type: "mem"}, Host: "OpaqueRef:x"}), xenapi.CodeHandleInvalid)
	p.another(t)
	wantError(t, "another host's local SR", create(storage.NewSR{Record: xenapi.SR{Type: "mem"}, Host: there}), xenapi.ErrHostOffline(there))
	for _, method := range []string{"Create", "Attach", "Space"} {
		p.driver.Inject(failing(method), nil)
		uuid := xenapi.NewUUID()
		wantCode(t, method+" fails", create(storage.NewSR{Record: xenapi.SR{UUID: uuid, Type: "mem"}, Host: here}), xenapi.CodeSRBackendFailure)
		p.driver.Inject(nil, nil)
		// What could not even be attached can not be wiped either.
		if _, err := p.driver.Attach(t.Context(), storage.Config{UUID: uuid}); err == nil && method != "Attach" {
			t.Errorf("after %s failed the SR is there", method)
		}
		if srs, pbds := all[xenapi.SR](p.host), all[xenapi.PBD](p.host); len(srs) != 1 || len(pbds) != 1 {
			t.Errorf("after %s failed: %d SRs, %d PBDs", method, len(srs), len(pbds))
		}
	}
}

// failing is a fault of one driver method.
func failing(method string) memsr.Fault {
	return func(called, _ string) error {
		if called == method {
			return xenapi.ErrSRBackendFailure("1", "", "broken")
		}
		return nil
	}
}

func TestIntroduceSR(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	uuid := get(p.host, p.sr).UUID
	introduce := func(rec xenapi.SR) (xenapi.SR, error) {
		ref, err := p.IntroduceSR(t.Context(), rec)
		return get(p.host, ref), err
	}
	_, err := introduce(xenapi.SR{UUID: uuid, Type: "mem"})
	wantError(t, "a UUID that is there", err, xenapi.ErrSRUUIDExists(uuid))
	_, err = introduce(xenapi.SR{UUID: "x", Type: "mem"})
	wantCode(t, "no UUID", err, xenapi.CodeInvalidValue)
	_, err = introduce(xenapi.SR{Type: "x"})
	wantCode(t, "unknown type", err, xenapi.CodeSRUnknownDriver)
	rec, err := introduce(xenapi.SR{Type: "Mem"})
	if err != nil || rec.UUID == "" || rec.Type != "mem" || rec.PhysicalSize != -1 || rec.PhysicalUtilisation != -1 {
		t.Errorf("introduced: %+v, %v", rec, err)
	}
	rec, err = introduce(xenapi.SR{Type: "mem", UUID: "0165F154-BA3E-034E-6B27-5D271AF109BA"})
	if err != nil || rec.UUID != "0165f154-ba3e-034e-6b27-5d271af109ba" {
		t.Errorf("introduced with a UUID in upper case: %+v, %v", rec, err)
	}
}

// TestForgetAndFindAgain loses the records of an SR and rebuilds them from what is on it.
func TestForgetAndFindAgain(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	before := get(p.host, p.newVDI(t, p.sr))
	sr := get(p.host, p.sr)
	forget := func() error {
		return p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.ForgetSR(ctx, tk, p.sr) })
	}
	wantError(t, "forget a plugged SR", forget(), xenapi.ErrSRHasPBD(p.sr))
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.UnplugPBD(ctx, tk, p.pbd) })
	if err := errors.Join(err, forget()); err != nil {
		t.Fatal(err)
	}
	if left := len(all[xenapi.SR](p.host)) + len(all[xenapi.PBD](p.host)) + len(all[xenapi.VDI](p.host)); left != 0 {
		t.Errorf("%d records are left of a forgotten SR", left)
	}
	err = p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		again, err := p.IntroduceSR(ctx, xenapi.SR{UUID: sr.UUID, Type: "mem"})
		if err != nil {
			return err
		}
		pbd, err := p.CreatePBD(ctx, xenapi.PBD{Host: here, SR: again})
		return errors.Join(err, p.PlugPBD(ctx, tk, pbd), p.ScanSR(ctx, tk, again))
	})
	if err != nil {
		t.Fatal(err)
	}
	vdis := all[xenapi.VDI](p.host)
	if len(vdis) != 1 {
		t.Fatalf("%d VDIs were found", len(vdis))
	}
	after := get(p.host, vdis[0])
	if after.UUID != before.UUID || after.NameLabel != "label" || after.NameDescription != "description" || after.VirtualSize != 2*mib ||
		after.Type != xenapi.VDITypeUser || !after.Sharable || after.OtherConfig["o"] != "1" || after.SMConfig["s"] != "1" || !after.Managed {
		t.Errorf("found again: %+v", after)
	}
	if got := p.read(t, vdis[0]); got != "original" {
		t.Errorf("it holds %q", got)
	}
	p.consistent(t, p.host, "afterwards")
}

func TestDestroySR(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	vdi := p.newVDI(t, p.sr)
	call := func(fn func(ctx context.Context, tk *task.Task) error) error { return p.do(t.Context(), fn) }
	destroy := func() error {
		return call(func(ctx context.Context, tk *task.Task) error { return p.DestroySR(ctx, tk, p.sr) })
	}
	wantError(t, "a plugged SR", destroy(), xenapi.ErrSRHasPBD(p.sr))
	if err := call(func(ctx context.Context, tk *task.Task) error { return p.UnplugPBD(ctx, tk, p.pbd) }); err != nil {
		t.Fatal(err)
	}
	wantError(t, "an SR with a VDI", destroy(), xenapi.ErrSRNotEmpty())
	err := call(func(ctx context.Context, tk *task.Task) error {
		return errors.Join(p.PlugPBD(ctx, tk, p.pbd), p.DestroyVDI(ctx, tk, vdi), p.UnplugPBD(ctx, tk, p.pbd))
	})
	if err != nil {
		t.Fatal(err)
	}
	indestructible := func(value string) {
		p.update(t, func(tx *db.Tx) error {
			return db.Change(tx, p.sr, func(sr *xenapi.SR) error { sr.OtherConfig = map[string]string{"indestructible": value}; return nil })
		})
	}
	indestructible("true")
	wantError(t, "an indestructible SR", destroy(), xenapi.ErrSRIndestructible(p.sr))
	indestructible("false")
	p.driver.Inject(failing("Wipe"), nil)
	wantCode(t, "the driver fails", destroy(), xenapi.CodeSRBackendFailure)
	p.driver.Inject(nil, nil)
	if _, err := p.Capabilities(p.sr); err == nil {
		t.Error("an SR that could not be wiped stays attached")
	}
	wantCode(t, "destroy", destroy(), "")
	if left := len(all[xenapi.SR](p.host)) + len(all[xenapi.PBD](p.host)); left != 0 {
		t.Errorf("%d records are left", left)
	}
	if err := p.driver.Create(t.Context(), storage.Config{UUID: xenapi.NewUUID()}); err != nil {
		t.Error(err)
	}
	wantCode(t, "destroy again", destroy(), xenapi.CodeHandleInvalid)

	alone, err := p.IntroduceSR(t.Context(), xenapi.SR{Type: "mem"})
	if err != nil {
		t.Fatal(err)
	}
	err = call(func(ctx context.Context, tk *task.Task) error { return p.DestroySR(ctx, tk, alone) })
	wantError(t, "an SR without PBD", err, xenapi.ErrSRHasNoPBDs(alone))
}

// TestScan changes an SR behind the database's back.
func TestScan(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Size: 64 * mib})
	kept, vanished, grown := p.newVDI(t, p.sr), p.newVDI(t, p.sr), p.newVDI(t, p.sr)
	p.update(t, func(tx *db.Tx) error {
		return db.Change(tx, grown, func(vdi *xenapi.VDI) error { vdi.Digest = "of two MiB"; return nil })
	})
	on, err := p.driver.Attach(t.Context(), storage.Config{UUID: get(p.host, p.sr).UUID})
	if err != nil {
		t.Fatal(err)
	}
	fresh, complete := storage.Image{UUID: xenapi.NewUUID(), Size: mib, NameLabel: "new"}, storage.Image{UUID: xenapi.NewUUID(), Size: mib, Temporary: true}
	_, err = on.Create(t.Context(), fresh)
	_, terr := on.Create(t.Context(), complete)
	_, rerr := on.Resize(t.Context(), get(p.host, grown).Location, 3*mib)
	renamed := p.images(t, p.sr)[0]
	for _, img := range p.images(t, p.sr) {
		if img.UUID == get(p.host, kept).UUID {
			renamed = img
		}
	}
	renamed.NameLabel, renamed.Digest = "renamed", "of the SR"
	if err := errors.Join(err, terr, rerr, on.Describe(t.Context(), renamed), on.Destroy(t.Context(), get(p.host, vanished).Location)); err != nil {
		t.Fatal(err)
	}
	scan := func(sr xenapi.Ref[xenapi.SR]) error {
		return p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.ScanSR(ctx, tk, sr) })
	}
	wantCode(t, "scan", scan(p.sr), "")
	var labels []string
	for _, ref := range all[xenapi.VDI](p.host) {
		labels = append(labels, get(p.host, ref).NameLabel)
	}
	if slices.Sort(labels); !slices.Equal(labels, []string{"label", "new", "renamed"}) {
		t.Errorf("after the scan there are %v", labels)
	}
	if rec := get(p.host, grown); rec.VirtualSize != 3*mib || rec.Digest != "" {
		t.Errorf("the one that grew: %d bytes, digest %q", rec.VirtualSize, rec.Digest)
	}
	if rec := get(p.host, kept); rec.Digest != "" || rec.NameLabel != "renamed" {
		t.Errorf("the digest %q was believed that the row does not know", rec.Digest)
	}
	if sr := get(p.host, p.sr); sr.VirtualAllocation != 6*mib || sr.PhysicalSize != 64*mib || sr.PhysicalUtilisation != 7*mib {
		t.Errorf("the SR: %d promised, %d large, %d used", sr.VirtualAllocation, sr.PhysicalSize, sr.PhysicalUtilisation)
	}
	wantCode(t, "scan nothing", scan("OpaqueRef:x"), xenapi.CodeHandleInvalid)
	alone, err := p.IntroduceSR(t.Context(), xenapi.SR{Type: "mem"})
	wantError(t, "scan an unplugged SR", errors.Join(err, scan(alone)), xenapi.ErrSRHasNoPBDs(alone))
}

// TestScanLeavesWhatTasksOwn scans while a task makes and uses VDIs.
func TestScanLeavesWhatTasksOwn(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		ref, err := p.CreateTemporary(ctx, tk, vdiOf(p.sr))
		err = errors.Join(err, p.ScanSR(ctx, tk, p.sr))
		if vdis := all[xenapi.VDI](p.host); len(vdis) != 1 || vdis[0] != ref {
			t.Errorf("after the scan there are %v", vdis)
		}
		p.Discard(ctx, tk, ref)
		return err
	})
	wantCode(t, "scan", err, "")
	p.consistent(t, p.host, "afterwards")
}

// TestReplug restarts a host: what was plugged is attached again, what was not is not, and one SR that can not be
// attached does not keep the host down.
func TestReplug(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	unplugged := p.newSR(t, true)
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.UnplugPBD(ctx, tk, p.pbdOf(unplugged)) })
	if err != nil {
		t.Fatal(err)
	}
	p.DetachAll(t.Context())
	again := start(t, p.store, here, p.drivers())
	if _, err := again.Capabilities(p.sr); err != nil {
		t.Errorf("the plugged SR: %v", err)
	}
	if _, err := again.Capabilities(unplugged); err == nil {
		t.Error("the unplugged SR is attached")
	}
	again.DetachAll(t.Context())
	p.driver.Inject(failing("Attach"), nil)
	broken := start(t, p.store, here, p.drivers())
	if _, err := broken.Capabilities(p.sr); err == nil || get(broken, p.pbd).CurrentlyAttached {
		t.Errorf("an SR that can not be attached: %v, plugged %t", err, get(broken, p.pbd).CurrentlyAttached)
	}
	p.driver.Inject(nil, nil)
	err = broken.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return broken.PlugPBD(ctx, tk, p.pbd) })
	wantCode(t, "plug when it works again", err, "")
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Size: 10 * mib, Clone: true})
	p.newVDI(t, p.sr)
	unplugged := p.newSR(t, true)
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.UnplugPBD(ctx, tk, p.pbdOf(unplugged)) })
	found, cerr := p.Candidates(t.Context())
	if err := errors.Join(err, cerr); err != nil || len(found) != 2 {
		t.Fatalf("found %v, %v", found, err)
	}
	first := found[0]
	if first.SR != p.sr || first.UUID != get(p.host, p.sr).UUID || first.Label != "memory" || first.ContentType != "user" ||
		!first.Plugged || !first.CanCreate || !first.CanClone || first.Free != 8*mib || first.Err != nil {
		t.Errorf("a plugged SR: %+v", first)
	}
	if second := found[1]; second.SR != unplugged || second.Plugged || second.CanCreate {
		t.Errorf("an unplugged SR: %+v", second)
	}
	p.driver.Inject(failing("Space"), nil)
	if found, _ := p.Candidates(t.Context()); found[0].Err == nil {
		t.Error("an SR that does not say how much is free")
	}
}

// TestDriversAreRegistered twice, as at two starts.
func TestDriversAreRegistered(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Clone: true})
	if err := p.RegisterDrivers(t.Context()); err != nil {
		t.Fatal(err)
	}
	sms := all[xenapi.SM](p.host)
	if len(sms) != 1 {
		t.Fatalf("%d SM records", len(sms))
	}
	sm := get(p.host, sms[0])
	if sm.Type != "mem" || sm.NameLabel != "Memory" || !slices.Contains(sm.Capabilities, "VDI_CLONE") || sm.Features["VDI_CREATE"] != 1 {
		t.Errorf("the SM record is %+v", sm)
	}
	if types := p.SupportedTypes(); !slices.Equal(types, []string{"mem"}) {
		t.Errorf("supported: %v", types)
	}
}

// TestContentThatWasRemoved: of an image whose content somebody has removed a scan leaves nothing, unless a task has to do
// with it.
func TestContentThatWasRemoved(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	lose := func(ref xenapi.Ref[xenapi.VDI]) (uuid string) {
		uuid = get(p.host, ref).UUID
		p.driver.Lose(get(p.host, p.sr).UUID, uuid)
		return uuid
	}
	scan := func(ctx context.Context, tk *task.Task) error { return p.ScanSR(ctx, tk, p.sr) }
	removed, read := p.newVDI(t, p.sr), p.newVDI(t, p.sr)
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		a, err := p.Attach(ctx, tk, read, storage.ReadOnly)
		if err != nil {
			return err
		}
		defer a.Detach(ctx)
		made, err := p.CreateTemporary(ctx, tk, vdiOf(p.sr))
		if err != nil {
			return err
		}
		defer p.Discard(ctx, tk, made)
		kept := []string{lose(read), lose(made)}
		lost := lose(removed)
		faults, err := p.Audit(ctx, false)
		named := slices.ContainsFunc(faults, func(f check.Fault) bool {
			return f.Object == "VDI "+lost && strings.Contains(f.Problem, "is not on SR")
		})
		if len(faults) != 2 || !named {
			t.Errorf("the audit finds %+v, %v", faults, err)
		}
		if err := scan(ctx, tk); err != nil {
			return err
		}
		p.driver.CheckEmpty(kept...)
		if get(p.host, removed).UUID != "" || get(p.host, read).UUID == "" || get(p.host, made).UUID == "" {
			t.Errorf("after the scan there are %v", all[xenapi.VDI](p.host))
		}
		return nil
	})
	wantCode(t, "scan", err, "")
	wantCode(t, "scan again", p.do(t.Context(), scan), "")
	p.driver.CheckEmpty()
	p.consistent(t, p.host, "afterwards")
}

// TestAutoScanned: an SR is scanned by itself if its other_config says so, it is plugged here, nobody uses it, and it is
// this host's turn.
func TestAutoScanned(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	asked, other, unplugged, used := p.newSR(t, true), p.newSR(t, true), p.newSR(t, true), p.newSR(t, true)
	set := func(ref xenapi.Ref[xenapi.SR], value string) {
		p.update(t, func(tx *db.Tx) error {
			return db.Change(tx, ref, func(sr *xenapi.SR) error { sr.OtherConfig = map[string]string{"auto-scan": value}; return nil })
		})
	}
	for _, ref := range []xenapi.Ref[xenapi.SR]{asked, other, unplugged, used} {
		set(ref, "true")
	}
	set(p.sr, "false")
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.UnplugPBD(ctx, tk, p.pbdOf(unplugged)) })
	if err != nil {
		t.Fatal(err)
	}
	mark := func(ref xenapi.Ref[xenapi.SR], by xenapi.Ref[xenapi.Task]) {
		p.update(t, func(tx *db.Tx) error {
			return db.Change(tx, ref, func(sr *xenapi.SR) error {
				sr.CurrentOperations = map[string]xenapi.StorageOperation{by.String(): xenapi.StorageOperationVDICreate}
				return nil
			})
		})
	}
	mark(used, p.someTask(t).Ref())
	mark(asked, "OpaqueRef:dead")
	due := p.AutoScanned(func(_ *db.Tx, sr xenapi.Ref[xenapi.SR]) bool { return sr != other })
	if !slices.Equal(due, []xenapi.Ref[xenapi.SR]{asked}) {
		t.Errorf("%v are due, want %v alone", due, asked)
	}
}

// An SR that fills up has one message until it has room again; and a refresh that finds nothing new writes nothing.
func TestAnSRThatIsNearlyFullIsTold(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Size: 100 * mib})
	refresh := func(want int) {
		t.Helper()
		if err := p.RefreshAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		told := all[xenapi.Message](p.host)
		for _, ref := range told {
			m := get(p.host, ref)
			if m.Name != message.SRNearlyFull || m.ObjUUID != get(p.host, p.sr).UUID || m.Cls != xenapi.MessageClassSR {
				t.Errorf("the message is %+v", m)
			}
		}
		if len(told) != want {
			t.Errorf("%d messages, want %d", len(told), want)
		}
	}
	fill := func(size int64) xenapi.Ref[xenapi.VDI] {
		t.Helper()
		rec := vdiOf(p.sr)
		rec.VirtualSize = size
		ref, err := p.host.create(t, rec)
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	fill(80 * mib)
	refresh(0)
	last := fill(10 * mib)
	refresh(1)
	refresh(1)
	before := p.db.Revision()
	refresh(1)
	if after := p.db.Revision(); after != before {
		t.Errorf("a refresh that finds nothing new has committed: %d → %d", before, after)
	}
	if err := p.host.destroy(t, last); err != nil {
		t.Fatal(err)
	}
	refresh(1)
	fill(10 * mib)
	refresh(2)
}
