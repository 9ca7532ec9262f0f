package pool

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

var (
	seed   = flag.Uint64("seed", 0, "of the random faults; 0 takes one by chance")
	rounds = flag.Int("rounds", 3, "how many random faults there are")
)

const (
	// diskSize is that of the file system of the shared SR, in bytes; it can be filled.
	diskSize = 256 << 20
	// operationTime is about what an operation takes: a fault comes within it. shortFault bounds how long most last.
	operationTime = 150 * time.Millisecond
	shortFault    = 1500 * time.Millisecond
	// lastingFault is long enough for the pool to take a host for dead and to have another coordinator.
	lastingFault = 13 * time.Second
	// scriptSize is that of a patch's program, in bytes, so that moving it takes a moment.
	scriptSize = 2 << 20
	// operationLimit is how long an operation may take whatever happens to it.
	operationLimit = 90 * time.Second
)

// chaos is a pool to which things happen. Its choices follow from the seed; which step of an operation a fault meets does
// not.
type chaos struct {
	*bed
	*rand.Rand
	disk string // file system of the shared SR
}

// TestFaults: in each round something happens to the network, to a host or to the SR while the pool does something.
// Afterwards, when all is well again, every promise was kept.
func TestFaults(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("again: make faults SEED=%d ROUNDS=%d", *seed, *rounds)
	disk := harness.Ext4(t, diskSize)
	c := &chaos{bed: makeBed(t, 3, disk), Rand: rand.New(rand.NewPCG(*seed, 0)), disk: disk}
	for _, h := range c.hosts {
		harness.NewGate(t, h.Daemon, "gate")
	}
	for n := 0; n < *rounds && !t.Failed(); n++ {
		c.round(n)
	}
}

// round is one operation and one fault.
type round struct {
	*chaos
	operation operation
	fault     fault
	asked, on *host // who is called, and the host that the operation is about
	victims   []*host
	program   harness.Program
	patch     xenapi.Ref[xenapi.PoolPatch]
	vdi       xenapi.Ref[xenapi.VDI]

	closeGates func() // once the fault has gone
}

func (c *chaos) round(n int) {
	c.t.Helper()
	r := &round{chaos: c, operation: operations[c.IntN(len(operations))], fault: faults[c.IntN(len(faults))]}
	r.asked, r.on = c.hosts[c.IntN(len(c.hosts))], c.hosts[c.IntN(len(c.hosts))]
	r.victims = slices.Clone(c.hosts)
	c.Shuffle(len(r.victims), func(i, j int) { r.victims[i], r.victims[j] = r.victims[j], r.victims[i] })
	delay, hold := time.Duration(c.Int64N(int64(operationTime))), time.Duration(c.Int64N(int64(shortFault)))
	if c.IntN(4) == 0 && r.fault.name != "full SR" {
		hold = lastingFault
	}
	r.prepare()
	err := r.happens(delay, hold)
	c.t.Logf("round %d: %s on %s, asked of %s; %s of %s after %v for %v: %v",
		n, r.operation.name, r.on.name, r.asked.name, r.fault.name, r.victims[0].name, delay, hold, err)
	defer r.closeGates()
	if !r.tolerated(err) {
		c.t.Errorf("round %d: %v is no answer", n, err)
	}
	r.settled(err)
}

// prepare uploads what the operation is about.
func (r *round) prepare() {
	r.t.Helper()
	r.program = harness.Program{Tail: strings.Repeat("# long\n", scriptSize/7)}
	switch r.operation.waits {
	case "precheck":
		r.program.Precheck = harness.GateWait("gate")
	case "apply":
		r.program.Apply = harness.GateWait("gate")
	}
	r.program = r.bed.program(r.program)
	if r.operation.name != "upload" {
		r.patch = r.asked.Upload(r.program.Signed(r.t))
		r.vdi = harness.Record(r.asked.Daemon, r.patch).VDI
	}
}

// happens begins the operation, lets the fault come and go, and gives the operation's error.
func (r *round) happens(delay, hold time.Duration) error {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), operationLimit)
	defer cancel()
	ended := make(chan error, 1)
	asked := r.asked.Client()
	go func() { ended <- r.operation.do(ctx, r, asked) }()
	<-time.After(delay)
	heal := r.fault.begin(r)
	<-time.After(hold)
	heal()
	r.allLive()
	r.closeGates = r.openGates()
	return <-ended
}

// openGates lets programs go on whose task was not cancelled after all, also those of an operation whose caller was told nothing.
func (r *round) openGates() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, h := range r.hosts {
				openGate(h)
			}
			<-time.After(glance)
		}
	}()
	return func() { cancel(); <-done }
}

// settled waits until nothing is under way, and holds what is there against the promises and the operation's answer.
func (r *round) settled(err error) {
	r.t.Helper()
	copies := r.copies()
	r.allClean(copies...)
	r.neverTwice()
	if err == nil && r.operation.kept != nil {
		for _, h := range r.hosts {
			if !r.operation.kept(r, h) {
				r.t.Errorf("on %s nothing is seen of %s, which succeeded", h.name, r.operation.name)
			}
		}
	}
	for _, vdi := range append(copies, r.vdi) {
		if _, err := ask[any](r.on, "VDI.destroy", vdi); err != nil && xenapi.CodeOf(err) != xenapi.CodeHandleInvalid {
			r.t.Errorf("destroy VDI %s: %v", vdi, err)
		}
	}
}

// copies are the VDIs that copies made, also those whose caller was not told.
func (r *round) copies() (made []xenapi.Ref[xenapi.VDI]) {
	r.t.Helper()
	for _, rec := range harness.Records[xenapi.Task](r.on.Daemon) {
		if m := result.FindStringSubmatch(rec.Result); m != nil && strings.Contains(rec.NameLabel, "VDI.copy") {
			made = append(made, xenapi.Ref[xenapi.VDI](m[1]))
		}
	}
	return made
}

var result = regexp.MustCompile(`<value>(OpaqueRef:[^<]+)</value>`)

// neverTwice checks that no patch ran twice on any host: no test asks for that (I3).
func (r *round) neverTwice() {
	r.t.Helper()
	for _, h := range r.hosts {
		text, err := os.ReadFile(filepath.Join(r.dir, "ran", h.name))
		if err != nil && !os.IsNotExist(err) {
			r.t.Fatal(err)
		}
		ran := strings.Fields(string(text))
		slices.Sort(ran)
		if once := slices.Compact(slices.Clone(ran)); len(once) != len(ran) {
			r.t.Errorf("on %s a patch ran twice: %q", h.name, ran)
		}
	}
}

// tolerated reports whether an operation may end so. What is more than the error of the fault itself is here.
func (r *round) tolerated(err error) bool {
	if r.fault.name == "kill" && r.victims[0] == r.asked {
		return true // the connection broke
	}
	allowed := append([]string{}, r.fault.errors...)
	if r.operation.name == "cancel" {
		allowed = append(allowed, xenapi.CodeTaskCancelled)
	}
	return err == nil || slices.Contains(allowed, xenapi.CodeOf(err))
}

// operation is something that the pool is asked for.
type operation struct {
	name  string
	waits string // what of its patch waits at the gate until the fault has gone: precheck, apply or nothing
	do    func(ctx context.Context, r *round, asked *client.Client) error
	kept  func(r *round, seen *host) bool // what is seen by a host when it succeeded
}

var operations = []operation{
	{name: "upload", do: func(ctx context.Context, r *round, asked *client.Client) (err error) {
		patch := r.program.Signed(r.t)
		r.patch, err = asked.UploadPatch(ctx, strings.NewReader(string(patch)), int64(len(patch)), nil)
		return err
	}, kept: func(r *round, seen *host) bool {
		rec, err := ask[xenapi.PoolPatch](seen, "pool_patch.get_record", r.patch)
		r.vdi = rec.VDI
		return err == nil && rec.UUID == r.program.UUID
	}},
	{name: "apply", do: apply, kept: (*round).isApplied},
	{name: "slow apply", waits: "apply", do: apply, kept: (*round).isApplied},
	{name: "precheck", do: func(ctx context.Context, r *round, asked *client.Client) error {
		_, err := client.Run[string](ctx, asked, nil, "pool_patch.precheck", r.patch, r.on.ref)
		return err
	}, kept: func(r *round, seen *host) bool { return r.runs(r.on, r.program.UUID) == 0 }},
	{name: "destroy", do: func(ctx context.Context, r *round, asked *client.Client) error {
		return asked.Do(ctx, "pool_patch.destroy", r.patch)
	}, kept: func(r *round, seen *host) bool {
		_, err := ask[xenapi.PoolPatch](seen, "pool_patch.get_record", r.patch)
		return xenapi.CodeOf(err) == xenapi.CodeHandleInvalid
	}},
	{name: "copy", do: func(ctx context.Context, r *round, asked *client.Client) error {
		task, err := asked.Async(ctx, "VDI.copy", r.vdi, r.localSR(r.on))
		if err != nil {
			return err
		}
		return r.end(ctx, task)
	}},
	{name: "cancel", waits: "precheck", do: func(ctx context.Context, r *round, asked *client.Client) error {
		task, err := asked.Async(ctx, "pool_patch.apply", r.patch, r.on.ref)
		if err != nil {
			return err
		}
		if err := asked.Do(ctx, "task.cancel", task); err != nil {
			return err
		}
		return r.end(ctx, task)
	}},
}

func apply(ctx context.Context, r *round, asked *client.Client) error {
	_, err := client.Run[string](ctx, asked, nil, "pool_patch.apply", r.patch, r.on.ref)
	return err
}

// end waits for the end of a task and gives its error. Whoever can say it is asked, and the row stays.
func (r *round) end(ctx context.Context, task xenapi.Ref[xenapi.Task]) error {
	for ctx.Err() == nil {
		for _, h := range r.hosts {
			if rec, err := ask[xenapi.Task](h, "task.get_record", task); err == nil && rec.Status != xenapi.TaskStatusPending {
				return harness.Failure(rec)
			}
		}
		<-time.After(glance)
	}
	return ctx.Err()
}

// isApplied reports whether a host takes the patch for applied on the host that the operation was about, where it ran.
func (r *round) isApplied(seen *host) bool {
	for _, rec := range harness.Records[xenapi.HostPatch](seen.Daemon) {
		if rec.PoolPatch == r.patch && rec.Host == r.on.ref {
			return rec.Applied && r.runs(r.on, r.program.UUID) == 1
		}
	}
	return false
}

// glance lies between two looks at something.
const glance = 20 * time.Millisecond

// openGate lets a program go on that waits on a host.
func openGate(h *host) {
	gate, err := os.OpenFile(h.Path("gate"), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return // nobody stands there
	}
	fmt.Fprintln(gate, "go")
	gate.Close()
}

// fault is something that happens to the pool, and the errors that an operation may have of it.
type fault struct {
	name   string
	begin  func(r *round) (heal func())
	errors []string
}

var faults = []fault{
	{"kill", func(r *round) func() {
		r.kill(r.victims[0])
		return func() { r.start(r.victims[0]) }
		// A host that is back at once ends its tasks itself, as cancelled.
	}, []string{xenapi.CodeHostOffline, xenapi.CodePoolDatabaseUnavailable, xenapi.CodeTaskCancelled}},
	{"isolation", func(r *round) func() {
		r.isolate(r.victims[0])
		return func() { r.rejoin(r.victims[0]) }
	}, []string{xenapi.CodeHostOffline, xenapi.CodePoolDatabaseUnavailable}},
	{"pause", func(r *round) func() {
		r.pause(r.victims[0])
		return func() { r.resume(r.victims[0]) }
	}, []string{xenapi.CodeHostOffline, xenapi.CodePoolDatabaseUnavailable}},
	{"partition", func(r *round) func() {
		r.partition(r.victims[0], r.victims[1:]...)
		return func() { r.heal(r.victims[0], r.victims[1:]...) }
	}, []string{xenapi.CodeHostOffline, xenapi.CodePoolDatabaseUnavailable}},
	{"full SR", func(r *round) func() { return fill(r.t, r.disk) }, []string{xenapi.CodeHostHasNoPatchSR, xenapi.CodeSRFull, xenapi.CodeOutOfSpace}},
}

// fill takes all that is free on a file system.
func fill(t testing.TB, disk string) (heal func()) {
	name := filepath.Join(disk, "filler")
	var free unix.Statfs_t
	if err := errors.Join(os.WriteFile(name, nil, 0o600), unix.Statfs(disk, &free)); err != nil {
		t.Error(err)
	}
	_ = harness.Run("", "fallocate", "--length", fmt.Sprint(int64(free.Bavail)*free.Bsize), name) // as much as there is
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}
