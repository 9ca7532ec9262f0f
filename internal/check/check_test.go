package check_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/check"
)

// looks is a service whose audits find, one after another, what is told; the last goes on for ever.
type looks struct {
	found [][]check.Fault
	errs  []error
	made  int
	deep  []bool
}

func (l *looks) Audit(_ context.Context, deep bool) ([]check.Fault, error) {
	i := min(l.made, len(l.found)-1)
	l.made++
	l.deep = append(l.deep, deep)
	if i < len(l.errs) {
		return l.found[i], l.errs[i]
	}
	return l.found[i], nil
}

// steady finds the same faults whenever it looks.
func steady(faults ...check.Fault) *looks { return &looks{found: [][]check.Fault{faults}} }

func fault(object string, fix func(context.Context) error) check.Fault {
	return check.Fault{Invariant: "I4", Object: object, Problem: "leaked", Repair: "remove it", Done: "it was removed", Fix: fix}
}

func finding(object string) check.Finding {
	return check.Finding{Invariant: "I4", Object: object, Problem: "leaked", Repair: "remove it"}
}

// Work in progress looks like a fault for a moment: only what a second look finds again counts.
func TestAFaultIsConfirmed(t *testing.T) {
	t.Parallel()
	a, b := fault("a", nil), fault("b", nil)
	otherwise := a
	otherwise.Problem = "too large"
	for _, c := range []struct {
		what          string
		first, second []check.Fault
		want          []check.Finding
		looks         int
	}{
		{"nothing", nil, nil, []check.Finding{}, 1},
		{"gone at the second look", []check.Fault{a}, nil, []check.Finding{}, 2},
		{"there at both", []check.Fault{a}, []check.Fault{a}, []check.Finding{finding("a")}, 2},
		{"one of two stays", []check.Fault{a, b}, []check.Fault{b}, []check.Finding{finding("b")}, 2},
		{"a new one at the second", []check.Fault{a}, []check.Fault{a, b}, []check.Finding{finding("a")}, 2},
		{"another problem of the same object", []check.Fault{a}, []check.Fault{otherwise}, []check.Finding{}, 2},
	} {
		l := &looks{found: [][]check.Fault{c.first, c.second}}
		got, err := check.Run(t.Context(), false, false, l)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
		if l.made != c.looks {
			t.Errorf("%s: looked %d times, want %d", c.what, l.made, c.looks)
		}
	}
}

func TestRepair(t *testing.T) {
	t.Parallel()
	fixed := 0
	ok := func(context.Context) error { fixed++; return nil }
	fails := func(context.Context) error { return errors.New("the device is busy") }
	for _, c := range []struct {
		what   string
		repair bool
		fix    func(context.Context) error
		fixes  int
		want   check.Finding
	}{
		{"not asked for", false, ok, 0, finding("vdi")},
		{"possible", true, ok, 1, check.Finding{Invariant: "I4", Object: "vdi", Problem: "leaked", Repair: "it was removed", Repaired: true}},
		{"for a person alone", true, nil, 0, finding("vdi")},
		{"that fails", true, fails, 0, check.Finding{Invariant: "I4", Object: "vdi", Problem: "leaked; the repair failed: the device is busy", Repair: "remove it"}},
	} {
		fixed = 0
		// Another fault follows: a repair that fails keeps no other from being made.
		got, err := check.Run(t.Context(), false, c.repair, steady(fault("vdi", c.fix)), steady(fault("mount", ok)))
		if err != nil || len(got) != 2 {
			t.Fatalf("%s: %v %v", c.what, got, err)
		}
		if diff := cmp.Diff(c.want, got[0]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
		if got[1].Repaired != c.repair {
			t.Errorf("%s: the other fault: repaired %v", c.what, got[1].Repaired)
		}
		if want := c.fixes + map[bool]int{true: 1}[c.repair]; fixed != want {
			t.Errorf("%s: %d repairs were made, want %d", c.what, fixed, want)
		}
	}
}

func TestAnAuditThatFailsEndsTheCheck(t *testing.T) {
	t.Parallel()
	broken := errors.New("the SR does not answer")
	never := func(context.Context) error { t.Error("repaired after a failed audit"); return nil }
	for what, l := range map[string]*looks{
		"first look":  {found: [][]check.Fault{nil}, errs: []error{broken}},
		"second look": {found: [][]check.Fault{{fault("a", never)}, {fault("a", never)}}, errs: []error{nil, broken}},
	} {
		if got, err := check.Run(t.Context(), false, true, l, steady(fault("b", never))); !errors.Is(err, broken) || got != nil {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
}

func TestADeepCheckIsPassedOn(t *testing.T) {
	t.Parallel()
	for _, deep := range []bool{true, false} {
		first, second := steady(fault("a", nil)), steady()
		if _, err := check.Run(t.Context(), deep, false, first, second); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]bool{deep, deep, deep}, append(first.deep, second.deep...)); diff != "" {
			t.Errorf("deep (-want +got):\n%s", diff)
		}
	}
}

// Programs read the findings: no finding is an empty array, never null.
func TestFindingsAsJSON(t *testing.T) {
	t.Parallel()
	for want, a := range map[string]check.Auditor{
		`[]`: steady(),
		`[{"invariant":"I4","object":"vdi","problem":"leaked","repair":"remove it","repaired":false,"advice":""}]`: steady(fault("vdi", nil)),
		`[{"invariant":"I4","object":"loop","problem":"held","repair":"","repaired":false,"advice":"losetup -d loop"}]`: steady(
			check.Fault{Invariant: "I4", Object: "loop", Problem: "held", Advice: "losetup -d loop"}),
	} {
		findings, err := check.Run(t.Context(), false, false, a)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal(findings); string(got) != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
