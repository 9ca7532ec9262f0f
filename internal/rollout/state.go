package rollout

import "fmt"

// State says how far the rollout has come on one host. The zero value is Unknown.
type State string

const (
	// Unknown is no state of a rollout: nothing is known, nothing is done, no event leads out of it.
	Unknown State = ""

	// Waiting: the precheck has not been started, or what it found is not known. Nothing of the rollout
	// runs on the host. After a crash its turn comes as before.
	Waiting State = "waiting"

	// Prechecking: the precheck was started and has not answered. It changes nothing, so after a crash
	// that ended it, it is done again.
	Prechecking State = "prechecking"

	// Away: the host went offline during its precheck. When it is back it is prechecked again; when it
	// stays away for longer than the bound, it has failed. Whatever of the precheck still runs is without
	// effect.
	Away State = "away"

	// Ready: the precheck has passed. Nothing runs on the host, and the rollout has changed nothing there.
	Ready State = "ready"

	// Applying: the apply was started and has not answered. The host may be changing. After a crash of the
	// coordinator it goes on, and the host's host_patch row tells the next coordinator how far it is.
	Applying State = "applying"

	// Silent: the host went offline while it was applying. Whether the program still runs is not known, so
	// no other host is started. The host's answer ends this state; without one within the bound the host
	// is interrupted.
	Silent State = "silent"

	// Applied: the rollout has applied the patch, or it was interrupted and proved to be applied. The
	// host_patch row has applied=true. Final.
	Applied State = "applied"

	// Failed: the precheck or the apply ended with an error, or the host was not there when its turn came.
	// The error is in the record. Nothing runs. Final.
	Failed State = "failed"

	// Interrupted: the apply was started and nobody knows how far it came. Only a person who has looked at
	// the host applies the patch there again, outside of this rollout. Final, but for the news that the
	// patch turned out to be applied.
	Interrupted State = "interrupted"

	// Skipped: the rollout has nothing to do on the host, for the [Reason] in the record. Final.
	Skipped State = "skipped"

	// NotStarted: the rollout ended before the host's turn came. The patch's apply never ran there. Final.
	NotStarted State = "not-started"
)

// States lists every state of a host in a rollout; Unknown is none.
func States() []State {
	return []State{Waiting, Prechecking, Away, Ready, Applying, Silent, Applied, Failed, Interrupted, Skipped, NotStarted}
}

// Reason says why a host is skipped.
type Reason string

// The reasons.
const (
	AlreadyApplied Reason = "already applied"
	Offline        Reason = "offline"
	LeftPool       Reason = "left the pool"
)

// Kind says what happened. The zero value is no event.
type Kind string

// What Next decides, which no caller observes.
const (
	// startPrecheck: the host's precheck is about to be started.
	startPrecheck Kind = "start-precheck"
	// startApply: the host's apply is about to be started.
	startApply Kind = "start-apply"
	// overdue: the host stayed away for longer than the bound.
	overdue Kind = "overdue"
	// absent: the host's turn came and it was offline.
	absent Kind = "absent"
	// passOver: the same, and offline hosts are to be skipped.
	passOver Kind = "pass-over"
	// leaveOut: the rollout ends.
	leaveOut Kind = "leave-out"
)

// What happens on hosts, for Observe.
const (
	// PrecheckPassed: the precheck exited with 0.
	PrecheckPassed Kind = "precheck-passed"
	// PrecheckFailed: the precheck ended with the event's Err, or could not be done.
	PrecheckFailed Kind = "precheck-failed"
	// PrecheckGone: asked after a crash, the host says that no precheck of the rollout runs, and there is
	// no result of one.
	PrecheckGone Kind = "precheck-gone"
	// ApplyDone: the host's host_patch row says applied, whoever applied it.
	ApplyDone Kind = "apply-done"
	// ApplyFailed: the apply ended with the event's Err, and the host_patch row does not say interrupted.
	ApplyFailed Kind = "apply-failed"
	// ApplyRunning: asked after a crash or an absence, the host says that the apply runs.
	ApplyRunning Kind = "apply-running"
	// ApplyAbsent: asked after a crash or an absence, the host says that the apply was never started. That
	// is so when it has no host_patch row and no ended task of the rollout: the row of an apply that failed
	// is gone too, and that one is ApplyFailed. It is no answer while a start is on its way.
	ApplyAbsent Kind = "apply-absent"
	// ApplyInterrupted: the host's host_patch row says interrupted.
	ApplyInterrupted Kind = "apply-interrupted"
	// HostLive: the host can be reached.
	HostLive Kind = "host-live"
	// HostLost: the host cannot be reached.
	HostLost Kind = "host-lost"
	// HostLeft: the host was ejected from the pool.
	HostLeft Kind = "host-left"
)

// What happens to the rollout as a whole, for Observe.
const (
	// HostJoined: a host has joined the pool. It is no part of the rollout.
	HostJoined Kind = "host-joined"
	// Continue: a person lets a paused rollout go on.
	Continue Kind = "continue"
	// Cancel: a person ends the rollout; with the event's Kill, running applies too.
	Cancel Kind = "cancel"
)

// Kinds lists the events of the table: what Next decides, then what is observed of a host.
func Kinds() []Kind {
	return []Kind{
		startPrecheck, startApply, overdue, absent, passOver, leaveOut,
		PrecheckPassed, PrecheckFailed, PrecheckGone, ApplyDone, ApplyFailed, ApplyRunning, ApplyAbsent,
		ApplyInterrupted, HostLive, HostLost, HostLeft,
	}
}

// transitions is the whole life of a host in a rollout. What is not in it is refused.
var transitions = map[State]map[Kind]State{
	Waiting: {
		startPrecheck: Prechecking,
		absent:        Failed,
		passOver:      Skipped,
		leaveOut:      NotStarted,
		// Somebody applies the patch by hand before the host's turn.
		ApplyDone:        Skipped,
		ApplyInterrupted: Interrupted,
		HostLive:         Waiting,
		HostLost:         Waiting, // what counts is whether it is there when its turn comes
		HostLeft:         Skipped,
	},
	Prechecking: {
		PrecheckPassed:   Ready,
		PrecheckFailed:   Failed,
		PrecheckGone:     Waiting,
		ApplyDone:        Skipped,
		ApplyInterrupted: Interrupted,
		HostLive:         Prechecking,
		HostLost:         Away,
		HostLeft:         Skipped,
	},
	Away: {
		overdue:  Failed,
		leaveOut: NotStarted,
		// The answer came although the host seemed to be lost.
		PrecheckPassed:   Ready,
		PrecheckFailed:   Failed,
		ApplyDone:        Skipped,
		ApplyInterrupted: Interrupted,
		HostLive:         Waiting,
		HostLost:         Away,
		HostLeft:         Skipped,
	},
	Ready: {
		startApply:       Applying,
		absent:           Failed,
		passOver:         Skipped,
		leaveOut:         NotStarted,
		ApplyDone:        Skipped,
		ApplyInterrupted: Interrupted,
		HostLive:         Ready,
		HostLost:         Ready,
		HostLeft:         Skipped,
	},
	Applying: {
		ApplyDone:        Applied,
		ApplyFailed:      Failed,
		ApplyRunning:     Applying,
		ApplyAbsent:      Ready,
		ApplyInterrupted: Interrupted,
		HostLive:         Applying,
		HostLost:         Silent,
		HostLeft:         Skipped,
	},
	Silent: {
		overdue:          Interrupted,
		ApplyDone:        Applied,
		ApplyFailed:      Failed,
		ApplyRunning:     Applying,
		ApplyAbsent:      Ready,
		ApplyInterrupted: Interrupted,
		HostLive:         Silent, // until it has said how far it is
		HostLost:         Silent,
		HostLeft:         Skipped,
	},
	Applied: {
		ApplyDone: Applied,
		HostLive:  Applied,
		HostLost:  Applied,
		HostLeft:  Applied,
	},
	Failed: {
		HostLive: Failed,
		HostLost: Failed,
		HostLeft: Failed,
	},
	Interrupted: {
		ApplyDone:        Applied,
		ApplyInterrupted: Interrupted,
		HostLive:         Interrupted,
		HostLost:         Interrupted,
		HostLeft:         Interrupted,
	},
	Skipped: {
		ApplyDone: Skipped,
		HostLive:  Skipped,
		HostLost:  Skipped,
		HostLeft:  Skipped,
	},
	NotStarted: {
		HostLive: NotStarted,
		HostLost: NotStarted,
		HostLeft: NotStarted,
	},
}

// Next gives the state after an event. Errors: a transition that the table does not have.
func (s State) Next(k Kind) (State, error) {
	next, ok := transitions[s][k]
	if !ok {
		return s, fmt.Errorf("a host that is %q does not take %q", s, k)
	}
	return next, nil
}

// Busy reports whether something that the rollout started may run on the host.
func (s State) Busy() bool { return s == Prechecking || s.applies() }

// applies reports whether the patch may be changing the host.
func (s State) applies() bool { return s == Applying || s == Silent }

// Final reports whether the rollout is done with the host.
func (s State) Final() bool {
	switch s {
	case Applied, Failed, Interrupted, Skipped, NotStarted:
		return true
	}
	return false
}

// precheckShare is how much of a host's part its precheck is, for the progress.
const precheckShare = 0.25

// done says how much of a host's part is behind it, in 0..1. No transition makes it less.
func (s State) done() float64 {
	switch {
	case s.Final():
		return 1
	case s == Ready || s.applies():
		return precheckShare
	}
	return 0
}
