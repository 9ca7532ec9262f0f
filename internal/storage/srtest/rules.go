package srtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"poolpatch/internal/storage"
	"poolpatch/xenapi"
)

// capabilities: what an SR can do is among what its driver says.
func capabilities(t *testing.T, s *subject) {
	features := s.Driver.Describe().Features.Names()
	for _, name := range s.Capabilities().Names() {
		if !slices.Contains(features, name) {
			t.Errorf("the SR has %s, which its driver does not say", name)
		}
	}
	if !s.Capabilities().Create || !s.Capabilities().Delete {
		t.Error("an SR that cannot create and delete holds no patches")
	}
}

// createTwice: an SR that is there already, and its images, are left as they are.
func createTwice(t *testing.T, s *subject) {
	img := s.create(t, 1<<20)
	if err := s.Driver.Create(deadline(t), s.Config); err != nil {
		t.Errorf("create the same SR again: %v", err)
	}
	s.listed(t, img.Location)
}

// attachUnknown: an SR that was never created is not made up.
func attachUnknown(t *testing.T, s *subject) {
	cfg := s.Config
	cfg.UUID = xenapi.NewUUID()
	if _, err := s.Driver.Attach(deadline(t), cfg); xenapi.CodeOf(err) == "" {
		t.Errorf("attach another SR: %v, want a domain error", err)
	}
}

// contentLasts: bytes and list are the same after the SR was detached and attached.
func contentLasts(t *testing.T, s *subject) {
	a, b := s.create(t, 3<<20), s.create(t, 1<<20)
	s.write(t, a, 1, 4096, 2<<20)
	s.write(t, b, 2, 0, 1<<20)
	before := s.list(t)
	if len(before) != 2 || !slices.IsSortedFunc(before, byLocation) {
		t.Fatalf("list of two images: %+v", before)
	}
	s.reattach(t)
	if diff := cmp.Diff(before, s.list(t), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("list after a restart (-before +after):\n%s", diff)
	}
	s.want(t, a, zeroes(4096), random(1, 2<<20), zeroes(1<<20-4096))
	s.want(t, b, random(2, 1<<20))
}

func byLocation(a, b storage.Image) int { return strings.Compare(a.Location, b.Location) }

// openModes: the content is a file or block device of the image's size, and ReadOnly means it.
func openModes(t *testing.T, s *subject) {
	img := s.create(t, 1<<20)
	f := s.open(t, img, storage.ReadOnly)
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("content that is open for reading was written")
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode(); !mode.IsRegular() && mode&0o60000000 == 0 {
		t.Errorf("content has mode %v", mode)
	}
	if end, err := f.Seek(0, 2); err != nil || end != img.Size {
		t.Errorf("content of %d bytes (%v), want %d", end, err, img.Size)
	}
}

// sizes: what is made is at least as large as asked, ends at a sector of any disk, and reads as zeroes.
func sizes(t *testing.T, s *subject) {
	for _, size := range []int64{1, 511, 4095, 4096, 4097, 1<<20 + 1} {
		img := s.create(t, size)
		if img.Size < size || img.Size%4096 != 0 {
			t.Errorf("image of %d bytes got %d", size, img.Size)
		}
		if listed := s.listed(t, img.Location); listed.Size != img.Size {
			t.Errorf("image of %d bytes is listed with %d", img.Size, listed.Size)
		}
		s.want(t, img, zeroes(img.Size))
	}
	for _, size := range []int64{0, -1} {
		_, err := s.Create(deadline(t), storage.Image{UUID: xenapi.NewUUID(), Size: size})
		wantCode(t, fmt.Sprintf("create image of %d bytes", size), err, xenapi.CodeInvalidValue)
	}
	count := len(s.list(t))
	if _, err := s.Create(deadline(t), storage.Image{UUID: xenapi.NewUUID(), Size: 1<<63 - 1}); xenapi.CodeOf(err) == "" {
		t.Errorf("create the largest image of all: %v, want a domain error", err)
	}
	if n := len(s.list(t)); n != count {
		t.Errorf("the refused image left something: %d images, want %d", n, count)
	}
}

// uuids: an image is named by its UUID and by nothing else.
func uuids(t *testing.T, s *subject) {
	for _, uuid := range []string{"", "x", "../../0b3c6d4e", "{9b2d0b3c-7d0e-4f5a-8a53-6c1e0f1d2a3b}", "9b2d0b3c7d0e4f5a8a536c1e0f1d2a3b"} {
		_, err := s.Create(deadline(t), storage.Image{UUID: uuid, Size: 4096})
		wantCode(t, fmt.Sprintf("create image %q", uuid), err, xenapi.CodeInvalidValue)
	}
	uuid := xenapi.NewUUID()
	img, err := s.Create(deadline(t), storage.Image{UUID: strings.ToUpper(uuid), Location: "../elsewhere", Size: 4096})
	if err != nil || img.UUID != uuid || img.Location == "../elsewhere" {
		t.Errorf("create image %s: %+v, %v", uuid, img, err)
	}
	if n := len(s.list(t)); n != 1 {
		t.Errorf("%d images, want 1", n)
	}
}

// destroy: it can be repeated, and takes nothing else with it.
func destroy(t *testing.T, s *subject) {
	doomed, kept := s.create(t, 1<<20), s.create(t, 1<<20)
	s.write(t, kept, 1, 0, 1<<20)
	s.destroy(t, doomed.Location)
	s.destroy(t, doomed.Location)
	if list := s.list(t); len(list) != 1 || list[0].Location != kept.Location {
		t.Errorf("list after destroy: %+v", list)
	}
	if _, err := s.Open(deadline(t), doomed.Location, storage.ReadOnly); !errors.Is(err, storage.ErrNoImage) {
		t.Errorf("open what was destroyed: %v", err)
	}
	s.want(t, kept, random(1, 1<<20))
}

// clone: it has the original's content and size, and from then on each is its own.
func clone(t *testing.T, s *subject) {
	original := s.create(t, 2<<20)
	s.write(t, original, 1, 0, 1<<20)
	asked := storage.Image{UUID: xenapi.NewUUID(), Size: 4096, NameLabel: "clone", IsASnapshot: true, SnapshotOf: original.UUID}
	copied, err := s.Clone(deadline(t), original.Location, asked)
	if !s.Capabilities().Clone {
		wantCode(t, "clone without VDI_CLONE", err, xenapi.CodeSROperationNotSupported)
		return
	}
	if err != nil {
		t.Fatalf("clone: %v", err)
	}
	if copied.Size != original.Size || copied.UUID != asked.UUID || copied.NameLabel != "clone" {
		t.Errorf("clone of %+v is %+v", original, copied)
	}
	s.write(t, original, 2, 0, 4096)
	s.write(t, copied, 3, 1<<20, 4096)
	s.want(t, original, random(2, 4096), random(1, 1<<20)[4096:], zeroes(1<<20))
	s.want(t, copied, random(1, 1<<20), random(3, 4096), zeroes(1<<20-4096))
	s.destroy(t, original.Location)
	s.reattach(t)
	s.want(t, copied, random(1, 1<<20), random(3, 4096), zeroes(1<<20-4096))
	if listed := s.listed(t, copied.Location); !listed.IsASnapshot || listed.SnapshotOf != original.UUID {
		t.Errorf("listed as %+v", listed)
	}
}

// resize: it grows with zeroes, under an open file too, voids the digest, and never shrinks.
func resize(t *testing.T, s *subject) {
	img := s.create(t, 1<<20)
	s.write(t, img, 1, 0, 1<<20)
	img.Digest = "of the old size"
	if err := s.Describe(deadline(t), img); err != nil {
		t.Fatal(err)
	}
	f := s.open(t, img, storage.ReadWrite)
	grown, err := s.Resize(deadline(t), img.Location, 2<<20+1)
	if err != nil || grown.Size < 2<<20+1 || grown.Size%4096 != 0 {
		t.Fatalf("resize: %+v, %v", grown, err)
	}
	if end, err := f.Seek(0, 2); err != nil || end != grown.Size {
		t.Errorf("the open file has %d bytes (%v), want %d", end, err, grown.Size)
	}
	f.Close()
	if grown.Digest != "" {
		t.Error("the digest of the old size was kept")
	}
	same, err := s.Resize(deadline(t), img.Location, 2<<20+1)
	if err != nil || same.Size != grown.Size {
		t.Errorf("resize to the size it has: %+v, %v", same, err)
	}
	_, err = s.Resize(deadline(t), img.Location, 1<<20)
	wantCode(t, "shrink", err, xenapi.CodeVDITooSmall)
	s.reattach(t)
	if listed := s.listed(t, img.Location); listed.Size != grown.Size || listed.Digest != "" {
		t.Errorf("listed as %+v", listed)
	}
	s.want(t, grown, random(1, 1<<20), zeroes(grown.Size-1<<20))
}

// reduce: an SR with VDI_CONFIG_CBT replaces all of an image's content, and nothing else of it.
func reduce(t *testing.T, s *subject) {
	reducer, able := s.SR.(storage.Reducer)
	if can := s.Capabilities().CBT; !can || !able {
		if can {
			t.Error("the SR has VDI_CONFIG_CBT and is no storage.Reducer")
		}
		return
	}
	img := s.create(t, 2<<20)
	s.write(t, img, 1, 0, 2<<20)
	img.NameLabel = "reduced"
	if err := s.Describe(deadline(t), img); err != nil {
		t.Fatal(err)
	}
	_, err := reducer.Reduce(deadline(t), xenapi.NewUUID(), []byte("x"))
	if !errors.Is(err, storage.ErrNoImage) {
		t.Errorf("reduce what is not there: %v, want ErrNoImage", err)
	}
	small, err := reducer.Reduce(deadline(t), img.Location, []byte("what is left"))
	if err != nil || small.Size != 4096 || small.UUID != img.UUID || small.NameLabel != img.NameLabel {
		t.Fatalf("reduce: %+v, %v", small, err)
	}
	s.reattach(t)
	s.want(t, small, []byte("what is left"), zeroes(4096-12))
	if listed := s.listed(t, img.Location); listed.Size != 4096 || listed.NameLabel != "reduced" || listed.Incomplete {
		t.Errorf("listed as %+v", listed)
	}
}

// everything is an image with a value in every field that a driver remembers.
func everything(img storage.Image) storage.Image {
	return storage.Image{
		Location: img.Location, UUID: img.UUID, Size: img.Size, Used: img.Used,
		Temporary: true, NameLabel: "patch \"1\"\n<&>", NameDescription: "ein Flicken für 修正",
		Type: xenapi.VDITypeSystem, CBTEnabled: true, Sharable: true, ReadOnly: true,
		IsASnapshot: true, SnapshotOf: xenapi.NewUUID(), SnapshotTime: time.Date(2026, 2, 28, 23, 59, 58, 123456789, time.UTC),
		OtherConfig: map[string]string{"a": "1", "": "empty key"}, SMConfig: map[string]string{"b": ""},
		Digest: "poolpatch1:00",
	}
}

// describe: every field is remembered, size and UUID are the image's own, and what is not there any more is gone.
func describe(t *testing.T, s *subject) {
	img := s.create(t, 1<<20)
	want := everything(img)
	v := reflect.ValueOf(want)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() && !slices.Contains([]string{"Incomplete", "Vanished", "Damaged", "Used"}, name) {
			t.Errorf("the test gives no value to %s", name)
		}
	}
	changed := want
	changed.Size, changed.UUID = 7<<20, xenapi.NewUUID()
	changed.OtherConfig = map[string]string{"a": "1", "": "empty key"}
	if err := s.Describe(deadline(t), changed); err != nil {
		t.Fatalf("describe: %v", err)
	}
	changed.OtherConfig["a"] = "changed by the caller afterwards"
	s.reattach(t)
	if diff := cmp.Diff(want, s.listed(t, img.Location), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("described (-want +got):\n%s", diff)
	}
	if err := s.Describe(deadline(t), storage.Image{Location: img.Location, NameLabel: "only this"}); err != nil {
		t.Fatalf("describe: %v", err)
	}
	want = storage.Image{Location: img.Location, UUID: img.UUID, Size: img.Size, Used: img.Used, NameLabel: "only this"}
	if diff := cmp.Diff(want, s.listed(t, img.Location), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("described again (-want +got):\n%s", diff)
	}
}

// undescribed: content whose description is missing or damaged is listed as incomplete, hides no other image, and is whole
// again with a description.
func undescribed(t *testing.T, s *subject) {
	for name, lose := range s.Undescribed {
		t.Run(name, func(t *testing.T) {
			img, other := s.create(t, 1<<20), s.create(t, 1<<20)
			s.write(t, img, 1, 0, 1<<20)
			lose(t, img.UUID)
			s.reattach(t)
			s.listed(t, other.Location)
			listed := s.listed(t, img.Location)
			if damaged := listed.Damaged != ""; !listed.Incomplete || listed.Vanished || listed.UUID != img.UUID || damaged != (name == "damaged") {
				t.Errorf("listed as %+v", listed)
			}
			if _, err := s.Open(deadline(t), img.Location, storage.ReadOnly); err == nil {
				t.Error("an image without a description was opened")
			}
			img.NameLabel = "described again"
			if err := s.Describe(deadline(t), img); err != nil {
				t.Fatalf("describe: %v", err)
			}
			s.reattach(t)
			img.Used = s.listed(t, img.Location).Used
			if diff := cmp.Diff(img, s.listed(t, img.Location), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("described again (-want +got):\n%s", diff)
			}
			s.want(t, img, random(1, 1<<20))
			s.destroy(t, img.Location)
			s.destroy(t, other.Location)
		})
	}
}

// temporary: the mark is there from the start and ends with Describe.
func temporary(t *testing.T, s *subject) {
	img, err := s.Create(deadline(t), storage.Image{UUID: xenapi.NewUUID(), Size: 4096, Temporary: true})
	if err != nil {
		t.Fatal(err)
	}
	s.reattach(t)
	if !img.Temporary || !s.listed(t, img.Location).Temporary {
		t.Error("the image is not temporary")
	}
	img.Temporary = false
	if err := s.Describe(deadline(t), img); err != nil {
		t.Fatal(err)
	}
	if s.listed(t, img.Location).Temporary {
		t.Error("the image is still temporary")
	}
}

// space: written bytes are used bytes, and all is within the SR's size.
func space(t *testing.T, s *subject) {
	const size = 4 << 20
	before := s.space(t)
	img := s.create(t, size)
	s.write(t, img, 1, 0, size)
	if used := s.listed(t, img.Location).Used; used < size {
		t.Errorf("the image uses %d bytes, want %d at least", used, size)
	}
	after := s.space(t)
	// Not the difference: a file system may still be giving back what was removed before.
	if s.Limited && after.Used < size {
		t.Errorf("the SR says that it uses %d bytes, with an image that uses %d", after.Used, size)
	}
	if s.Limited && after.Size != before.Size {
		t.Errorf("the SR had %d bytes and has %d", before.Size, after.Size)
	}
}

func (s *subject) space(t *testing.T) storage.Space {
	t.Helper()
	space, err := s.Space(deadline(t))
	if err != nil {
		t.Fatalf("space: %v", err)
	}
	if space.Size <= 0 || space.Used < 0 || space.Free() < 0 {
		t.Fatalf("space: %+v", space)
	}
	return space
}

// full: a full SR says what was needed and what there was, nothing of the image is left, and room is used again.
func full(t *testing.T, s *subject) {
	if !s.Limited {
		return
	}
	filler := s.fill(t)
	for tries := 0; ; tries++ {
		before := s.list(t)
		_, err := s.Create(deadline(t), storage.Image{UUID: xenapi.NewUUID(), Size: 1 << 20})
		if err == nil && tries < 1000 {
			continue // it took a few blocks that the filler could not
		}
		wantFull(t, err, 1<<20)
		if diff := cmp.Diff(before, s.list(t), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("left on the full SR (-before +after):\n%s", diff)
		}
		break
	}
	s.destroy(t, filler.Location)
	s.write(t, s.create(t, 1<<20), 1, 0, 1<<20)
}

// fill makes an image that leaves no room.
func (s *subject) fill(t *testing.T) storage.Image {
	t.Helper()
	room := s.space(t)
	size := room.Free() / 4096 * 4096
	if s.Capabilities().ThinProvisioning {
		size = room.Size // more than there can be
	}
	filler := s.create(t, size)
	f := s.open(t, filler, storage.ReadWrite)
	defer f.Close()
	data := random(1, 1<<20)
	for offset, chunk := int64(0), int64(len(data)); offset < filler.Size; {
		n, err := f.WriteAt(data[:min(chunk, filler.Size-offset)], offset)
		offset += int64(n)
		switch {
		case err == nil:
		case !errors.Is(err, unix.ENOSPC):
			t.Fatalf("fill: %v", err)
		case chunk == 4096:
			return filler
		default:
			chunk = 4096
			_ = f.Sync() // gives back what was reserved in excess; without room it may fail
		}
	}
	return filler
}

func wantFull(t *testing.T, err error, requested int64) {
	t.Helper()
	e, ok := errors.AsType[*xenapi.Error](err)
	if !ok || e.Code != xenapi.CodeSRFull || len(e.Params) != 2 {
		t.Fatalf("create on a full SR: %v, want SR_FULL [requested, free]", err)
	}
	if e.Params[0] != strconv.FormatInt(requested, 10) {
		t.Errorf("SR_FULL says that %s bytes were requested, want %d", e.Params[0], requested)
	}
	if free, err := strconv.ParseInt(e.Params[1], 10, 64); err != nil || free < 0 {
		t.Errorf("SR_FULL says that %q bytes were free", e.Params[1])
	}
}

// refused checks that no method but Destroy knows a location.
func (s *subject) refused(t *testing.T, location string) {
	t.Helper()
	ctx := deadline(t)
	f, opened := s.Open(ctx, location, storage.ReadOnly)
	if opened == nil {
		f.Close()
	}
	_, resized := s.Resize(ctx, location, 1<<30)
	var cloned error = storage.ErrNoImage
	if s.Capabilities().Clone {
		_, cloned = s.Clone(ctx, location, storage.Image{UUID: xenapi.NewUUID()})
	}
	for method, err := range map[string]error{"open": opened, "resize": resized, "clone": cloned} {
		if !errors.Is(err, storage.ErrNoImage) {
			t.Errorf("%s %q: %v, want ErrNoImage", method, location, err)
		}
	}
}

// undescribable checks that there is no content at a location.
func (s *subject) undescribable(t *testing.T, location string) {
	t.Helper()
	if err := s.Describe(deadline(t), storage.Image{Location: location}); !errors.Is(err, storage.ErrNoImage) {
		t.Errorf("describe %q: %v, want ErrNoImage", location, err)
	}
}

// noImage: a location that is not there is ErrNoImage, whatever is asked of it.
func noImage(t *testing.T, s *subject) {
	img := s.create(t, 4096)
	gone := strings.Replace(img.Location, img.UUID, xenapi.NewUUID(), 1)
	s.refused(t, gone)
	s.undescribable(t, gone)
	s.destroy(t, gone)
	s.listed(t, img.Location)
}

// oddLocations: a location that no image could have is one that is not there, and a way around to an image is none.
func oddLocations(t *testing.T, s *subject) {
	img := s.create(t, 4096)
	before := s.list(t)
	for _, location := range []string{
		"", ".", "..", "/", "../x", "a/b", "a\x00b", "/etc/passwd", strings.Repeat("x", 5000),
		"./" + img.Location, "x/../" + img.Location, img.Location + "/", img.Location + "\x00", " " + img.Location,
		strings.ToUpper(img.Location), strings.Trim(img.Location, "0123456789abcdef"),
	} {
		s.refused(t, location)
		s.undescribable(t, location)
		s.destroy(t, location)
	}
	if diff := cmp.Diff(before, s.list(t), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the SR changed (-before +after):\n%s", diff)
	}
}

// concurrent: images do not get in each other's way.
func concurrent(t *testing.T, s *subject) {
	const workers, rounds = 8, 5
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for round := range rounds {
				s.live(t, uint64(worker*rounds+round))
			}
		})
	}
	wg.Wait()
	if left := s.list(t); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
}

// live is the life of one image.
func (s *subject) live(t *testing.T, seed uint64) {
	ctx := deadline(t)
	img, err := s.Create(ctx, storage.Image{UUID: xenapi.NewUUID(), Size: 64 << 10})
	if err != nil {
		t.Errorf("create: %v", err)
		return
	}
	s.write(t, img, seed, 0, 32<<10)
	if s.Capabilities().Clone {
		copied, err := s.Clone(ctx, img.Location, storage.Image{UUID: xenapi.NewUUID()})
		if err != nil {
			t.Errorf("clone: %v", err)
		} else {
			s.want(t, copied, random(seed, 32<<10), zeroes(32<<10))
			s.destroy(t, copied.Location)
		}
	}
	if _, err := s.List(ctx); err != nil {
		t.Errorf("list: %v", err)
	}
	if img, err = s.Resize(ctx, img.Location, 128<<10); err != nil {
		t.Errorf("resize: %v", err)
	}
	s.want(t, img, random(seed, 32<<10), zeroes(96<<10))
	s.destroy(t, img.Location)
}

// twoHosts: what one attachment changes, another sees.
func twoHosts(t *testing.T, s *subject) {
	other := &subject{Fixture: s.Fixture, SR: s.attach(t)}
	img := s.create(t, 1<<20)
	other.write(t, other.listed(t, img.Location), 1, 0, 1<<20)
	if _, err := other.Resize(deadline(t), img.Location, 2<<20); err != nil {
		t.Fatal(err)
	}
	img = s.listed(t, img.Location)
	s.want(t, img, random(1, 1<<20), zeroes(1<<20))
	if err := other.Detach(deadline(t)); err != nil {
		t.Fatal(err)
	}
	s.destroy(t, img.Location)
}

// crashes: what a crash leaves is never a complete image, says whose it was, and goes with Destroy.
func crashes(t *testing.T, s *subject) {
	for name, crash := range s.Crashes {
		t.Run(name, func(t *testing.T) {
			kept := s.create(t, 4096)
			uuid := xenapi.NewUUID()
			location := crash(t, uuid)
			s.reattach(t)
			for _, img := range s.list(t) {
				if img.UUID == uuid && (!img.Incomplete || img.Location != location) || img.UUID != uuid && img.UUID != kept.UUID {
					t.Errorf("listed: %+v", img)
				}
			}
			s.refused(t, location)
			s.destroy(t, location)
			s.destroy(t, kept.Location)
			if left := s.list(t); len(left) > 0 {
				t.Errorf("left: %+v", left)
			}
		})
	}
}

// cancelled: a call whose caller is gone changes nothing.
func cancelled(t *testing.T, s *subject) {
	img := s.create(t, 4096)
	before := s.list(t)
	ctx, cancel := context.WithCancel(deadline(t))
	cancel()
	if _, err := s.Create(ctx, storage.Image{UUID: xenapi.NewUUID(), Size: 4096}); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v", err)
	}
	if err := s.Destroy(ctx, img.Location); !errors.Is(err, context.Canceled) {
		t.Errorf("destroy: %v", err)
	}
	if diff := cmp.Diff(before, s.list(t), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the SR changed (-before +after):\n%s", diff)
	}
}

// detached: an SR that is detached does nothing, and may be detached again.
func detached(t *testing.T, s *subject) {
	old := s.SR
	img := s.create(t, 4096)
	s.reattach(t)
	if err := old.Detach(deadline(t)); err != nil {
		t.Errorf("detach again: %v", err)
	}
	_, err := old.List(deadline(t))
	wantCode(t, "list", err, xenapi.CodeSRNotAttached)
	wantCode(t, "destroy", old.Destroy(deadline(t), img.Location), xenapi.CodeSRNotAttached)
	_, err = old.Create(deadline(t), storage.Image{UUID: xenapi.NewUUID(), Size: 4096})
	wantCode(t, "create", err, xenapi.CodeSRNotAttached)
	s.listed(t, img.Location)
}

// wipe: an SR with an image stays; an empty one goes for good.
func wipe(t *testing.T, s *subject) {
	img := s.create(t, 4096)
	wantCode(t, "wipe with an image", s.Wipe(deadline(t)), xenapi.CodeSRNotEmpty)
	s.listed(t, img.Location)
	s.destroy(t, img.Location)
	if err := s.Wipe(deadline(t)); err != nil {
		t.Fatalf("wipe: %v", err)
	}
	s.SR = nil
	if _, err := s.Driver.Attach(deadline(t), s.Config); xenapi.CodeOf(err) == "" {
		t.Errorf("attach after wipe: %v, want a domain error", err)
	}
}
