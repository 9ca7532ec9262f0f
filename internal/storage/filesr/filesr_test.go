package filesr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolpatch/internal/storage"
	"poolpatch/internal/storage/srtest"
	"poolpatch/xenapi"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	const small = 24 << 20
	for _, tt := range []struct {
		name    string
		dir     func(t *testing.T) string
		limited bool
		clone   bool
	}{
		{"directory of the host", func(t *testing.T) string { return t.TempDir() }, false, false},
		{"tmpfs", func(t *testing.T) string { return srtest.Tmpfs(t, small) }, true, false},
		{"ext4", func(t *testing.T) string { return srtest.Ext4(t, small) }, true, false},
		{"xfs with reflink", func(t *testing.T) string { return srtest.XFS(t) }, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			above := tt.dir(t)
			srtest.Run(t, func(t *testing.T) srtest.Fixture {
				f := fixture(above)
				f.Limited = tt.limited
				if tt.limited {
					t.Cleanup(func() { wantClone(t, above, tt.clone) })
				}
				return f
			})
		})
	}
}

// fixture is an SR in a new directory below another one.
func fixture(above string) srtest.Fixture {
	uuid := xenapi.NewUUID()
	dir := filepath.Join(above, uuid)
	leave := func(name func(uuid string) string) func(*testing.T, string) string {
		return func(t *testing.T, image string) string {
			put(t, filepath.Join(dir, name(image)), "{}")
			return image + contentSuffix
		}
	}
	return srtest.Fixture{
		Config: config(uuid, dir),
		Driver: Driver{},
		Crashes: map[string]func(*testing.T, string) string{
			"content alone":       leave(func(uuid string) string { return uuid + contentSuffix }),
			"metadata alone":      leave(func(uuid string) string { return uuid + metadataSuffix }),
			"unfinished metadata": leave(func(uuid string) string { return unfinished(uuid + metadataSuffix) }),
		},
		Undescribed: map[string]func(*testing.T, string){
			"removed": func(t *testing.T, image string) {
				if err := os.Remove(filepath.Join(dir, image+metadataSuffix)); err != nil {
					t.Error(err)
				}
			},
			"damaged": func(t *testing.T, image string) { put(t, filepath.Join(dir, image+metadataSuffix), "") },
		},
	}
}

// unfinished is the name of what a crash within a durable write of a file leaves.
func unfinished(name string) string { return "." + name + ".tmp-123" }

func wantClone(t *testing.T, above string, want bool) {
	t.Helper()
	sr := newSR(t, Driver{}, filepath.Join(above, "clone?"))
	defer func() {
		if err := sr.Wipe(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if can := sr.Capabilities(); can.Clone != want || can.Snapshot != want {
		t.Errorf("capabilities %+v, want clone and snapshot %t", can, want)
	}
}

func config(uuid, dir string) storage.Config {
	return storage.Config{UUID: uuid, DeviceConfig: map[string]string{"location": dir}}
}

// newSR makes and attaches an SR with a random UUID.
func newSR(t *testing.T, d Driver, dir string) *sr {
	t.Helper()
	return createSR(t, d, config(xenapi.NewUUID(), dir))
}

func createSR(t *testing.T, d Driver, cfg storage.Config) *sr {
	t.Helper()
	if err := d.Create(context.Background(), cfg); err != nil {
		t.Fatalf("create SR: %v", err)
	}
	return attach(t, d, cfg)
}

func attach(t *testing.T, d Driver, cfg storage.Config) *sr {
	t.Helper()
	attached, err := d.Attach(context.Background(), cfg)
	if err != nil {
		t.Fatalf("attach SR: %v", err)
	}
	t.Cleanup(func() {
		if err := attached.Detach(context.Background()); err != nil {
			t.Errorf("detach SR: %v", err)
		}
	})
	return attached.(*sr)
}

func newImage(t *testing.T, s *sr) storage.Image {
	t.Helper()
	img, err := s.Create(t.Context(), storage.Image{UUID: xenapi.NewUUID(), Size: 1 << 20, Digest: "d"})
	if err != nil {
		t.Fatalf("create image: %v", err)
	}
	return img
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ls lists a directory, without the SR's marker.
func ls(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, entry := range entries {
		if entry.Name() != markerName {
			names = append(names, entry.Name())
		}
	}
	return names
}

// wantFailure checks for SR_BACKEND_FAILURE with a text that says something.
func wantFailure(t *testing.T, err error, says string) {
	t.Helper()
	e, ok := errors.AsType[*xenapi.Error](err)
	if !ok || e.Code != xenapi.CodeSRBackendFailure || !strings.Contains(e.Params[2], says) {
		t.Errorf("error %v, want SR_BACKEND_FAILURE that says %q", err, says)
	}
}

func TestLocationsThatCannotBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "")
	for _, tt := range []struct{ location, code, says string }{
		{"", xenapi.CodeValueNotSupported, "must name the directory"},
		{"relative/path", xenapi.CodeValueNotSupported, "absolute"},
		{"/", xenapi.CodeValueNotSupported, "root directory"},
		{dir + "/../x", xenapi.CodeValueNotSupported, "plainly"},
		{dir + "/", xenapi.CodeValueNotSupported, "plainly"},
		{dir + "/a\x00b", xenapi.CodeValueNotSupported, "NUL"},
		{dir + "/no/parent", xenapi.CodeSRBackendFailure, dir + "/no is not there"},
		{dir + "/file", xenapi.CodeSRBackendFailure, "not a directory"},
		{dir + "/file/below", xenapi.CodeSRBackendFailure, "not a directory"},
	} {
		err := Driver{}.Create(t.Context(), config(xenapi.NewUUID(), tt.location))
		if e, ok := errors.AsType[*xenapi.Error](err); !ok || e.Code != tt.code || !strings.Contains(e.Params[2], tt.says) {
			t.Errorf("create SR at %q: %v, want %s that says %q", tt.location, err, tt.code, tt.says)
		}
		if _, err := (Driver{}).Attach(t.Context(), config(xenapi.NewUUID(), tt.location)); xenapi.CodeOf(err) != tt.code {
			t.Errorf("attach SR at %q: %v, want %s", tt.location, err, tt.code)
		}
	}
	if left := ls(t, dir); !slices.Equal(left, []string{"file"}) {
		t.Errorf("left: %v", left)
	}
}

// A probe tells an SR from a directory that is none, and a place that cannot be one from both.
func TestProbe(t *testing.T) {
	t.Parallel()
	uuid, above := xenapi.NewUUID(), t.TempDir()
	path := filepath.Join(above, "sr")
	if err := (Driver{}).Create(t.Context(), config(uuid, path)); err != nil {
		t.Fatal(err)
	}
	for location, want := range map[string]string{path: uuid, above: "", filepath.Join(above, "none"): ""} {
		if got, err := (Driver{}).Probe(t.Context(), map[string]string{locationKey: location}); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", location, got, err, want)
		}
	}
	for _, location := range []string{"", "relative", "/"} {
		if _, err := (Driver{}).Probe(t.Context(), map[string]string{locationKey: location}); xenapi.CodeOf(err) != xenapi.CodeValueNotSupported {
			t.Errorf("%q: %v", location, err)
		}
	}
}

func TestCreateRefusesTheDirectoryOf(t *testing.T) {
	t.Parallel()
	t.Run("another SR", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		newSR(t, Driver{}, dir)
		err := Driver{}.Create(t.Context(), config(xenapi.NewUUID(), dir))
		if xenapi.CodeOf(err) != xenapi.CodeSRDeviceInUse {
			t.Errorf("create: %v, want SR_DEVICE_IN_USE", err)
		}
	})
	t.Run("images without a marker", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		put(t, filepath.Join(dir, xenapi.NewUUID()+contentSuffix), "precious")
		wantFailure(t, Driver{}.Create(t.Context(), config(xenapi.NewUUID(), dir)), "holds 1 disk images")
	})
}

// TestCreateRefusesUnknownKeys: who mistypes a key must not get another SR than he meant. One that is there is attached.
func TestCreateRefusesUnknownKeys(t *testing.T) {
	t.Parallel()
	cfg := config(xenapi.NewUUID(), filepath.Join(t.TempDir(), "sr"))
	cfg.DeviceConfig["server"] = "filer"
	err := Driver{}.Create(t.Context(), cfg)
	var refused *xenapi.Error
	if !errors.As(err, &refused) || refused.Code != xenapi.CodeValueNotSupported || !slices.Equal(refused.Params[:2], []string{"device_config:server", "filer"}) {
		t.Errorf("create: %v", err)
	}
	if _, err := os.Stat(cfg.DeviceConfig["location"]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
	delete(cfg.DeviceConfig, "server")
	if err := (Driver{}).Create(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	cfg.DeviceConfig["server"] = "filer"
	attach(t, Driver{}, cfg)
}

func TestAttachRefuses(t *testing.T) {
	t.Parallel()
	uuid, other := xenapi.NewUUID(), xenapi.NewUUID()
	for _, tt := range []struct{ name, marker, says string }{
		{"no marker", "", "is its file system mounted?"},
		{"another SR", fmt.Sprintf(`{"format":1,"uuid":%q}`, other), "is SR " + other},
		{"a newer format", fmt.Sprintf(`{"format":2,"uuid":%q}`, uuid), "format version 2"},
		{"no format", fmt.Sprintf(`{"uuid":%q}`, uuid), "format version 0"},
		{"damage", `{"format":1,`, "damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tt.marker != "" {
				put(t, filepath.Join(dir, markerName), tt.marker)
			}
			_, err := Driver{}.Attach(t.Context(), config(uuid, dir))
			wantFailure(t, err, tt.says)
		})
	}
}

// TestFormat pins what docs/sr-file.md specifies.
func TestFormat(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "sr")
	const sr, image = "0b3c6d4e-1111-4222-8333-444455556666", "9b2d0b3c-7d0e-4f5a-8a53-6c1e0f1d2a3b"
	s := createSR(t, Driver{}, config(sr, dir))
	img, err := s.Create(t.Context(), storage.Image{
		UUID: image, Size: 5000, Temporary: true, NameLabel: "n", NameDescription: "d", Type: xenapi.VDITypeUser,
		Sharable: true, ReadOnly: true, IsASnapshot: true, SnapshotOf: sr, SnapshotTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		OtherConfig: map[string]string{"k": "v"}, SMConfig: map[string]string{"s": "m"}, Digest: "poolpatch1:00",
	})
	if err != nil {
		t.Fatal(err)
	}
	img.Size = 1 // is not for Describe to change
	if err := s.Describe(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		markerName: `{
  "format": 1,
  "uuid": "0b3c6d4e-1111-4222-8333-444455556666",
  "made_directory": true
}
`,
		image + ".json": `{
  "location": "9b2d0b3c-7d0e-4f5a-8a53-6c1e0f1d2a3b.raw",
  "uuid": "9b2d0b3c-7d0e-4f5a-8a53-6c1e0f1d2a3b",
  "virtual_size": 8192,
  "temporary": true,
  "name_label": "n",
  "name_description": "d",
  "type": "user",
  "sharable": true,
  "read_only": true,
  "is_a_snapshot": true,
  "snapshot_of": "0b3c6d4e-1111-4222-8333-444455556666",
  "snapshot_time": "2026-01-02T03:04:05Z",
  "other_config": {
    "k": "v"
  },
  "sm_config": {
    "s": "m"
  },
  "digest": "poolpatch1:00"
}
`,
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s (%v):\n%s\nwant\n%s", name, err, got, want)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, image+".raw")); err != nil || info.Size() != 8192 || info.Mode().Perm() != 0o600 {
		t.Errorf("content: %+v, %v", info, err)
	}
}

// crash is what a gap panics with.
type crash struct{}

// TestCrashes stops every change in every gap, without any cleaning up, and then does what the next start does.
func TestCrashes(t *testing.T) {
	t.Parallel()
	above := srtest.XFS(t)
	create := func(s *sr, img storage.Image) error { _, err := s.Create(context.Background(), img); return err }
	destroy := func(s *sr, img storage.Image) error { return s.Destroy(context.Background(), img.Location) }
	for _, tt := range []struct {
		gap      string
		made     bool // the image is there before
		do       func(s *sr, img storage.Image) error
		complete bool // the image is there after
	}{
		{"content named", false, create, false},
		{"content filled", false, create, false},
		{"metadata written", false, create, true},
		{"content named", false, cloneOfNew, false},
		{"content filled", false, cloneOfNew, false},
		{"metadata removed", true, destroy, false},
		{"content grown", true, func(s *sr, img storage.Image) error {
			_, err := s.Resize(context.Background(), img.Location, 4<<20)
			return err
		}, true},
		{"content replaced", true, func(s *sr, img storage.Image) error {
			_, err := s.Reduce(context.Background(), img.Location, []byte("what is left"))
			return err
		}, true},
	} {
		t.Run(tt.gap, func(t *testing.T) {
			dir := filepath.Join(above, xenapi.NewUUID())
			cfg := config(xenapi.NewUUID(), dir)
			img := storage.Image{UUID: xenapi.NewUUID(), Size: 1 << 20}
			if tt.made {
				img = newImage(t, createSR(t, Driver{}, cfg))
			}
			crashed := createSR(t, Driver{gap: func(name string) {
				if name == tt.gap {
					panic(crash{})
				}
			}}, cfg)
			func() {
				defer func() {
					if r := recover(); r != (crash{}) {
						t.Fatalf("no crash in the gap %q: %v", tt.gap, r)
					}
				}()
				if err := tt.do(crashed, img); err != nil {
					t.Fatalf("the change failed before the gap: %v", err)
				}
			}()
			s := attach(t, Driver{}, cfg)
			list, err := s.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(list, func(left storage.Image) bool { return left.UUID == img.UUID })
			if i < 0 || list[i].Incomplete == tt.complete || list[i].Vanished {
				t.Errorf("after the crash: %+v, want complete %t", list, tt.complete)
			}
			for _, left := range list {
				if err := s.Destroy(t.Context(), left.Location); err != nil {
					t.Error(err)
				}
			}
			if left := ls(t, dir); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// cloneOfNew clones a fresh image, made without crashes.
func cloneOfNew(s *sr, img storage.Image) error {
	gap := s.gap
	s.gap = func(string) {}
	original, err := s.Create(context.Background(), storage.Image{UUID: xenapi.NewUUID(), Size: 1 << 20})
	s.gap = gap
	if err == nil {
		_, err = s.Clone(context.Background(), original.Location, img)
	}
	return err
}

// TestPowerLoss: what a call has done is done (I5), on a file system whose memory and log are lost right after.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	above := srtest.XFS(t)
	cfg := config(xenapi.NewUUID(), filepath.Join(above, "sr"))
	if err := (Driver{}).Create(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	var want []storage.Image
	for _, do := range []func(s storage.SR, img storage.Image) (storage.Image, error){
		func(s storage.SR, img storage.Image) (storage.Image, error) { return s.Create(t.Context(), img) },
		func(s storage.SR, img storage.Image) (storage.Image, error) {
			return s.Clone(t.Context(), want[0].Location, img)
		},
		func(s storage.SR, _ storage.Image) (storage.Image, error) {
			return s.Resize(t.Context(), want[0].Location, 2<<20)
		},
		func(s storage.SR, _ storage.Image) (storage.Image, error) {
			want[1].NameLabel = "described"
			return want[1], s.Describe(t.Context(), want[1])
		},
		func(s storage.SR, _ storage.Image) (storage.Image, error) {
			reduced, err := s.(storage.Reducer).Reduce(t.Context(), want[1].Location, []byte("what is left"))
			want[1].Size = reduced.Size
			return reduced, err
		},
		func(s storage.SR, _ storage.Image) (storage.Image, error) {
			return want[0], s.Destroy(t.Context(), want[0].Location)
		},
	} {
		s, err := Driver{}.Attach(t.Context(), cfg)
		if err != nil {
			t.Fatalf("attach: %v", err)
		}
		img, err := do(s, storage.Image{UUID: xenapi.NewUUID(), Size: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(want, func(known storage.Image) bool { return known.UUID == img.UUID })
		switch {
		case i < 0:
			want = append(want, img)
		case img.NameLabel == "":
			want[i] = img
		}
		restart := srtest.PowerLoss(t, above)
		if err := s.Detach(t.Context()); err != nil {
			t.Fatal(err)
		}
		restart()
	}
	s := attach(t, Driver{}, cfg)
	list, err := s.List(t.Context())
	if err != nil || len(list) != 1 || list[0].UUID != want[1].UUID || list[0].NameLabel != "described" || list[0].Size != 4096 || list[0].Incomplete {
		t.Errorf("after the power losses: %+v, %v", list, err)
	}
}

// TestVanished tells an image whose content somebody has removed from what a crash leaves.
func TestVanished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSR(t, Driver{}, dir)
	whole, halved, removed := newImage(t, s), newImage(t, s), newImage(t, s)
	err := errors.Join(os.Remove(filepath.Join(dir, removed.Location)), os.Remove(filepath.Join(dir, halved.UUID+metadataSuffix)))
	list, lerr := s.List(t.Context())
	if err := errors.Join(err, lerr); err != nil || len(list) != 3 {
		t.Fatalf("%d images, %v", len(list), err)
	}
	for _, img := range list {
		if img.Incomplete != (img.UUID != whole.UUID) || img.Vanished != (img.UUID == removed.UUID) {
			t.Errorf("incomplete %t, vanished %t: %+v", img.Incomplete, img.Vanished, img)
		}
		if err := s.Destroy(t.Context(), img.Location); err != nil {
			t.Error(err)
		}
	}
}

func TestDestroyRemovesUnfinishedMetadata(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSR(t, Driver{}, dir)
	img, kept := newImage(t, s), newImage(t, s)
	for _, uuid := range []string{img.UUID, kept.UUID} {
		put(t, filepath.Join(dir, unfinished(uuid+metadataSuffix)), "{")
	}
	if err := s.Destroy(t.Context(), img.Location); err != nil {
		t.Fatal(err)
	}
	want := []string{unfinished(kept.UUID + metadataSuffix), kept.UUID + metadataSuffix, kept.UUID + contentSuffix}
	if left := ls(t, dir); !slices.Equal(left, want) {
		t.Errorf("left: %v, want %v", left, want)
	}
}

func TestOnlyContentIsALocation(t *testing.T) {
	t.Parallel()
	s := newSR(t, Driver{}, t.TempDir())
	img := newImage(t, s)
	for _, location := range []string{img.UUID, img.UUID + metadataSuffix, markerName, img.Location + ".raw"} {
		if _, err := s.Open(t.Context(), location, storage.ReadOnly); !errors.Is(err, storage.ErrNoImage) {
			t.Errorf("open %q: %v, want ErrNoImage", location, err)
		}
		if err := s.Destroy(t.Context(), location); err != nil {
			t.Errorf("destroy %q: %v", location, err)
		}
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("list: %+v, %v", list, err)
	}
}

func TestForeignFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "sr")
	s := newSR(t, Driver{}, dir)
	foreign := []string{".hidden", "README", "other.json", strings.ToUpper(xenapi.NewUUID()) + ".raw", "disk.raw"}
	slices.Sort(foreign)
	for _, name := range foreign {
		put(t, filepath.Join(dir, name), "not ours")
	}
	if list, err := s.List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("list: %+v, %v", list, err)
	}
	if err := s.Wipe(t.Context()); err != nil {
		t.Errorf("wipe: %v", err)
	}
	if left := ls(t, dir); !slices.Equal(left, foreign) {
		t.Errorf("left: %v, want %v", left, foreign)
	}
	if _, err := os.Stat(filepath.Join(dir, markerName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the marker is still there: %v", err)
	}
}

func TestWipeRemovesTheDirectoryOnlyIfItMadeIt(t *testing.T) {
	t.Parallel()
	given := t.TempDir()
	made := filepath.Join(given, "made")
	for _, dir := range []string{made, given} {
		if err := newSR(t, Driver{}, dir).Wipe(t.Context()); err != nil {
			t.Errorf("wipe %s: %v", dir, err)
		}
	}
	if _, err := os.Stat(made); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory that it made: %v", err)
	}
	if left := ls(t, given); len(left) > 0 {
		t.Errorf("left in the directory that it was given: %v", left)
	}
}

func TestCreateTwiceKeepsTheFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSR(t, Driver{}, dir)
	img := newImage(t, s)
	put(t, filepath.Join(dir, img.Location), "precious")
	if _, err := s.Create(t.Context(), img); xenapi.CodeOf(err) != xenapi.CodeLocationNotUnique {
		t.Errorf("create twice: %v, want LOCATION_NOT_UNIQUE", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, img.Location)); string(got) != "precious" {
		t.Errorf("content is %q (%v)", got, err)
	}
}

func TestSymbolicLinksDoNotEscape(t *testing.T) {
	t.Parallel()
	above := t.TempDir()
	outside := filepath.Join(above, "outside")
	put(t, outside, "secret")
	dir := filepath.Join(above, "sr")
	s := newSR(t, Driver{}, dir)
	img := newImage(t, s)
	content := filepath.Join(dir, img.Location)
	if err := errors.Join(os.Remove(content), os.Symlink(outside, content)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), img.Location, storage.ReadWrite); !errors.Is(err, storage.ErrNoImage) {
		t.Errorf("open a link: %v", err)
	}
	if err := s.Destroy(t.Context(), img.Location); err != nil {
		t.Errorf("destroy a link: %v", err)
	}
	if got, err := os.ReadFile(outside); string(got) != "secret" {
		t.Errorf("outside is %q (%v)", got, err)
	}
	if left := ls(t, dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestDamagedMetadataIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSR(t, Driver{}, dir)
	img := newImage(t, s)
	put(t, filepath.Join(dir, img.UUID+metadataSuffix), "{")
	list, err := s.List(t.Context())
	if err != nil || len(list) != 1 || !strings.Contains(list[0].Damaged, filepath.Join(dir, img.UUID+metadataSuffix)) {
		t.Errorf("list: %+v, %v", list, err)
	}
	_, err = s.Open(t.Context(), img.Location, storage.ReadOnly)
	wantFailure(t, err, img.UUID+metadataSuffix)
	if err := s.Destroy(t.Context(), img.Location); err != nil {
		t.Errorf("destroy: %v", err)
	}
}

func TestMetadataOfAnotherImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSR(t, Driver{}, dir)
	img := newImage(t, s)
	text, err := json.Marshal(storage.Image{UUID: xenapi.NewUUID(), Location: "../x", Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, img.UUID+metadataSuffix), string(text))
	list, err := s.List(t.Context())
	if err != nil || len(list) != 1 || list[0].UUID != img.UUID || list[0].Location != img.Location || list[0].Size != img.Size {
		t.Errorf("list: %+v, %v; want the names of the files and the length of the content", list, err)
	}
}

// TestPinned: what is attached is a directory, not a name; a file system that is unmounted over it must not make
// images appear in the mount point.
func TestPinned(t *testing.T) {
	t.Parallel()
	above := t.TempDir()
	dir, moved := filepath.Join(above, "sr"), filepath.Join(above, "moved")
	s := newSR(t, Driver{}, dir)
	if err := errors.Join(os.Rename(dir, moved), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	img := newImage(t, s)
	want := []string{img.UUID + metadataSuffix, img.UUID + contentSuffix}
	if got := ls(t, moved); !slices.Equal(got, want) {
		t.Errorf("in the directory that was attached: %v, want %v", got, want)
	}
	if got := ls(t, dir); len(got) > 0 {
		t.Errorf("in the directory of that name: %v", got)
	}
}

func TestDetachWaits(t *testing.T) {
	t.Parallel()
	reached, goOn, created := make(chan struct{}), make(chan struct{}), make(chan error)
	s := newSR(t, Driver{gap: func(name string) {
		if name == "content filled" {
			close(reached)
			<-goOn
		}
	}}, t.TempDir())
	go func() {
		_, err := s.Create(context.Background(), storage.Image{UUID: xenapi.NewUUID(), Size: 4096})
		created <- err
	}()
	<-reached
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Detach(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("detach under a call: %v, want the deadline", err)
	}
	close(goOn)
	if err := <-created; err != nil {
		t.Errorf("create: %v", err)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	dir, err := openDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.close()
	for _, tt := range []struct {
		cause error
		code  string
	}{
		{unix.ENOSPC, xenapi.CodeSRFull},
		{unix.EDQUOT, xenapi.CodeSRFull},
		{unix.EIO, xenapi.CodeVDIIOError},
		{unix.EROFS, xenapi.CodeSRBackendFailure},
		{unix.ESTALE, xenapi.CodeSRBackendFailure},
		{unix.EFBIG, xenapi.CodeVDITooLarge},
		{unix.EPERM, ""},
	} {
		wrapped := fmt.Errorf("wrapped: %w", &os.PathError{Op: "write", Path: "x", Err: tt.cause})
		if got := dir.fault(wrapped, 1); xenapi.CodeOf(got) != tt.code {
			t.Errorf("%v: %v, want %q", tt.cause, got, tt.code)
		}
	}
	if got := dir.fault(unix.ENOENT, 1); !errors.Is(got, storage.ErrNoImage) {
		t.Errorf("ENOENT: %v", got)
	}
	if got := dir.fault(nil, 1); got != nil {
		t.Errorf("nil: %v", got)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	dir := srtest.Tmpfs(t, 1<<20)
	s := newSR(t, Driver{}, dir)
	img := newImage(t, s)
	srtest.ReadOnly(t, dir)
	_, err := s.Create(t.Context(), storage.Image{UUID: xenapi.NewUUID(), Size: 4096})
	wantFailure(t, err, "read-only")
	wantFailure(t, s.Destroy(t.Context(), img.Location), "read-only")
	f, err := s.Open(t.Context(), img.Location, storage.ReadOnly)
	if err != nil {
		t.Fatalf("open for reading: %v", err)
	}
	f.Close()
}

func TestLargestImage(t *testing.T) {
	t.Parallel()
	s := newSR(t, Driver{}, srtest.Ext4(t, 16<<20))
	_, err := s.Create(t.Context(), storage.Image{UUID: xenapi.NewUUID(), Size: 1 << 60})
	e, ok := errors.AsType[*xenapi.Error](err)
	if !ok || e.Code != xenapi.CodeVDITooLarge {
		t.Fatalf("create 1 EiB on ext4: %v, want VDI_TOO_LARGE", err)
	}
	var largest int64
	if _, err := fmt.Sscan(e.Params[1], &largest); err != nil {
		t.Fatal(err)
	}
	img := newImage(t, s)
	if _, err := s.Resize(t.Context(), img.Location, largest+1); xenapi.CodeOf(err) != xenapi.CodeVDITooLarge {
		t.Errorf("resize to more than the largest size: %v", err)
	}
	if grown, err := s.Resize(t.Context(), img.Location, largest); err != nil || grown.Size != largest {
		t.Errorf("resize to the largest size, %d: %+v, %v", largest, grown, err)
	}
}
