package rollout

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"poolpatch/xenapi"
)

// Err is how the rollout ended: nil, or a *xenapi.Error. As pool_apply always did, it propagates the first
// error: the code and the parameters are those of the host that failed first, in wire order. After them
// comes one parameter for each host that failed, which names the host and its own error. An interrupted host
// comes before hosts that failed: PATCH_APPLY_FAILED, whose parameter says what a person is to do. Without
// either: HANDLE_INVALID of a canary that left the pool, TASK_CANCELLED of a rollout that left hosts out.
func (r *Rollout) Err() error {
	failed := r.failures()
	switch {
	case len(failed) > 0:
		return together(failed)
	case r.canaryLeft() && r.any(NotStarted):
		return xenapi.ErrHandleInvalid("host", r.Canary.String())
	case r.Cancelled && r.any(NotStarted):
		return xenapi.ErrTaskCancelled(r.Task)
	}
	return nil
}

// failures lists the interrupted hosts, then the failed ones, the earliest first.
func (r *Rollout) failures() (failed []Turn) {
	for _, t := range r.Hosts {
		if t.Error != nil {
			failed = append(failed, t)
		}
	}
	slices.SortStableFunc(failed, func(a, b Turn) int {
		switch torn := a.State == Interrupted; {
		case torn == (b.State == Interrupted):
			return a.Since.Compare(b.Since)
		case torn:
			return -1
		}
		return 1
	})
	return failed
}

// FailedHosts lists the hosts of which Err tells, in its order.
func (r *Rollout) FailedHosts() (hosts []xenapi.Ref[xenapi.Host]) {
	for _, t := range r.failures() {
		hosts = append(hosts, t.Host)
	}
	return hosts
}

// together makes one error of those of hosts; nil of none.
func together(failed []Turn) error {
	if len(failed) == 0 {
		return nil
	}
	first := failed[0].Error
	e := xenapi.NewError(first.Code, slices.Clone(first.Params)...)
	for i, t := range failed {
		text := t.Error.String()
		if i == 0 {
			text = first.Code // its parameters stand before
		}
		e.Params = append(e.Params, t.Name+": "+text)
	}
	return e
}

// String says the code and the parameters as [xenapi.Error] does.
func (f *Failure) String() string {
	if f == nil {
		return ""
	}
	return xenapi.NewError(f.Code, f.Params...).Error()
}

// advice is the error of a host of which nobody knows how far the patch came.
func (r *Rollout) advice(name string) *Failure {
	e := Interruption(r.UUID, name)
	return &Failure{Code: e.Code, Params: e.Params}
}

// Interruption is the error of a patch that was interrupted on a host, and what to do.
func Interruption(uuid, host string) *xenapi.Error {
	return xenapi.ErrPatchApplyFailed(fmt.Sprintf(
		"interrupted: nobody knows how far the patch came on host %s; look at the host, then run: poolpatch patch apply %s --host %s",
		host, uuid, word(host)))
}

// word writes a host's name as one word of a command line.
func word(name string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._:", c)
	}
	if name != "" && !strings.ContainsFunc(name, func(c rune) bool { return !plain(c) }) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

// Complete reports whether every host of the pool has the patch, as far as the rollout knows.
func (r *Rollout) Complete() bool {
	for _, t := range r.Hosts {
		if t.State != Applied && (t.State != Skipped || t.Reason == Offline) {
			return false
		}
	}
	return r.Phase == PhaseDone && len(r.Joined) == 0
}

// Progress is how much of the rollout is behind it, in 0..1; it never becomes less. A host that has the
// patch already counts as done.
func (r *Rollout) Progress() float64 {
	if r.Phase == "" || len(r.Hosts) == 0 {
		return 0
	}
	done := 0.0
	for _, t := range r.Hosts {
		done += t.State.done()
	}
	return done / float64(len(r.Hosts))
}

// Row is a host as a person sees it.
type Row struct {
	Host  string // its name
	Role  string // "canary", "coordinator" or ""
	Step  Step
	State State
	Since time.Time
	Error string // in one line: the error, or why the host is skipped
}

// Rows lists the hosts in the order of their turns.
func (r *Rollout) Rows() []Row {
	rows := make([]Row, 0, len(r.Hosts))
	for _, t := range r.Hosts {
		rows = append(rows, Row{Host: t.Name, Role: r.role(t), Step: t.Step, State: t.State, Since: t.Since, Error: t.note()})
	}
	return rows
}

func (r *Rollout) role(t Turn) string {
	return []string{"canary", "coordinator", ""}[r.rank(t)]
}

// note is why a host failed or is skipped, in one line.
func (t Turn) note() string {
	if t.Error != nil {
		return line(t.Error.String())
	}
	return string(t.Reason)
}

// lineLimit bounds what is printed of an error, in characters.
const lineLimit = 300

// line makes one line of a text that a patch may have printed.
func line(s string) string {
	quoted := strconv.QuoteToGraphic(strings.Join(strings.Fields(s), " "))
	text := []rune(strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`))
	if len(text) > lineLimit {
		return string(text[:lineLimit]) + "…"
	}
	return string(text)
}

// Summary tells a person how the rollout went: one line of counts, then a line for each host that has not
// been applied and for each that joined meanwhile.
func (r *Rollout) Summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "patch %s: %s\n", r.UUID, r.counts())
	for _, t := range r.Hosts {
		if t.State == Applied || t.Reason == AlreadyApplied {
			continue
		}
		fmt.Fprintf(&b, "  %s: %s", line(t.Name), t.State)
		if note := t.note(); note != "" {
			fmt.Fprintf(&b, ": %s", note)
		}
		b.WriteString("\n")
	}
	for _, j := range r.Joined {
		fmt.Fprintf(&b, "  %s: joined the pool meanwhile and was left alone\n", line(j.Name))
	}
	return b.String()
}

// counts says how many hosts are in each state that occurs.
func (r *Rollout) counts() string {
	var words []string
	for _, s := range States() {
		if n := r.count(func(t State) bool { return t == s }); n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, s))
		}
	}
	return fmt.Sprintf("%s of %d hosts", strings.Join(words, ", "), len(r.Hosts))
}
