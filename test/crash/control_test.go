package crash

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"poolpatch/internal/storage/srtest"
	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestPowerLoss takes the power from a host, below whose root everything is on one XFS, right after the
// API said that something has happened: it is still so when the host is back (I5). XFS then forgets what
// is neither on the disk nor in its log. It is not parallel: the file system must be in no other daemon's
// namespace.
func TestPowerLoss(t *testing.T) {
	if lost := losePower(t, plain); len(lost) > 0 {
		t.Errorf("what had happened was lost with the power:\n%s", strings.Join(lost, "\n"))
	}
}

// TestPowerLossIsNoticed builds a poolpatch that forgets to sync what it writes beside the database, and
// sees the power loss noticed.
func TestPowerLossIsNoticed(t *testing.T) {
	lost := losePower(t, harness.Build{Raceless: true, Change: harness.Change{
		File: "internal/durable/durable.go", Old: "errors.Join(f.Chmod(perm), f.Sync())", New: "f.Chmod(perm)",
	}})
	if len(lost) == 0 {
		t.Error("files that were not synced survived the loss of power: the test cannot fail")
	}
}

// losePower lives a patch's life with the power lost after each step, and says what each step's result
// was that is no more.
func losePower(t *testing.T, b harness.Build) (lost []string) {
	t.Helper()
	root := srtest.XFS(t)
	s := begin(t, harness.Options{Build: b, Root: root}, harness.Program{Guidance: "restartHost"})
	cut := func(after string) {
		t.Helper()
		restart := srtest.PowerLoss(t, root)
		s.d.Kill()
		restart()
		if err := s.d.Launch(); err != nil {
			t.Log(err)
			lost = append(lost, "after "+after+": the daemon does not start any more")
			return
		}
		for _, left := range s.d.Leftovers() {
			lost = append(lost, fmt.Sprintf("after %s: %s", after, left))
		}
	}
	missing := func(after, what string, there bool) {
		if !there {
			lost = append(lost, fmt.Sprintf("after %s: %s", after, what))
		}
	}

	s.upload()
	uploaded := harness.Record(s.d, s.ref)
	cut("the upload")
	if len(lost) > 0 {
		return lost
	}
	found, there := harness.Records[xenapi.PoolPatch](s.d)[s.ref]
	missing("the upload", "the record", there && found.VDI == uploaded.VDI)
	missing("the upload", "the content", len(s.d.Check("--deep")) == 0)
	if len(lost) > 0 {
		return lost
	}

	s.d.Apply(s.ref)
	cut("the apply")
	if len(lost) > 0 {
		return lost
	}
	missing("the apply", "the state applied", s.state() == applied)
	missing("the apply", "the stamp", strings.Contains(s.d.Read("var/patch/applied/"+s.p.UUID), s.p.UUID))
	host := harness.Record(s.d, s.d.Host())
	missing("the apply", "the guidance", slices.Contains(host.PendingGuidances, xenapi.UpdateGuidanceRebootHost))
	if len(lost) > 0 {
		return lost
	}

	s.d.Do("VDI.destroy", uploaded.VDI)
	cut("the destruction of the VDI")
	if len(lost) > 0 {
		return lost
	}
	missing("the destruction of the VDI", "that it is gone", len(harness.Records[xenapi.VDI](s.d)) == 0)
	return lost
}

// TestForgottenOwnerIsNoticed builds a poolpatch that makes VDIs without recording first whose they are,
// kills it, and sees the image that is left noticed.
func TestForgottenOwnerIsNoticed(t *testing.T) {
	t.Parallel()
	forgets := harness.Build{Raceless: true, Crash: true, Change: harness.Change{
		File: "internal/storage/vdi.go",
		Old:  "err = s.acquire(ctx, t, l, func(tx *db.Tx) error {\n\t\treturn t.Own(tx, kindVDI, rec.UUID, map[string]string{\"SR\": rec.SR.String()})\n\t})",
		New:  "err = s.acquire(ctx, t, l, func(tx *db.Tx) error { return nil })",
	}}
	s := begin(t, harness.Options{Build: forgets, CrashAt: "upload-received"}, harness.Program{})
	if !s.upload() {
		t.Fatal("the daemon did not die")
	}
	s.d.Again(plain)
	left := strings.Join(s.d.Leftovers(), "\n")
	for _, sign := range []string{"check: I4", "VDI "} {
		if !strings.Contains(left, sign) {
			t.Errorf("the VDI that nobody owns is not noticed as %q:\n%s", sign, left)
		}
	}
}
