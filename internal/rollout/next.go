package rollout

import (
	"slices"
	"time"

	"poolpatch/xenapi"
)

// Action is what the caller is to do.
type Action string

const (
	// StartPrecheck starts the host's precheck. It is given once; the record says so before it is made.
	StartPrecheck Action = "start-precheck"
	// StartApply starts the host's apply. It is given once; the record says so before it is made.
	StartApply Action = "start-apply"
	// KillPrecheck cancels the host's precheck. It is given until the precheck has ended.
	KillPrecheck Action = "kill-precheck"
	// KillApply ends the host's apply, which may leave the host half patched. It is given until the apply
	// has ended.
	KillApply Action = "kill-apply"
	// Finish tells the rollout's task how it ended: see Err and Summary. It is given for ever.
	Finish Action = "finish"
)

// Command is an action on a host; Finish has none.
type Command struct {
	Action Action
	Host   xenapi.Ref[xenapi.Host]
}

// Next decides what is to be done now and writes it into the record. The same record and time give the
// same commands and the same record. The caller stores the record before it does the commands; then starts
// are not given again, and kills and Finish, which may be done twice, are given for as long as they matter.
// It is to be called after every event, and at [Rollout.Deadline].
func (r *Rollout) Next(now time.Time) []Command {
	if r.Phase == "" {
		return nil
	}
	r.expire(now)
	cmds := r.kills()
	if r.Phase == PhasePrecheck {
		cmds = append(cmds, r.precheck(now)...)
	}
	if r.Phase == PhaseApply {
		cmds = append(cmds, r.apply(now)...)
	}
	if r.over() {
		r.finish(now)
	}
	if r.Phase == PhaseDone {
		cmds = append(cmds, Command{Action: Finish})
	}
	return cmds
}

// expire gives up on hosts that stayed away for longer than the bound. Coordinators' clocks differ, and by
// as much the bound does when one takes over from another.
func (r *Rollout) expire(now time.Time) {
	for i := range r.Hosts {
		t := &r.Hosts[i]
		if t.absent() && !now.Before(t.Since.Add(r.AwayLimit)) {
			r.decide(t, overdue, now)
		}
	}
}

// absent reports whether the rollout waits for the host to come back.
func (t *Turn) absent() bool { return t.State == Away || t.State == Silent }

// decide moves a host by an event of Next, which the table always has.
func (r *Rollout) decide(t *Turn, k Kind, now time.Time) {
	if err := r.move(t, k, now, nil); err != nil {
		panic(err) // a defect of this package
	}
}

// kills ends what a cancelled rollout does not wait for.
func (r *Rollout) kills() (cmds []Command) {
	if !r.Cancelled {
		return nil
	}
	for _, t := range r.Hosts {
		switch {
		case t.State == Prechecking:
			cmds = append(cmds, Command{KillPrecheck, t.Host})
		case t.State == Applying && r.Killed:
			cmds = append(cmds, Command{KillApply, t.Host})
		}
	}
	return cmds
}

// precheck starts prechecks on all hosts, also when one has failed: nothing is changed by them, and the
// person learns of every host that would refuse. When all have passed, the applying begins.
func (r *Rollout) precheck(now time.Time) (cmds []Command) {
	for i := range r.Hosts {
		t := &r.Hosts[i]
		if t.State != Waiting || r.Cancelled || r.count(State.Busy) >= r.MaxParallel {
			continue
		}
		if r.begin(t, startPrecheck, now) {
			cmds = append(cmds, Command{StartPrecheck, t.Host})
		}
	}
	if !r.any(Waiting, Prechecking, Away) && !r.stopped() {
		r.Phase = PhaseApply
	}
	return cmds
}

// apply starts applies until it is nobody's turn.
func (r *Rollout) apply(now time.Time) (cmds []Command) {
	for t := r.ready(); t != nil; t = r.ready() {
		if r.begin(t, startApply, now) {
			cmds = append(cmds, Command{StartApply, t.Host})
		}
	}
	return cmds
}

// begin starts a step on a host whose turn it is, and reports whether it did: an offline host is skipped
// or has failed.
func (r *Rollout) begin(t *Turn, start Kind, now time.Time) bool {
	switch {
	case t.Live:
		r.decide(t, start, now)
	case r.SkipOffline && !r.canary(*t):
		r.decide(t, passOver, now)
	default:
		r.decide(t, absent, now)
	}
	return t.Live
}

// ready finds the host whose turn it is to be applied; nil when there is none now. While a host is silent
// there is none: it may turn out to be interrupted.
func (r *Rollout) ready() *Turn {
	if r.stopped() || r.any(Silent) || r.count(State.applies) >= r.parallel() {
		return nil
	}
	for i := range r.Hosts {
		t := &r.Hosts[i]
		if t.State == Ready {
			return t
		}
		if r.leads(*t) && !t.State.Final() {
			return nil
		}
	}
	return nil
}

// parallel is how many hosts may be applied at once.
func (r *Rollout) parallel() int {
	if r.PauseAfter == PauseEach {
		return 1
	}
	return r.MaxParallel
}

// stopped reports whether no further apply is started. Before the first apply any failure is enough: every
// precheck must have passed.
func (r *Rollout) stopped() bool {
	failures := 0
	for _, t := range r.Hosts {
		switch {
		case t.State == Interrupted:
			return true
		case t.State == Failed && (r.Phase == PhasePrecheck || r.leads(t)):
			return true
		case t.State == Failed:
			failures++
		}
	}
	return r.Cancelled || r.canaryLeft() || failures >= r.MaxFailures
}

// canaryLeft reports whether the canary left the pool before it was applied: the others would go untried.
func (r *Rollout) canaryLeft() bool {
	return slices.ContainsFunc(r.Hosts, func(t Turn) bool { return r.canary(t) && t.Reason == LeftPool })
}

// over reports whether nothing runs and nothing more will.
func (r *Rollout) over() bool {
	switch {
	case r.Phase == PhaseDone || r.count(State.Busy) > 0:
		return false
	case r.Phase == PhasePrecheck:
		// A precheck that failed does not keep the others from being asked; a cancellation does.
		return r.Cancelled || r.stopped() && !r.any(Waiting, Away)
	}
	return r.stopped() || !r.any(Ready)
}

func (r *Rollout) finish(now time.Time) {
	for i := range r.Hosts {
		if t := &r.Hosts[i]; !t.State.Final() {
			r.decide(t, leaveOut, now)
		}
	}
	r.Phase, r.Ended = PhaseDone, now
}

// Deadline is when Next has something to decide although nothing happened: a host has been away for as
// long as it may. It is false when there is no such time.
func (r *Rollout) Deadline() (time.Time, bool) {
	var first time.Time
	for _, t := range r.Hosts {
		if at := t.Since.Add(r.AwayLimit); t.absent() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first, !first.IsZero()
}

// Unanswered lists the hosts on which a step was started that has no result in the record. A coordinator
// that takes a rollout over asks them; the answers are PrecheckGone or the precheck's result, and ApplyDone,
// ApplyFailed, ApplyRunning, ApplyInterrupted or ApplyAbsent. A silent host is also asked when it is back.
func (r *Rollout) Unanswered() (hosts []Turn) {
	for _, t := range r.Hosts {
		if t.State.Busy() {
			hosts = append(hosts, t)
		}
	}
	return hosts
}
