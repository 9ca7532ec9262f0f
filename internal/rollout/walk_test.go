package rollout

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"poolpatch/xenapi"
)

// drawHosts makes a pool; its first host is the coordinator.
func drawHosts(t *rapid.T, offline bool) []Host {
	var hosts []Host
	for i := range rapid.IntRange(1, 7).Draw(t, "hosts") {
		name := string(rune('a' + i))
		hosts = append(hosts, Host{Ref: ref(name), Name: name, Coordinator: i == 0, Live: true,
			Applied: rapid.IntRange(0, 5).Draw(t, "applied") == 5})
		if offline && i > 0 {
			hosts[i].Live = rapid.IntRange(0, 3).Draw(t, "live") < 3
		}
	}
	return hosts
}

func drawOptions(t *rapid.T, hosts []Host) Options {
	return options(func(o *Options) {
		o.MaxParallel = rapid.IntRange(0, 3).Draw(t, "max_parallel")
		o.MaxFailures = rapid.IntRange(0, 3).Draw(t, "max_failures")
		o.SkipOffline = rapid.Bool().Draw(t, "skip_offline")
		o.PauseAfter = rapid.SampledFrom([]Pause{PauseNever, PauseEach}).Draw(t, "pause_after")
		if h := rapid.SampledFrom(hosts).Draw(t, "canary"); h.Live && rapid.Bool().Draw(t, "with canary") {
			o.Canary = h.Ref
			o.PauseAfter = rapid.SampledFrom([]Pause{PauseNever, PauseCanary, PauseEach}).Draw(t, "pause_after")
		}
	})
}

// watch is a rollout whose every step is checked. The record is written and read between any two calls,
// as if each were of another coordinator.
type watch struct {
	*rapid.T
	r        Rollout
	now      time.Time
	progress float64
	passed   map[xenapi.Ref[xenapi.Host]]bool // its precheck
}

func newWatch(t *rapid.T, o Options, hosts []Host) *watch {
	r, err := New(o, hosts, noon)
	if err != nil {
		t.Skip("refused: ", err)
	}
	return &watch{T: t, r: r, now: noon, passed: map[xenapi.Ref[xenapi.Host]]bool{}}
}

func (w *watch) observe(e Event) error {
	before := stored(w, w.r)
	e.At = w.now
	err := w.r.Observe(e)
	if err != nil {
		if diff := cmp.Diff(before, stored(w, w.r)); diff != "" {
			w.Fatalf("%+v was refused and changed the record: %s", e, diff)
		}
		return err
	}
	w.passed[e.Host] = w.passed[e.Host] || e.Kind == PrecheckPassed
	w.check(before)
	return nil
}

func (w *watch) next() []Command {
	before := stored(w, w.r)
	again := stored(w, w.r)
	cmds := w.r.Next(w.now)
	w.checkStarts(before, cmds)
	w.check(before)
	if diff := cmp.Diff(cmds, again.Next(w.now)); diff != "" {
		w.Fatalf("the same record gives other commands: %s", diff)
	}
	if diff := cmp.Diff(w.r, again); diff != "" {
		w.Fatalf("the same record gives another record: %s", diff)
	}
	for _, c := range again.Next(w.now) {
		if c.Action == StartApply || c.Action == StartPrecheck {
			w.Fatalf("%v is given twice", c)
		}
	}
	return cmds
}

// check holds after every call.
func (w *watch) check(before Rollout) {
	w.r = stored(w, w.r)
	if p := w.r.Progress(); p < w.progress || p > 1 {
		w.Fatalf("the progress goes from %v to %v", w.progress, p)
	}
	w.progress = w.r.Progress()
	if n := w.r.count(State.applies); n > w.r.MaxParallel || n > 1 && w.r.PauseAfter == PauseEach {
		w.Fatalf("%d hosts apply at once", n)
	}
	for i, turn := range w.r.Hosts {
		was := before.Hosts[i].State
		if was == Interrupted && turn.State != Interrupted && turn.State != Applied {
			w.Fatalf("the interrupted host %s becomes %s", turn.Name, turn.State)
		}
		if was.Final() && !turn.State.Final() {
			w.Fatalf("host %s was %s and is %s", turn.Name, was, turn.State)
		}
	}
	if w.r.Phase == PhaseDone && w.r.count(State.Final) != len(w.r.Hosts) {
		w.Fatalf("done with hosts that are not: %s", w.r.Summary())
	}
}

// checkStarts holds for what Next starts.
func (w *watch) checkStarts(before Rollout, cmds []Command) {
	parallel := before.count(State.applies)
	for _, c := range cmds {
		turn := before.turn(c.Host)
		if c.Action == StartPrecheck && (turn.State != Waiting || before.Cancelled || before.Phase != PhasePrecheck) {
			w.Fatalf("%v of a host that is %s", c, turn.State)
		}
		if c.Action != StartApply {
			continue
		}
		failures := 0
		for _, other := range before.Hosts {
			state := w.r.turn(other.Host).State
			if !w.passed[other.Host] && state != Skipped && state != Applied {
				w.Fatalf("%v before the precheck of %s", c, other.Name)
			}
			if other.State == Interrupted || other.State == Silent {
				w.Fatalf("%v while %s is %s", c, other.Name, other.State)
			}
			if other.State == Failed {
				failures++
			}
			if before.rank(other) < before.rank(*turn) && !w.r.turn(other.Host).State.Final() {
				w.Fatalf("%v before %s", c, other.Name)
			}
			if before.rank(other) < min(2, before.rank(*turn)) && w.r.turn(other.Host).State == Failed {
				w.Fatalf("%v although %s has failed", c, other.Name)
			}
		}
		parallel++
		switch {
		case turn.State != Ready:
			w.Fatalf("%v of a host that is %s", c, turn.State)
		case before.Cancelled, before.Phase == PhasePaused, before.Phase == PhaseDone:
			w.Fatalf("%v of a rollout that does not go on", c)
		case failures >= before.MaxFailures:
			w.Fatalf("%v after %d failures", c, failures)
		case before.rank(*turn) < 2 && parallel > 1:
			w.Fatalf("%v beside another host", c)
		}
	}
}

// Events of every kind, of any host, in any order: what cannot be is refused, the rules hold, and a person
// who cancels ends it.
func TestAnyEvents(t *testing.T) {
	t.Parallel()
	kinds := append(Kinds(), HostJoined, Continue, Cancel, "", "nonsense")
	rapid.Check(t, func(t *rapid.T) {
		hosts := drawHosts(t, true)
		w := newWatch(t, drawOptions(t, hosts), hosts)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 2).Draw(t, "next") > 0 {
				w.now = w.now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "s")) * time.Second)
				w.next()
			}
			e := Event{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Err: drawError(t), Kill: rapid.Bool().Draw(t, "kill")}
			e.Host = ref(string(rune('a' + rapid.IntRange(0, 8).Draw(t, "host"))))
			_ = w.observe(e)
		}
		_ = w.observe(Event{Kind: Cancel})
		for range 2 {
			w.now = w.now.Add(limit)
			for _, turn := range w.r.Unanswered() {
				_ = w.observe(Event{Kind: PrecheckGone, Host: turn.Host})
				_ = w.observe(Event{Kind: ApplyFailed, Host: turn.Host})
			}
			w.next()
		}
		if w.r.Phase != PhaseDone {
			t.Fatalf("cancelled, answered, and not done:\n%s", w.r.Summary())
		}
	})
}

func drawError(t *rapid.T) error {
	return rapid.SampledFrom([]error{
		nil, errors.New("broken pipe"), xenapi.ErrPatchApplyFailed("boom"), xenapi.ErrHostOffline("OpaqueRef:a"),
		xenapi.ErrTaskCancelled("OpaqueRef:sub"), xenapi.ErrPatchAlreadyApplied("OpaqueRef:patch"),
		fmt.Errorf("precheck: %w", xenapi.ErrCannotContactHost("OpaqueRef:a")),
	}).Draw(t, "error")
}

// machine is a host as it really is, with what the rollout knows of it.
type machine struct {
	live, gone bool
	precheck   bool // runs
	result     *Event
	row        string // of host_patch: "", "running", "applied" or "interrupted"
	starts     int    // of the patch's apply
}

// world is a pool of machines, and a coordinator that does what Next says and may die at any point.
type world struct {
	*watch
	machines map[xenapi.Ref[xenapi.Host]]*machine
	joined   int
}

func (w *world) each(fn func(xenapi.Ref[xenapi.Host], *machine)) {
	for _, turn := range w.r.Hosts {
		fn(turn.Host, w.machines[turn.Host])
	}
}

// tell observes what must not be refused while the rollout goes on.
func (w *world) tell(e Event) {
	if w.r.Phase == PhaseDone {
		return
	}
	if err := w.observe(e); err != nil {
		w.Fatalf("%+v: %v\n%s", e, err, w.r.Summary())
	}
}

// work is one round of the coordinator. It may die between the record and any of the commands.
func (w *world) work(mayDie bool) {
	cmds := w.next()
	for _, c := range cmds {
		if mayDie && rapid.IntRange(0, 9).Draw(w.T, "dies") == 9 {
			w.takeOver()
			return
		}
		w.do(c)
	}
}

func (w *world) do(c Command) {
	m := w.machines[c.Host]
	if c.Action != Finish && !m.live {
		return // the call is lost
	}
	switch c.Action {
	case StartPrecheck:
		m.precheck = true
	case StartApply:
		w.start(m, c)
	case KillPrecheck:
		if m.precheck {
			m.precheck, m.result = false, &Event{Kind: PrecheckFailed, Err: xenapi.ErrTaskCancelled("OpaqueRef:sub")}
		}
	case KillApply:
		if m.row == "running" {
			m.row = "interrupted"
		}
	}
}

// start is where I3 is at stake: one apply of a host, whatever dies.
func (w *world) start(m *machine, c Command) {
	switch {
	case m.starts > 0 && m.row != "applied":
		w.Fatalf("%v although it was started before: row %q, result %v", c, m.row, m.result)
	case m.row == "applied":
		m.result = &Event{Kind: ApplyFailed, Err: xenapi.ErrPatchAlreadyApplied("OpaqueRef:patch")}
	default:
		m.starts++
		m.row = "running"
	}
}

// takeOver is another coordinator: what was on its way is lost, it has the record and asks the hosts.
func (w *world) takeOver() {
	w.each(func(host xenapi.Ref[xenapi.Host], m *machine) {
		if !m.gone {
			w.tell(Event{Kind: liveness(m), Host: host})
		}
	})
	for _, turn := range w.r.Unanswered() {
		w.ask(turn.Host)
	}
}

func liveness(m *machine) Kind {
	if m.live {
		return HostLive
	}
	return HostLost
}

// ask tells the rollout how far a host is.
func (w *world) ask(host xenapi.Ref[xenapi.Host]) {
	m, turn := w.machines[host], w.r.turn(host)
	switch {
	case !m.live:
	case m.result != nil:
		w.deliver(host)
	case turn.State == Prechecking && !m.precheck:
		w.tell(Event{Kind: PrecheckGone, Host: host})
	case turn.State.applies():
		w.tell(Event{Kind: map[string]Kind{"": ApplyAbsent, "running": ApplyRunning, "applied": ApplyDone,
			"interrupted": ApplyInterrupted}[m.row], Host: host})
	}
}

// deliver tells the rollout a result that the host kept.
func (w *world) deliver(host xenapi.Ref[xenapi.Host]) {
	m := w.machines[host]
	if m.result == nil || !m.live {
		return
	}
	e := *m.result
	e.Host, m.result = host, nil
	if _, err := w.r.turn(host).State.Next(e.Kind); err == nil {
		w.tell(e) // else it is the late result of a precheck that was done again
	}
}

// progressOn lets what runs on a host end.
func (w *world) progressOn(m *machine) {
	fails := rapid.IntRange(0, 15).Draw(w.T, "fails") == 15
	switch {
	case !m.live || m.result != nil:
	case m.precheck:
		m.precheck, m.result = false, &Event{Kind: PrecheckPassed}
		if fails {
			m.result = &Event{Kind: PrecheckFailed, Err: xenapi.ErrPatchPrecheckFailedVMRunning("OpaqueRef:patch")}
		}
	case m.row == "running" && fails:
		m.row, m.result = "", &Event{Kind: ApplyFailed, Err: xenapi.ErrPatchApplyFailed("boom")}
	case m.row == "running":
		m.row, m.result = "applied", &Event{Kind: ApplyDone}
	case m.row == "interrupted":
		m.result = &Event{Kind: ApplyInterrupted}
	}
}

// fall takes a host off the network; with its daemon, what runs ends and its results are lost, but for the
// rows and the ended tasks.
func (w *world) fall(host xenapi.Ref[xenapi.Host], m *machine) {
	if !m.live || m.gone {
		return
	}
	m.live = false
	if rapid.Bool().Draw(w.T, "daemon dies") {
		m.precheck = false
		if m.row == "running" {
			m.row = rapid.SampledFrom([]string{"interrupted", "applied"}).Draw(w.T, "row")
		}
		if m.result != nil && (m.result.Kind == PrecheckPassed || m.result.Kind == PrecheckFailed) {
			m.result = nil
		}
	}
	w.tell(Event{Kind: HostLost, Host: host})
}

func (w *world) rise(host xenapi.Ref[xenapi.Host], m *machine) {
	if m.live || m.gone {
		return
	}
	m.live = true
	w.tell(Event{Kind: HostLive, Host: host})
	if w.r.Phase != PhaseDone {
		w.ask(host)
	}
}

// A pool that lives: hosts fall and rise, programs fail, coordinators die, people cancel and continue. No
// host's apply is started twice, whatever happens, and the rollout ends once the hosts answer.
func TestAPoolThatLives(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		hosts := drawHosts(t, false)
		w := &world{watch: newWatch(t, drawOptions(t, hosts), hosts), machines: map[xenapi.Ref[xenapi.Host]]*machine{}}
		for _, h := range hosts {
			w.machines[h.Ref] = &machine{live: true, row: map[bool]string{true: "applied"}[h.Applied]}
		}
		for range rapid.IntRange(0, 80).Draw(t, "steps") {
			w.happen(rapid.SampledFrom(hosts).Draw(t, "host").Ref)
		}
		w.settle(rapid.Bool().Draw(t, "all rise"))
	})
}

// happen is one thing that happens.
func (w *world) happen(host xenapi.Ref[xenapi.Host]) {
	m := w.machines[host]
	switch what := rapid.IntRange(0, 39).Draw(w.T, "what"); {
	case what < 12:
		w.work(true)
	case what < 20:
		w.progressOn(m)
	case what < 29:
		if w.r.Phase != PhaseDone {
			w.deliver(host)
		}
	case what < 31:
		w.fall(host, m)
	case what < 34:
		w.rise(host, m)
	case what < 36:
		w.takeOver()
	case what == 36:
		if w.r.Phase == PhasePaused {
			w.tell(Event{Kind: Continue})
		}
	case what == 37:
		w.now = w.now.Add(20 * time.Second)
	case what == 38 && rapid.IntRange(0, 3).Draw(w.T, "cancels") == 3:
		w.tell(Event{Kind: Cancel, Kill: rapid.Bool().Draw(w.T, "kill")})
	case what == 39 && rapid.Bool().Draw(w.T, "joins"):
		w.joined++
		w.tell(Event{Kind: HostJoined, Host: ref(fmt.Sprint("new", w.joined)), Name: "new"})
	case what == 39 && !m.gone:
		m.gone, m.live = true, false
		w.tell(Event{Kind: HostLeft, Host: host})
	}
}

// settle lets all that is under way come to its end: hosts answer or stay away, people say continue.
func (w *world) settle(rise bool) {
	const rounds = 12 // a host is prechecked, applied, paused after; some go twice
	for range rounds * len(w.r.Hosts) {
		w.work(false)
		if w.r.Phase == PhaseDone {
			w.judge()
			return
		}
		if w.r.Phase == PhasePaused {
			w.tell(Event{Kind: Continue})
		}
		w.each(func(host xenapi.Ref[xenapi.Host], m *machine) {
			if rise {
				w.rise(host, m)
			}
			w.progressOn(m)
			if w.r.turn(host).State.Busy() {
				w.ask(host)
			}
		})
		w.now = w.now.Add(20 * time.Second)
	}
	w.Fatalf("it does not end:\n%s", w.r.Summary())
}

// judge compares the end with what is on the hosts.
func (w *world) judge() {
	for _, turn := range w.r.Hosts {
		m := w.machines[turn.Host]
		switch turn.State {
		case Applied:
			if m.row != "applied" {
				w.Fatalf("%s counts as applied, its row is %q", turn.Name, m.row)
			}
		case NotStarted:
			if m.starts > 0 {
				w.Fatalf("%s counts as not started", turn.Name)
			}
		case Failed, Interrupted:
			if w.r.Err() == nil || turn.Error == nil {
				w.Fatalf("%s is %s and the error is %v", turn.Name, turn.State, w.r.Err())
			}
		}
	}
	if w.r.Progress() != 1 || w.r.Ended.IsZero() {
		w.Fatalf("ended at %v with progress %v", w.r.Ended, w.r.Progress())
	}
	if err := w.r.Err(); err == nil && w.r.any(NotStarted) {
		w.Fatalf("no error, and hosts were left out:\n%s", w.r.Summary())
	} else if err != nil && xenapi.CodeOf(err) == "" {
		w.Fatalf("%v is no error of the domain", err)
	}
}
