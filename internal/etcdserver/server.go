package etcdserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

const (
	// startDeadline bounds the start: replaying the log and electing oneself.
	startDeadline = time.Minute
	// stopDeadline bounds the stop; what does not stop by then ends with the process.
	stopDeadline = 15 * time.Second
	// remainsDeadline is the same for a server that has died: parts of it wait for what is dead.
	remainsDeadline = 2 * time.Second
	// probeDeadline bounds the wait for a data file that another program (a backup, a repair) has open.
	probeDeadline = 2 * time.Second

	// DefaultQuotaBytes is the size at which the server refuses writes.
	DefaultQuotaBytes = 2 << 30
	// MaxTxnOps is the number of operations, and of guards, that one commit may have here.
	MaxTxnOps = 8192
	// maxRequestBytes bounds one commit.
	maxRequestBytes = 8 << 20
	// retention is for how long a watch that was cut off can go on without a reload.
	retention = "10m"
	// snapshotCount and catchUpEntries are the log entries between two snapshots, and kept in memory
	// behind one. A follower who is further behind than those is sent the whole data, which is small.
	snapshotCount  = 2000
	catchUpEntries = 500
)

var (
	// ErrInUse says that another process has the directory.
	ErrInUse = errors.New("another process uses this database directory")
	// ErrDamaged says that the directory's content cannot be read.
	ErrDamaged = errors.New("the database directory is damaged")
	// ErrRemoved says that the cluster has removed the member whose directory this is. It can never be a
	// member again: the directory is of no use but as evidence, and the host must join with a new one.
	ErrRemoved = errors.New("the cluster has removed this member")
)

// Config of Start.
type Config struct {
	// Dir is the data directory, made if it is missing. It needs a real disk: tmpfs is not durable.
	Dir string
	// Name is the member's name; a directory keeps the one that it began with.
	Name string
	// QuotaBytes is the size at which writes are refused; 0 is DefaultQuotaBytes.
	QuotaBytes int64
	// Peer makes the member reachable for others; nil is a cluster of one that stays so. It is given at every
	// start, from the first one on where others may ever join.
	Peer *Peer
	// Join makes the first start on a directory join a cluster: all its members, this one too, which AddLearner
	// has added with Peer.URL. Later starts ignore it.
	Join []Member
	// Alone makes the member of an existing directory the only one of its cluster, for good: the others are lost, or
	// else there are two clusters.
	Alone bool
	// Logger gets what etcd warns of; nil is slog.Default.
	Logger *slog.Logger
}

// Server is a running etcd.
type Server struct {
	*Cluster
	etcd       *embed.Etcd
	client     *clientv3.Client
	peers      http.Handler
	rpc        *grpc.Server
	lock       *os.File // held while the directory is ours
	died       *death
	electorate *electorate

	closing func() // marks a stop that we asked for
	closed  <-chan struct{}
}

// Start runs an etcd on a directory. Without Config.Peer it returns when it takes commits. With it, it returns
// before, because the others' help may be needed for that: the caller serves PeerHandler and then waits for
// Ready. It gives ErrInUse, ErrDamaged and ErrRemoved, and errors that wrap what the file system said
// (syscall.ENOSPC for a full disk). After an error of etcd itself, parts of it may still run and keep the
// directory: the process should end. A join that no member answered leaves a directory that can try again.
func Start(ctx context.Context, c Config) (*Server, error) {
	lock, err := acquire(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("start etcd in %s: %w", c.Dir, err)
	}
	s := &Server{lock: lock, died: newDeath()}
	asked, closing := context.WithCancel(context.Background())
	s.closing, s.closed = closing, asked.Done()
	if err := s.start(ctx, c); err != nil {
		lock.Close()
		return nil, fmt.Errorf("start etcd in %s: %w", c.Dir, err)
	}
	return s, nil
}

// Idle says whether no server runs on a directory, whose files may be changed then. Errors: ErrInUse; fs.ErrNotExist where
// there has never been one.
func Idle(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "member")); err != nil {
		return err
	}
	lock, err := acquire(dir)
	if err != nil {
		return err
	}
	return lock.Close()
}

// acquire makes the directory and takes its lock, which the kernel gives back when the process ends.
func acquire(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, fmt.Errorf("lock: %w", err)
	}
	return lock, nil
}

func (s *Server) start(ctx context.Context, c Config) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	if err := probe(filepath.Join(c.Dir, "member", "snap", "db")); err != nil {
		return err
	}
	if err := probeSpace(c.Dir); err != nil {
		return err
	}
	e, err := c.embedded(s.died)
	if err != nil {
		return err
	}
	if s.etcd, err = s.launch(ctx, e); err != nil {
		return err
	}
	if s.etcd.Server.IsIDRemoved(uint64(s.etcd.Server.MemberID())) {
		return errors.Join(ErrRemoved, s.stopEtcd())
	}
	go s.follow()
	s.electorate = &electorate{server: s.etcd.Server}
	s.client = newClient(s.electorate)
	s.Cluster = &Cluster{s.client, s}
	if c.Peer != nil {
		s.peers, s.rpc = newPeerHandler(s.etcd.Server), newRPC(s.electorate)
		return nil
	}
	if err := s.Ready(ctx); err != nil {
		return errors.Join(err, s.stopEtcd())
	}
	return nil
}

// follow reports a server that stops by itself, if the log has not said why before. It ends when the server has
// stopped.
func (s *Server) follow() {
	<-s.etcd.Server.StopNotify()
	select {
	case <-s.closed:
	default:
		s.died.report(errors.New("etcd has stopped"))
	}
}

// Ready waits until the member has found its cluster and takes commits. For a restarted member that is when
// a majority runs, which may take as long as the other hosts are away: ctx bounds it. It gives Err when
// the server dies.
func (s *Server) Ready(ctx context.Context) error {
	select {
	case <-s.etcd.Server.ReadyNotify():
		return nil
	case <-s.died.failed:
		return s.died.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// launch starts etcd in a goroutine of its own, because etcd ends the goroutine, or panics in it, when it
// finds its files wrong.
func (s *Server) launch(ctx context.Context, c *embed.Config) (*embed.Etcd, error) {
	started := make(chan *embed.Etcd, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				s.died.report(fmt.Errorf("%w: %v", ErrDamaged, r))
			}
		}()
		etcd, err := boot(c)
		if err != nil {
			s.died.report(err)
			return
		}
		started <- etcd
	}()
	select {
	case etcd := <-started:
		return etcd, nil
	case <-s.died.failed:
		return nil, s.died.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// boot starts etcd on a log that can be read.
func boot(c *embed.Config) (*embed.Etcd, error) {
	if err := probeLog(filepath.Join(c.Dir, "member", "wal")); err != nil {
		return nil, err
	}
	return embed.StartEtcd(c)
}

// probeLog reads the log as etcd will. In a log without any snapshot that it can trust, etcd cuts off what it
// cannot read, which may be all, and then panics, with the log open and what allocates its files running. A
// record that was cut off at the end, as a power loss does, is no damage: etcd cuts it off.
func probeLog(dir string) error {
	if !wal.Exist(dir) {
		return nil
	}
	snapshots, err := wal.ValidSnapshotEntries(zap.NewNop(), dir)
	var failed *fs.PathError
	switch {
	case errors.As(err, &failed):
		return err
	case err != nil:
		return fmt.Errorf("%w: log in %s: %w", ErrDamaged, dir, err)
	case len(snapshots) == 0:
		return fmt.Errorf("%w: log in %s: no snapshot in what can be read of it", ErrDamaged, dir)
	}
	return nil
}

// probe opens the data file as etcd will, which writes nothing, because etcd itself waits for ever for its lock
// and panics, where nobody can catch it, when it is damaged.
func probe(path string) error {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	data, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: probeDeadline, NoFreelistSync: true})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return ErrInUse
	}
	if errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) || errors.Is(err, bolterrors.ErrVersionMismatch) {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	if err != nil {
		return err
	}
	return data.Close()
}

// spareBytes is what the start itself may write: a log segment is allocated whole.
const spareBytes = 160 << 20

// probeSpace refuses a disk on which etcd would die as it starts.
func probeSpace(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("statfs: %w", err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < spareBytes {
		return fmt.Errorf("%d bytes free, %d needed: %w", free, spareBytes, unix.ENOSPC)
	}
	return nil
}

func (c Config) embedded(died *death) (*embed.Config, error) {
	e := embed.NewConfig()
	e.Dir, e.Name = c.Dir, c.Name
	e.ListenPeerUrls, e.ListenClientUrls, e.AdvertiseClientUrls = nil, nil, nil
	e.QuotaBackendBytes = c.QuotaBytes
	if c.QuotaBytes == 0 {
		e.QuotaBackendBytes = DefaultQuotaBytes
	}
	e.MaxTxnOps, e.MaxRequestBytes = MaxTxnOps, maxRequestBytes
	e.AutoCompactionMode, e.AutoCompactionRetention = embed.CompactorModePeriodic, retention
	e.SnapshotCount, e.SnapshotCatchUpEntries = snapshotCount, catchUpEntries
	e.MaxSnapFiles, e.MaxWalFiles = 2, 2
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newLogger(c.Logger, died))
	return e, c.place(e)
}

// Client reaches the server in this process. Close closes it.
func (s *Server) Client() *clientv3.Client { return s.client }

// Failed is closed when the server dies by itself, of a disk that is full or broken, or because the cluster has
// removed it; Err then says of what, and is ErrRemoved in the last case. Nothing more can be committed: the
// daemon should end, or Close the server and go on without.
func (s *Server) Failed() <-chan struct{} { return s.died.failed }

// Err is what the server died of, after Failed is closed.
func (s *Server) Err() error { return s.died.err }

// Close stops the server and gives the directory back. A leader first hands its office over. It ends the requests
// that PeerHandler and ClientHandler serve, some of which never end otherwise: so it comes before the stop of
// the HTTP server.
func (s *Server) Close() error {
	_ = s.client.Close() // always says that its context is cancelled
	return errors.Join(s.stopEtcd(), s.lock.Close())
}

func (s *Server) stopEtcd() error {
	s.closing()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if s.rpc != nil {
			s.rpc.Stop()
		}
		s.etcd.Close()
	}()
	timer := time.NewTimer(s.died.patience())
	defer timer.Stop()
	select {
	case <-stopped:
		return nil
	case <-timer.C:
		return errors.New("etcd has not stopped in time")
	}
}

// death is the first reason for which etcd cannot go on.
type death struct {
	once   sync.Once
	failed chan struct{}
	err    error
}

func newDeath() *death { return &death{failed: make(chan struct{})} }

func (d *death) report(err error) {
	d.once.Do(func() {
		d.err = err
		close(d.failed)
	})
}

// patience is how long to wait for the server to stop.
func (d *death) patience() time.Duration {
	select {
	case <-d.failed:
		return remainsDeadline
	default:
		return stopDeadline
	}
}
