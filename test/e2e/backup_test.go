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

// TestBackupOfAPool: a pool is restored on one of its hosts. The others, which would be the old pool beside it, leave that
// while they are stopped, keep what they have, and join again.
func TestBackupOfAPool(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, 4)
	program := harness.Program{UUID: xenapi.NewUUID()}
	ref := hosts[0].Upload(program.Signed(t))
	for _, d := range hosts {
		hosts[0].Do("pool_patch.apply", ref, ownHost(d))
	}
	binary, file := harness.Binary(t, harness.Build{}), filepath.Join(harness.Dir(t), "backup")
	if err := harness.Run("", binary, "pool", "backup", file, "--root", hosts[0].Root); err != nil {
		t.Fatal(err)
	}
	for _, d := range hosts {
		if err := harness.Run("", binary, "pool", "leave", "--root", d.Root); err == nil {
			t.Fatal("a host leaves its pool while its daemon runs")
		}
		d.Kill()
	}
	one := hosts[1]
	if err := os.RemoveAll(one.Path("var/lib/poolpatch/etcd")); err != nil {
		t.Fatal(err)
	}
	if err := harness.Run("", binary, "pool", "restore", file, "--root", one.Root); err != nil {
		t.Fatal(err)
	}
	if err := one.Launch(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the host that was restored is the coordinator", func() bool { return coordinator(one) == ownHost(one) })
	for _, d := range []*harness.Daemon{hosts[0], hosts[2], hosts[3]} {
		if err := harness.Run("", binary, "pool", "leave", "--root", d.Root); err != nil {
			t.Fatal(err)
		}
		if err := d.Launch(); err != nil {
			t.Fatal(err)
		}
		alone(t, d)
		if err := join(t, d, one); err != nil {
			t.Fatal(err)
		}
	}
	harness.Eventually(t, "the pool has its copies of the database", func() bool { return databases(one) == "map[client:1 member:3]" })
	if rec := harness.Record(one, ref); len(rec.HostPatches) != len(hosts) {
		t.Errorf("the patch is on %d hosts", len(rec.HostPatches))
	}
	for _, d := range hosts {
		d.Clean()
	}
}
