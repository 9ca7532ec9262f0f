package rollout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"poolpatch/xenapi"
)

// The defaults of Options, for fields that are 0.
const (
	DefaultMaxParallel = 4
	DefaultMaxFailures = 1
)

// Pause says after which hosts the rollout waits for a person.
type Pause string

const (
	// PauseNever is the zero value: the rollout waits for nobody.
	PauseNever Pause = ""
	// PauseCanary waits once the canary has been applied.
	PauseCanary Pause = "canary"
	// PauseEach waits after each host, and applies one host at a time.
	PauseEach Pause = "each"
)

// Options is what the person asked for. Its fields are those of the record (see [Rollout]).
type Options struct {
	// Patch and UUID name the patch; the UUID is for people.
	Patch xenapi.Ref[xenapi.PoolPatch] `json:"patch"`
	UUID  string                       `json:"uuid"`
	// Task is told how the rollout ends.
	Task xenapi.Ref[xenapi.Task] `json:"task"`
	// MaxParallel bounds the hosts that are prechecked at once, and those that are applied at once; 0 is
	// DefaultMaxParallel.
	MaxParallel int `json:"max_parallel"`
	// MaxFailures is how many hosts may fail to apply before no further host is started; 0 is
	// DefaultMaxFailures. It does not count for the canary and the coordinator: if one of them fails, no
	// further host is started.
	MaxFailures int `json:"max_failures"`
	// Canary is applied first and alone; null is none.
	Canary     xenapi.Ref[xenapi.Host] `json:"canary"`
	PauseAfter Pause                   `json:"pause_after"`
	// SkipOffline skips hosts that are offline when their turn comes, which otherwise have failed. The
	// canary is never skipped for that: without it the others would go untried.
	SkipOffline bool `json:"skip_offline"`
	// AwayLimit is how long a host on which a precheck or an apply runs may stay away; 0 is not at all. In
	// nanoseconds in the record.
	AwayLimit time.Duration `json:"away_limit"`
}

// Host is a host of the pool as it is when the rollout begins.
type Host struct {
	Ref         xenapi.Ref[xenapi.Host]
	Name        string
	Coordinator bool
	Live        bool
	// Applied: the host has the patch.
	Applied bool
	// Interrupted: an earlier apply of the patch was interrupted on the host.
	Interrupted bool
}

// Phase says what the rollout as a whole is doing. The zero value is a rollout that does nothing.
type Phase string

// The phases, in their order; paused and applying alternate.
const (
	PhasePrecheck Phase = "precheck" // prechecks run, nothing has been changed
	PhaseApply    Phase = "apply"
	PhasePaused   Phase = "paused" // nothing runs; a person says continue
	PhaseDone     Phase = "done"   // nothing runs, no event is taken
)

// Step is what the rollout has last begun on a host.
type Step string

// The steps; the zero value is none.
const (
	StepNone     Step = ""
	StepPrecheck Step = "precheck"
	StepApply    Step = "apply"
)

// Rollout is one application of a patch on a pool. It is a record: its fields and those below it are
// stored as JSON under the names of their tags, and those names and the words of the states are what the
// next version of the program reads. A copy shares its Hosts with the original.
type Rollout struct {
	Options
	Phase Phase `json:"phase"`
	// Cancelled: a person has ended the rollout. Killed: running applies are to be ended too.
	Cancelled bool `json:"cancelled"`
	Killed    bool `json:"killed"`
	// Hosts stand in the order of their turns: the canary, the coordinator that began the rollout, the others.
	Hosts []Turn `json:"hosts"`
	// Joined are hosts that joined the pool meanwhile.
	Joined []Joined `json:"joined"`
	// Began and Ended are times of the caller; Ended is zero until the rollout is done.
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
}

// Turn is the part of one host.
type Turn struct {
	Host        xenapi.Ref[xenapi.Host] `json:"host"`
	Name        string                  `json:"name"`
	Coordinator bool                    `json:"coordinator"`
	Live        bool                    `json:"live"`
	State       State                   `json:"state"`
	Since       time.Time               `json:"since"` // when State began
	Step        Step                    `json:"step"`
	Reason      Reason                  `json:"reason"` // of a skipped host
	Error       *Failure                `json:"error"`  // of a failed or interrupted host
}

// Joined is a host that is no part of the rollout.
type Joined struct {
	Host xenapi.Ref[xenapi.Host] `json:"host"`
	Name string                  `json:"name"`
}

// Failure is the error of a host: a XenAPI code and its parameters in wire order.
type Failure struct {
	Code   string   `json:"code"`
	Params []string `json:"params"`
}

// New plans a rollout on all hosts of a pool. Hosts that have the patch are skipped from the beginning.
// Nothing begins, and nothing is changed, if it refuses. Errors: INVALID_VALUE for an option;
// HANDLE_INVALID for a canary that is not in the pool; HOST_OFFLINE naming each host that is offline and
// lacks the patch, unless such are skipped (the canary never is); PATCH_APPLY_FAILED naming each host on
// which the patch was interrupted, and what to do.
func New(o Options, hosts []Host, now time.Time) (Rollout, error) {
	if err := o.complete(); err != nil {
		return Rollout{}, err
	}
	r := Rollout{Options: o, Phase: PhasePrecheck, Began: now}
	for _, h := range hosts {
		r.Hosts = append(r.Hosts, newTurn(h, now))
	}
	if err := r.check(); err != nil {
		return Rollout{}, err
	}
	slices.SortStableFunc(r.Hosts, r.byTurn)
	if err := r.refuseInterrupted(hosts); err != nil {
		return Rollout{}, err
	}
	if err := r.refuseOffline(); err != nil {
		return Rollout{}, err
	}
	return r, nil
}

func newTurn(h Host, now time.Time) Turn {
	t := Turn{Host: h.Ref, Name: h.Name, Coordinator: h.Coordinator, Live: h.Live, State: Waiting, Since: now}
	if h.Applied {
		t.State, t.Reason = Skipped, AlreadyApplied
	}
	return t
}

// complete fills in the defaults and refuses values that mean nothing.
func (o *Options) complete() error {
	if o.MaxParallel == 0 {
		o.MaxParallel = DefaultMaxParallel
	}
	if o.MaxFailures == 0 {
		o.MaxFailures = DefaultMaxFailures
	}
	switch {
	case o.MaxParallel < 0:
		return xenapi.ErrInvalidValue("max_parallel", fmt.Sprint(o.MaxParallel))
	case o.MaxFailures < 0:
		return xenapi.ErrInvalidValue("max_failures", fmt.Sprint(o.MaxFailures))
	case o.AwayLimit < 0:
		return xenapi.ErrInvalidValue("away_limit", o.AwayLimit.String())
	case !slices.Contains([]Pause{PauseNever, PauseCanary, PauseEach}, o.PauseAfter):
		return xenapi.ErrInvalidValue("pause_after", string(o.PauseAfter))
	case o.PauseAfter == PauseCanary && o.Canary.IsNull():
		return xenapi.ErrInvalidValue("pause_after", string(o.PauseAfter)).Because(errors.New("there is no canary"))
	}
	return nil
}

// rank orders the hosts: the canary, the coordinator, the others.
func (r *Rollout) rank(t Turn) int {
	switch {
	case r.canary(t):
		return 0
	case t.Coordinator:
		return 1
	}
	return 2
}

func (r *Rollout) byTurn(a, b Turn) int { return r.rank(a) - r.rank(b) }

func (r *Rollout) canary(t Turn) bool { return t.Host == r.Canary && !r.Canary.IsNull() }

// leads reports whether the others wait for the host.
func (r *Rollout) leads(t Turn) bool { return r.canary(t) || t.Coordinator }

func (r *Rollout) refuseOffline() error {
	var off []Turn
	for _, t := range r.Hosts {
		if t.State == Waiting && !t.Live && (r.canary(t) || !r.SkipOffline) {
			t.Error = failureOf(xenapi.ErrHostOffline(t.Host), t.Name)
			off = append(off, t)
		}
	}
	return together(off)
}

func (r *Rollout) refuseInterrupted(hosts []Host) error {
	var torn []Turn
	for _, h := range hosts {
		if h.Interrupted && !h.Applied {
			torn = append(torn, Turn{Name: h.Name, Error: r.advice(h.Name)})
		}
	}
	return together(torn)
}

// Bytes is the record as it is stored.
func (r Rollout) Bytes() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode rollout of patch %s: %w", r.UUID, err)
	}
	return data, nil
}

// Parse reads a stored record. Fields and words that it does not know are refused: a newer version of the
// program wrote them, and a coordinator that does not understand a rule of the rollout must not go on with
// it, nor drop the rule from the record. Errors: a record that is not understood.
func Parse(data []byte) (Rollout, error) {
	var r Rollout
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Rollout{}, fmt.Errorf("decode rollout: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Rollout{}, errors.New("decode rollout: more follows the record")
	}
	if err := errors.Join(r.checkWords(), r.complete(), r.check(), r.checkOrder()); err != nil {
		return Rollout{}, fmt.Errorf("decode rollout: %w", err)
	}
	return r, nil
}

// checkWords refuses words that are not of this version.
func (r *Rollout) checkWords() error {
	if !slices.Contains([]Phase{PhasePrecheck, PhaseApply, PhasePaused, PhaseDone}, r.Phase) {
		return fmt.Errorf("phase %q is not known", r.Phase)
	}
	for _, t := range r.Hosts {
		if !slices.Contains(States(), t.State) {
			return fmt.Errorf("state %q of host %s is not known", t.State, t.Name)
		}
		if !slices.Contains([]Step{StepNone, StepPrecheck, StepApply}, t.Step) {
			return fmt.Errorf("step %q of host %s is not known", t.Step, t.Name)
		}
		if !slices.Contains([]Reason{"", AlreadyApplied, Offline, LeftPool}, t.Reason) {
			return fmt.Errorf("reason %q of host %s is not known", t.Reason, t.Name)
		}
		if (t.Error != nil) != (t.State == Failed || t.State == Interrupted) {
			return fmt.Errorf("host %s is %s and its error is %v", t.Name, t.State, t.Error)
		}
	}
	return nil
}

// checkOrder refuses hosts that do not stand in the order of their turns.
func (r *Rollout) checkOrder() error {
	if !slices.IsSortedFunc(r.Hosts, r.byTurn) {
		return errors.New("the hosts do not stand in the order of their turns")
	}
	return nil
}

// check refuses a set of hosts that is not a pool.
func (r *Rollout) check() error {
	seen, coordinators := map[xenapi.Ref[xenapi.Host]]bool{}, 0
	for _, t := range r.Hosts {
		if t.Host.IsNull() || seen[t.Host] {
			return fmt.Errorf("host %s (%s) is null or stands in the pool twice", t.Name, t.Host)
		}
		seen[t.Host] = true
		if t.Coordinator {
			coordinators++
		}
	}
	if coordinators != 1 {
		return fmt.Errorf("a pool of %d hosts with %d coordinators", len(r.Hosts), coordinators)
	}
	if !r.Canary.IsNull() && !seen[r.Canary] {
		return xenapi.ErrHandleInvalid("host", r.Canary.String())
	}
	return nil
}

// turn finds the part of a host; nil when it has none.
func (r *Rollout) turn(host xenapi.Ref[xenapi.Host]) *Turn {
	i := slices.IndexFunc(r.Hosts, func(t Turn) bool { return t.Host == host })
	if i < 0 {
		return nil
	}
	return &r.Hosts[i]
}

// count counts the hosts in states that pred accepts.
func (r *Rollout) count(pred func(State) bool) (n int) {
	for _, t := range r.Hosts {
		if pred(t.State) {
			n++
		}
	}
	return n
}

// any reports whether a host is in one of the states.
func (r *Rollout) any(states ...State) bool {
	return r.count(func(s State) bool { return slices.Contains(states, s) }) > 0
}
