package httpd_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
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
	"poolpatch/internal/httpd"
	"poolpatch/internal/journal"
	"poolpatch/internal/machine"
	"poolpatch/internal/message"
	"poolpatch/internal/metrics"
	"poolpatch/internal/outside"
	"poolpatch/internal/patch"
	hosts "poolpatch/internal/pool"
	"poolpatch/internal/replica"
	"poolpatch/internal/report"
	"poolpatch/internal/repository"
	"poolpatch/internal/rpc"
	"poolpatch/internal/rrd"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/internal/trust"
	"poolpatch/internal/volume"
	"poolpatch/xenapi"
)

// Uploads mount.
func TestMain(m *testing.M) {
	if err := volume.Isolate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	here    = xenapi.Ref[xenapi.Host]("OpaqueRef:here")
	theRoot = "OpaqueRef:session-root"
	secret  = "the pool's secret"
	rootPW  = "r00t"
	theUUID = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
	mib     = 1 << 20
	// patience bounds whatever a test waits for.
	patience = 30 * time.Second
)

func sessionOf(role string) string { return "OpaqueRef:session-" + role }

// site is a host's daemon without a database of its own: it listens on TCP, on TLS and on a unix socket.
type site struct {
	db      *db.DB
	auth    *auth.Service
	trust   *trust.Store
	tasks   *task.Service
	storage *storage.Service
	sr      xenapi.Ref[xenapi.SR]
	key     *hotfix.SigningKey

	plain, tls, socket string           // addresses
	listener           *net.TCPListener // at plain
	stop               context.CancelFunc
	served             chan error
	alarms             *alarms
}

// alarms keeps the lines of the log that are worse than information.
type alarms struct {
	mu  sync.Mutex
	all []string
}

func (a *alarms) Enabled(_ context.Context, l slog.Level) bool { return l > slog.LevelInfo }
func (a *alarms) WithAttrs([]slog.Attr) slog.Handler           { return a }
func (a *alarms) WithGroup(string) slog.Handler                { return a }
func (a *alarms) Handle(_ context.Context, r slog.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, r.Level.String()+" "+r.Message)
	return nil
}

func (a *alarms) lines() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.all)
}

func tables() []db.Table {
	return append(slices.Concat(trust.Tables(), repository.Tables()),
		hosts.Tables()[0], db.TableOf[xenapi.Session](), db.TableOf[xenapi.Task](), db.TableOf[xenapi.Pool](), db.TableOf[xenapi.Host](),
		db.TableOf[xenapi.HostMetrics](), db.TableOf[xenapi.HostPatch](), db.TableOf[xenapi.PoolPatch](), db.TableOf[xenapi.PoolUpdate](),
		db.TableOf[xenapi.SM](), db.TableOf[xenapi.SR](), db.TableOf[xenapi.PBD](), db.TableOf[xenapi.VDI](), db.TableOf[xenapi.VBD](),
		db.TableOf[xenapi.VM](), db.TableOf[xenapi.User](), db.TableOf[xenapi.Subject](), db.TableOf[xenapi.Role](), message.Tables()[0], message.Tables()[1],
		db.TableOf[task.Belonging](), db.TableOf[patch.Rolling](),
	)
}

func newSite(t testing.TB) *site {
	t.Helper()
	store := memkv.New()
	d, err := db.Open(t.Context(), store, db.Options{Writer: "here", Tables: tables()})
	must(t, err)
	t.Cleanup(d.Close)
	root := t.TempDir()
	s := &site{db: d, served: make(chan error, 1), alarms: &alarms{}}
	log := slog.New(s.alarms)
	s.newKey(t, root)
	s.trust = trust.New(d)
	s.auth = auth.New(d, here, log, auth.Options{Trust: s.trust, Reach: func(c directory.Config) auth.Directory { return directory.New(c, nil) }})
	s.tasks = task.New(d, here, log, func(err error) *xenapi.Error { return api.Internal(log, err) })
	s.storage = storage.New(d, here, storage.Drivers{"mem": memsr.New(t, memsr.Options{Clone: true})}, t.TempDir(), log, storage.Options{})
	patches := patch.New(d, here, s.tasks, patch.OnStorage(s.storage), hotfix.NewVerifier(hotfix.Options{KeyDir: root, Log: log}), log, patch.Options{
		Root: root, Legacy: filepath.Join(root, "patch"), Logs: t.TempDir(), Encode: rpc.MarshalXMLValue,
	})
	must(t, d.Update(t.Context(), seed))
	must(t, s.storage.Start(t.Context()))
	t.Cleanup(func() { s.storage.DetachAll(context.Background()) })
	s.newSR(t)
	rrds := rrd.New(d, here, stillMachine().Load, t.TempDir(), log)
	var table *api.API
	reports := report.New(report.Sources{
		Root: root, Spool: filepath.Join(root, "bugreport"), Log: func() string { return "the log" }, KernelLog: stillMachine().KernelLog,
		Records:  func(each func(string, []byte) error) error { return table.PublicRecords(each) },
		Versions: func() any { return nil }, Space: func() any { return nil }, Findings: func(context.Context) (any, error) { return nil, nil },
	})
	table = api.New(api.Services{
		DB: d, Auth: s.auth, Tasks: s.tasks, Storage: s.storage, Patches: patches, Repositories: repository.New(d, here, s.tasks, patches, log, repository.Options{Keys: root}),
		Events: event.New(d, event.Options{}), Trust: s.trust, Host: here, Machine: stillMachine(), Recorder: rrds, Daemon: daemon{}, Replicas: replicas(d, store, s.tasks, s.storage, root, log),
		Log: journal.New(io.Discard, "one"), Reports: reports, Outside: outside.New(func() *tls.Config { return &tls.Config{} }), PowerOn: extension.In(root, root),
	}, log)
	s.serve(t, httpd.New(httpd.Services{
		Reports: reports, DB: d, Auth: s.auth, Tasks: s.tasks, Storage: s.storage, Patches: patches, Metrics: metrics.Handler(d, "1.2.3"), RRDs: rrds, Host: here,
		API: table,
	}, log))
	return s
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

// stillMachine is one that nothing is done to.
func stillMachine() *machine.Machine {
	return machine.New("/", machine.Options{
		Run:         func(context.Context, ...string) error { return nil },
		SetHostname: func(string) error { return nil },
		KernelLog:   func(bool) (string, error) { return "[    0.000000] Linux\n", nil },
	})
}

// daemon is one that stays.
type daemon struct{}

// Restart implements api.Daemon.
func (daemon) Restart() {}

// Stop implements api.Daemon.
func (daemon) Stop() {}

// ReplaceCertificate implements api.Daemon.
func (daemon) ReplaceCertificate(_, _, _ string) error { return nil }

// ResetCertificate implements api.Daemon.
func (daemon) ResetCertificate() error { return nil }

// RenewIdentity implements api.Daemon.
func (daemon) RenewIdentity(_ context.Context) error { return nil }

// Certificate implements api.Daemon.
func (daemon) Certificate() string { return "-----BEGIN CERTIFICATE-----\n" }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *site) newKey(t testing.TB, dir string) {
	t.Helper()
	public, private, err := hotfix.GenerateKey("Test", "test@example.com", nil)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "test.asc"), public, 0o644))
	s.key, err = hotfix.ParseSigningKey(private, nil)
	must(t, err)
}

func seed(tx *db.Tx) error {
	errs := []error{
		db.Insert(tx, here, xenapi.Host{UUID: "uuid-here"}),
		db.Insert(tx, "OpaqueRef:pool", xenapi.Pool{UUID: "uuid-pool", Master: here, Secret: secret}),
		db.Insert(tx, theRoot, xenapi.Session{UUID: "uuid-root", AuthUserSID: auth.Root, IsLocalSuperuser: true, LastActive: time.Now()}),
	}
	for _, role := range xenapi.Roles() {
		errs = append(errs, db.Insert(tx, xenapi.Ref[xenapi.Session](sessionOf(role)),
			xenapi.Session{UUID: "uuid-" + role, AuthUserSID: role, Role: role, Kind: "user", LastActive: time.Now()}))
	}
	return errors.Join(errs...)
}

func (s *site) newSR(t testing.TB) {
	t.Helper()
	_, err := s.tasks.Do(t.Context(), task.Spec{}, func(ctx context.Context, tk *task.Task) (_ any, err error) {
		s.sr, err = s.storage.CreateSR(ctx, tk, storage.NewSR{Record: xenapi.SR{NameLabel: "memory", Type: "mem", ContentType: "user"}, Host: here})
		return "", err
	})
	must(t, err)
	must(t, s.db.Update(t.Context(), func(tx *db.Tx) error {
		return db.Change(tx, "OpaqueRef:pool", func(p *xenapi.Pool) error { p.DefaultSR = s.sr; return nil })
	}))
}

func (s *site) serve(t testing.TB, server *httpd.Server) {
	t.Helper()
	dir, err := os.MkdirTemp("", "poolpatch-") // a socket's path is short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	config, err := httpd.SelfSigned(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), []string{"127.0.0.1"})
	must(t, err)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	local, err := net.Listen("unix", filepath.Join(dir, "socket"))
	must(t, err)
	s.listener = plain.(*net.TCPListener)
	s.plain, s.tls, s.socket = plain.Addr().String(), secure.Addr().String(), local.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	watched := make(chan error, 1)
	go func() { watched <- s.tasks.WatchCancels(ctx) }()
	door := httpd.NewDoor(nil, func(string) bool { return false }, slog.New(slog.DiscardHandler))
	door.Site(server.Handler(false))
	door.Ask(s.trust.Asking)
	stop := door.Serve(secure, door.Ordinary(config))
	go func() {
		s.served <- server.Serve(ctx, []httpd.Listener{{Listener: plain}, {Listener: local, Local: true}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-s.served; err != nil {
			t.Errorf("serve: %v", err)
		}
		door.CloseSite(context.Background())
		stop()
		<-watched
		s.tasks.CancelAll()
		s.tasks.Wait()
	})
}

// signed is a patch, filled up to a size in bytes.
func (s *site) signed(t testing.TB, fill int) []byte {
	t.Helper()
	program := fmt.Sprintf("#!/bin/sh\necho '<info uuid=%q version=\"1.0\" name-label=\"n\" name-description=\"d\" after-apply-guidance=\"\"/>'\nexit 0\n%s",
		theUUID, strings.Repeat("#", fill))
	var b bytes.Buffer
	must(t, hotfix.Sign(strings.NewReader(program), &b, s.key))
	return b.Bytes()
}

func get[T xenapi.Object](s *site, ref xenapi.Ref[T]) (rec T) {
	_ = s.db.View(func(tx *db.Tx) error { rec, _ = db.Lookup(tx, ref); return nil })
	return rec
}

func all[T xenapi.Object](s *site) map[xenapi.Ref[T]]T {
	rows := map[xenapi.Ref[T]]T{}
	_ = s.db.View(func(tx *db.Tx) error {
		for ref, rec := range db.All[T](tx) {
			rows[ref] = rec
		}
		return nil
	})
	return rows
}

// await waits until the database is as a test expects it.
func (s *site) await(t testing.TB, what string, done func(tx *db.Tx) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.db.Wait(ctx, func(tx *db.Tx) (bool, error) { return done(tx), nil }); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// nothingLeft is what must hold when no request runs: no VDI but those named, nothing owned, no
// throw-away task.
func (s *site) nothingLeft(t testing.TB, kept ...xenapi.Ref[xenapi.VDI]) {
	t.Helper()
	s.tasks.Wait()
	s.await(t, "throw-away tasks stay", func(tx *db.Tx) bool {
		for _, rec := range db.All[xenapi.Task](tx) {
			if !rec.ByClient {
				return false
			}
		}
		return true
	})
	vdis := all[xenapi.VDI](s)
	for _, ref := range kept {
		delete(vdis, ref)
	}
	for ref, rec := range vdis {
		t.Errorf("VDI left: %s %q", ref, rec.NameLabel)
	}
	for _, b := range all[task.Belonging](s) {
		t.Errorf("owned still: %s %s", b.Kind, b.Object)
	}
}

// newTask makes a task as a client does, for a session.
func (s *site) newTask(t testing.TB, session string) xenapi.Ref[xenapi.Task] {
	t.Helper()
	user := get(s, xenapi.Ref[xenapi.Session](session)).AuthUserSID
	ref, err := s.tasks.Create(t.Context(), task.Spec{Label: "client's", Session: xenapi.Ref[xenapi.Session](session), User: user})
	must(t, err)
	return ref
}

// newVDI makes a VDI of a size in bytes.
func (s *site) newVDI(t testing.TB, size int64) (ref xenapi.Ref[xenapi.VDI]) {
	t.Helper()
	_, err := s.tasks.Do(t.Context(), task.Spec{}, func(ctx context.Context, tk *task.Task) (_ any, err error) {
		rec := xenapi.New[xenapi.VDI]()
		rec.SR, rec.VirtualSize, rec.Type = s.sr, size, xenapi.VDITypeUser
		ref, err = s.storage.CreateVDI(ctx, tk, rec)
		return "", err
	})
	must(t, err)
	return ref
}

// wire is a connection on which a test says and hears every byte.
type wire struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

func dial(t testing.TB, address string) *wire {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	conn, err := net.Dial(network, address)
	must(t, err)
	return newWire(t, conn)
}

func dialTLS(t testing.TB, address string, config *tls.Config) *wire {
	t.Helper()
	conn, err := tls.Dial("tcp", address, config)
	must(t, err)
	return newWire(t, conn)
}

func newWire(t testing.TB, conn net.Conn) *wire {
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	return &wire{conn, t, bufio.NewReader(conn)}
}

// say sends text; lines end as HTTP's do.
func (w *wire) say(lines ...string) {
	w.t.Helper()
	_, err := io.WriteString(w, strings.Join(lines, "\r\n")+"\r\n\r\n")
	must(w.t, err)
}

// send sends bytes. A server that has refused may have closed already.
func (w *wire) send(b []byte) { _, _ = w.Write(b) }

// head reads the next answer up to its body.
func (w *wire) head() *http.Response {
	w.t.Helper()
	resp, err := http.ReadResponse(w.in, nil)
	must(w.t, err)
	return resp
}

// end tells the server that nothing more comes.
func (w *wire) end() {
	w.t.Helper()
	must(w.t, w.Conn.(interface{ CloseWrite() error }).CloseWrite())
}

// reset goes away so that the server's next read or write fails.
func (w *wire) reset() {
	w.t.Helper()
	must(w.t, w.Conn.(*net.TCPConn).SetLinger(0))
	w.Close()
}

// rest reads until the server closes, and closes.
func (w *wire) rest(resp *http.Response) string {
	w.t.Helper()
	body, err := io.ReadAll(resp.Body)
	must(w.t, err)
	if extra, err := io.ReadAll(w.in); err != nil || len(extra) > 0 {
		w.t.Errorf("after the answer: %q %v", extra, err)
	}
	w.Close()
	return string(body)
}

// do makes a request through net/http's client on a connection of its own.
func (s *site) do(t testing.TB, method, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	return s.doBody(t, method, path, "", headers...)
}

func (s *site) doBody(t testing.TB, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	w := dial(t, s.plain)
	lines := append([]string{method + " " + path + " HTTP/1.1", "Host: pool", "Connection: close"}, headers...)
	if body != "" {
		lines = append(lines, fmt.Sprint("Content-Length: ", len(body)))
	}
	w.say(lines...)
	w.send([]byte(body))
	resp := w.head()
	return resp, w.rest(resp)
}
