package crash

import (
	"bytes"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// What dies is built without the race detector, which test/e2e runs all of this with: it would double the time.
var (
	plain    = harness.Build{Raceless: true}
	crashing = harness.Build{Raceless: true, Crash: true}
)

// story is a patch on its way to a host whose daemon dies.
type story struct {
	t     *testing.T
	d     *harness.Daemon
	p     harness.Program
	patch []byte
	ref   xenapi.Ref[xenapi.PoolPatch] // once it was uploaded
	task  xenapi.Ref[xenapi.Task]      // of the call during which the daemon died
}

func begin(t *testing.T, o harness.Options, p harness.Program) *story {
	t.Helper()
	o.Trusted = []*harness.Key{harness.TheKey(t)}
	s := &story{t: t, p: p, d: harness.Start(t, o)}
	s.patch = s.p.Signed(t)
	return s
}

// upload uploads the patch and reports whether the daemon died of it.
func (s *story) upload() (died bool) {
	s.t.Helper()
	s.task = s.d.NewTask("upload")
	s.d.Put(s.task, bytes.NewReader(s.patch), int64(len(s.patch)))
	if died = s.d.Died(s.task); !died {
		rec := harness.Record(s.d, s.task)
		if err := harness.Failure(rec); err != nil {
			s.t.Fatalf("upload: %v", err)
		}
		s.ref = xenapi.Ref[xenapi.PoolPatch](rec.Result)
	}
	return died
}

// call makes a call on the patch and reports whether the daemon died of it.
func (s *story) call(method string) (died bool) {
	s.t.Helper()
	s.task = s.d.Async(method, s.ref, s.d.Host())
	if died = s.d.Died(s.task); !died {
		if err := harness.Failure(harness.Record(s.d, s.task)); err != nil {
			s.t.Fatalf("%s: %v", method, err)
		}
	}
	return died
}

// runs is how often the patch was applied.
func (s *story) runs() int { return strings.Count(s.d.Read(harness.Ran), "\n") }

func (s *story) stamped() bool { return s.d.Exists("var/patch/applied/" + s.p.UUID) }

// recovered holds the daemon that has been started again against its promises: nothing is left of what
// was under way but the VDIs that were there, its task has ended, and the host's row says what has happened.
func (s *story) recovered(expected ...xenapi.Ref[xenapi.VDI]) {
	s.t.Helper()
	runs := s.runs()
	s.d.Again(plain)
	s.d.Clean(expected...)
	if rec := harness.Record(s.d, s.task); rec.Status == xenapi.TaskStatusPending {
		s.t.Errorf("the task %s of the dead daemon is pending", rec.NameLabel)
	}
	if now := s.runs(); now != runs {
		s.t.Fatalf("the patch had run %d times and has now run %d times: it ran by itself", runs, now)
	}
}

// uploadedAgain checks that the patch can be uploaded, whatever an upload left, and is there once.
func (s *story) uploadedAgain() {
	s.t.Helper()
	uploads := harness.Records[xenapi.PoolPatch](s.d)
	s.ref = s.d.Upload(s.patch)
	if _, same := uploads[s.ref]; len(uploads) > 0 && !same {
		s.t.Error("the same patch has become another record")
	}
	harness.Only[xenapi.PoolPatch](s.d)
	s.d.Apply(s.ref)
	if n := s.runs(); n != 1 {
		s.t.Errorf("the patch was applied once and ran %d times", n)
	}
	s.d.Clean()
}

// state is what a host says of a patch.
type state string

const (
	none        state = "none"        // no row
	interrupted state = "interrupted" // a row that is not applied, and nothing works on it
	applied     state = "applied"     // a row that is, and a stamp
)

func (s *story) state() state {
	s.t.Helper()
	row, ok := harness.HostPatch(s.d, s.ref)
	switch {
	case !ok:
		return none
	case row.Applied:
		return applied
	}
	return interrupted
}

// due is the state that the traces on the host ask for: a stamp says that the patch is applied; a program
// that was started and left no stamp was interrupted.
func (s *story) due(point string) state {
	switch {
	case s.stamped():
		return applied
	case s.runs() > 0, point == "apply-running": // the row said running before the program could leave a trace
		return interrupted
	}
	return none
}

// appliedAgain checks that a person who asks once more gets the patch applied, once.
func (s *story) appliedAgain() {
	s.t.Helper()
	before := s.runs()
	if s.state() == applied {
		s.d.Refused(xenapi.CodePatchAlreadyApplied, "pool_patch.apply", s.ref, s.d.Host())
		if s.runs() != before {
			s.t.Error("a patch that is applied ran again")
		}
		return
	}
	s.d.Apply(s.ref)
	if n := s.runs(); n != before+1 {
		s.t.Errorf("the patch had run %d times, was applied once and has run %d times", before, n)
	}
	if s.state() != applied || !s.stamped() {
		s.t.Errorf("the patch is %s (stamp: %v) after it was applied", s.state(), s.stamped())
	}
	s.d.Clean()
}
