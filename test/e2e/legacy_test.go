package e2e

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestLegacy is a patch that an older server kept as a file in /var/patch: it is found, and all that can
// be done with one in a VDI can be done with it (M7, M8, M9).
func TestLegacy(t *testing.T) {
	t.Parallel()
	root := harness.Dir(t)
	p := harness.Program{Label: "From long ago"}
	signed := p.Signed(t)
	const name = "var/patch/0a1b2c3d-the-old-name"
	if err := os.MkdirAll(root+"/var/patch", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/"+name, signed, 0o440); err != nil {
		t.Fatal(err)
	}
	d := harness.Start(t, harness.Options{Root: root, Trusted: []*harness.Key{harness.TheKey(t)}})
	harness.Eventually(t, "the file has a record", func() bool { return len(harness.Records[xenapi.PoolPatch](d)) == 1 })
	ref, rec := harness.Only[xenapi.PoolPatch](d)
	if rec.UUID != p.UUID || rec.NameLabel != "From long ago" || rec.Size != int64(len(signed)) || !rec.VDI.IsNull() {
		t.Errorf("the record is %+v", rec)
	}
	d.Clean()
	var down bytes.Buffer
	if _, err := d.Secure().DownloadPatch(t.Context(), strings.ToUpper(p.UUID), &down, nil); err != nil || !bytes.Equal(down.Bytes(), signed) {
		t.Errorf("download: %v, %d bytes; not the file", err, down.Len())
	}
	if out := harness.Call[string](d, "pool_patch.precheck", ref, d.Host()); !strings.Contains(out, "prechecked") {
		t.Errorf("the precheck printed %q", out)
	}
	d.Apply(ref)
	d.Clean()
	d.Do("pool_patch.clean", ref)
	if d.Exists(name) {
		t.Error("clean has left the file")
	}
	if _, there := harness.Records[xenapi.PoolPatch](d)[ref]; !there {
		t.Error("the record of an applied patch went with its file")
	}
	e := d.Refused("CANNOT_FIND_PATCH", "pool_patch.precheck", ref, d.Host())
	if len(e.Params) != 0 {
		t.Errorf("the error is %v", e)
	}
	d.Clean()
}

// TestStamps: what the host's stamps say, the records follow at the next start, both ways.
func TestStamps(t *testing.T) {
	t.Parallel()
	d := start(t)
	p := harness.Program{}
	ref := d.Upload(p.Signed(t))
	d.Apply(ref)
	stamp := "var/patch/applied/" + p.UUID
	text := d.Read(stamp)
	d.Stop()
	if err := os.Remove(d.Path(stamp)); err != nil {
		t.Fatal(err)
	}
	byHand := harness.Program{UUID: xenapi.NewUUID(), Label: "By hand"}
	d.Write("var/patch/applied/"+byHand.UUID, byHand.XML(), 0o440)
	d.Write("var/patch/applied/not-a-stamp", "leave me alone", 0o440)
	d.Again(harness.Build{})
	if row, there := harness.HostPatch(d, ref); there {
		t.Errorf("the patch has no stamp any more, and the host says %+v", row)
	}
	adopted := false
	for other, rec := range harness.Records[xenapi.PoolPatch](d) {
		if rec.UUID == byHand.UUID {
			row, there := harness.HostPatch(d, other)
			adopted = there && row.Applied && rec.NameLabel == "By hand"
		}
	}
	if !adopted {
		t.Error("a stamp that was put there by hand has no record")
	}
	if d.Read("var/patch/applied/not-a-stamp") == "" || text == "" {
		t.Error("a file that is no stamp was removed")
	}
	d.Apply(ref)
	d.Clean()
}

// TestNewerDatabase starts a daemon on what a newer one wrote: it refuses, says so, and changes nothing.
func TestNewerDatabase(t *testing.T) {
	t.Parallel()
	newer := harness.Build{Change: harness.Change{File: "internal/db/keys.go", Old: "const SchemaVersion = 1", New: "const SchemaVersion = 2"}}
	d := harness.Start(t, harness.Options{Build: newer})
	sr, _ := harness.Only[xenapi.SR](d)
	d.Stop()
	old := d.For(t)
	err := old.LaunchAs(harness.Build{})
	if err == nil || !strings.Contains(err.Error(), "written by a newer poolpatch") {
		t.Fatalf("the daemon on a newer database: %v", err)
	}
	d.Again(newer)
	if again, _ := harness.Only[xenapi.SR](d); again != sr {
		t.Error("the newer database was changed")
	}
}
