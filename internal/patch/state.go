package patch

import "fmt"

// State says how far a patch has come on one host. It is kept in the host_patch row; [None] is the
// absence of that row. The zero value is None: nothing has happened.
type State string

const (
	// None: there is no row and no stamp; nothing of the patch is on the host, nothing runs.
	None State = ""

	// Claimed: a row with applied=false names the task that applies the patch. That task may own a
	// private copy, an attachment and a mount; its precheck may run; apply has not been started. After a
	// crash the copy goes and so does the row.
	Claimed State = "claimed"

	// Reclaimed: as Claimed, but an earlier attempt was interrupted, so the host may be half patched:
	// when this attempt ends before it runs, the row goes back to Interrupted.
	Reclaimed State = "reclaimed"

	// Running: the row was written before apply was started. The program may have changed the host. There
	// is no stamp until it has ended well.
	Running State = "running"

	// Interrupted: the daemon died while the program ran, and nobody knows how far it came. Nothing runs.
	// Only a person who calls apply again leaves this state, and the patch's precheck then has the word.
	Interrupted State = "interrupted"

	// Applied: the stamp is in /var/patch/applied and the row has applied=true.
	Applied State = "applied"
)

// States lists every state.
func States() []State { return []State{None, Claimed, Reclaimed, Running, Interrupted, Applied} }

// Event is something that changes the state of a patch on a host.
type Event string

const (
	// Claim: a person asks to apply.
	Claim Event = "claim"
	// Start: the precheck passed and apply is about to be started.
	Start Event = "start"
	// Succeed: apply exited with 0 and the stamp is on stable storage.
	Succeed Event = "succeed"
	// Fail: the attempt has ended with an error that its caller is told.
	Fail Event = "fail"
	// Crash: the daemon starts and finds a row whose task is dead, and no stamp.
	Crash Event = "crash"
	// StampFound: the daemon finds a stamp.
	StampFound Event = "stamp-found"
	// StampMissing: the daemon starts and finds no stamp, and no task ever died here.
	StampMissing Event = "stamp-missing"
	// Forget: host_patch.destroy removes the row.
	Forget Event = "forget"
)

// Events lists every event.
func Events() []Event {
	return []Event{Claim, Start, Succeed, Fail, Crash, StampFound, StampMissing, Forget}
}

// transitions is the whole life cycle. What is not in it is refused.
var transitions = map[State]map[Event]State{
	None: {
		Claim:      Claimed,
		StampFound: Applied, // applied by hand, by another patch, or before the database knew
	},
	Claimed: {
		Start: Running,
		Fail:  None,
		Crash: None,
		// The stamp of a patch that another one brought with it.
		StampFound: Applied,
	},
	Reclaimed: {
		Start:      Running,
		Fail:       Interrupted,
		Crash:      Interrupted,
		StampFound: Applied,
	},
	Running: {
		Succeed: Applied,
		Fail:    None,
		Crash:   Interrupted,
		// The crash came between the stamp and the row: the patch is applied.
		StampFound: Applied,
	},
	Interrupted: {
		Claim:        Reclaimed,
		Crash:        Interrupted,
		StampFound:   Applied,
		StampMissing: Interrupted,
		Forget:       None,
	},
	Applied: {
		StampFound:   Applied,
		StampMissing: None,
		Forget:       None,
	},
}

// Next gives the state after an event. Errors: a transition that the table does not have.
func (s State) Next(e Event) (State, error) {
	next, ok := transitions[s][e]
	if !ok {
		return s, fmt.Errorf("a patch that is %q does not %q", s, e)
	}
	return next, nil
}

// Busy reports whether a task works in this state.
func (s State) Busy() bool { return s == Claimed || s == Reclaimed || s == Running }
