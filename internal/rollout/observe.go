package rollout

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"poolpatch/xenapi"
)

// Event is something that happened. Host is null for Continue and Cancel.
type Event struct {
	Kind Kind
	Host xenapi.Ref[xenapi.Host]
	At   time.Time
	Err  error  // of PrecheckFailed and ApplyFailed
	Name string // of HostJoined
	Kill bool   // of Cancel
}

// Observe takes an event into the record. Errors: an event that cannot be, as the result of a precheck
// that was not started; the record is then as it was.
func (r *Rollout) Observe(e Event) error {
	if r.Phase == "" || r.Phase == PhaseDone {
		return fmt.Errorf("a rollout in phase %q does not take %q", r.Phase, e.Kind)
	}
	switch e.Kind {
	case HostJoined:
		return r.join(e)
	case Continue:
		return r.goOn()
	case Cancel:
		r.Cancelled, r.Killed = true, r.Killed || e.Kill
		return nil
	case startPrecheck, startApply, overdue, absent, passOver, leaveOut:
		return fmt.Errorf("%q is decided, not observed", e.Kind)
	}
	if r.forget(e) {
		return nil
	}
	t := r.turn(e.Host)
	if t == nil {
		return fmt.Errorf("host %s is no part of the rollout", e.Host)
	}
	before := t.State
	if err := r.move(t, r.read(*t, e), e.At, e.Err); err != nil {
		return err
	}
	if r.pausesAfter(*t, before) {
		r.Phase = PhasePaused
	}
	return nil
}

func (r *Rollout) join(e Event) error {
	if e.Host.IsNull() || r.turn(e.Host) != nil {
		return fmt.Errorf("host %s (%s) is null or part of the rollout already", e.Name, e.Host)
	}
	if !slices.ContainsFunc(r.Joined, func(j Joined) bool { return j.Host == e.Host }) {
		r.Joined = append(r.Joined, Joined{Host: e.Host, Name: e.Name})
	}
	return nil
}

// forget takes events of hosts that joined, of which only their leaving matters.
func (r *Rollout) forget(e Event) bool {
	i := slices.IndexFunc(r.Joined, func(j Joined) bool { return j.Host == e.Host })
	if i >= 0 && e.Kind == HostLeft {
		r.Joined = slices.Delete(r.Joined, i, i+1)
	}
	return i >= 0
}

func (r *Rollout) goOn() error {
	if r.Phase != PhasePaused {
		return fmt.Errorf("a rollout in phase %q does not wait", r.Phase)
	}
	r.Phase = PhaseApply
	return nil
}

// unreachable are errors of a call that was not delivered, or whose answer was not: they say nothing of
// what the host did. The host counts as lost until HostLive is observed, even if it was never seen to go.
var unreachable = []string{xenapi.CodeHostOffline, xenapi.CodeCannotContactHost, xenapi.CodeHostNotLive}

// read says what an event means for a host, which its error may tell better than its kind.
func (r *Rollout) read(t Turn, e Event) Kind {
	if _, err := t.State.Next(e.Kind); err != nil {
		return e.Kind // refused, whatever its error says
	}
	code := xenapi.CodeOf(e.Err)
	failed := e.Kind == PrecheckFailed || e.Kind == ApplyFailed
	switch {
	case failed && slices.Contains(unreachable, code):
		return HostLost
	case e.Kind == PrecheckFailed && r.Cancelled && code == xenapi.CodeTaskCancelled:
		return PrecheckGone // killed because of the cancellation: no fault of the host
	case e.Kind == ApplyFailed && code == xenapi.CodePatchAlreadyApplied:
		return ApplyDone
	case e.Kind == ApplyRunning && !t.Live:
		return HostLost // the row of a host that is not there says only what was
	}
	return e.Kind
}

// move takes a host along the table, and is the only function that does. The fields that the state
// implies are written with it.
func (r *Rollout) move(t *Turn, k Kind, at time.Time, cause error) error {
	next, err := t.State.Next(k)
	if err != nil {
		return fmt.Errorf("host %s: %w", t.Name, err)
	}
	switch k {
	case HostLive, HostLost:
		t.Live = k == HostLive
	case startPrecheck:
		t.Step = StepPrecheck
	case startApply:
		t.Step = StepApply
	case ApplyAbsent:
		t.Step = StepPrecheck
	}
	if next == t.State {
		return nil
	}
	t.State, t.Since = next, at
	t.Error, t.Reason = nil, ""
	switch next {
	case Failed:
		t.Error = failureOf(failing(*t, k, cause), t.Name)
	case Interrupted:
		t.Error = r.advice(t.Name)
	case Skipped:
		t.Reason = skipping(k)
	}
	return nil
}

// failing is the error of a host that fails.
func failing(t Turn, k Kind, cause error) error {
	if k == absent || k == overdue {
		return xenapi.ErrHostOffline(t.Host)
	}
	return cause
}

func skipping(k Kind) Reason {
	switch k {
	case HostLeft:
		return LeftPool
	case passOver:
		return Offline
	}
	return AlreadyApplied
}

// pausesAfter reports whether a person is asked before the rollout goes on, now that a host has moved. If
// nothing is left to be asked about, Next ends the pause with the rollout.
func (r *Rollout) pausesAfter(t Turn, before State) bool {
	ended := before.applies() && t.State.Final()
	return ended && (r.PauseAfter == PauseEach || r.PauseAfter == PauseCanary && r.canary(t))
}

// paramLimit bounds each parameter of a stored error, in bytes: a patch may print a lot, and the records
// of 64 hosts share one row. The end of an output says why it ended; all of it is with the host's own task.
const paramLimit = 4 << 10

// failureOf is the stored form of an error. One that is not of the domain becomes INTERNAL_ERROR: its text
// is for the log of the host.
func failureOf(err error, name string) *Failure {
	e, ok := errors.AsType[*xenapi.Error](err)
	if !ok {
		e = xenapi.ErrInternalError("see the log of host " + name)
	}
	f := Failure{Code: e.Code, Params: []string{}}
	for _, p := range e.Params {
		f.Params = append(f.Params, tail(p))
	}
	return &f
}

func tail(s string) string {
	if len(s) <= paramLimit {
		return s
	}
	return "…" + toRune(s[len(s)-paramLimit:])
}

// toRune drops the rest of a character that was cut.
func toRune(s string) string {
	for i := range min(len(s), 4) {
		if s[i]&0xC0 != 0x80 {
			return s[i:]
		}
	}
	return s
}
