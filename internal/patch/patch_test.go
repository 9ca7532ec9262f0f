package patch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"poolpatch/internal/check"
	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/message"
	"poolpatch/internal/patch"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

func wantCode(t testing.TB, what string, err error, code string) {
	t.Helper()
	if got := xenapi.CodeOf(err); got != code || (err == nil) != (code == "") {
		t.Errorf("%s: got error %v, want code %q", what, err, code)
	}
}

// The whole life of a patch (M1, M2, M4, M6, M8, M9), on an SR that can clone and on one that copies.
func TestLifeOfAPatch(t *testing.T) {
	for _, clones := range []bool{true, false} {
		t.Run(fmt.Sprintf("clone=%v", clones), func(t *testing.T) {
			s := newSite(t, memsr.Options{Clone: clones})
			x := s.start(t, nil).withSR(t)
			signed := s.sign(t, program{label: "one", guidance: "restartHost"})
			ref, err := x.upload(signed)
			if err != nil {
				t.Fatal(err)
			}
			rec := get(x, ref)
			if rec.UUID != theUUID || rec.NameLabel != "one" || rec.Size != int64(len(signed)) || rec.AfterApplyGuidance[0] != "restartHost" {
				t.Errorf("the record is %+v", rec)
			}
			vdi := get(x, rec.VDI)
			if vdi.NameLabel != "Patch "+theUUID+" (one)" || vdi.NameDescription != "described" || vdi.VirtualSize != 16<<20 {
				t.Errorf("the VDI is %+v", vdi)
			}
			x.clean(t, "after the upload")

			output, err := x.apply(ref)
			if err != nil || output != "prechecked\nprechecked\napplied\n" && output != "prechecked\napplied\n" {
				t.Errorf("apply printed %q, %v", output, err)
			}
			if s.runs() != 1 || !s.stamped(theUUID) {
				t.Errorf("apply ran %d times, stamp %v", s.runs(), s.stamped(theUUID))
			}
			if host := get(x, here); len(host.PendingGuidances) != 1 || host.PendingGuidances[0] != xenapi.UpdateGuidanceRebootHost {
				t.Errorf("pending guidance is %v", host.PendingGuidances)
			}
			x.clean(t, "after the apply")
			_, err = x.apply(ref)
			wantCode(t, "second apply", err, "PATCH_ALREADY_APPLIED")
			wantCode(t, "destroy of an applied patch", x.call(ref, x.Destroy), "PATCH_IS_APPLIED")

			if err := x.do(func(ctx context.Context, tk *task.Task) error { return x.storage.DestroyVDI(ctx, tk, rec.VDI) }); err != nil {
				t.Fatal(err)
			}
			if err := x.Collect(t.Context()); err != nil || get(x, ref).UUID == "" {
				t.Errorf("an applied patch was collected, %v", err)
			}
			_, err = x.apply(ref)
			wantCode(t, "apply of an applied patch without content", err, "PATCH_ALREADY_APPLIED")
		})
	}
}

// call runs one of the calls that take nothing but the patch.
func (x daemon) call(ref xenapi.Ref[xenapi.PoolPatch], fn func(context.Context, *task.Task, xenapi.Ref[xenapi.PoolPatch]) error) error {
	return x.do(func(ctx context.Context, t *task.Task) error { return fn(ctx, t, ref) })
}

func TestCollectionNeedsBothContentsGone(t *testing.T) {
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	ref, err := x.upload(s.sign(t, program{}))
	if err != nil {
		t.Fatal(err)
	}
	vdi := get(x, ref).VDI
	legacy := filepath.Join(s.root, "var/patch/old")
	if err := os.WriteFile(legacy, []byte("x"), 0o440); err != nil {
		t.Fatal(err)
	}
	x.update(t, func(tx *db.Tx) error {
		return db.Change(tx, ref, func(rec *xenapi.PoolPatch) error { rec.Filename = legacy; return nil })
	})
	collected := func(what string, want bool) {
		t.Helper()
		if err := x.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := get(x, ref).UUID == ""; got != want {
			t.Errorf("%s: collected %v, want %v", what, got, want)
		}
	}
	collected("VDI and file", false)
	if err := x.do(func(ctx context.Context, tk *task.Task) error { return x.storage.DestroyVDI(ctx, tk, vdi) }); err != nil {
		t.Fatal(err)
	}
	collected("file alone", false)
	if err := os.Remove(legacy); err != nil {
		t.Fatal(err)
	}
	collected("neither", true)
}

// M8: the clean calls never touch the VDI; only pool_clean does. A VDI that cannot be destroyed keeps its
// place in the record.
func TestCleaning(t *testing.T) {
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	ref, err := x.upload(s.sign(t, program{}))
	if err != nil {
		t.Fatal(err)
	}
	vdi := get(x, ref).VDI
	wantCode(t, "clean", x.call(ref, x.Clean), "")
	wantCode(t, "clean_on_host", x.do(func(ctx context.Context, tk *task.Task) error { return x.CleanOnHost(ctx, tk, ref, here) }), "")
	if get(x, vdi).UUID == "" || get(x, ref).VDI != vdi {
		t.Fatal("a clean of files destroyed the VDI")
	}
	s.driver.Inject(func(method, _ string) error {
		if method == "Destroy" {
			return errors.New("the SR is sulking")
		}
		return nil
	}, nil)
	wantCode(t, "pool_clean on a sulking SR", x.call(ref, x.PoolClean), "INTERNAL_ERROR")
	if get(x, ref).VDI != vdi || get(x, vdi).UUID == "" {
		t.Error("the record forgot a VDI that is still there")
	}
	s.driver.Inject(nil, nil)
	wantCode(t, "pool_clean", x.call(ref, x.PoolClean), "")
	if get(x, vdi).UUID != "" || !get(x, ref).VDI.IsNull() {
		t.Error("pool_clean left the VDI or its ref")
	}
	wantCode(t, "pool_clean again", x.call(ref, x.PoolClean), "")
	_, err = x.apply(ref)
	wantCode(t, "apply of a cleaned patch", err, "CANNOT_FIND_PATCH")
	wantCode(t, "destroy", x.call(ref, x.Destroy), "")
	x.clean(t, "at the end")
	s.driver.CheckEmpty()
}

// Duplicates: same content, other content, content that is gone.
func TestTheSamePatchAgain(t *testing.T) {
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	one, two := s.sign(t, program{label: "one"}), s.sign(t, program{label: "two", guidance: "restartXAPI"})
	ref, err := x.upload(one)
	if err != nil {
		t.Fatal(err)
	}
	vdi := get(x, ref).VDI
	again, err := x.upload(one)
	if err != nil || again != ref || get(x, ref).VDI != vdi || len(all[xenapi.VDI](x)) != 1 {
		t.Errorf("the same content again: %v, %v, %d VDIs", again, err, len(all[xenapi.VDI](x)))
	}
	_, err = x.upload(two)
	wantCode(t, "other content", err, "PATCH_ALREADY_EXISTS")
	if err := x.do(func(ctx context.Context, tk *task.Task) error { return x.storage.DestroyVDI(ctx, tk, vdi) }); err != nil {
		t.Fatal(err)
	}
	third, err := x.upload(two)
	rec := get(x, ref)
	if err != nil || third != ref || rec.NameLabel != "two" || rec.AfterApplyGuidance[0] != "restartXAPI" || rec.Size != int64(len(two)) || get(x, rec.VDI).UUID == "" {
		t.Errorf("content that was gone: %v, %v, %+v", third, err, rec)
	}
	x.clean(t, "at the end")
}

// A record does not stand for content that only it believes in: of a VDI that somebody wrote to, and of one whose image is
// gone from the SR.
func TestTheSamePatchAgainWhenItsContentIsSpoiled(t *testing.T) {
	for what, spoil := range map[string]func(x daemon, vdi xenapi.Ref[xenapi.VDI]) error{
		"written to": func(x daemon, vdi xenapi.Ref[xenapi.VDI]) error {
			return x.do(func(ctx context.Context, tk *task.Task) error {
				return x.storage.ImportRaw(ctx, tk, vdi, strings.NewReader("not the patch"), -1)
			})
		},
		"image gone": func(x daemon, vdi xenapi.Ref[xenapi.VDI]) error {
			x.site.driver.Break(get(x, get(x, vdi).SR).UUID, get(x, vdi).UUID)
			return nil
		},
	} {
		s := newSite(t, memsr.Options{Clone: true})
		x := s.start(t, nil).withSR(t)
		signed := s.sign(t, program{})
		ref, err := x.upload(signed)
		if err != nil {
			t.Fatal(err)
		}
		old := get(x, ref).VDI
		if err := spoil(x, old); err != nil {
			t.Fatal(err)
		}
		again, err := x.upload(signed)
		if now := get(x, ref).VDI; err != nil || again != ref || now == old || now.IsNull() {
			t.Errorf("%s: the upload gives %v, %v, and the patch is in VDI %s", what, again, err, now)
		}
		if _, err := x.apply(ref); err != nil || s.runs() != 1 {
			t.Errorf("%s: apply: %v, ran %d times", what, err, s.runs())
		}
		if left := get(x, old).UUID != ""; left != (what == "written to") {
			t.Errorf("%s: the old VDI is there: %v; what somebody has written stays, what is gone goes", what, left)
		}
		x.clean(t, what)
	}
}

// A patch that is being applied is not replaced, cleaned or destroyed under its host, and not applied twice.
func TestOperationsCollide(t *testing.T) {
	s := newSite(t, memsr.Options{Clone: true})
	reached, release := make(chan struct{}), make(chan struct{})
	x := s.start(t, func(point string) {
		if point == "apply-prechecked" {
			close(reached)
			<-release
		}
	}).withSR(t)
	ref, err := x.upload(s.sign(t, program{label: "one"}))
	if err != nil {
		t.Fatal(err)
	}
	another, err := x.upload(s.sign(t, program{uuid: "22222222-3333-4444-8555-666666666666"}))
	if err != nil {
		t.Fatal(err)
	}
	applied := make(chan error)
	go func() { _, err := x.apply(ref); applied <- err }()
	<-reached
	busy := "OTHER_OPERATION_IN_PROGRESS"
	_, err = x.apply(ref)
	wantCode(t, "second apply", err, busy)
	_, err = x.apply(another)
	wantCode(t, "apply of another patch on the same host", err, busy)
	wantCode(t, "clean", x.call(ref, x.Clean), busy)
	wantCode(t, "pool_clean", x.call(ref, x.PoolClean), busy)
	wantCode(t, "destroy", x.call(ref, x.Destroy), busy)
	for row := range all[xenapi.HostPatch](x) {
		wantCode(t, "host_patch.destroy", x.Forget(t.Context(), row), busy)
	}
	// The VDI itself may go: the host has its own copy. But a new content must wait for the apply.
	if err := x.do(func(ctx context.Context, tk *task.Task) error { return x.storage.DestroyVDI(ctx, tk, get(x, ref).VDI) }); err != nil {
		t.Errorf("destroy of the VDI under an apply: %v", err)
	}
	_, err = x.upload(s.sign(t, program{label: "two"}))
	wantCode(t, "replacing upload", err, busy)
	close(release)
	if err := <-applied; err != nil || s.runs() != 1 {
		t.Errorf("the apply ended with %v after %d runs", err, s.runs())
	}
	x.clean(t, "at the end")
}

// Whoever waits for an apply sees what it is at, and never that it is done before it is.
func TestAnApplyShowsItsStages(t *testing.T) {
	s := newSite(t, memsr.Options{})
	var x daemon
	var seen []string
	x = s.start(t, func(point string) {
		for _, rec := range all[xenapi.Task](x) {
			if strings.HasPrefix(point, "content") || strings.HasPrefix(point, "apply") {
				seen = append(seen, fmt.Sprintf("%s: %s %.2f", point, rec.NameDescription, rec.Progress))
			}
		}
	}).withSR(t)
	ref, err := x.upload(s.sign(t, program{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.apply(ref); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"apply-claimed:  0.00", "content-mounted: copying 0.00", "content-verified: verifying 0.60", "apply-prechecked: prechecking 0.85",
		"apply-running: running 0.90", "apply-ran: running 0.90", "apply-stamped: running 0.90", "apply-recorded: running 1.00",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("it showed\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
}

// Nothing is left of an upload that fails, and the error says why.
func TestUploadsThatFail(t *testing.T) {
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	good := s.sign(t, program{})
	flipped := append([]byte{}, good...)
	flipped[len(flipped)/2] ^= 1
	for what, tc := range map[string]struct {
		body   []byte
		length int64
		code   string
		text   string
	}{
		"nothing":              {nil, 0, "INVALID_PATCH", "empty"},
		"garbage":              {[]byte("garbage"), 7, "INVALID_PATCH", "not signed"},
		"a flipped bit":        {flipped, int64(len(flipped)), "INVALID_PATCH", ""},
		"a truncated file":     {good[:len(good)-20], -1, "INVALID_PATCH", ""},
		"an early end":         {good[:len(good)-20], int64(len(good)), "INVALID_PATCH", ""},
		"trailing data":        {append(append([]byte{}, good...), 'x'), -1, "INVALID_PATCH", ""},
		"wrong XML":            {s.sign(t, program{info: "echo '<info>'"}), -1, "INVALID_PATCH", "XML"},
		"unknown guidance":     {s.sign(t, program{guidance: "restartWorld"}), -1, "INVALID_PATCH", "restartWorld"},
		"no uuid":              {s.sign(t, program{uuid: "../../etc/passwd"}), -1, "INVALID_PATCH", "UUID"},
		"bad line endings":     {s.sign(t, program{info: "exit 2"}), -1, "INVALID_PATCH_WITH_LOG", "line endings"},
		"an info that fails":   {s.sign(t, program{info: "exit 3"}), -1, "INTERNAL_ERROR", ""},
		"a stray line on info": {s.sign(t, program{info: "echo oops >&2; echo '<info/>'"}), -1, "INVALID_PATCH", "XML"},
	} {
		_, err := x.uploadStream(strings.NewReader(string(tc.body)), tc.length)
		wantCode(t, what, err, tc.code)
		if err != nil && !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: the error %v does not say %q", what, err, tc.text)
		}
		x.clean(t, what)
		if n := len(all[xenapi.VDI](x)); n != 0 {
			t.Fatalf("%s left %d VDIs", what, n)
		}
	}
	s.driver.CheckEmpty()
}

// A patch that is whole is taken although more was announced: its signature says that nothing is missing, and its size is
// what came (facts, section 6).
func TestAnnouncedLengthsAreNotBelieved(t *testing.T) {
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	good := s.sign(t, program{})
	ref, err := x.uploadStream(strings.NewReader(string(good)), int64(len(good))+1000)
	if rec := get(x, ref); err != nil || rec.UUID != theUUID || rec.Size != int64(len(good)) {
		t.Errorf("the record is %+v, %v", rec, err)
	}
	x.clean(t, "a patch that is shorter than announced")
}

func TestAnUpperCaseUUIDIsFolded(t *testing.T) {
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	ref, err := x.upload(s.sign(t, program{uuid: strings.ToUpper(theUUID)}))
	if err != nil || get(x, ref).UUID != theUUID {
		t.Errorf("the record has uuid %q, %v", get(x, ref).UUID, err)
	}
	if _, err := x.apply(ref); err != nil || !s.stamped(theUUID) {
		t.Errorf("apply: %v, stamp %v", err, s.stamped(theUUID))
	}
}

// An empty probe makes nothing at all: not even a transaction besides its task's.
func TestAnEmptyProbeIsCheap(t *testing.T) {
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	s.driver.Inject(func(method, _ string) error { t.Errorf("a probe called %s of the SR", method); return nil }, nil)
	_, err := x.uploadStream(strings.NewReader(""), 0)
	wantCode(t, "probe", err, "INVALID_PATCH")
	s.driver.Inject(nil, nil)
}

// M3, M10: where no SR is usable, the error says of each why.
func TestNoSRCanTakeThePatch(t *testing.T) {
	s := newSite(t, memsr.Options{Size: 20 << 20})
	x := s.start(t, nil)
	good := s.sign(t, program{})
	_, err := x.upload(good)
	wantCode(t, "without an SR", err, "HOST_HAS_NO_PATCH_SR")
	x = x.withSR(t)
	_, err = x.uploadStream(strings.NewReader(string(good)), -1)
	wantCode(t, "4 GiB on an SR of 20 MiB", err, "HOST_HAS_NO_PATCH_SR")
	if err == nil || !strings.Contains(err.Error(), "4294967296 bytes needed, 20971520 bytes free") {
		t.Errorf("the error does not say what was needed and what there was: %v", err)
	}
	ref, err := x.upload(good)
	if err != nil {
		t.Errorf("16 MiB on an SR of 20 MiB: %v", err)
	}
	// There is room for the patch and none for a copy of it.
	_, err = x.apply(ref)
	wantCode(t, "apply", err, "HOST_HAS_NO_PATCH_SR")
	if err == nil || !strings.Contains(err.Error(), "(memory): 16777216 bytes needed, 4194304 bytes free") {
		t.Errorf("the error does not name the SR, what was needed and what there was: %v", err)
	}
	if n := len(all[xenapi.VDI](x)); n != 1 || len(all[xenapi.HostPatch](x)) != 0 {
		t.Errorf("%d VDIs and the rows %v are left", n, all[xenapi.HostPatch](x))
	}
	// M6: the copy may be on any SR that the host can reach.
	x = x.withSR(t)
	if _, err = x.apply(ref); err != nil {
		t.Errorf("apply with room on another SR: %v", err)
	}
	x.clean(t, "afterwards")
}

// A client that goes away in the middle, and one whose task is cancelled.
func TestUploadsThatEndEarly(t *testing.T) {
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	good := s.sign(t, program{})
	gone := xenapi.ErrInvalidPatch("the upload was cut off after 100 bytes").Because(syscall.ECONNRESET)
	_, err := x.uploadStream(io.MultiReader(strings.NewReader(string(good[:100])), failing{gone}), int64(len(good)))
	if !errors.Is(err, gone) {
		t.Errorf("a client that went away gave %v", err)
	}
	x.clean(t, "client gone")

	_, err = x.tasks.Keep(t.Context(), task.Spec{Label: "upload"}, func(ctx context.Context, tk *task.Task) (any, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(xenapi.ErrTaskCancelled(tk.Ref()))
		ref, err := x.Upload(ctx, tk, strings.NewReader(string(good)), int64(len(good)))
		return ref.String(), err
	})
	wantCode(t, "cancelled upload", err, "TASK_CANCELLED")
	x.clean(t, "cancelled")
	if n := len(all[xenapi.PoolPatch](x)); n != 0 {
		t.Errorf("%d records are left", n)
	}
	s.driver.CheckEmpty()
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// I1: an image that is not what was uploaded is not mounted and nothing of it runs.
func TestATamperedVDIIsRefused(t *testing.T) {
	s := newSite(t, memsr.Options{Clone: true})
	x := s.start(t, func(point string) {
		if point == "content-mounted" {
			t.Error("a tampered image was mounted")
		}
	}).withSR(t)
	ref, err := x.upload(s.sign(t, program{}))
	if err != nil {
		t.Fatal(err)
	}
	err = x.do(func(ctx context.Context, tk *task.Task) error {
		return x.storage.ImportRaw(ctx, tk, get(x, ref).VDI, strings.NewReader("not the patch"), -1)
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = x.apply(ref)
	wantCode(t, "apply", err, "INVALID_PATCH")
	if s.runs() != 0 {
		t.Error("a tampered patch ran")
	}
	if n := len(all[xenapi.VDI](x)); n != 1 {
		t.Errorf("%d VDIs are left, want the tampered one alone", n)
	}
	advice := "poolpatch vdi destroy " + get(x, get(x, ref).VDI).UUID + ", then poolpatch patch upload FILE"
	findings, err := check.Run(t.Context(), true, true, x.Service)
	if err != nil || len(findings) != 1 || findings[0].Advice != advice || findings[0].Repaired {
		t.Errorf("a deep check finds %+v, %v", findings, err)
	}
}

// Errors of a patch's own programs come through, and leave the host as if nobody had asked.
func TestProgramsThatFail(t *testing.T) {
	for what, tc := range map[string]struct {
		p     program
		code  string
		text  string
		ran   int
		state patch.State // in which the host is left
		told  string      // the message that administrators get
	}{
		"a failing precheck": {program{precheck: "exit 3"}, "PATCH_PRECHECK_FAILED_UNKNOWN_ERROR", "", 0, patch.None, ""},
		"a failing apply":    {program{apply: "echo broken; exit 1"}, "PATCH_APPLY_FAILED", "broken", 1, patch.None, message.PatchApplyFailed},
		// Nobody knows how far it came: only a person begins again.
		"a killed apply": {program{apply: "kill -9 $$"}, "PATCH_APPLY_FAILED", "ended by signal killed", 1, patch.Interrupted, message.PatchApplyInterrupted},
		// What it says of itself is asked before it may change anything.
		"another uuid": {program{info: "cat $POOLPATCH_ROOT/info", apply: "echo no"}, "INVALID_PATCH", "22222222", 0, patch.None, ""},
	} {
		s := newSite(t, memsr.Options{Clone: true})
		x := s.start(t, nil).withSR(t)
		s.says(t, theUUID)
		ref, err := x.upload(s.sign(t, tc.p))
		if err != nil {
			t.Fatal(err)
		}
		s.says(t, "22222222-3333-4444-8555-666666666666")
		_, err = x.apply(ref)
		wantCode(t, what, err, tc.code)
		if err == nil || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: the error %v does not say %q", what, err, tc.text)
		}
		state := patch.None
		for _, row := range all[xenapi.HostPatch](x) {
			state = patch.State(row.State)
			if row.OtherConfig["poolpatch:state"] != row.State {
				t.Errorf("%s: clients are told %v", what, row.OtherConfig)
			}
			wantCode(t, what+": destroy", x.call(ref, x.Destroy), "OPERATION_NOT_ALLOWED")
		}
		told := ""
		for _, m := range all[xenapi.Message](x) {
			told += m.Name
			if m.Cls != xenapi.MessageClassHost || !strings.Contains(m.Body, theUUID) {
				t.Errorf("%s: the message is %+v", what, m)
			}
		}
		if told != tc.told {
			t.Errorf("%s: told %q, want %q", what, told, tc.told)
		}
		if s.runs() != tc.ran || s.stamped(theUUID) || state != tc.state {
			t.Errorf("%s: ran %d times, stamp %v, the host is %q", what, s.runs(), s.stamped(theUUID), state)
		}
		x.clean(t, what)
	}
}

// says makes the answer of a program that reads it from the host.
func (s *site) says(t *testing.T, uuid string) {
	t.Helper()
	answer := fmt.Sprintf(`<info uuid="%s" version="1.0" name-label="" name-description="" after-apply-guidance=""/>`, uuid)
	if err := os.WriteFile(filepath.Join(s.root, "info"), []byte(answer), 0o600); err != nil {
		t.Fatal(err)
	}
}

// I3: a program that has done its work never runs again because something afterwards goes wrong, as when it does not say
// any more what it is.
func TestAProgramThatForgetsItself(t *testing.T) {
	s := newSite(t, memsr.Options{Clone: true})
	x := s.start(t, nil).withSR(t)
	s.says(t, theUUID)
	ref, err := x.upload(s.sign(t, program{info: "cat $POOLPATCH_ROOT/info", apply: "rm $POOLPATCH_ROOT/info"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.apply(ref); err != nil || !s.stamped(theUUID) {
		t.Errorf("apply: %v, stamp %v", err, s.stamped(theUUID))
	}
	_, err = x.apply(ref)
	wantCode(t, "again", err, "PATCH_ALREADY_APPLIED")
	if s.runs() != 1 {
		t.Errorf("ran %d times", s.runs())
	}
	x.clean(t, "at the end")
}

// A roll-up leaves stamps of other patches: their records follow at once.
func TestARollUpBringsItsStamps(t *testing.T) {
	s := newSite(t, memsr.Options{Clone: true})
	x := s.start(t, nil).withSR(t)
	const other = "11111111-2222-4333-8444-555555555555"
	stamp := fmt.Sprintf(`<info uuid="%s" version="1" name-label="rolled up" name-description="" after-apply-guidance=""/>`, other)
	ref, err := x.upload(s.sign(t, program{apply: "mkdir -p $POOLPATCH_ROOT/var/patch/applied; echo '" + stamp + "' > $POOLPATCH_ROOT/var/patch/applied/" + other}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.apply(ref); err != nil {
		t.Fatal(err)
	}
	found := false
	for ref, rec := range all[xenapi.PoolPatch](x) {
		if rec.UUID == other {
			for _, row := range all[xenapi.HostPatch](x) {
				found = found || row.PoolPatch == ref && row.Applied
			}
		}
	}
	if !found {
		t.Error("the rolled-up patch is not recorded as applied")
	}
	x.clean(t, "at the end")
}

// The database follows the stamps, both ways, and passes over what is no stamp.
func TestStampsAtStart(t *testing.T) {
	s := newSite(t, memsr.Options{})
	applied := filepath.Join(s.root, "var/patch/applied")
	if err := os.MkdirAll(applied, 0o755); err != nil {
		t.Fatal(err)
	}
	stamp := `<info uuid="` + theUUID + `" version="1" name-label="by hand" name-description="" after-apply-guidance=""/>`
	for name, text := range map[string]string{theUUID: stamp, "11111111-2222-4333-8444-555555555555": stamp, "README": "hello", "broken": "<info"} {
		if err := os.WriteFile(filepath.Join(applied, name), []byte(text), 0o440); err != nil {
			t.Fatal(err)
		}
	}
	when := time.Date(2020, 2, 29, 12, 0, 0, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(applied, theUUID), when, when); err != nil {
		t.Fatal(err)
	}
	x := s.start(t, nil)
	if rows := all[xenapi.HostPatch](x); len(rows) != 1 {
		t.Fatalf("the rows are %v", rows)
	}
	for _, row := range all[xenapi.HostPatch](x) {
		if !row.Applied || !row.TimestampApplied.Equal(when) || get(x, row.PoolPatch).NameLabel != "by hand" {
			t.Errorf("the row is %+v of %+v", row, get(x, row.PoolPatch))
		}
	}
	if err := os.Remove(filepath.Join(applied, theUUID)); err != nil {
		t.Fatal(err)
	}
	x = s.start(t, nil)
	if rows := all[xenapi.HostPatch](x); len(rows) != 0 {
		t.Errorf("a row without a stamp stays: %v", rows)
	}
	if err := x.Collect(t.Context()); err != nil || len(all[xenapi.PoolPatch](x)) != 0 {
		t.Errorf("the record of a patch that is nowhere stays: %v", err)
	}
}

// A stamp that the database does not know asks for what its patch asks for, unless that was followed since: so a host that
// comes into another pool, and one whose daemon died before it recorded the apply, are not taken for done.
func TestStampsAskForWhatWasNotFollowed(t *testing.T) {
	const reboot, toolstack = xenapi.UpdateGuidanceRebootHost, xenapi.UpdateGuidanceRestartToolstack
	applied := time.Now().Add(-time.Hour)
	before, after := applied.Add(-time.Minute), applied.Add(time.Minute)
	for _, c := range []struct {
		what            string
		booted, started time.Time
		want            []xenapi.UpdateGuidance
	}{
		{"nothing has started since", before, before, []xenapi.UpdateGuidance{reboot, toolstack}},
		{"the daemon has", before, after, []xenapi.UpdateGuidance{reboot}},
		{"the machine has", after, after, nil},
	} {
		for _, row := range []string{"without a row", "with a row that was busy"} {
			s := newSite(t, memsr.Options{})
			dir := filepath.Join(s.root, "var/patch/applied")
			stamp := `<info uuid="` + theUUID + `" version="1" name-label="p" name-description="" after-apply-guidance="restartHost restartXAPI"/>`
			if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, theUUID), []byte(stamp), 0o440), os.Chtimes(filepath.Join(dir, theUUID), applied, applied)); err != nil {
				t.Fatal(err)
			}
			s.booted, s.started = c.booted, c.started
			if row != "without a row" {
				interrupted := *s
				interrupted.root = t.TempDir()
				interrupted.start(t, nil).update(t, func(tx *db.Tx) error {
					rec := xenapi.New[xenapi.PoolPatch]()
					rec.UUID = theUUID
					return errors.Join(db.Insert(tx, "OpaqueRef:patch", rec), db.Insert(tx, "OpaqueRef:row",
						xenapi.HostPatch{UUID: xenapi.NewUUID(), Host: here, PoolPatch: "OpaqueRef:patch", State: string(patch.Running)}))
				})
			}
			x := s.start(t, nil)
			if got := get(x, here).PendingGuidances; !slices.Equal(got, c.want) {
				t.Errorf("%s, %s: pending %v, want %v", c.what, row, got, c.want)
			}
			x.update(t, func(tx *db.Tx) error {
				return db.Change(tx, here, func(rec *xenapi.Host) error { rec.PendingGuidances = nil; return nil })
			})
			if got := get(s.start(t, nil), here).PendingGuidances; len(got) != 0 {
				t.Errorf("%s, %s: a stamp that is known asks again for %v", c.what, row, got)
			}
		}
	}
}

// What only the coordinator does, a host that is not it leaves alone (M7, M9), until it is.
func TestOnlyTheCoordinatorCollects(t *testing.T) {
	s := newSite(t, memsr.Options{})
	file := filepath.Join(s.root, "var/patch/4a1b")
	if err := os.WriteFile(file, s.sign(t, program{label: "old"}), 0o440); err != nil {
		t.Fatal(err)
	}
	x := s.start(t, nil).withSR(t)
	lead := func(host xenapi.Ref[xenapi.Host]) {
		x.update(t, func(tx *db.Tx) error {
			return db.Change(tx, "OpaqueRef:pool", func(rec *xenapi.Pool) error { rec.Master = host; return nil })
		})
	}
	lead("OpaqueRef:another")
	if err := x.do(x.FindLegacy); err != nil || len(all[xenapi.PoolPatch](x)) != 0 {
		t.Errorf("a host that does not lead found %d files, %v", len(all[xenapi.PoolPatch](x)), err)
	}
	lead(here)
	if err := x.do(x.FindLegacy); err != nil || len(all[xenapi.PoolPatch](x)) != 1 {
		t.Fatalf("the coordinator found %d files, %v", len(all[xenapi.PoolPatch](x)), err)
	}
	lead("OpaqueRef:another")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := x.Collect(t.Context()); err != nil || len(all[xenapi.PoolPatch](x)) != 1 {
		t.Errorf("a host that does not lead collected what it does not see: %v", err)
	}
	lead(here)
	if err := x.Collect(t.Context()); err != nil || len(all[xenapi.PoolPatch](x)) != 0 {
		t.Errorf("the coordinator did not collect: %v", err)
	}
}

// M7: a file of a server that came before is found, applied, downloaded and cleaned.
func TestLegacyFiles(t *testing.T) {
	s := newSite(t, memsr.Options{})
	file := filepath.Join(s.root, "var/patch/4a1b")
	signed := s.sign(t, program{label: "old"})
	for path, content := range map[string][]byte{file: signed, filepath.Join(s.root, "var/patch/junk"): []byte("junk")} {
		if err := os.WriteFile(path, content, 0o440); err != nil {
			t.Fatal(err)
		}
	}
	x := s.start(t, nil).withSR(t)
	for range 2 { // a second start finds nothing new
		if err := x.do(x.FindLegacy); err != nil {
			t.Fatal(err)
		}
	}
	patches := all[xenapi.PoolPatch](x)
	if len(patches) != 1 {
		t.Fatalf("the records are %v", patches)
	}
	for ref, rec := range patches {
		if rec.NameLabel != "old" || rec.Filename != file || !rec.VDI.IsNull() || rec.Size != int64(len(signed)) {
			t.Errorf("the record is %+v", rec)
		}
		var got []byte
		err := x.do(func(ctx context.Context, tk *task.Task) error {
			return x.Download(ctx, tk, strings.ToUpper(theUUID), func(r io.Reader, size int64) (err error) {
				got, err = io.ReadAll(r)
				return err
			})
		})
		if err != nil || string(got) != string(signed) {
			t.Errorf("download gave %d bytes, %v", len(got), err)
		}
		if _, err := x.apply(ref); err != nil || s.runs() != 1 {
			t.Errorf("apply: %v, %d runs", err, s.runs())
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("an apply removed the coordinator's own file: %v", err)
		}
		wantCode(t, "clean", x.call(ref, x.Clean), "")
		if _, err := os.Stat(file); err == nil || get(x, ref).Filename != file {
			t.Error("clean left the file, or blanked its name")
		}
		wantCode(t, "clean again", x.call(ref, x.Clean), "")
	}
	x.clean(t, "at the end")
	s.driver.CheckEmpty()
}

func TestDownloadOfAVDI(t *testing.T) {
	s := newSite(t, memsr.Options{})
	x := s.start(t, nil).withSR(t)
	signed := s.sign(t, program{})
	if _, err := x.upload(signed); err != nil {
		t.Fatal(err)
	}
	var got []byte
	err := x.do(func(ctx context.Context, tk *task.Task) error {
		return x.Download(ctx, tk, theUUID, func(r io.Reader, size int64) (err error) {
			got, err = io.ReadAll(r)
			return err
		})
	})
	if err != nil || string(got) != string(signed) {
		t.Errorf("download gave %d bytes, %v", len(got), err)
	}
	for uuid, code := range map[string]string{"nonsense": "UUID_INVALID", "11111111-2222-4333-8444-555555555555": "UUID_INVALID"} {
		err := x.do(func(ctx context.Context, tk *task.Task) error {
			return x.Download(ctx, tk, uuid, func(io.Reader, int64) error { return nil })
		})
		wantCode(t, uuid, err, code)
	}
	for ref, rec := range all[xenapi.PoolPatch](x) {
		x.update(t, func(tx *db.Tx) error {
			return db.Change(tx, ref, func(rec *xenapi.PoolPatch) error { rec.VDI = ""; return nil })
		})
		err := x.do(func(ctx context.Context, tk *task.Task) error {
			return x.Download(ctx, tk, theUUID, func(io.Reader, int64) error { t.Error("nothing is sent"); return nil })
		})
		wantCode(t, "neither VDI nor file", err, "CANNOT_FIND_PATCH")
		x.update(t, func(tx *db.Tx) error {
			return db.Change(tx, ref, func(now *xenapi.PoolPatch) error { now.VDI = rec.VDI; return nil })
		})
	}
	x.clean(t, "at the end")
}

// M6: precheck and apply of one call share one private copy, which is a clone where the SR can.
func TestOneCopyForPrecheckAndApply(t *testing.T) {
	for _, clones := range []bool{true, false} {
		s := newSite(t, memsr.Options{Clone: clones})
		x := s.start(t, nil).withSR(t)
		ref, err := x.upload(s.sign(t, program{}))
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		made := map[string]int{}
		s.driver.Inject(func(method, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			made[method]++
			return nil
		}, nil)
		if _, err := x.apply(ref); err != nil {
			t.Fatal(err)
		}
		s.driver.Inject(nil, nil)
		if made["Clone"]+made["Create"] != 1 || (made["Clone"] == 1) != clones {
			t.Errorf("an SR that clones (%v) was asked for %v", clones, made)
		}
	}
}

func TestPoolApply(t *testing.T) {
	s := newSite(t, memsr.Options{Clone: true})
	x := s.start(t, nil).withSR(t)
	ref, err := x.upload(s.sign(t, program{}))
	if err != nil {
		t.Fatal(err)
	}
	x.update(t, func(tx *db.Tx) error {
		return db.Change(tx, ref, func(rec *xenapi.PoolPatch) error {
			rec.OtherConfig = map[string]string{"poolpatch:max_parallel": "1", "poolpatch:skip_offline": "true", "mine": "kept"}
			return nil
		})
	})
	for range 2 { // hosts that have it are skipped
		wantCode(t, "pool_apply", x.call(ref, x.PoolApply), "")
		if s.runs() != 1 || !get(x, ref).PoolApplied {
			t.Errorf("ran %d times, pool_applied %v", s.runs(), get(x, ref).PoolApplied)
		}
		if config := get(x, ref).OtherConfig; len(config) != 1 || config["mine"] != "kept" {
			t.Errorf("what one call was told steers the next: %v", config)
		}
	}
	x.clean(t, "at the end")
}

// Every commit of an upload and an apply fails, unpersisted or persisted but reported as failed. Then the
// same daemon tries again, or a new one starts: nothing is left, nothing runs twice by itself.
func TestEveryCommitFails(t *testing.T) {
	for _, fault := range []memkv.Fault{memkv.FailNotPersisted, memkv.FailButPersisted} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("fault=%d,restart=%v", fault, restart), func(t *testing.T) {
				t.Parallel()
				for n := 1; !failCommit(t, fault, restart, n); n++ {
				}
			})
		}
	}
}

// failCommit makes the n-th commit after the pool was set up fail; it reports that there was none.
func failCommit(t *testing.T, fault memkv.Fault, restart bool, n int) (done bool) {
	armed, count, hit := false, 0, false
	s := newSite(t, memsr.Options{Clone: true}, memkv.WithFaults(func(int, []db.Guard, []db.Op) memkv.Fault {
		if !armed {
			return memkv.None
		}
		if count++; count == n {
			hit = true
			return fault
		}
		return memkv.None
	}))
	what := fmt.Sprintf("fault %d at commit %d, restart %v", fault, n, restart)
	x := s.start(t, nil).withSR(t)
	signed := s.sign(t, program{})
	armed = true
	ref, err := x.upload(signed)
	if err == nil {
		_, err = x.apply(ref)
	}
	armed = false
	if restart {
		x = s.start(t, nil)
	}
	if !hit {
		return true
	}
	x.clean(t, what)
	if s.runs() > 1 {
		t.Errorf("%s: ran %d times", what, s.runs())
	}
	if err != nil {
		again, err := x.upload(signed)
		if err != nil {
			t.Errorf("%s: upload again: %v", what, err)
		}
		ran := s.runs()
		_, err = x.apply(again)
		if code := xenapi.CodeOf(err); err != nil && code != "PATCH_ALREADY_APPLIED" {
			t.Errorf("%s: apply again: %v (had run %d times)", what, err, ran)
		}
	}
	if !s.stamped(theUUID) {
		t.Errorf("%s: no stamp at the end", what)
	}
	x.clean(t, what+", at the end")
	return false
}
