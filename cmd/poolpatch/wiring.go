package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"poolpatch/internal/api"
	"poolpatch/internal/auth"
	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/internal/directory"
	"poolpatch/internal/etcdserver"
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
	"poolpatch/internal/pool"
	"poolpatch/internal/replica"
	"poolpatch/internal/repository"
	"poolpatch/internal/rpc"
	"poolpatch/internal/rrd"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/filesr"
	"poolpatch/internal/task"
	believed "poolpatch/internal/trust"
	"poolpatch/xenapi"
)

const (
	// loginDelay is what a refused login waits for.
	loginDelay = 3 * time.Second
	// collectInterval lies between two collections of sessions, tasks, patches and what ended tasks have left.
	collectInterval = 30 * time.Second
	// stopTimeout bounds the end of tasks when the daemon stops.
	stopTimeout = 30 * time.Second
)

// drivers is the SR driver table.
func drivers() storage.Drivers {
	return storage.Drivers{"file": filesr.Driver{}}
}

// tables lists what the database holds: XenAPI's classes, and what tasks own.
func tables() []db.Table {
	return append(slices.Concat(pool.Tables(), patch.Tables(), repository.Tables(), message.Tables(), believed.Tables()),
		db.TableOf[xenapi.Session](), db.TableOf[xenapi.Task](), db.TableOf[xenapi.Pool](), db.TableOf[xenapi.Host](),
		db.TableOf[xenapi.HostMetrics](), db.TableOf[xenapi.HostPatch](), db.TableOf[xenapi.PoolPatch](), db.TableOf[xenapi.PoolUpdate](),
		db.TableOf[xenapi.SM](), db.TableOf[xenapi.SR](), db.TableOf[xenapi.PBD](), db.TableOf[xenapi.VDI](), db.TableOf[xenapi.VBD](),
		db.TableOf[xenapi.VM](), db.TableOf[xenapi.User](), db.TableOf[xenapi.Subject](), db.TableOf[xenapi.Role](),
		db.TableOf[task.Belonging](),
	)
}

// host is a running daemon.
type host struct {
	identity pool.Identity
	member   pool.Membership
	keys     *authority.Keyholder // how other hosts know this one
	known    *pool.Credentials
	paths    paths
	log      *slog.Logger

	place        pool.Place
	door         *httpd.Door
	database     *database
	moved        chan struct{} // closed when the host is to start again in another place
	moving       sync.Once
	ending       chan error // takes how the daemon is to end, from whoever tells it over the API
	db           *db.DB
	trust        *believed.Store
	auth         *auth.Service
	tasks        *task.Service
	cluster      *pool.Cluster
	storage      *storage.Service
	patches      *patch.Service
	replicas     *replica.Service
	repositories *repository.Service
	events       *event.Service
	rrds         *rrd.Recorder
	// extensions and powerOn are programs of the administrator's.
	extensions, powerOn extension.Directory
	server              *httpd.Server
	// certificate is what clients are shown; nil where there is no HTTPS.
	certificate *x509.Certificate
	// ownCertificate says that the administrator keeps its file.
	ownCertificate bool
	closings       []func()
}

// assemble starts the database and wires the services of one host, bottom up.
func assemble(ctx context.Context, config serveConfig, p paths, uuid string, keys *authority.Keyholder, roster *pool.Roster, door *httpd.Door, kept *journal.Journal, log *slog.Logger) (_ *host, err error) {
	h := &host{paths: p, keys: keys, door: door, moved: make(chan struct{}), ending: make(chan error, 1), ownCertificate: config.TLSCert != "", log: log}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if h.place, err = pool.ReadPlace(p.place); err != nil {
		return nil, err
	}
	h.database, err = databaseConfig{serve: config, paths: p, place: h.place, url: hostURL(advertised(config)), keys: keys, door: door, log: log}.open(ctx)
	if err != nil {
		return nil, err
	}
	h.closings = append(h.closings, h.database.close)
	if h.db, err = db.Open(ctx, h.database.store, db.Options{Tables: tables(), Writer: uuid}); err != nil {
		return nil, err
	}
	h.closings = append(h.closings, h.db.Close)

	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	name, err := pool.Name(p.hostName)
	if err != nil {
		return nil, err
	}
	h.identity = pool.Identity{HostUUID: uuid, Name: name, Hostname: hostname, Address: advertised(config), Version: version(), Kernel: pool.Kernel(), BootID: pool.BootID(), Process: pool.ThisProcess(), Database: h.database.role()}
	m := machine.New(p.root, machine.Options{})
	h.identity.MAC = reachedBy(h.identity.Address)
	if h.identity.Initiator, err = m.Initiator(); err != nil {
		log.Warn("this host has no name among iSCSI nodes", "error", err)
	}
	entry := pool.Admitted
	if len(config.EtcdEndpoints) > 0 {
		entry = pool.Open
	}
	if h.member, err = pool.Enter(ctx, h.db, h.identity, entry); err != nil {
		return nil, err
	}
	h.forwardLog(kept)
	roster.Read(h.db)
	h.known = pool.NewCredentials(h.db, h.keys, p.identity, uuid, log)
	if h.database.trusted != nil {
		h.known.Pin(h.database.trusted)
	}
	if err := h.known.Load(ctx); err != nil {
		return nil, err
	}
	verifier := hotfix.NewVerifier(hotfix.Options{KeyDir: p.keys, AllowFile: p.unsigned, Log: log})
	internal := func(err error) *xenapi.Error { return api.Internal(log, err) }
	me := h.member.Host
	h.trust = believed.New(h.db)
	h.auth = auth.New(h.db, me, log, auth.Options{
		FailureDelay: loginDelay,
		Trust:        h.trust,
		Reach:        func(c directory.Config) auth.Directory { return directory.New(c, h.trust.TLS) },
		Minds: func(tx *db.Tx, host xenapi.Ref[xenapi.Host]) bool {
			return !pool.Alive(tx, host) && pool.Coordinating(tx, me) == nil
		},
	})
	h.closings = append(h.closings, h.auth.CloseDatabases)
	h.events = event.New(h.db, event.Options{Classes: api.Classes(), Open: h.auth.Open, Concerned: api.Concerned})
	h.tasks = task.New(h.db, me, log, internal)
	others := pool.NewHosts(h.db, h.keys)
	h.storage = storage.New(h.db, me, drivers(), p.mounts, log, storage.Options{Others: others, Step: atStep})
	h.patches = patch.New(h.db, me, h.tasks, patch.OnStorage(h.storage), verifier, log, patch.Options{
		Root: p.root, Legacy: p.legacy, Logs: p.patchLogs,
		Booted: pool.Booted(), Started: h.identity.Process.Started,
		Encode: rpc.MarshalXMLValue, Step: atStep,
		Coordinating: func(tx *db.Tx) bool { return pool.Coordinating(tx, me) == nil },
		Alive:        pool.Alive,
		Others:       others,
		Fetch:        others.FetchPatch,
	})
	h.replicas = replica.New(h.db, h.tasks, h.storage, log, replica.Options{
		Backup: h.replicate, Tables: tables(), Root: p.root, Step: atStep,
		Writes:  func(tx *db.Tx, sr xenapi.Ref[xenapi.SR]) bool { return pool.Writer(tx, sr) == me },
		Passing: []string{xenapi.Session{}.Class(), xenapi.Task{}.Class(), task.Belonging{}.Class()},
	})
	h.repositories = repository.New(h.db, me, h.tasks, h.patches, log, repository.Options{
		Keys: p.keys, TLS: h.trust.TLS, Coordinating: func(tx *db.Tx) bool { return pool.Coordinating(tx, me) == nil }, Alive: pool.Alive, Step: atStep,
	})
	h.extensions, h.powerOn = extension.In(p.extensions, p.root), extension.In(p.powerOn, p.root)
	h.cluster = &pool.Cluster{DB: h.db, Me: me, Identity: h.identity, Keys: h.keys, Keepers: h.database, Move: h.Move, Log: log}
	h.rrds = rrd.New(h.db, me, m.Load, p.rrds, log)
	var table *api.API
	reports := h.reports(kept, m, func() *api.API { return table })
	table = api.New(api.Services{
		DB: h.db, Auth: h.auth, Tasks: h.tasks, Storage: h.storage, Patches: h.patches, Repositories: h.repositories, Events: h.events, Trust: h.trust, Replicas: h.replicas,
		Machine: m, Recorder: h.rrds, Daemon: h, Log: kept, Reports: reports, Outside: outside.New(h.trust.TLS), Extensions: h.extensions, PowerOn: h.powerOn,
		Host: me, Others: others, Cluster: h.cluster,
	}, log)
	h.server = httpd.New(httpd.Services{
		DB: h.db, API: table, Auth: h.auth, Tasks: h.tasks, Patches: h.patches, Storage: h.storage,
		Metrics: metrics.Handler(h.db, version()), RRDs: h.rrds, Reports: reports, Host: me, Others: others, Peer: h.keys.Peer,
		Backup: h.backup,
	}, log)
	return h, nil
}

// backup writes the pool's records but for those that end with the daemons that made them.
func (h *host) backup(ctx context.Context, w io.Writer) error {
	_, err := db.Backup(ctx, h.database.store, w, time.Now(), db.Omission{Classes: passing})
	return err
}

// passing are the classes whose rows end with the daemons that made them.
var passing = []string{"presence", xenapi.Session{}.Class()}

// guarded are the classes that are secret as a whole: who has their rows can be a host of the pool.
var guarded = []string{"trust", "join_token", xenapi.Secret{}.Class()}

// replicate writes the pool's records for a VDI: whoever reads an SR reads them, so nothing is in them that opens the pool.
func (h *host) replicate(ctx context.Context, w io.Writer, out func(class, ref string) bool) error {
	_, err := db.Backup(ctx, h.database.store, w, time.Now(), db.Omission{Classes: slices.Concat(passing, guarded), Row: out, Secrets: tables()})
	return err
}

// Move implements pool.Move: the daemon starts again in the new place.
func (h *host) Move(_ context.Context, to pool.Place, as pool.Credential) error {
	if err := h.paths.files().Move(to, as); err != nil {
		return err
	}
	h.startAgain()
	return nil
}

// startAgain ends this life of the daemon and begins the next, in the same process.
func (h *host) startAgain() { h.moving.Do(func() { close(h.moved) }) }

// turn is this host's place among those of the pool.
func (h *host) turn() (turn int) {
	_ = h.db.View(func(tx *db.Tx) error {
		turn = slices.Index(pool.InOrder(tx), h.member.Host)
		return nil
	})
	return turn
}

// recover settles what the last daemon of this host left, before anybody may call. The order matters:
// programs that still run hold mounts, mounts hold VDIs, and what is owned goes before its owner does.
func (h *host) recover(ctx context.Context) error {
	if err := h.auth.Recover(ctx); err != nil {
		return err
	}
	if err := h.patches.EndInterrupted(ctx); err != nil {
		return err
	}
	if err := errors.Join(h.extensions.Recover(ctx), h.powerOn.Recover(ctx)); err != nil {
		return err
	}
	if err := h.storage.Start(ctx); err != nil {
		return err
	}
	if err := h.tasks.Recover(ctx, h.storage.Undo()); err != nil {
		return err
	}
	if err := h.storage.Recover(ctx); err != nil {
		return err
	}
	if err := h.patches.Recover(ctx); err != nil {
		return err
	}
	return h.repositories.Recover(ctx)
}

// firstStart gives a new host a local SR, and a new pool what it needs besides to take a patch: a password for root and
// a default SR.
func (h *host) firstStart(ctx context.Context, config serveConfig, p paths) error {
	password, err := firstLine(config.RootPasswordFile)
	if err != nil {
		return err
	}
	if err := h.auth.EnsureRoot(ctx, password); err != nil {
		return err
	}
	_, err = h.tasks.Do(ctx, task.Spec{Label: "first start"}, func(ctx context.Context, t *task.Task) (any, error) {
		if !h.member.New {
			return "", h.storage.ScanNew(ctx, t)
		}
		rec := xenapi.New[xenapi.SR]()
		rec.NameLabel, rec.NameDescription, rec.Type = "Local storage", "Made at the first start, in "+p.localSR, "file"
		rec.ContentType = "user"
		sr, err := h.storage.FindSR(ctx, t, storage.NewSR{Record: rec, Host: h.member.Host, DeviceConfig: map[string]string{"location": p.localSR}})
		if err == nil {
			err = h.storage.ScanNew(ctx, t)
		}
		if err != nil || !h.member.Fresh {
			return "", err
		}
		return "", pool.SetDefaultSR(ctx, h.db, h.member.Pool, sr)
	})
	if err != nil {
		return fmt.Errorf("local storage: %w", err)
	}
	return nil
}

// run serves until ctx ends or the database is lost.
func (h *host) run(ctx context.Context, listeners []httpd.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return h.server.Serve(ctx, listeners) })
	group.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		h.door.CloseSite(stop)
		return nil
	})
	group.Go(func() error {
		select {
		case <-h.moved:
			return errMoved
		case <-ctx.Done():
			return nil
		}
	})
	group.Go(func() error { return h.awaitEnd(ctx) })
	group.Go(func() error {
		return untilDone(ctx, func(ctx context.Context) error {
			err := h.database.awaitTrust(ctx, authoritiesOf(h.paths), h.turn)
			if err == nil {
				h.log.Info("starting again, for the pool's database to know the pool's new authorities")
				h.startAgain()
			}
			return err
		})
	})
	group.Go(func() error { h.database.tend(ctx, h.coordinating, h.log); return nil })
	group.Go(func() error { h.database.keepPlace(ctx, h.paths.place, h.place, h.log); return nil })
	for _, membership := range []func(context.Context, *db.DB, xenapi.Ref[xenapi.Host], *slog.Logger) error{pool.Coordinate, pool.FollowHosts, pool.SettleLost, pool.FollowRotation, pool.TellLost} {
		group.Go(func() error {
			return untilDone(ctx, func(ctx context.Context) error { return membership(ctx, h.db, h.member.Host, h.log) })
		})
	}
	group.Go(func() error {
		return untilDone(ctx, func(ctx context.Context) error { return h.cluster.SettleDeparted(ctx, h.log) })
	})
	group.Go(func() error { return untilDone(ctx, h.known.Follow) })
	group.Go(func() error { return untilDone(ctx, h.auth.Revalidate) })
	group.Go(func() error { return untilDone(ctx, h.events.Run) })
	group.Go(func() error { h.rrds.Run(ctx); return nil })
	group.Go(func() error {
		return untilDone(ctx, func(ctx context.Context) error {
			return pool.KeepName(ctx, h.db, h.member.Host, h.paths.hostName)
		})
	})
	group.Go(func() error {
		return untilDone(ctx, func(ctx context.Context) error {
			if err := pool.Evicted(ctx, h.db, h.member.Host); err != nil {
				return err
			}
			return h.evicted(ctx)
		})
	})
	group.Go(func() error { return untilDone(ctx, h.tasks.WatchCancels) })
	group.Go(func() error { return untilDone(ctx, h.patches.CollectWhenever) })
	group.Go(func() error { return untilDone(ctx, h.patches.DriveRollouts) })
	group.Go(func() error { return untilDone(ctx, h.replicas.Run) })
	group.Go(func() error { return untilDone(ctx, h.repositories.SyncWhenDue) })
	group.Go(func() error { h.collect(ctx); return nil })
	group.Go(func() error {
		return untilDone(ctx, func(ctx context.Context) error { return pool.Lead(ctx, h.db, h.member.Host, h.findLegacy) })
	})
	group.Go(func() error { return h.watchDatabase(ctx) })
	group.Go(func() error {
		return untilDone(ctx, func(ctx context.Context) error {
			if err := h.database.awaitEjection(ctx, h.keys); err != nil {
				return err
			}
			return h.evicted(ctx)
		})
	})
	group.Go(func() error {
		<-ctx.Done()
		h.tasks.CancelAll()
		return nil
	})
	err := group.Wait()
	h.tasks.Wait()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	h.storage.DetachAll(stop)
	return err
}

// untilDone runs work whose normal end is that of its context.
func untilDone(ctx context.Context, work func(context.Context) error) error {
	if err := work(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

func (h *host) coordinating() (yes bool) {
	_ = h.db.View(func(tx *db.Tx) error { yes = pool.Coordinating(tx, h.member.Host) == nil; return nil })
	return yes
}

// watchDatabase ends the daemon when its database has died: without it no promise can be kept, and who
// supervises the daemon starts it again. A host that was ejected begins a pool of its own.
func (h *host) watchDatabase(ctx context.Context) error {
	server := h.database.server
	if server == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-server.Failed():
	}
	if errors.Is(server.Err(), etcdserver.ErrRemoved) {
		return h.evicted(ctx)
	}
	return fmt.Errorf("the database stopped: %w", server.Err())
}

// evicted has this host begin a pool of its own. On an etcd of the administrator's that is the administrator's to do.
func (h *host) evicted(ctx context.Context) error {
	if h.database.cluster == nil {
		return fmt.Errorf("%w, and will be of it again when it is started with the same --etcd-endpoints", pool.ErrEjected)
	}
	h.log.Warn("this host was ejected from its pool; it begins one of its own")
	return h.Move(ctx, pool.Place{}, pool.Credential{})
}

// stay shows the pool that this host lives, until the function that it gives is called: from before the host settles
// what its last life has left, so that nobody else does, until its last task has ended.
func (h *host) stay(ctx context.Context) (leave func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var staying sync.WaitGroup
	staying.Go(func() { _ = pool.Stay(ctx, h.db, h.member.Host, h.log) })
	return func() { cancel(); staying.Wait() }
}

func (h *host) collect(ctx context.Context) {
	ticker := time.NewTicker(collectInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			workless := h.tasks.EndWorkless(ctx)
			h.tasks.UndoEnded(ctx, h.storage.Undo())
			err := errors.Join(workless, h.auth.Collect(ctx, now), h.tasks.Collect(ctx, now), h.patches.Collect(ctx), h.storage.RefreshAll(ctx), h.scan(ctx), h.tellExpiring(ctx, now))
			if err != nil && ctx.Err() == nil {
				h.log.Warn("collection", "error", err)
			}
		}
	}
}

// scan scans the SRs for which that was asked. One that several hosts see is scanned by the first of them that lives. Who uses
// an SR is not waited for beyond the next time.
func (h *host) scan(ctx context.Context) error {
	due := h.storage.AutoScanned(func(tx *db.Tx, sr xenapi.Ref[xenapi.SR]) bool {
		return slices.Index(pool.Seeing(tx, sr), h.member.Host) == 0
	})
	if len(due) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, collectInterval)
	defer cancel()
	_, err := h.tasks.Do(ctx, task.Spec{Label: "scan SRs"}, func(ctx context.Context, t *task.Task) (any, error) {
		var errs []error
		for _, sr := range due {
			errs = append(errs, h.storage.ScanSR(ctx, t, sr))
		}
		return "", errors.Join(errs...)
	})
	return err
}

// tellExpiring makes messages of certificates that expire, and on the coordinator of hosts that ask another directory; there it also
// removes messages that are old.
func (h *host) tellExpiring(ctx context.Context, now time.Time) error {
	return h.db.Update(ctx, func(tx *db.Tx) error {
		if h.certificate != nil {
			if err := pool.TellHostExpiring(tx, h.member.Host, h.certificate.NotAfter, now); err != nil {
				return err
			}
		}
		if pool.Coordinating(tx, h.member.Host) != nil {
			return nil
		}
		return errors.Join(pool.TellExpiring(tx, now), pool.TellUnlikeAuth(tx), message.Collect(tx, now))
	})
}

func (h *host) findLegacy(ctx context.Context) {
	_, err := h.tasks.Do(ctx, task.Spec{Label: "find patches in " + h.paths.legacy}, func(ctx context.Context, t *task.Task) (any, error) {
		return "", h.patches.FindLegacy(ctx, t)
	})
	if err != nil && ctx.Err() == nil {
		h.log.Warn("legacy patches", "error", err)
	}
}

func (h *host) close() {
	for i := len(h.closings) - 1; i >= 0; i-- {
		h.closings[i]()
	}
	h.closings = nil
}

func tlsConfig(config serveConfig, p paths) (*tls.Config, error) {
	if config.TLSCert != "" {
		return httpd.TLS(config.TLSCert, config.TLSKey)
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	names := []string{hostname, "localhost", "127.0.0.1"}
	if a, _, err := net.SplitHostPort(advertised(config)); err == nil && a != "" {
		names = append(names, a)
	}
	return httpd.SelfSigned(p.tlsCert, p.tlsKey, names)
}

// advertised is the address where clients reach this host: with a port where that is not 443.
func advertised(config serveConfig) string {
	if config.Address != "" {
		return config.Address
	}
	name, port, err := net.SplitHostPort(config.HTTPS)
	if err != nil || name == "" || net.ParseIP(name).IsUnspecified() {
		name = "127.0.0.1"
		if host, err := os.Hostname(); err == nil {
			name = host
		}
	}
	if port == "443" || port == "" {
		return name
	}
	return net.JoinHostPort(name, port)
}

// firstLine reads a password from a file; no file is no password.
func firstLine(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimRight(line, "\r"), nil
}

// version is what the build says of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "0.1.0-dev"
	}
	return info.Main.Version
}
