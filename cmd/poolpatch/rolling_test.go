package main

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/rollout"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

func rolled(phase rollout.Phase, states ...rollout.State) rollout.Rollout {
	r := rollout.Rollout{Phase: phase, Began: time.Unix(1000, 0), Ended: time.Unix(1060, 0)}
	for _, s := range states {
		r.Hosts = append(r.Hosts, rollout.Turn{Name: "host", State: s, Since: time.Unix(1000, 0), Error: &rollout.Failure{Code: strings.Repeat("LONG_", 40)}})
	}
	return r
}

func TestHeadingOfARollout(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]rollout.Rollout{
		"ended: 1 interrupted":                       rolled(rollout.PhaseDone, rollout.Interrupted),
		"ended: 2 applied, 1 failed, 1 not-started":  rolled(rollout.PhaseDone, rollout.NotStarted, rollout.Applied, rollout.Failed, rollout.Applied),
		"applying: 1 of 2 hosts":                     rolled(rollout.PhaseApply, rollout.Applied, rollout.Ready),
		`waiting for "patch continue": 1 of 1 hosts`: rolled(rollout.PhasePaused, rollout.Applied),
	} {
		if got := heading(r); got != want {
			t.Errorf("heading %q, want %q", got, want)
		}
	}
}

func TestHostsThatWereLeftOutAreNamed(t *testing.T) {
	t.Parallel()
	r := rolled(rollout.PhaseDone, rollout.Applied, rollout.Skipped, rollout.Skipped)
	r.Hosts[1].Reason, r.Hosts[2].Reason, r.Hosts[2].Name = rollout.AlreadyApplied, rollout.Offline, "host3"
	if got := leftOut(r); got != " but those that are offline: host3" {
		t.Error(got)
	}
}

// A table that is drawn again takes as many rows as it has lines: else the old ones stay on the screen.
func TestALiveTableKeepsToItsRows(t *testing.T) {
	t.Parallel()
	text := onTerminal(t, 60, func(tty *os.File) {
		v := (&cli{stdout: tty}).newView()
		v.show(rolled(rollout.PhaseApply, rollout.Failed, rollout.Applying), nil)
		v.show(rolled(rollout.PhaseApply, rollout.Failed, rollout.Applied), nil)
		v.show(rolled(rollout.PhaseDone, rollout.Failed, rollout.Applied), nil)
	})
	draws := strings.Split(text, "\x1b[4A\x1b[J")
	if len(draws) != 3 {
		t.Fatalf("drawn %d times: %q", len(draws), text)
	}
	for _, draw := range draws[:2] {
		for line := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(draw, keepWidth), takeWidth), "\r\n") {
			if n := len([]rune(line)); n > 60 {
				t.Errorf("a line of %d columns: %q", n, line)
			}
		}
	}
	if !strings.Contains(draws[0], "…") || !strings.Contains(draws[2], "LONG_LONG_LONG_LONG_LONG_LONG_LONG_LONG_") || strings.Contains(draws[2], keepWidth) {
		t.Errorf("the last table is not whole: %q", draws[2])
	}
}

// Where there is no terminal the table stands once, and each change is a line.
func TestAPlainTableStandsOnce(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	v := (&cli{stdout: &out}).newView()
	v.indent = "  "
	for _, state := range []rollout.State{rollout.Applying, rollout.Applying, rollout.Applied} {
		r := rolled(rollout.PhaseApply, state)
		r.Hosts[0].Error = nil
		v.show(r, nil)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[1], "  HOST") || lines[3] != "  host: applied" {
		t.Errorf("%q", lines)
	}
}

func TestRollFlags(t *testing.T) {
	t.Parallel()
	given := func(string) bool { return true }
	for want, f := range map[string]rollFlags{
		"": {parallel: 2, failures: 1, pause: "canary", canary: "host3"}, "--max-parallel 0": {failures: 1}, "--max-failures 0": {parallel: 1},
		"--pause-after foo": {parallel: 1, failures: 1, pause: "foo"}, "needs --canary": {parallel: 1, failures: 1, pause: "canary"},
	} {
		if err := f.check(given); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", f, err, want)
		}
	}
	if err := (rollFlags{}).check(func(string) bool { return false }); err != nil {
		t.Error(err)
	}
}

// What a daemon was doing when it went away goes on, or is undone: the error says which, and where to look.
func TestADaemonThatGoesAway(t *testing.T) {
	t.Parallel()
	gone := &client.ConnectionError{Message: "task.get_record", Err: io.EOF}
	for what, err := range map[string]error{
		"poolpatch patch show 3f1c":          programError(gone, "3f1c"),
		"poolpatch patch status 3f1c":        rollError(context.Background(), gone, "3f1c"),
		"undone when the daemon starts":      gone,
		"nothing is left of it: start again": &client.BrokenTransfer{Err: io.EOF},
	} {
		c := &cli{}
		if hint := c.hint(c.command(), err, exitCode(context.Background(), err)); !strings.Contains(hint, what) {
			t.Errorf("%v: hint %q, want %q", err, hint, what)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := rollError(ended, context.Canceled, "3f1c"); failed(err) || !strings.Contains(interruption(err), "no other was begun") {
		t.Errorf("a rollout that was ended says %q", interruption(err))
	}
	still := &client.StillRunning{UUID: "839c22c9-0000", Cause: xenapi.ErrOperationNotAllowed("shielded")}
	if err := programError(still, "3f1c"); failed(err) || interruption(err) != "the patch's program goes on: poolpatch task wait 839c22c9" {
		t.Errorf("an apply that goes on says %q", interruption(err))
	}
}
