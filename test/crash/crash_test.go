package crash

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestAtEveryPoint kills the daemon at each named point of upload and apply (I2, I3, I4, I5).
func TestAtEveryPoint(t *testing.T) {
	t.Parallel()
	for _, point := range points(t) {
		if strings.HasPrefix(point, "clean-") {
			continue // see TestAtPointsOfAnUpdate
		}
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := begin(t, harness.Options{Build: crashing, CrashAt: point}, harness.Program{})
			switch {
			case s.upload():
				s.recovered()
				s.uploadedAgain()
			case s.call("pool_patch.apply"):
				s.recovered()
				if got, want := s.state(), s.due(point); got != want {
					t.Errorf("the host says %s of the patch, it has to say %s", got, want)
				}
				s.told()
				s.appliedAgain()
			default:
				t.Fatal("neither an upload nor an apply comes to this point")
			}
		})
	}
}

// told checks that whoever waited for the apply hears what happened to it.
func (s *story) told() {
	s.t.Helper()
	err := harness.Failure(harness.Record(s.d, s.task))
	says := func(code, text string) bool {
		e, ok := errors.AsType[*xenapi.Error](err)
		return ok && e.Code == code && strings.Contains(strings.Join(e.Params, " "), text)
	}
	var ok bool
	switch s.state() {
	case none:
		ok = says(xenapi.CodeTaskCancelled, "")
	case interrupted:
		ok = says(xenapi.CodePatchApplyFailed, "interrupted: ")
	case applied:
		ok = err == nil || says(xenapi.CodePatchApplyFailed, "the patch is applied")
	}
	if !ok {
		s.t.Errorf("the patch is %s, and the task of its apply says %v", s.state(), err)
	}
}

// TestAtPointsOfPrecheck kills the daemon where a precheck shares points with an apply: nothing was
// changed, so nothing is remembered.
func TestAtPointsOfPrecheck(t *testing.T) {
	t.Parallel()
	for _, point := range points(t) {
		if !strings.HasPrefix(point, "content-") {
			continue
		}
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := begin(t, harness.Options{Build: crashing, CrashAt: point}, harness.Program{})
			if s.upload() || !s.call("pool_patch.precheck") {
				t.Fatal("a precheck does not come to this point")
			}
			s.recovered()
			if s.state() != none {
				t.Errorf("the host says %s of a patch that was never applied", s.state())
			}
			s.appliedAgain()
		})
	}
}

// TestWhileProgramRuns kills the daemon while a program of the patch waits, with a child in the
// background: both are gone when the daemon is back (I3, I4).
func TestWhileProgramRuns(t *testing.T) {
	t.Parallel()
	const body = "sleep 3600 &\n" // its output goes where the program's goes
	wait := body + harness.GateWait("gate")
	for _, c := range []struct {
		name, method string
		program      harness.Program
		want         state
		runs         int
	}{
		{"precheck", "pool_patch.precheck", harness.Program{Precheck: wait}, none, 0},
		{"precheck of an apply", "pool_patch.apply", harness.Program{Precheck: wait}, none, 0},
		{"apply", "pool_patch.apply", harness.Program{Apply: wait}, interrupted, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := begin(t, harness.Options{}, c.program)
			gate := harness.NewGate(t, s.d, "gate")
			s.upload()
			s.task = s.d.Async(c.method, s.ref, s.d.Host())
			gate.Arrived()
			s.d.Kill()
			s.recovered()
			if got := s.state(); got != c.want {
				t.Errorf("the host says %s of the patch, it has to say %s", got, c.want)
			}
			if n := s.runs(); n != c.runs {
				t.Errorf("the patch ran %d times, not %d", n, c.runs)
			}
			s.openForGood("gate")
			s.appliedAgain()
		})
	}
	t.Run("info", func(t *testing.T) {
		t.Parallel()
		p := harness.Program{UUID: xenapi.NewUUID()}
		p.Info = "sleep 3600 > /dev/null 2>&1 &\n" + harness.GateWait("gate") + "\necho '" + p.XML() + "'"
		s := begin(t, harness.Options{}, p)
		gate := harness.NewGate(t, s.d, "gate")
		s.task = s.d.NewTask("upload")
		go s.d.Put(s.task, strings.NewReader(string(s.patch)), int64(len(s.patch)))
		gate.Arrived()
		s.d.Kill()
		s.recovered()
		s.openForGood("gate")
		s.uploadedAgain()
	})
}

// openForGood puts a file in place of a gate, so that no program waits there.
func (s *story) openForGood(gate string) {
	s.t.Helper()
	if err := os.Remove(s.d.Path(gate)); err != nil {
		s.t.Fatal(err)
	}
	s.d.Write(gate, "go\n", 0o600)
}

const (
	// rounds and seed of the random kills. A failure names the round.
	rounds = 10
	seed   = 20150212
)

// TestAtAnyTime kills the daemon at random times of a patch's whole life, again and again on the same
// host, and checks each time that all is well when it is back.
func TestAtAnyTime(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(seed, 0))
	s := begin(t, harness.Options{}, harness.Program{})
	start := time.Now()
	s.life()
	whole := time.Since(start)
	for round := range rounds {
		runs := s.runs()
		at := time.Duration(random.Int64N(int64(whole)))
		d, done := s.d, make(chan struct{})
		kill := time.AfterFunc(at, func() { d.Kill(); close(done) })
		s.try()
		if kill.Stop() {
			close(done)
			d.Kill()
		}
		<-done
		if now := s.runs(); now > runs+1 {
			t.Fatalf("round %d: one apply ran the patch %d times", round, now-runs)
		}
		s.d.Again(plain)
		s.d.Clean()
		s.settle()
		s.d.Clean()
		if t.Failed() {
			t.Fatalf("round %d of seed %d: killed after %v", round, seed, at)
		}
	}
}

// life is a patch's whole life: it comes, is applied and goes.
func (s *story) life() {
	s.t.Helper()
	s.upload()
	s.d.Apply(s.ref)
	s.d.Do("VDI.destroy", harness.Record(s.d, s.ref).VDI)
	s.forget()
}

// try does the same until the daemon is dead.
func (s *story) try() {
	s.task, _ = harness.Try[xenapi.Ref[xenapi.Task]](s.d, "task.create", "upload", "")
	s.d.Put(s.task, bytes.NewReader(s.patch), int64(len(s.patch)))
	for ref, rec := range s.tryRecords() {
		host, _ := harness.Try[map[xenapi.Ref[xenapi.Host]]xenapi.Host](s.d, "host.get_all_records")
		for h := range host {
			_, _ = harness.Try[string](s.d, "pool_patch.apply", ref, h)
		}
		_, _ = harness.Try[any](s.d, "VDI.destroy", rec.VDI)
	}
}

func (s *story) tryRecords() map[xenapi.Ref[xenapi.PoolPatch]]xenapi.PoolPatch {
	all, _ := harness.Try[map[xenapi.Ref[xenapi.PoolPatch]]xenapi.PoolPatch](s.d, "pool_patch.get_all_records")
	return all
}

// settle brings the host back to where a life begins, by what an administrator has.
func (s *story) settle() {
	s.t.Helper()
	s.upload()
	if s.state() != applied {
		s.d.Apply(s.ref)
	}
	s.d.Do("VDI.destroy", harness.Record(s.d, s.ref).VDI)
	s.forget()
}

// forget removes the row of the host, and with it, as nothing is left of the patch, its record.
func (s *story) forget() {
	s.t.Helper()
	if err := os.Remove(s.d.Path("var/patch/applied/" + s.p.UUID)); err != nil {
		s.t.Fatal(err)
	}
	for row := range harness.Records[xenapi.HostPatch](s.d) {
		s.d.Do("host_patch.destroy", row)
	}
	harness.Eventually(s.t, "the record of a patch that is nowhere is collected", func() bool {
		return len(harness.Records[xenapi.PoolPatch](s.d)) == 0
	})
}
