// Command pool measures how the cost of a pool grows with its hosts: how long pool_apply takes, how long until a commit is
// seen by every host, how long until a client of each host, which waits in event.from at its socket, has read of it, and how much
// memory a host takes.
//
// Everything is real but the patch: one embedded etcd with its fsyncs, a copy of the database and a task service for each
// host, the driver of pool_apply. A host that is to precheck or apply sleeps instead, so what is left is the pool's own
// part. The hosts share one process and its cores, so the numbers are worse than those of as many machines.
//
// Invariant: each size starts from an empty database in a directory of its own. Start with measure.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/etcdkv"
	"poolpatch/internal/etcdserver"
	"poolpatch/internal/message"
	"poolpatch/internal/patch"
	"poolpatch/internal/pool"
	"poolpatch/internal/task"
	"poolpatch/internal/trust"
	"poolpatch/xenapi"
)

// commits is how many commits are timed until every host has seen them.
const commits = 100

func main() {
	dir := flag.String("dir", os.TempDir(), "directory to work in, on the disk that is to be measured")
	step := flag.Duration("step", 200*time.Millisecond, "how long a precheck or an apply takes on a host")
	flag.Parse()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOSTS\tPOOL_APPLY\tOF IT STEPS\tRATIO\tCOMMIT SEEN BY ALL, P50\tP99\tCOMMIT → EVENT, P50\tP99\tMEMORY A HOST")
	for _, n := range []int{2, 8, 16, 32, 64} {
		r, err := measure(*dir, n, *step)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		fmt.Fprintf(w, "%d\t%v\t%v\t%.2f\t%v\t%v\t%v\t%v\t%d KiB\n", n, r.took.Round(time.Millisecond), r.steps, r.took.Seconds()/r.steps.Seconds(),
			r.p50.Round(10*time.Microsecond), r.p99.Round(10*time.Microsecond), r.heard50.Round(10*time.Microsecond), r.heard99.Round(10*time.Microsecond),
			r.memory>>10)
	}
	w.Flush()
}

// result is what one size of a pool costs.
type result struct {
	took     time.Duration // pool_apply
	steps    time.Duration // what the steps alone take, as many at once as pool_apply allows
	p50, p99 time.Duration // from a commit until every host has seen it
	heard50  time.Duration // from a commit until a client of a host has read its event
	heard99  time.Duration
	memory   uint64 // bytes of the heap, for each host
}

// host is a simulated host.
type host struct {
	ref   xenapi.Ref[xenapi.Host]
	db    *db.DB
	tasks *task.Service

	socket string // where it answers XenAPI
}

// farm is a pool of them. It is patch.Others.
type farm struct {
	step   time.Duration
	hosts  map[xenapi.Ref[xenapi.Host]]*host
	leader *host // it has the patch already, so that no program is run
	ref    xenapi.Ref[xenapi.PoolPatch]
}

func measure(parent string, n int, step time.Duration) (r result, err error) {
	dir, err := os.MkdirTemp(parent, "poolpatch-bench-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx := context.Background()
	quiet := slog.New(slog.DiscardHandler)
	server, err := etcdserver.Start(ctx, etcdserver.Config{Dir: filepath.Join(dir, "etcd"), Name: "bench", Logger: quiet})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	before := heap()
	f := &farm{step: step, hosts: map[xenapi.Ref[xenapi.Host]]*host{}}
	for i := range n + 1 {
		h, err := f.open(ctx, server, dir, i, quiet)
		if err != nil {
			return r, err
		}
		defer h.db.Close()
	}
	// What follows is timed without them: 64 hosts share these cores.
	err = f.serving(ctx, quiet, func() (err error) {
		r.memory = (heap() - before) / uint64(n+1)
		r.heard50, r.heard99, err = f.hear(ctx)
		return err
	})
	if err != nil {
		return r, err
	}
	if r.p50, r.p99, err = f.latency(ctx); err != nil {
		return r, err
	}
	waves := (n + 3) / 4 // pool_apply's default is four at once
	r.steps = time.Duration(2*waves) * step
	r.took, err = f.apply(ctx, quiet)
	return r, err
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func tables() []db.Table {
	return append(slices.Concat(pool.Tables(), patch.Tables(), message.Tables(), trust.Tables()),
		db.TableOf[xenapi.Task](), db.TableOf[xenapi.Pool](), db.TableOf[xenapi.Host](), db.TableOf[xenapi.HostMetrics](),
		db.TableOf[xenapi.HostPatch](), db.TableOf[xenapi.PoolPatch](), db.TableOf[xenapi.PoolUpdate](), db.TableOf[xenapi.VM](), db.TableOf[xenapi.Role](),
		db.TableOf[xenapi.SR](), db.TableOf[xenapi.PBD](), db.TableOf[xenapi.VDI](), db.TableOf[xenapi.VBD](), db.TableOf[xenapi.Session](), db.TableOf[task.Belonging]())
}

// open is a host that comes into the pool; the first one leads it.
func (f *farm) open(ctx context.Context, server *etcdserver.Server, dir string, i int, log *slog.Logger) (*host, error) {
	uuid := xenapi.NewUUID()
	d, err := db.Open(ctx, etcdkv.New(server.Client()), db.Options{Tables: tables(), Writer: uuid})
	if err != nil {
		return nil, err
	}
	m, err := pool.Enter(ctx, d, pool.Identity{HostUUID: uuid, Hostname: fmt.Sprintf("host%d", i)}, pool.Open)
	if err != nil {
		return nil, err
	}
	h := &host{ref: m.Host, db: d, socket: filepath.Join(dir, fmt.Sprint(i)), tasks: task.New(d, m.Host, log, func(err error) *xenapi.Error { return xenapi.ErrInternalError(err.Error()) })}
	f.hosts[m.Host] = h
	if f.leader != nil {
		return h, nil
	}
	f.leader, f.ref = h, xenapi.NewRef[xenapi.PoolPatch]()
	return h, d.Update(ctx, func(tx *db.Tx) error {
		rec := xenapi.New[xenapi.PoolPatch]()
		rec.UUID = xenapi.NewUUID()
		return errors.Join(db.Insert(tx, f.ref, rec), f.applied(tx, h))
	})
}

func (f *farm) applied(tx *db.Tx, h *host) error {
	return db.Insert(tx, xenapi.NewRef[xenapi.HostPatch](), xenapi.HostPatch{
		UUID: xenapi.NewUUID(), Host: h.ref, PoolPatch: f.ref, Applied: true, State: string(patch.Applied),
	})
}

// latency times commits until every host's copy of the database shows them.
func (f *farm) latency(ctx context.Context) (p50, p99 time.Duration, err error) {
	var took []time.Duration
	for i := range commits {
		began := time.Now()
		err := f.leader.db.Update(ctx, func(tx *db.Tx) error {
			return db.Change(tx, f.leader.ref, func(rec *xenapi.Host) error { rec.NameDescription = fmt.Sprint(i); return nil })
		})
		if err != nil {
			return 0, 0, err
		}
		want := f.leader.db.Revision()
		var seen sync.WaitGroup
		for _, h := range f.hosts {
			seen.Go(func() { _ = h.db.Wait(ctx, func(*db.Tx) (bool, error) { return h.db.Revision() >= want, nil }) })
		}
		seen.Wait()
		took = append(took, time.Since(began))
	}
	slices.SortFunc(took, func(a, b time.Duration) int { return cmp.Compare(a, b) })
	return took[len(took)/2], took[len(took)*99/100], nil
}

// apply times pool_apply.
func (f *farm) apply(ctx context.Context, log *slog.Logger) (time.Duration, error) {
	service := patch.New(f.leader.db, f.leader.ref, f.leader.tasks, nil, nil, log, patch.Options{
		Encode: func(any) string { return "" }, Others: f,
		Alive: func(*db.Tx, xenapi.Ref[xenapi.Host]) bool { return true },
	})
	began := time.Now()
	_, err := f.leader.tasks.Do(ctx, task.Spec{Label: "pool_patch.pool_apply"}, func(ctx context.Context, t *task.Task) (any, error) {
		return "", service.PoolApply(ctx, t, f.ref)
	})
	return time.Since(began), err
}

// Call implements patch.Others: the host takes the task, and sleeps instead of running a program.
func (f *farm) Call(ctx context.Context, at xenapi.Ref[xenapi.Host], t xenapi.Ref[xenapi.Task], _ any, message string, _ ...any) error {
	h := f.hosts[at]
	if err := h.db.Sync(ctx); err != nil {
		return err
	}
	_, err := h.tasks.Join(ctx, t, task.Spec{Label: message}, func(ctx context.Context, _ *task.Task) (any, error) {
		time.Sleep(f.step)
		if message != "pool_patch.apply" {
			return "", nil
		}
		return "", h.db.Update(ctx, func(tx *db.Tx) error { return f.applied(tx, h) })
	})
	return err
}
