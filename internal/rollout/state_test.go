package rollout

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The whole matrix in one place: a change of the life cycle is seen as a change of this file.
func TestStateMatrix(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "%-18s", "")
	for _, s := range States() {
		fmt.Fprintf(&b, " %-11s", s)
	}
	b.WriteString("\n")
	for _, k := range Kinds() {
		fmt.Fprintf(&b, "%-18s", k)
		for _, s := range States() {
			cell := "-"
			if next, err := s.Next(k); err == nil {
				cell = string(next)
			}
			fmt.Fprintf(&b, " %-11s", cell)
		}
		b.WriteString("\n")
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	got := strings.Join(lines, "\n")
	const golden = "testdata/states.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the life cycle has changed (-golden +now):\n%s", diff)
	}
}

// eachTransition calls fn for every entry of the table.
func eachTransition(fn func(from State, k Kind, to State)) {
	for _, s := range States() {
		for _, k := range Kinds() {
			if next, err := s.Next(k); err == nil {
				fn(s, k, next)
			}
		}
	}
}

func TestTheTableHasOnlyKnownWords(t *testing.T) {
	for s, row := range transitions {
		for k, next := range row {
			if !slices.Contains(States(), s) || !slices.Contains(Kinds(), k) || !slices.Contains(States(), next) {
				t.Errorf("%q by %q to %q: not all of them are listed", s, k, next)
			}
		}
	}
}

func TestUnknownDoesNothing(t *testing.T) {
	for _, k := range Kinds() {
		if next, err := Unknown.Next(k); err == nil {
			t.Errorf("the unknown state goes by %q to %q", k, next)
		}
	}
	var r Rollout
	if cmds := r.Next(noon); cmds != nil {
		t.Errorf("a zero rollout gives %v", cmds)
	}
	if err := r.Observe(Event{Kind: Cancel}); err == nil {
		t.Error("a zero rollout takes an event")
	}
}

// I3: only the start that follows a passed precheck makes an apply run, and what is final stays so.
func TestWhatLeadsToAnApply(t *testing.T) {
	eachTransition(func(from State, k Kind, to State) {
		known := from == Applying || from == Silent && k == ApplyRunning
		if to == Applying && !known && (from != Ready || k != startApply) {
			t.Errorf("%q leads from %q to applying", k, from)
		}
		if to == Ready && from != Ready && k != PrecheckPassed && k != ApplyAbsent {
			t.Errorf("%q leads from %q to ready", k, from)
		}
		if from.Final() && !to.Final() {
			t.Errorf("%q leads from %q back to %q", k, from, to)
		}
		if from == Interrupted && to != Interrupted && k != ApplyDone {
			t.Errorf("%q makes an interrupted host %q", k, to)
		}
		if from.applies() && to == NotStarted {
			t.Errorf("%q leaves out a host that is %q", k, from)
		}
	})
}

func TestNoTransitionLosesProgress(t *testing.T) {
	eachTransition(func(from State, k Kind, to State) {
		if to.done() < from.done() {
			t.Errorf("%q from %q to %q: %v becomes %v", k, from, to, from.done(), to.done())
		}
	})
}

// What Next decides never meets a state that refuses it.
func TestWhatNextDecides(t *testing.T) {
	for _, s := range States() {
		if _, err := s.Next(leaveOut); (err == nil) == (s.Final() || s.Busy()) {
			t.Errorf("leave-out of %q: %v", s, err)
		}
		turn := Turn{State: s}
		if _, err := s.Next(overdue); (err == nil) != turn.absent() {
			t.Errorf("overdue of %q: %v", s, err)
		}
	}
}
