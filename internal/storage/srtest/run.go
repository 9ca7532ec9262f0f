package srtest

import (
	"context"
	"testing"
	"time"

	"poolpatch/internal/storage"
	"poolpatch/xenapi"
)

// Fixture is an SR that does not exist yet.
type Fixture struct {
	Driver storage.Driver
	Config storage.Config
	// Limited says that the SR is small, and nobody else's, so that the suite may fill it.
	Limited bool
	// Crashes leave on the attached SR, for an image that is not there, what a crash of each kind leaves,
	// and give the location that Destroy is called with.
	Crashes map[string]func(t *testing.T, uuid string) (location string)
	// Undescribed are the ways in which an image loses its description and keeps its content. Those that are
	// called "damaged" leave something of it.
	Undescribed map[string]func(t *testing.T, uuid string)
}

// rule is a test of one promise of the contract.
type rule struct {
	name string
	test func(t *testing.T, s *subject)
}

var rules = []rule{
	{"Capabilities", capabilities},
	{"CreateTwice", createTwice},
	{"AttachUnknown", attachUnknown},
	{"ContentLasts", contentLasts},
	{"OpenModes", openModes},
	{"Sizes", sizes},
	{"UUIDs", uuids},
	{"Destroy", destroy},
	{"Clone", clone},
	{"Resize", resize},
	{"Reduce", reduce},
	{"Describe", describe},
	{"Undescribed", undescribed},
	{"Temporary", temporary},
	{"Space", space},
	{"Full", full},
	{"NoImage", noImage},
	{"OddLocations", oddLocations},
	{"Concurrent", concurrent},
	{"TwoHosts", twoHosts},
	{"Crashes", crashes},
	{"Cancelled", cancelled},
	{"Detached", detached},
	{"Wipe", wipe},
}

// Run tests a driver. It calls fixture for each rule and wipes the SR after it; one rule runs at a time.
func Run(t *testing.T, fixture func(t *testing.T) Fixture) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			s := &subject{Fixture: fixture(t)}
			ctx := deadline(t)
			if err := s.Driver.Create(ctx, s.Config); err != nil {
				t.Fatalf("create SR: %v", err)
			}
			s.SR = s.attach(t)
			r.test(t, s)
			s.wipe(t)
		})
	}
}

// ruleTimeout is how long one rule may take, on a slow machine.
const ruleTimeout = 2 * time.Minute

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), ruleTimeout)
	t.Cleanup(cancel)
	return ctx
}

// subject is an attached SR; nil when the rule has wiped it.
type subject struct {
	Fixture
	storage.SR
}

func (s *subject) attach(t *testing.T) storage.SR {
	t.Helper()
	sr, err := s.Driver.Attach(deadline(t), s.Config)
	if err != nil {
		t.Fatalf("attach SR: %v", err)
	}
	return sr
}

// reattach takes the SR away and back, as a restart of the daemon does.
func (s *subject) reattach(t *testing.T) {
	t.Helper()
	if err := s.Detach(deadline(t)); err != nil {
		t.Fatalf("detach SR: %v", err)
	}
	s.SR = s.attach(t)
}

// wipe empties the SR and removes it, which must work after every rule.
func (s *subject) wipe(t *testing.T) {
	t.Helper()
	if s.SR == nil {
		return
	}
	for _, img := range s.list(t) {
		s.destroy(t, img.Location)
	}
	if err := s.Wipe(deadline(t)); err != nil {
		t.Errorf("wipe SR: %v", err)
	}
}

// create makes an image of a size with a fresh UUID.
func (s *subject) create(t *testing.T, size int64) storage.Image {
	t.Helper()
	img, err := s.Create(deadline(t), storage.Image{UUID: xenapi.NewUUID(), Size: size, Type: xenapi.VDITypeUser})
	if err != nil {
		t.Fatalf("create image: %v", err)
	}
	return img
}

func (s *subject) destroy(t *testing.T, location string) {
	t.Helper()
	if err := s.Destroy(deadline(t), location); err != nil {
		t.Errorf("destroy %q: %v", location, err)
	}
}

func (s *subject) list(t *testing.T) []storage.Image {
	t.Helper()
	list, err := s.List(deadline(t))
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return list
}

// listed finds an image in the list.
func (s *subject) listed(t *testing.T, location string) storage.Image {
	t.Helper()
	for _, img := range s.list(t) {
		if img.Location == location {
			return img
		}
	}
	t.Fatalf("%q is not in the list", location)
	return storage.Image{}
}

// wantCode checks the code of a domain error.
func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if xenapi.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}
