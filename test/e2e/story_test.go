package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// built is a patch that poolpatch hotfix build has made of a repository of Debian packages.
type built struct {
	uuid  string
	file  string // signed
	size  int64
	bytes []byte
}

// buildRepository makes Debian packages, a patch that unpacks them into the host's root, and signs it.
func buildRepository(t *testing.T, packages ...string) built {
	t.Helper()
	dir, uuid := harness.Dir(t), xenapi.NewUUID()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	run := func(argv ...string) {
		t.Helper()
		if err := harness.Run("", argv...); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "patch/payload/repository"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range packages {
		tree := filepath.Join("trees", name)
		write(filepath.Join(tree, "DEBIAN/control"), fmt.Sprintf(
			"Package: %s\nVersion: 2.0\nArchitecture: all\nMaintainer: Patches <patches@example.com>\nDescription: part of a patch\n", name), 0o644)
		write(filepath.Join(tree, "usr/share", name, "version"), name+" 2.0\n", 0o644)
		run("dpkg-deb", "--root-owner-group", "--build", filepath.Join(dir, tree), filepath.Join(dir, "patch/payload/repository", name+"_2.0_all.deb"))
	}
	meta, err := json.Marshal(map[string]any{
		"uuid": uuid, "version": "2.0", "name-label": "Security <fixes> & more", "name-description": "Packages of the host",
		"after-apply-guidance": []string{"restartHost", "restartXAPI"},
	})
	if err != nil {
		t.Fatal(err)
	}
	write("patch/patch.json", string(meta), 0o644)
	write("patch/precheck", "#!/bin/sh\nfor deb in repository/*.deb; do dpkg-deb --field $deb Package Version || exit 2; done\n", 0o755)
	write("patch/apply", "#!/bin/sh\nset -e\nfor deb in repository/*.deb; do\necho unpacking $deb\ndpkg-deb -x $deb $POOLPATCH_ROOT\ndone\n", 0o755)
	program := filepath.Join(dir, "program")
	run(harness.Binary(t, harness.Build{}), "hotfix", "build", filepath.Join(dir, "patch"), "-o", program)
	b := built{uuid: uuid, file: harness.TheKey(t).Sign(t, program)}
	if b.bytes, err = os.ReadFile(b.file); err != nil {
		t.Fatal(err)
	}
	b.size = int64(len(b.bytes))
	return b
}

// TestWholeLife is the life of a patch as an administrator sees it (M1, M2, M4, M6, M8, M9).
func TestWholeLife(t *testing.T) {
	t.Parallel()
	d := start(t)
	packages := []string{"host-kernel", "host-tools", "host-firmware"}
	patch := buildRepository(t, packages...)
	c := d.Secure()

	progress := int64(0)
	ref, err := c.UploadPatch(t.Context(), bytes.NewReader(patch.bytes), patch.size, func(done, _ int64) { progress = done })
	if err != nil {
		t.Fatalf("upload over HTTPS: %v", err)
	}
	if progress != patch.size {
		t.Errorf("the last progress is %d of %d bytes", progress, patch.size)
	}
	rec := harness.Record(d, ref)
	if rec.UUID != patch.uuid || rec.Size != patch.size || rec.NameLabel != "Security <fixes> & more" || rec.Version != "2.0" ||
		!slices.Equal(rec.AfterApplyGuidance, []xenapi.AfterApplyGuidance{"restartHost", "restartXAPI"}) || len(rec.HostPatches) != 0 {
		t.Errorf("the record is %+v", rec)
	}
	vdi := harness.Record(d, rec.VDI)
	if want := max(4*patch.size, 16<<20); vdi.VirtualSize < want || vdi.VirtualSize > want+1<<20 {
		t.Errorf("the VDI is %d bytes large; four times the patch are %d", vdi.VirtualSize, want)
	}
	if !strings.Contains(vdi.NameLabel, patch.uuid) || vdi.NameDescription != "Packages of the host" {
		t.Errorf("the VDI is called %q (%q)", vdi.NameLabel, vdi.NameDescription)
	}
	d.Clean()

	out, err := client.Run[string](t.Context(), c, nil, "pool_patch.precheck", ref, d.Host())
	if err != nil || !strings.Contains(out, "host-firmware") {
		t.Fatalf("precheck: %v: %q", err, out)
	}
	if d.Exists("usr/share/host-kernel") {
		t.Error("the precheck has changed the host")
	}
	out, err = client.Run[string](t.Context(), c, nil, "pool_patch.apply", ref, d.Host())
	if err != nil || !strings.Contains(out, "unpacking repository/host-tools_2.0_all.deb") {
		t.Fatalf("apply: %v: %q", err, out)
	}
	applied := func(guidance ...xenapi.UpdateGuidance) {
		t.Helper()
		for _, name := range packages {
			if got := d.Read("usr/share/" + name + "/version"); got != name+" 2.0\n" {
				t.Errorf("package %s is not on the host: %q", name, got)
			}
		}
		if stamp := d.Read("var/patch/applied/" + patch.uuid); !strings.Contains(stamp, patch.uuid) {
			t.Errorf("the stamp is %q", stamp)
		}
		row, ok := harness.HostPatch(d, ref)
		if !ok || !row.Applied || row.Host != d.Host() || row.TimestampApplied.Unix() == 0 {
			t.Errorf("the host_patch is %+v", row)
		}
		pending := harness.Record(d, d.Host()).PendingGuidances
		if !slices.Equal(pending, guidance) {
			t.Errorf("the guidance pending is %v, not %v", pending, guidance)
		}
		logs, err := filepath.Glob(d.Path("var/log/poolpatch/patches/*" + patch.uuid + "-apply.log"))
		if err != nil || len(logs) != 1 {
			t.Errorf("the logs of the apply are %v (%v)", logs, err)
		}
		d.Refused(xenapi.CodePatchAlreadyApplied, "pool_patch.apply", ref, d.Host())
		d.Clean()
	}
	applied(xenapi.UpdateGuidanceRebootHost, xenapi.UpdateGuidanceRestartToolstack)
	d.Restart() // which is what restartXAPI asks for
	applied(xenapi.UpdateGuidanceRebootHost)

	d.Refused(xenapi.CodePatchIsApplied, "pool_patch.destroy", ref)
	d.Do("VDI.destroy", rec.VDI)
	if left := harness.Record(d, ref); left.UUID != patch.uuid {
		t.Errorf("the record of an applied patch without VDI is %+v", left)
	}
	if _, there := harness.Records[xenapi.VDI](d)[rec.VDI]; there {
		t.Error("the VDI is still there")
	}
	d.Clean()
}

// TestEnds are the ways in which a patch that is not applied leaves the pool (M8, M9).
func TestEnds(t *testing.T) {
	t.Parallel()
	d := start(t)
	gone := func(t *testing.T, d *harness.Daemon, ref xenapi.Ref[xenapi.PoolPatch]) {
		t.Helper()
		harness.Eventually(t, "the record is collected", func() bool {
			_, there := harness.Records[xenapi.PoolPatch](d)[ref]
			return !there
		})
		if n := len(harness.Records[xenapi.VDI](d)); n != 0 {
			t.Errorf("%d VDIs are left", n)
		}
		d.Clean()
	}
	for _, c := range []struct {
		name string
		end  func(xenapi.Ref[xenapi.PoolPatch])
	}{
		{"VDI.destroy", func(ref xenapi.Ref[xenapi.PoolPatch]) { d.Do("VDI.destroy", harness.Record(d, ref).VDI) }},
		{"pool_clean", func(ref xenapi.Ref[xenapi.PoolPatch]) { d.Do("pool_patch.pool_clean", ref) }},
		{"destroy", func(ref xenapi.Ref[xenapi.PoolPatch]) { d.Do("pool_patch.destroy", ref) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := d.For(t)
			p := harness.Program{}
			ref := d.Upload(p.Signed(t))
			before := harness.Record(d, ref)
			d.Do("pool_patch.clean", ref)
			d.Do("pool_patch.clean_on_host", ref, d.Host())
			if after := harness.Record(d, ref); after.VDI != before.VDI || harness.Record(d, after.VDI).UUID == "" {
				t.Error("clean has touched the VDI")
			}
			c.end(ref)
			gone(t, d, ref)
		})
	}
}
