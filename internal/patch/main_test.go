package patch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/check"
	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/hotfix"
	"poolpatch/internal/message"
	"poolpatch/internal/patch"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/internal/volume"
	"poolpatch/xenapi"
)

func TestMain(m *testing.M) {
	if err := volume.Isolate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	here    = xenapi.Ref[xenapi.Host]("OpaqueRef:here")
	theUUID = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
)

// site is what outlives a daemon: database, SRs, root file system, keys.
type site struct {
	store  *memkv.Store
	driver *memsr.Driver
	root   string
	key    *hotfix.SigningKey

	booted, started time.Time // of the machine and of the daemon's process

	wrap func(patch.Storage) patch.Storage // stands between the next daemons and their storage, if it is there
}

func newSite(t testing.TB, o memsr.Options, faults ...memkv.Option) *site {
	t.Helper()
	s := &site{store: memkv.New(faults...), driver: memsr.New(t, o), root: t.TempDir()}
	for _, dir := range []string{"keys", "var/patch", "logs"} {
		if err := os.MkdirAll(filepath.Join(s.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	public, private, err := hotfix.GenerateKey("Test", "test@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.root, "keys/test.asc"), public, 0o644); err != nil {
		t.Fatal(err)
	}
	if s.key, err = hotfix.ParseSigningKey(private, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// daemon is one life of the host's daemon.
type daemon struct {
	*patch.Service
	site    *site
	db      *db.DB
	tasks   *task.Service
	storage *storage.Service
}

// start starts a daemon, with the recovery of what its predecessor left. step is called at each named point.
func (s *site) start(t testing.TB, step func(string)) daemon {
	t.Helper()
	d, err := db.Open(t.Context(), s.store, db.Options{Writer: "here", Tables: []db.Table{
		db.TableOf[xenapi.Task](), db.TableOf[xenapi.Host](), db.TableOf[xenapi.Pool](), db.TableOf[xenapi.SR](),
		db.TableOf[xenapi.PBD](), db.TableOf[xenapi.VDI](), db.TableOf[xenapi.VBD](), db.TableOf[xenapi.SM](), db.TableOf[xenapi.PoolPatch](), db.TableOf[xenapi.PoolUpdate](),
		db.TableOf[xenapi.HostPatch](), db.TableOf[task.Belonging](), message.Tables()[0], message.Tables()[1], db.TableOf[patch.Rolling](),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	log := slog.New(slog.DiscardHandler)
	x := daemon{site: s, db: d}
	x.tasks = task.New(d, here, log, func(err error) *xenapi.Error { return xenapi.ErrInternalError(err.Error()).Because(err) })
	x.storage = storage.New(d, here, storage.Drivers{"mem": s.driver}, t.TempDir(), log, storage.Options{})
	on := patch.OnStorage(x.storage)
	if s.wrap != nil {
		on = s.wrap(on)
	}
	x.Service = patch.New(d, here, x.tasks, on,
		hotfix.NewVerifier(hotfix.Options{KeyDir: filepath.Join(s.root, "keys"), Log: log}), log, patch.Options{
			Root: s.root, Legacy: filepath.Join(s.root, "var/patch"), Logs: filepath.Join(s.root, "logs"),
			Encode: func(v any) string { return fmt.Sprint(v) }, Step: step,
			Booted: s.booted, Started: s.started,
			Coordinating: func(tx *db.Tx) bool {
				rec, _ := db.Lookup(tx, xenapi.Ref[xenapi.Pool]("OpaqueRef:pool"))
				return rec.Master == here
			},
		})
	x.update(t, func(tx *db.Tx) error {
		if _, ok := db.Lookup(tx, here); ok {
			return nil
		}
		if err := db.Put(tx, "OpaqueRef:pool", xenapi.Pool{Master: here}); err != nil {
			return err
		}
		return db.Put(tx, here, xenapi.Host{})
	})
	err = errors.Join(x.EndInterrupted(t.Context()), x.storage.Start(t.Context()), x.tasks.Recover(t.Context(), x.storage.Undo()),
		x.storage.Recover(t.Context()), x.Recover(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.storage.DetachAll(context.Background()) })
	return x
}

// withSR gives the pool a default SR.
func (x daemon) withSR(t testing.TB) daemon {
	t.Helper()
	err := x.do(func(ctx context.Context, tk *task.Task) error {
		sr, err := x.storage.CreateSR(ctx, tk, storage.NewSR{Record: xenapi.SR{NameLabel: "memory", Type: "mem", ContentType: "user"}, Host: here})
		if err != nil {
			return err
		}
		return x.db.Update(ctx, func(tx *db.Tx) error {
			return db.Change(tx, "OpaqueRef:pool", func(p *xenapi.Pool) error { p.DefaultSR = sr; return nil })
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (x daemon) update(t testing.TB, fn func(*db.Tx) error) {
	t.Helper()
	if err := x.db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (x daemon) do(call func(ctx context.Context, t *task.Task) error) error {
	_, err := x.tasks.Do(context.Background(), task.Spec{Label: "test"}, func(ctx context.Context, t *task.Task) (any, error) {
		return "", call(ctx, t)
	})
	return err
}

func get[T xenapi.Object](x daemon, ref xenapi.Ref[T]) (rec T) {
	_ = x.db.View(func(tx *db.Tx) error {
		rec, _ = db.Lookup(tx, ref)
		return nil
	})
	return rec
}

func all[T xenapi.Object](x daemon) (rows map[xenapi.Ref[T]]T) {
	rows = map[xenapi.Ref[T]]T{}
	_ = x.db.View(func(tx *db.Tx) error {
		for ref, rec := range db.All[T](tx) {
			rows[ref] = rec
		}
		return nil
	})
	return rows
}

// program is a patch's program with the given body for each call; every apply leaves a line in the root.
type program struct {
	uuid, label, guidance string
	precheck, apply       string
	info                  string // instead of the usual answer
}

func (p program) text() string {
	if p.uuid == "" {
		p.uuid = theUUID
	}
	info := fmt.Sprintf(`echo '<info uuid="%s" version="1.0" name-label="%s" name-description="described" after-apply-guidance="%s"/>'`, p.uuid, p.label, p.guidance)
	if p.info != "" {
		info = p.info
	}
	return fmt.Sprintf("#!/bin/sh\ncase $1 in\ninfo) %s ;;\nprecheck) echo prechecked\n%s\n;;\napply) echo ran >> $POOLPATCH_ROOT/ran\necho applied\n%s\n;;\nesac\n", info, p.precheck, p.apply)
}

func (s *site) sign(t testing.TB, p program) []byte {
	t.Helper()
	return s.signText(t, p.text())
}

func (s *site) signText(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := hotfix.Sign(strings.NewReader(text), &b, s.key); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (x daemon) upload(signed []byte) (ref xenapi.Ref[xenapi.PoolPatch], err error) {
	return x.uploadStream(bytes.NewReader(signed), int64(len(signed)))
}

func (x daemon) uploadStream(r io.Reader, length int64) (ref xenapi.Ref[xenapi.PoolPatch], err error) {
	err = x.do(func(ctx context.Context, t *task.Task) (err error) {
		ref, err = x.Upload(ctx, t, r, length)
		return err
	})
	return ref, err
}

func (x daemon) apply(ref xenapi.Ref[xenapi.PoolPatch]) (output string, err error) {
	err = x.do(func(ctx context.Context, t *task.Task) (err error) {
		output, err = x.Apply(ctx, t, ref, here)
		return err
	})
	return output, err
}

// runs counts how often apply was executed.
func (s *site) runs() int {
	text, _ := os.ReadFile(filepath.Join(s.root, "ran"))
	return strings.Count(string(text), "ran\n")
}

func (s *site) stamped(uuid string) bool {
	_, err := os.Stat(filepath.Join(s.root, "var/patch/applied", uuid))
	return err == nil
}

// clean is what must hold whenever nothing runs.
func (x daemon) clean(t testing.TB, what string) {
	t.Helper()
	for _, b := range all[task.Belonging](x) {
		t.Errorf("%s: still owned: %s %s", what, b.Kind, b.Object)
	}
	findings, err := check.Run(t.Context(), true, false, x.storage, x.Service)
	if err != nil {
		t.Errorf("%s: check: %v", what, err)
	}
	for _, f := range findings {
		t.Errorf("%s: %s %s: %s", what, f.Invariant, f.Object, f.Problem)
	}
	for _, rec := range all[xenapi.PoolPatch](x) {
		if len(rec.Claims) > 0 {
			t.Errorf("%s: patch %s is claimed: %v", what, rec.UUID, rec.Claims)
		}
	}
	for _, rec := range all[xenapi.HostPatch](x) {
		if patch.State(rec.State).Busy() {
			t.Errorf("%s: a host_patch is %q while nothing runs", what, rec.State)
		}
	}
}
