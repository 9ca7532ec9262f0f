package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestBackupAndRestore: a host whose database directory is lost is what it was, from a backup: its patches, what is applied
// and its storage.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	d := start(t)
	program := harness.Program{UUID: xenapi.NewUUID()}
	ref := d.Upload(program.Signed(t))
	d.Apply(ref)
	file := filepath.Join(harness.Dir(t), "backup")
	if err := harness.Run("", harness.Binary(t, harness.Build{}), "pool", "backup", file, "--root", d.Root); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup, which holds secrets, has mode %v, %v", info.Mode(), err)
	}
	before := harness.Record(d, ref)

	d.Kill()
	restore := []string{harness.Binary(t, harness.Build{}), "pool", "restore", file, "--root", d.Root}
	if err := harness.Run("", restore...); err == nil {
		t.Error("a database that is there was restored over")
	}
	if err := os.RemoveAll(d.Path("var/lib/poolpatch/etcd")); err != nil {
		t.Fatal(err)
	}
	if err := harness.Run("", restore...); err != nil {
		t.Fatal(err)
	}
	if err := d.Launch(); err != nil {
		t.Fatal(err)
	}
	after := harness.Record(d, ref)
	if after.UUID != before.UUID || after.VDI != before.VDI || len(after.HostPatches) != 1 {
		t.Errorf("the patch was %+v and is %+v", before, after)
	}
	d.Refused(xenapi.CodePatchAlreadyApplied, "pool_patch.apply", ref, d.Host())
	d.Secure() // with the password that root had
	d.Clean()
}
