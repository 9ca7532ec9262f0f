package api_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"poolpatch/internal/api"
	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/directory"
	"poolpatch/internal/event"
	"poolpatch/internal/extension"
	"poolpatch/internal/hotfix"
	"poolpatch/internal/journal"
	"poolpatch/internal/machine"
	"poolpatch/internal/message"
	"poolpatch/internal/outside"
	"poolpatch/internal/patch"
	hosts "poolpatch/internal/pool"
	"poolpatch/internal/replica"
	"poolpatch/internal/report"
	"poolpatch/internal/repository"
	"poolpatch/internal/rpc"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/internal/trust"
	"poolpatch/xenapi"
)

const (
	here    = xenapi.Ref[xenapi.Host]("OpaqueRef:here")
	theRoot = "OpaqueRef:session-root" // the local superuser's session
	thePool = "OpaqueRef:pool"
	rootPW  = "r00t"
)

// sessionOf is the session of somebody with a role.
func sessionOf(role string) string { return "OpaqueRef:session-" + role }

// pool is a pool of one host, as far as the method table sees it.
type pool struct {
	others  *elsewhere
	api     *api.API
	db      *db.DB
	auth    *auth.Service
	trust   *trust.Store
	tasks   *task.Service
	storage *storage.Service
	caller  api.Caller
	log     *lines
	root    string
	store   db.Store
	done    []string // to the machine and to the daemon
	kept    *journal.Journal
	servers *x509.CertPool // that it trusts
	ldap    *tls.Config    // by which it knows the servers of a directory
}

func tables() (all []db.Table) {
	return append(slices.Concat(trust.Tables(), repository.Tables()),
		hosts.Tables()[0], db.TableOf[xenapi.Session](), db.TableOf[xenapi.Task](), db.TableOf[xenapi.Pool](), db.TableOf[xenapi.Host](),
		db.TableOf[xenapi.HostMetrics](), db.TableOf[xenapi.HostPatch](), db.TableOf[xenapi.PoolPatch](), db.TableOf[xenapi.PoolUpdate](),
		db.TableOf[xenapi.SM](), db.TableOf[xenapi.SR](), db.TableOf[xenapi.PBD](), db.TableOf[xenapi.VDI](), db.TableOf[xenapi.VBD](),
		db.TableOf[xenapi.VM](), db.TableOf[xenapi.User](), db.TableOf[xenapi.Subject](), db.TableOf[xenapi.Role](), message.Tables()[0], message.Tables()[1],
		db.TableOf[task.Belonging](), db.TableOf[patch.Rolling](),
	)
}

// newEmpty is a pool with nothing in its database.
func newEmpty(t testing.TB, faults ...memkv.Option) *pool {
	t.Helper()
	store := memkv.New(faults...)
	d, err := db.Open(t.Context(), store, db.Options{Writer: "here", Tables: tables()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	p := &pool{db: d, log: &lines{}, others: &elsewhere{}, kept: journal.New(io.Discard, "one"), root: t.TempDir(), servers: x509.NewCertPool(), store: store}
	log, root := slog.New(p.log), p.root
	p.trust = trust.New(d)
	p.auth = auth.New(d, here, log, auth.Options{Trust: p.trust, Reach: func(c directory.Config) auth.Directory {
		return directory.New(c, func() *tls.Config { return p.ldap })
	}})
	p.tasks = task.New(d, here, log, func(err error) *xenapi.Error { return api.Internal(log, err) })
	mem := memsr.New(t, memsr.Options{Clone: true})
	p.storage = storage.New(d, here, storage.Drivers{"mem": mem, "known": probing{mem}}, t.TempDir(), log, storage.Options{})
	patches := patch.New(d, here, p.tasks, patch.OnStorage(p.storage), hotfix.NewVerifier(hotfix.Options{KeyDir: root, Log: log}), log, patch.Options{
		Root: root, Legacy: filepath.Join(root, "patch"), Logs: root, Encode: rpc.MarshalXMLValue,
	})
	repositories := repository.New(d, here, p.tasks, patches, log, repository.Options{Keys: root})
	reports := report.New(report.Sources{
		Stamps: filepath.Join(root, "patch/applied"), PatchLogs: filepath.Join(root, "logs"), Spool: filepath.Join(root, "bugreport"),
		Log: p.kept.Recent, KernelLog: func() (string, error) { return "Linux", nil },
		Records:  func(each func(string, []byte) error) error { return p.api.PublicRecords(each) },
		Versions: func() any { return nil }, Space: func() any { return nil }, Findings: func(context.Context) (any, error) { return nil, nil },
	})
	for _, dir := range []string{"extensions", "power-on"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.api = api.New(api.Services{
		DB: d, Auth: p.auth, Tasks: p.tasks, Storage: p.storage, Patches: patches, Repositories: repositories, Events: follow(t, d, p.auth), Trust: p.trust,
		Machine: p.machine(), Recorder: p, Daemon: p, Host: here, Others: p.others, Replicas: replicas(d, store, p.tasks, p.storage, root, log),
		Log: p.kept, Reports: reports, Outside: outside.New(func() *tls.Config { return &tls.Config{RootCAs: p.servers} }),
		Extensions: extension.In(filepath.Join(root, "extensions"), root), PowerOn: extension.In(filepath.Join(root, "power-on"), root),
	}, log)
	t.Cleanup(p.tasks.Wait)
	return p
}

// replicas keep the database in VDIs, with what is secret in it.
func replicas(d *db.DB, store db.Store, tasks *task.Service, s *storage.Service, root string, log *slog.Logger) *replica.Service {
	return replica.New(d, tasks, s, log, replica.Options{
		Tables: tables(), Root: root, Writes: func(*db.Tx, xenapi.Ref[xenapi.SR]) bool { return true },
		Backup: func(ctx context.Context, w io.Writer, out func(class, ref string) bool) error {
			_, err := db.Backup(ctx, store, w, time.Now(), db.Omission{Row: out})
			return err
		},
	})
}

// backup writes what "poolpatch pool backup" does.
func (p *pool) backup(ctx context.Context, w io.Writer) error {
	_, err := db.Backup(ctx, p.store, w, time.Now(), db.Omission{Classes: []string{"session"}})
	return err
}

// machine is one that only remembers what was done to it.
func (p *pool) machine() *machine.Machine {
	return machine.New("/", machine.Options{
		Initiator: filepath.Join(p.root, "initiatorname.iscsi"),
		Broadcast: func(packet []byte) error { p.done = append(p.done, fmt.Sprintf("%x", packet)); return nil },
		Run: func(_ context.Context, argv ...string) error {
			p.done = append(p.done, strings.Join(argv, " "))
			return nil
		},
		SetHostname: func(name string) error { p.done = append(p.done, "hostname "+name); return nil },
		KernelLog:   func(clear bool) (string, error) { return fmt.Sprint("cleared: ", clear), nil },
	})
}

// Busy implements api.Recorder.
func (p *pool) Busy() float64 { return 0.25 }

// Forget implements api.Recorder.
func (p *pool) Forget(uuid, source string) { p.done = append(p.done, "forget "+source+" of "+uuid) }

// Save implements api.Recorder.
func (p *pool) Save() error { p.done = append(p.done, "save"); return nil }

// Restart implements api.Daemon.
func (p *pool) Restart() { p.done = append(p.done, "restart") }

// Stop implements api.Daemon.
func (p *pool) Stop() { p.done = append(p.done, "stop") }

// ReplaceCertificate implements api.Daemon.
func (p *pool) ReplaceCertificate(cert, _, _ string) error {
	p.done = append(p.done, "certificate "+cert)
	return nil
}

// ResetCertificate implements api.Daemon.
func (p *pool) ResetCertificate() error { p.done = append(p.done, "no certificate"); return nil }

// RenewIdentity implements api.Daemon.
func (p *pool) RenewIdentity(_ context.Context) error {
	p.done = append(p.done, "identity")
	return nil
}

// Certificate implements api.Daemon.
func (p *pool) Certificate() string { return "PEM" }

// probing is a driver that finds the SR which device_config names.
type probing struct{ *memsr.Driver }

func (probing) Probe(_ context.Context, deviceConfig map[string]string) (string, error) {
	return deviceConfig["uuid"], nil
}

// follow tells of events until the test ends.
func follow(t testing.TB, d *db.DB, sessions *auth.Service) *event.Service {
	events := event.New(d, event.Options{Classes: api.Classes(), Open: sessions.Open, Concerned: api.Concerned})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = events.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return events
}

// newPool has one host, a session for each role and one for the local superuser.
func newPool(t testing.TB, faults ...memkv.Option) *pool {
	t.Helper()
	p := newEmpty(t, faults...)
	p.update(t, func(tx *db.Tx) error {
		return errors.Join(append(seedSessions(tx),
			db.Insert(tx, here, xenapi.Host{UUID: "uuid-here", NameLabel: "one"}),
			db.Insert(tx, thePool, xenapi.Pool{UUID: "uuid-pool", Master: here}))...)
	})
	if err := p.storage.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.tasks.Wait(); p.storage.DetachAll(context.Background()) })
	return p
}

func seedSessions(tx *db.Tx) []error {
	errs := []error{db.Insert(tx, theRoot, xenapi.Session{UUID: "uuid-root", AuthUserSID: auth.Root, AuthUserName: auth.Root, IsLocalSuperuser: true, LastActive: time.Now()})}
	for _, role := range xenapi.Roles() {
		errs = append(errs, db.Insert(tx, xenapi.Ref[xenapi.Session](sessionOf(role)),
			xenapi.Session{UUID: "uuid-" + role, AuthUserSID: role, AuthUserName: role, Role: role, Kind: "user", LastActive: time.Now()}))
	}
	return errs
}

func (p *pool) update(t testing.TB, fn func(*db.Tx) error) {
	t.Helper()
	if err := p.db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func insert[T xenapi.Object](t testing.TB, p *pool, ref xenapi.Ref[T], rec T) {
	t.Helper()
	p.update(t, func(tx *db.Tx) error { return db.Insert(tx, ref, rec) })
}

func get[T xenapi.Object](p *pool, ref xenapi.Ref[T]) (rec T) {
	_ = p.db.View(func(tx *db.Tx) error { rec, _ = db.Lookup(tx, ref); return nil })
	return rec
}

// newSR makes an SR that this host sees.
func (p *pool) newSR(t testing.TB) xenapi.Ref[xenapi.SR] {
	t.Helper()
	return xenapi.Ref[xenapi.SR](p.call(t, theRoot, "SR.create", here, map[string]string{}, 0, "memory", "", "mem", "user", false).Text)
}

// try makes a call over JSON-RPC, whose session is its first parameter.
func (p *pool) try(t testing.TB, method string, params ...any) (rpc.Value, *xenapi.Error) {
	t.Helper()
	reply, err := rpc.JSON(t.Context(), p.api.For(p.caller), rpc.EncodeRequest(method, params))
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	value, failure, err := rpc.DecodeReply(reply)
	if err != nil {
		t.Fatalf("%s: %v: %s", method, err, reply)
	}
	return value, failure
}

// call makes a call that must succeed.
func (p *pool) call(t testing.TB, session, method string, params ...any) rpc.Value {
	t.Helper()
	value, failure := p.try(t, method, append([]any{session}, params...)...)
	if failure != nil {
		t.Fatalf("%s: %v", method, failure)
	}
	return value
}

// refused makes a call that must fail with an error's description.
func (p *pool) refused(t testing.TB, want []string, method string, params ...any) {
	t.Helper()
	value, failure := p.try(t, method, params...)
	if failure == nil {
		t.Errorf("%s%v = %v, want %v", method, params, value, want)
		return
	}
	if got := failure.Description(); !slices.Equal(got, want) {
		t.Errorf("%s%v: %q, want %q", method, params, got, want)
	}
}

// code is what a call ends with: "" is success.
func (p *pool) code(t testing.TB, method string, params ...any) string {
	t.Helper()
	if _, failure := p.try(t, method, params...); failure != nil {
		return failure.Code
	}
	return ""
}

// texts makes strings of an array.
func texts(v rpc.Value) []string {
	all := []string{}
	for _, item := range v.Items {
		all = append(all, item.Text)
	}
	return all
}

// members makes a map of a struct whose values are strings.
func members(v rpc.Value) map[string]string {
	all := map[string]string{}
	for _, m := range v.Members {
		all[m.Name] = m.Value.Text
	}
	return all
}

// lines is a log that a test reads.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *lines) WithGroup(string) slog.Handler            { return l }
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%v", a.Key, a.Value); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, b.String())
	return nil
}

// with lists the lines that have all the words.
func (l *lines) with(words ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.all {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			found = append(found, line)
		}
	}
	return found
}
