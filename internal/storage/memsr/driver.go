package memsr

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"poolpatch/internal/storage"
	"poolpatch/xenapi"
)

// Options say what SRs the driver makes. The zero Options are a large SR that cannot clone.
type Options struct {
	// Clone gives VDI_CLONE and VDI_SNAPSHOT.
	Clone bool
	// Size is each SR's size in bytes; 0 means 1 TiB. An image takes its whole virtual size, so that a test
	// fills an SR by numbers, without writing.
	Size int64
	// Before is called before a method does anything, After when it has succeeded. An error of either is
	// what the method returns: with Before nothing has happened, with After everything has, and Open's file
	// is closed again. The method is named as in storage.Driver and storage.SR, and for those of the driver
	// and of the whole SR the location is "". Create and Clone give the location that the image will have.
	Before, After Fault
}

// Fault decides whether a call fails.
type Fault func(method, location string) error

const defaultSize = 1 << 40

// Driver makes SRs that last as long as it does, whether they are attached or not.
type Driver struct {
	tb      testing.TB
	options Options

	mu  sync.Mutex
	srs map[string]*contents // by UUID
}

// New makes a driver without SRs. Misuse fails tb; the memory is given back when tb ends.
func New(tb testing.TB, o Options) *Driver {
	if o.Size == 0 {
		o.Size = defaultSize
	}
	d := &Driver{tb: tb, options: o, srs: map[string]*contents{}}
	tb.Cleanup(d.close)
	return d
}

// Inject replaces the faults of the options; nil for none.
func (d *Driver) Inject(before, after Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.options.Before, d.options.After = before, after
}

// CheckEmpty fails the test for every image, complete or not, but for those whose UUIDs are declared.
func (d *Driver) CheckEmpty(declared ...string) {
	d.tb.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for uuid, c := range d.srs {
		for _, i := range c.sorted() {
			if !slices.Contains(declared, i.UUID) {
				d.tb.Errorf("SR %s still holds image %s %q (temporary %t, incomplete %t)",
					uuid, i.Location, i.NameLabel, i.Temporary, i.Incomplete)
			}
		}
	}
}

// Break makes an image, or makes one that is there, into what a crash within Create or Destroy leaves.
func (d *Driver) Break(sr, uuid string) (location string) {
	d.tb.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.srs[sr]
	if c == nil {
		d.tb.Fatalf("break image %s: no SR %s", uuid, sr)
	}
	i := c.images[uuid]
	if i == nil {
		i = &stored{Image: storage.Image{UUID: uuid, Location: uuid}}
		c.images[uuid] = i
	}
	i.Incomplete = true
	return uuid
}

// Damage makes an image into one whose description cannot be understood.
func (d *Driver) Damage(sr, uuid string) {
	location := d.Break(sr, uuid)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.srs[sr].images[location].Damaged = "the description of " + location + " is damaged"
}

// Lose makes an image into what is left of one whose content somebody has removed.
func (d *Driver) Lose(sr, uuid string) {
	location := d.Break(sr, uuid)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.srs[sr].images[location].Vanished = true
}

// Describe says what the driver's SM record shows.
func (d *Driver) Describe() storage.Description {
	return storage.Description{
		Name: "Memory", Text: "SR of disk images in memory, for tests", Vendor: "poolpatch",
		Copyright: "the poolpatch authors", Version: "1.0",
		Configuration: map[string]string{},
		Features:      d.capabilities(),
	}
}

func (d *Driver) capabilities() storage.Capabilities {
	return storage.Capabilities{
		Create: true, Delete: true, Resize: true, ResizeOnline: true,
		Clone: d.options.Clone, Snapshot: d.options.Clone, CBT: d.options.Clone,
	}
}

// Create makes an empty SR, or finds that it is there.
func (d *Driver) Create(ctx context.Context, cfg storage.Config) error {
	_, err := guarded(ctx, d, "Create", "", func() (struct{}, error) {
		uuid, ok := xenapi.ParseUUID(cfg.UUID)
		if !ok {
			return struct{}{}, xenapi.ErrInvalidValue("uuid", cfg.UUID)
		}
		if d.srs[uuid] == nil {
			d.srs[uuid] = &contents{images: map[string]*stored{}}
		}
		return struct{}{}, nil
	})
	return err
}

// Attach gives an SR that Create made. Several attachments see the same images, as hosts see a shared SR.
func (d *Driver) Attach(ctx context.Context, cfg storage.Config) (storage.SR, error) {
	return guarded(ctx, d, "Attach", "", func() (storage.SR, error) {
		uuid, _ := xenapi.ParseUUID(cfg.UUID)
		c := d.srs[uuid]
		if c == nil {
			return nil, xenapi.ErrSRBackendFailure("1", "", fmt.Sprintf("there is no SR %s in memory", cfg.UUID))
		}
		return &sr{driver: d, uuid: uuid, contents: c}, nil
	})
}

// close gives the memory back.
func (d *Driver) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.srs {
		for _, i := range c.images {
			i.free()
		}
	}
}

// guarded runs a method under the lock and between its faults, which run without it: a fault may call the SR.
func guarded[T any](ctx context.Context, d *Driver, method, location string, call func() (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("%s: %w", method, err)
	}
	d.mu.Lock()
	before, after := d.options.Before, d.options.After
	d.mu.Unlock()
	if err := consult(before, method, location); err != nil {
		return none, err
	}
	d.mu.Lock()
	result, err := call()
	d.mu.Unlock()
	if err != nil {
		return none, err
	}
	return result, consult(after, method, location)
}

func consult(f Fault, method, location string) error {
	if f == nil {
		return nil
	}
	return f(method, location)
}
