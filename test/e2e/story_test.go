package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
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

// buildRepository makes a patch of Debian's packages, which unpacks them into the host's root, and signs it. It gives
// the packages' names too: each holds the program /usr/bin/NAME.
func buildRepository(t *testing.T) (built, []string) {
	t.Helper()
	dir, uuid := harness.Dir(t), xenapi.NewUUID()
	repository := filepath.Join(dir, "patch/payload/repository")
	if err := os.MkdirAll(repository, 0o755); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, deb := range debianPackages(t) {
		name, _, _ := strings.Cut(filepath.Base(deb), "_")
		names = append(names, name)
		content, err := os.ReadFile(deb)
		if err := errors.Join(err, os.WriteFile(filepath.Join(repository, filepath.Base(deb)), content, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	meta, err := json.Marshal(map[string]any{
		"uuid": uuid, "version": "2.0", "name-label": "Security <fixes> & more", "name-description": "Packages of the host",
		"after-apply-guidance": []string{"restartHost", "restartXAPI"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"patch.json": string(meta),
		"precheck":   "#!/bin/sh\nfor deb in repository/*.deb; do dpkg-deb --field $deb Package Version || exit 2; done\n",
		"apply":      "#!/bin/sh\nexec dpkg --root=$POOLPATCH_ROOT --unpack repository/*.deb\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "patch", name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "program")
	if err := harness.Run("", harness.Binary(t, harness.Build{}), "hotfix", "build", filepath.Join(dir, "patch"), "-o", program); err != nil {
		t.Fatal(err)
	}
	b := built{uuid: uuid, file: harness.TheKey(t).Sign(t, program)}
	if b.bytes, err = os.ReadFile(b.file); err != nil {
		t.Fatal(err)
	}
	b.size = int64(len(b.bytes))
	return b, names
}

// debianPackages are the files that build/deps has fetched.
func debianPackages(t *testing.T) []string {
	t.Helper()
	module, err := harness.Module()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(module, ".cache/packages/*.deb"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no Debian packages to make a patch of (%v): run build/deps", err)
	}
	return found
}

// makeDpkgRoot makes of the host's root one that dpkg keeps.
func makeDpkgRoot(t *testing.T, d *harness.Daemon) {
	t.Helper()
	admin := d.Path("var/lib/dpkg")
	if err := errors.Join(os.MkdirAll(filepath.Join(admin, "info"), 0o755), os.Mkdir(filepath.Join(admin, "updates"), 0o755),
		os.WriteFile(filepath.Join(admin, "status"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// TestWholeLife is the life of a patch as an administrator sees it (M1, M2, M4, M6, M8, M9).
func TestWholeLife(t *testing.T) {
	t.Parallel()
	d := start(t)
	makeDpkgRoot(t, d)
	patch, packages := buildRepository(t)
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
	if err != nil || !strings.Contains(out, "Package: "+packages[0]) {
		t.Fatalf("precheck: %v: %q", err, out)
	}
	if d.Exists("usr/bin/" + packages[0]) {
		t.Error("the precheck has changed the host")
	}
	out, err = client.Run[string](t.Context(), c, nil, "pool_patch.apply", ref, d.Host())
	if err != nil || !strings.Contains(out, "Unpacking "+packages[0]) {
		t.Fatalf("apply: %v: %q", err, out)
	}
	applied := func(guidance ...xenapi.UpdateGuidance) {
		t.Helper()
		for _, name := range packages {
			// What dpkg says that it has unpacked is there, and is what the package holds.
			if err := harness.Run("", "dpkg", "--root="+d.Path(""), "--verify", name); err != nil || !d.Exists("usr/bin/"+name) {
				t.Errorf("package %s is not on the host: %v", name, err)
			}
			status, err := harness.Output("", "dpkg-query", "--admindir="+d.Path("var/lib/dpkg"), "-W", "-f=${Status}", name)
			if err != nil || status != "install ok unpacked" {
				t.Errorf("package %s has the status %q, %v", name, status, err)
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
