// Package check compares what the daemon promises with what is there: poolpatch check. It knows no class
// and no SR; each service audits its own part and says how a fault is repaired.
//
// Its invariant: a check changes nothing unless it is asked to repair, and it never reports work in
// progress: a fault counts only if a second look, a moment later, finds it again. Start with [Run].
package check

import "context"

// Fault is something that should not be. One without an invariant breaks no promise, and is only to be known.
type Fault struct {
	Invariant string // I1 to I6, as ARCHITECTURE.md numbers them; "" for none
	Object    string // what is wrong, in an administrator's words
	Problem   string
	Repair    string // what Fix would do
	Done      string // what Fix has done
	Fix       func(context.Context) error
	Advice    string // where there is no Fix: what a person can do, with the command for it
}

// Finding is a fault as it is reported.
type Finding struct {
	Invariant string `json:"invariant"`
	Object    string `json:"object"`
	Problem   string `json:"problem"`
	Repair    string `json:"repair"` // what a repair would do; what it has done if Repaired
	Repaired  bool   `json:"repaired"`
	Advice    string `json:"advice"` // what a person can do, where no repair can
}

// Auditor audits one service. A deep audit reads the content of every patch.
type Auditor interface {
	Audit(ctx context.Context, deep bool) ([]Fault, error)
}

// Run audits everything, and repairs what can be repaired if it is asked to.
func Run(ctx context.Context, deep, repair bool, auditors ...Auditor) ([]Finding, error) {
	findings := []Finding{}
	for _, a := range auditors {
		faults, err := confirmed(ctx, a, deep)
		if err != nil {
			return nil, err
		}
		for _, f := range faults {
			findings = append(findings, report(ctx, f, repair))
		}
	}
	return findings, nil
}

// report repairs a fault if that is asked for, and says what became of it.
func report(ctx context.Context, f Fault, repair bool) Finding {
	finding := Finding{Invariant: f.Invariant, Object: f.Object, Problem: f.Problem, Repair: f.Repair, Advice: f.Advice}
	if !repair || f.Fix == nil {
		return finding
	}
	if err := f.Fix(ctx); err != nil {
		finding.Problem += "; the repair failed: " + err.Error()
		return finding
	}
	finding.Repair, finding.Repaired = f.Done, true
	return finding
}

// confirmed gives the faults that two audits in a row find.
func confirmed(ctx context.Context, a Auditor, deep bool) ([]Fault, error) {
	first, err := a.Audit(ctx, deep)
	if err != nil || len(first) == 0 {
		return nil, err
	}
	seen := map[[2]string]bool{}
	for _, f := range first {
		seen[[2]string{f.Object, f.Problem}] = true
	}
	second, err := a.Audit(ctx, deep)
	var both []Fault
	for _, f := range second {
		if seen[[2]string{f.Object, f.Problem}] {
			both = append(both, f)
		}
	}
	return both, err
}
