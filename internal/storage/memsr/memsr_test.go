package memsr_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/storage/srtest"
	"poolpatch/xenapi"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]memsr.Options{
		"plain":       {},
		"clone":       {Clone: true},
		"small":       {Size: 16 << 20},
		"small clone": {Size: 16 << 20, Clone: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srtest.Run(t, func(t *testing.T) srtest.Fixture {
				driver := memsr.New(t, options)
				uuid := xenapi.NewUUID()
				t.Cleanup(func() { driver.CheckEmpty() })
				return srtest.Fixture{
					Driver: driver, Config: storage.Config{UUID: uuid}, Limited: options.Size > 0,
					Crashes: map[string]func(*testing.T, string) string{
						"broken": func(_ *testing.T, image string) string { return driver.Break(uuid, image) },
					},
					Undescribed: map[string]func(*testing.T, string){
						"removed": func(_ *testing.T, image string) { driver.Break(uuid, image) },
						"damaged": func(_ *testing.T, image string) { driver.Damage(uuid, image) },
					},
				}
			})
		})
	}
}

// judge collects what memsr says against a test.
type judge struct {
	testing.TB
	mu     sync.Mutex
	errors []string
}

func (j *judge) Helper()        {}
func (j *judge) Cleanup(func()) {}
func (j *judge) Errorf(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.errors = append(j.errors, fmt.Sprintf(format, args...))
}

// setup makes an SR with one image, and the judge of what is done to it.
func setup(t *testing.T) (*judge, *memsr.Driver, storage.SR, storage.Image) {
	t.Helper()
	j := &judge{TB: t}
	driver := memsr.New(j, memsr.Options{})
	cfg := storage.Config{UUID: xenapi.NewUUID()}
	if err := driver.Create(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	sr, err := driver.Attach(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	img, err := sr.Create(t.Context(), storage.Image{UUID: xenapi.NewUUID(), Size: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return j, driver, sr, img
}

func TestMisuseFailsTheTest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		do         func(ctx context.Context, d *memsr.Driver, sr storage.SR, img storage.Image)
	}{
		{"destroy open image", "destroyed while it is open", func(ctx context.Context, _ *memsr.Driver, sr storage.SR, img storage.Image) {
			f, _ := sr.Open(ctx, img.Location, storage.ReadOnly)
			defer f.Close()
			_ = sr.Destroy(ctx, img.Location)
		}},
		{"destroy image under a loop device", "destroyed while it is open", func(ctx context.Context, _ *memsr.Driver, sr storage.SR, img storage.Image) {
			f, _ := sr.Open(ctx, img.Location, storage.ReadWrite)
			out, err := exec.CommandContext(ctx, "losetup", "--find", "--show", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())).Output()
			f.Close()
			if err == nil {
				_ = sr.Destroy(ctx, img.Location)
				_ = exec.CommandContext(ctx, "losetup", "--detach", strings.TrimSpace(string(out))).Run()
			}
		}},
		{"detach with open image", "detached while image", func(ctx context.Context, _ *memsr.Driver, sr storage.SR, img storage.Image) {
			f, _ := sr.Open(ctx, img.Location, storage.ReadWrite)
			defer f.Close()
			_ = sr.Detach(ctx)
		}},
		{"create twice", "made twice", func(ctx context.Context, _ *memsr.Driver, sr storage.SR, img storage.Image) {
			_, _ = sr.Create(ctx, img)
		}},
		{"leak", "still holds image", func(_ context.Context, d *memsr.Driver, _ storage.SR, _ storage.Image) {
			d.CheckEmpty()
		}},
		{"declared leak", "", func(_ context.Context, d *memsr.Driver, _ storage.SR, img storage.Image) {
			d.CheckEmpty(img.UUID)
		}},
		{"proper use", "", func(ctx context.Context, d *memsr.Driver, sr storage.SR, img storage.Image) {
			f, _ := sr.Open(ctx, img.Location, storage.ReadWrite)
			f.Close()
			_ = sr.Destroy(ctx, img.Location)
			_ = sr.Detach(ctx)
			d.CheckEmpty()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j, driver, sr, img := setup(t)
			tt.do(t.Context(), driver, sr, img)
			got := strings.Join(j.errors, "\n")
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("the test was told %q, want %q", got, tt.want)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	fault := func(method string) memsr.Fault {
		return func(m, _ string) error {
			if m == method {
				return boom
			}
			return nil
		}
	}
	_, driver, sr, img := setup(t)
	ctx := t.Context()

	driver.Inject(fault("Destroy"), nil)
	if err := sr.Destroy(ctx, img.Location); !errors.Is(err, boom) {
		t.Errorf("destroy with a fault before: %v", err)
	}
	if list, _ := sr.List(ctx); len(list) != 1 {
		t.Errorf("a fault before Destroy: %d images, want 1", len(list))
	}
	driver.Inject(nil, fault("Destroy"))
	if err := sr.Destroy(ctx, img.Location); !errors.Is(err, boom) {
		t.Errorf("destroy with a fault after: %v", err)
	}
	if list, _ := sr.List(ctx); len(list) != 0 {
		t.Errorf("a fault after Destroy: %d images, want 0", len(list))
	}
	driver.Inject(nil, fault("Create"))
	if _, err := sr.Create(ctx, img); !errors.Is(err, boom) {
		t.Errorf("create with a fault after: %v", err)
	}
	driver.Inject(nil, fault("Open"))
	if f, err := sr.Open(ctx, img.UUID, storage.ReadOnly); !errors.Is(err, boom) || f != nil {
		t.Errorf("open with a fault after: %v, %v", f, err)
	}
	driver.Inject(nil, nil)
	if err := sr.Destroy(ctx, img.UUID); err != nil {
		t.Errorf("destroy what the faults left: %v", err)
	}
}
