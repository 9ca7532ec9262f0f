package repository_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"poolpatch/internal/check"
	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/hotfix"
	"poolpatch/internal/message"
	"poolpatch/internal/patch"
	"poolpatch/internal/repository"
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
	thePool = xenapi.Ref[xenapi.Pool]("OpaqueRef:pool")
)

// uuidOf is the UUID of the nth patch of a test.
func uuidOf(n int) string { return fmt.Sprintf("3fa85f64-5717-4562-b3fc-%012d", n) }

// site is what outlives a daemon: database, SRs, root file system, keys; and the server with the repository.
type site struct {
	store  *memkv.Store
	driver *memsr.Driver
	root   string
	key    *hotfix.SigningKey
	server *server
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{store: memkv.New(), driver: memsr.New(t, memsr.Options{Clone: true}), root: t.TempDir(), server: newServer(t)}
	for _, dir := range []string{"keys", "var/patch", "logs"} {
		if err := os.MkdirAll(filepath.Join(s.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.key = s.newKey(t, "test.asc")
	return s
}

// newKey makes a key that the host trusts, in a file of that name.
func (s *site) newKey(t testing.TB, file string) *hotfix.SigningKey {
	t.Helper()
	public, private, err := hotfix.GenerateKey("Test", file+"@example.com", nil)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.root, "keys", file), public, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	key, err := hotfix.ParseSigningKey(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, key *hotfix.SigningKey, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := hotfix.Sign(strings.NewReader(text), &b, key); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// program is the signed file of the nth patch; every apply leaves a line in the root. more is done then, too.
func (s *site) program(t testing.TB, n int, more string) []byte {
	t.Helper()
	return sign(t, s.key, fmt.Sprintf("#!/bin/sh\ncase $1 in\n"+
		"info) echo '<info uuid=\"%s\" version=\"1.0\" name-label=\"patch %d\" name-description=\"described\" after-apply-guidance=\"restartHost\"/>' ;;\n"+
		"precheck) echo prechecked ;;\napply) echo %d >> $POOLPATCH_ROOT/ran\n%s\n;;\nesac\n", uuidOf(n), n, n, more))
}

// entry is what an index says truly of the nth patch.
func entry(n int, file string, content []byte) repository.Entry {
	sum := sha256.Sum256(content)
	return repository.Entry{File: file, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), UUID: uuidOf(n)}
}

// offer puts patches 1 to n and their index on the server.
func (s *site) offer(t testing.TB, serial int64, n int) {
	t.Helper()
	var entries []repository.Entry
	for i := range n {
		file := fmt.Sprintf("patch-%d.gpg", i+1)
		if !s.server.has(file) {
			s.server.put(file, s.program(t, i+1, ""))
		}
		entries = append(entries, entry(i+1, file, s.server.get(file)))
	}
	s.offerIndex(t, serial, entries...)
}

func (s *site) offerIndex(t testing.TB, serial int64, entries ...repository.Entry) {
	t.Helper()
	x, err := repository.NewIndex(serial, entries)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x.Text()
	if err != nil {
		t.Fatal(err)
	}
	s.server.put(repository.IndexName, sign(t, s.key, string(text)))
}

// server is a web server with files, below /dir/.
type server struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	asked []string // in order
	// instead answers a request where it is not nil and says so.
	instead func(w http.ResponseWriter, r *http.Request) bool
}

func newServer(t testing.TB) *server {
	s := &server{files: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	name := strings.TrimPrefix(r.URL.Path, "/dir/")
	s.asked = append(s.asked, name)
	content := s.files[name]
	instead := s.instead
	s.mu.Unlock()
	switch {
	case instead != nil && instead(w, r):
	case content == nil:
		http.NotFound(w, r)
	default:
		_, _ = w.Write(content)
	}
}

func (s *server) put(name string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = content
}

func (s *server) get(name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[name]
}

func (s *server) has(name string) bool { return s.get(name) != nil }

func (s *server) answer(instead func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = instead
}

// requests tells what was asked for since the last time.
func (s *server) requests() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := strings.Join(s.asked, " ")
	s.asked = nil
	return asked
}

// daemon is one life of the host's daemon.
type daemon struct {
	*repository.Service
	site    *site
	db      *db.DB
	tasks   *task.Service
	storage *storage.Service
	patches *patch.Service
}

// start starts a daemon, with the recovery of what its predecessor left.
func (s *site) start(t testing.TB, o repository.Options) daemon {
	t.Helper()
	tables := append(repository.Tables(),
		db.TableOf[xenapi.Task](), db.TableOf[xenapi.Host](), db.TableOf[xenapi.Pool](), db.TableOf[xenapi.SR](),
		db.TableOf[xenapi.PBD](), db.TableOf[xenapi.VDI](), db.TableOf[xenapi.VBD](), db.TableOf[xenapi.SM](), db.TableOf[xenapi.PoolPatch](), db.TableOf[xenapi.PoolUpdate](),
		db.TableOf[xenapi.HostPatch](), db.TableOf[task.Belonging](), message.Tables()[0], message.Tables()[1], db.TableOf[patch.Rolling]())
	d, err := db.Open(t.Context(), s.store, db.Options{Writer: "here", Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	log, keys := slog.New(slog.DiscardHandler), filepath.Join(s.root, "keys")
	x := daemon{site: s, db: d}
	x.tasks = task.New(d, here, log, func(err error) *xenapi.Error { return xenapi.ErrInternalError(err.Error()).Because(err) })
	x.storage = storage.New(d, here, storage.Drivers{"mem": s.driver}, t.TempDir(), log, storage.Options{})
	x.patches = patch.New(d, here, x.tasks, patch.OnStorage(x.storage), hotfix.NewVerifier(hotfix.Options{KeyDir: keys, Log: log}), log, patch.Options{
		Root: s.root, Legacy: filepath.Join(s.root, "var/patch"), Logs: filepath.Join(s.root, "logs"),
		Encode: func(v any) string { return fmt.Sprint(v) },
	})
	o.Keys = keys
	x.Service = repository.New(d, here, x.tasks, x.patches, log, o)
	x.update(t, func(tx *db.Tx) error {
		if _, ok := db.Lookup(tx, here); ok {
			return nil
		}
		rec := xenapi.New[xenapi.Pool]()
		rec.UUID, rec.Master = "uuid-pool", here
		return errors.Join(db.Put(tx, thePool, rec), db.Put(tx, here, xenapi.Host{UUID: "uuid-here", NameLabel: "one", Enabled: true}))
	})
	if err := errors.Join(x.patches.EndInterrupted(t.Context()), x.storage.Start(t.Context()), x.tasks.Recover(t.Context(), x.storage.Undo()),
		x.storage.Recover(t.Context()), x.patches.Recover(t.Context()), x.Recover(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.storage.DetachAll(context.Background()) })
	return x
}

// begin is a daemon of a pool that has a default SR, and one repository of its own: what the site's server offers.
func (s *site) begin(t testing.TB, o repository.Options) (daemon, xenapi.Ref[xenapi.Repository]) {
	t.Helper()
	x := s.start(t, o)
	if err := x.do(func(ctx context.Context, tk *task.Task) error {
		sr, err := x.storage.CreateSR(ctx, tk, storage.NewSR{Record: xenapi.SR{NameLabel: "memory", Type: "mem", ContentType: "user"}, Host: here})
		if err != nil {
			return err
		}
		return x.db.Update(ctx, func(tx *db.Tx) error {
			return db.Change(tx, thePool, func(p *xenapi.Pool) error { p.DefaultSR = sr; return nil })
		})
	}); err != nil {
		t.Fatal(err)
	}
	return x, x.repository(t, "ours", s.server.URL+"/dir/")
}

// repository introduces one and adds it to the pool.
func (x daemon) repository(t testing.TB, name, url string) xenapi.Ref[xenapi.Repository] {
	t.Helper()
	rec := xenapi.New[xenapi.Repository]()
	rec.NameLabel, rec.BinaryURL, rec.Update = name, url, true
	ref, err := x.Introduce(t.Context(), rec)
	if err == nil {
		err = x.Add(t.Context(), thePool, ref)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ref
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

func (x daemon) sync(force bool) (hash string, err error) {
	err = x.do(func(ctx context.Context, t *task.Task) (err error) {
		hash, err = x.Sync(ctx, t, force)
		return err
	})
	return hash, err
}

func (x daemon) apply(hash string) (results [][]string, err error) {
	err = x.do(func(ctx context.Context, t *task.Task) (err error) {
		results, err = x.ApplyUpdates(ctx, t, here, hash)
		return err
	})
	return results, err
}

func get[T xenapi.Object](x daemon, ref xenapi.Ref[T]) (rec T) {
	_ = x.db.View(func(tx *db.Tx) error { rec, _ = db.Lookup(tx, ref); return nil })
	return rec
}

func all[T xenapi.Object](x daemon) (rows []T) {
	_ = x.db.View(func(tx *db.Tx) error {
		for _, rec := range db.All[T](tx) {
			rows = append(rows, rec)
		}
		return nil
	})
	return rows
}

// standing is what the host's record says.
func (x daemon) standing() (is xenapi.LatestSyncedUpdatesAppliedState) {
	_ = x.db.View(func(tx *db.Tx) error { is = repository.Standing(tx, here); return nil })
	return is
}

// held lists which patches the pool has, by their numbers.
func (x daemon) held() string {
	var has []string
	for n := range 9 {
		_ = x.db.View(func(tx *db.Tx) error {
			if x.patches.Holds(tx, uuidOf(n)) {
				has = append(has, fmt.Sprint(n))
			}
			return nil
		})
	}
	return strings.Join(has, " ")
}

// ran lists which patches were executed, in order.
func (s *site) ran() string {
	text, _ := os.ReadFile(filepath.Join(s.root, "ran"))
	return strings.Join(strings.Fields(string(text)), " ")
}

// clean is what must hold whenever nothing runs.
func (x daemon) clean(t testing.TB) {
	t.Helper()
	for _, b := range all[task.Belonging](x) {
		t.Errorf("still owned: %s %s", b.Kind, b.Object)
	}
	findings, err := check.Run(t.Context(), true, false, x.storage, x.patches)
	if err != nil {
		t.Errorf("check: %v", err)
	}
	for _, f := range findings {
		t.Errorf("%s %s: %s", f.Invariant, f.Object, f.Problem)
	}
	if n := len(all[xenapi.VDI](x)); n != len(all[xenapi.PoolPatch](x)) {
		t.Errorf("%d VDIs of %d patches", n, len(all[xenapi.PoolPatch](x)))
	}
	if ops := get(x, thePool).CurrentOperations; len(ops) > 0 {
		t.Errorf("the pool is marked: %v", ops)
	}
	if ops := get(x, here).CurrentOperations; len(ops) > 0 {
		t.Errorf("the host is marked: %v", ops)
	}
}

// soon is a deadline for what must come at once.
const soon = 20 * time.Second
