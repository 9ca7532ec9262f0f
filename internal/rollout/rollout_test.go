package rollout

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/xenapi"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const limit = time.Minute

func ref(name string) xenapi.Ref[xenapi.Host] { return xenapi.Ref[xenapi.Host]("OpaqueRef:" + name) }

func options(edit func(*Options)) Options {
	o := Options{Patch: "OpaqueRef:patch", UUID: "1d6a", Task: "OpaqueRef:task", AwayLimit: limit}
	if edit != nil {
		edit(&o)
	}
	return o
}

// pool makes live hosts; the first is the coordinator. A mark says more: "-" offline, "+" applied, "!"
// interrupted.
func pool(names ...string) []Host {
	var hosts []Host
	for i, n := range names {
		name := strings.TrimRight(n, "-+!")
		hosts = append(hosts, Host{Ref: ref(name), Name: name, Coordinator: i == 0,
			Live: !strings.Contains(n, "-"), Applied: strings.Contains(n, "+"), Interrupted: strings.Contains(n, "!")})
	}
	return hosts
}

// stored is the record as the next coordinator reads it.
func stored(t interface{ Fatal(...any) }, r Rollout) Rollout {
	data, err := r.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// play runs a script, one line each:
//
//	next: COMMAND HOST, …     what Next gives, in order
//	KIND HOST… [CODE PARAM]   an event of each host
//	refused: KIND HOST        an event that is an error and changes nothing
//	state: HOST=STATE …
//	phase: PHASE
//	step: HOST STEP
//	after DURATION            the clock moves
//	err: TEXT | none          the error of the rollout
//
// After each line the record is written and read.
func play(t *testing.T, r Rollout, script string) Rollout {
	t.Helper()
	now := noon
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		switch word {
		case "":
		case "next:":
			once := stored(t, r)
			if again := format(once.Next(now)); again != rest {
				t.Errorf("at %q Next gives %q", line, again)
			}
			r.Next(now)
			if diff := cmp.Diff(once, stored(t, r)); diff != "" {
				t.Errorf("at %q the same record gives another one: %s", line, diff)
			}
		case "refused:":
			before := stored(t, r)
			if err := observe(&r, now, rest); err == nil {
				t.Errorf("%q was taken", line)
			}
			if diff := cmp.Diff(before, stored(t, r)); diff != "" {
				t.Errorf("%q changed the record: %s", line, diff)
			}
		case "state:":
			checkStates(t, r, line, rest)
		case "step:":
			name, step, _ := strings.Cut(rest, " ")
			if got := r.turn(ref(name)).Step; string(got) != step {
				t.Errorf("at %q the step is %q", line, got)
			}
		case "phase:":
			if string(r.Phase) != rest {
				t.Errorf("at %q the phase is %q", line, r.Phase)
			}
		case "after":
			d, err := time.ParseDuration(rest)
			if err != nil {
				t.Fatal(err)
			}
			now = now.Add(d)
		case "err:":
			if got := errText(r.Err()); got != rest {
				t.Errorf("the error is\n%s\nwant\n%s", got, rest)
			}
		default:
			if err := observe(&r, now, line); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
		r = stored(t, r)
	}
	return r
}

func checkStates(t *testing.T, r Rollout, line, want string) {
	t.Helper()
	for pair := range strings.FieldsSeq(want) {
		name, state, _ := strings.Cut(pair, "=")
		if got := r.turn(ref(name)); got == nil || string(got.State) != state {
			t.Errorf("at %q %s is %+v", line, name, got)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return "none"
	}
	return err.Error()
}

func observe(r *Rollout, now time.Time, line string) error {
	words := strings.Fields(line)
	e := Event{Kind: Kind(words[0]), At: now}
	hosts := words[1:]
	switch e.Kind {
	case Cancel:
		e.Kill, hosts = len(hosts) > 0 && hosts[0] == "kill", nil
	case PrecheckFailed, ApplyFailed:
		e.Err, hosts = xenapi.NewError(hosts[1], hosts[2:]...), hosts[:1]
	}
	if len(hosts) == 0 {
		return r.Observe(e)
	}
	var errs []error
	for _, name := range hosts {
		e.Host, e.Name = ref(name), name
		errs = append(errs, r.Observe(e))
	}
	return errors.Join(errs...)
}

func format(cmds []Command) string {
	var out []string
	for _, c := range cmds {
		out = append(out, strings.TrimSpace(string(c.Action)+" "+strings.TrimPrefix(string(c.Host), "OpaqueRef:")))
	}
	return strings.Join(out, ", ")
}

// prechecked brings three hosts to the point where the applying begins.
const prechecked = `
	next: start-precheck a, start-precheck b, start-precheck c
	precheck-passed a b c
`

func TestRules(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		edit   func(*Options)
		hosts  []Host
		script string
	}{
		{"prechecks, then the coordinator, then the others", nil, pool("a", "b", "c"), `
			next: start-precheck a, start-precheck b, start-precheck c
			next:
			precheck-passed a c
			next:
			phase: precheck
			precheck-passed b
			next: start-apply a
			next:
			phase: apply
			apply-done a
			next: start-apply b, start-apply c
			apply-done c
			next:
			apply-done b
			next: finish
			next: finish
			phase: done
			state: a=applied b=applied c=applied
			err: none
			refused: apply-done a
			refused: cancel
			refused: host-joined d`},
		{"max_parallel bounds prechecks and applies", func(o *Options) { o.MaxParallel = 2 }, pool("a", "b", "c", "d"), `
			next: start-precheck a, start-precheck b
			precheck-passed b
			next: start-precheck c
			precheck-passed a c
			next: start-precheck d
			precheck-passed d
			next: start-apply a
			apply-done a
			next: start-apply b, start-apply c
			apply-done c
			next: start-apply d
			apply-done b d
			next: finish`},
		{"four at once unless said otherwise", nil, pool("a", "b", "c", "d", "e", "f"), `
			next: start-precheck a, start-precheck b, start-precheck c, start-precheck d
			precheck-passed a b c d
			next: start-precheck e, start-precheck f
			precheck-passed e f
			next: start-apply a
			apply-done a
			next: start-apply b, start-apply c, start-apply d, start-apply e
			apply-done b
			next: start-apply f`},
		{"a failed precheck: the others are asked, none is applied", func(o *Options) { o.MaxParallel, o.MaxFailures = 1, 5 }, pool("a", "b", "c"), `
			next: start-precheck a
			precheck-passed a
			next: start-precheck b
			precheck-failed b PATCH_PRECHECK_FAILED_VM_RUNNING OpaqueRef:patch
			next: start-precheck c
			precheck-failed c PATCH_PRECHECK_FAILED_UNKNOWN_ERROR OpaqueRef:patch no
			next: finish
			state: a=not-started b=failed c=failed
			err: PATCH_PRECHECK_FAILED_VM_RUNNING [OpaqueRef:patch; b: PATCH_PRECHECK_FAILED_VM_RUNNING; c: PATCH_PRECHECK_FAILED_UNKNOWN_ERROR [OpaqueRef:patch; no]]`},
		{"after the first failure none is started, those that run finish", func(o *Options) { o.MaxParallel = 2 }, pool("a", "b", "c", "d"), `
			next: start-precheck a, start-precheck b
			precheck-passed a b
			next: start-precheck c, start-precheck d
			precheck-passed c d
			next: start-apply a
			apply-done a
			next: start-apply b, start-apply c
			apply-failed b PATCH_APPLY_FAILED boom
			next:
			apply-done c
			next: finish
			state: a=applied b=failed c=applied d=not-started
			err: PATCH_APPLY_FAILED [boom; b: PATCH_APPLY_FAILED]`},
		{"max_failures", func(o *Options) { o.MaxParallel, o.MaxFailures = 1, 2 }, pool("a", "b", "c", "d"), `
			next: start-precheck a
			precheck-passed a
			next: start-precheck b
			precheck-passed b
			next: start-precheck c
			precheck-passed c
			next: start-precheck d
			precheck-passed d
			next: start-apply a
			apply-done a
			next: start-apply b
			after 1s
			apply-failed b PATCH_APPLY_FAILED one
			next: start-apply c
			after 1s
			apply-failed c PATCH_APPLY_FAILED two
			next: finish
			state: d=not-started
			err: PATCH_APPLY_FAILED [one; b: PATCH_APPLY_FAILED; c: PATCH_APPLY_FAILED [two]]`},
		{"the error is of the host that failed first", func(o *Options) { o.MaxFailures = 3 }, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			apply-done a
			next: start-apply b, start-apply c
			apply-failed c PATCH_APPLY_FAILED first
			after 1s
			apply-failed b OUT_OF_SPACE /tmp
			next: finish
			err: PATCH_APPLY_FAILED [first; c: PATCH_APPLY_FAILED; b: OUT_OF_SPACE [/tmp]]`},
		{"the coordinator fails: the others do not overtake it", func(o *Options) { o.MaxFailures = 9 }, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			apply-failed a PATCH_APPLY_FAILED boom
			next: finish
			state: b=not-started c=not-started`},
		{"the canary comes before the coordinator, alone", func(o *Options) { o.Canary = ref("c") }, pool("a", "b", "c"), `
			next: start-precheck c, start-precheck a, start-precheck b
			precheck-passed a b c
			next: start-apply c
			next:
			apply-done c
			next: start-apply a
			apply-done a
			next: start-apply b
			apply-done b
			next: finish
			err: none`},
		{"the canary fails: it was there for that", func(o *Options) { o.Canary, o.MaxFailures = ref("c"), 9 }, pool("a", "b", "c"), `
			next: start-precheck c, start-precheck a, start-precheck b
			precheck-passed a b c
			next: start-apply c
			apply-failed c PATCH_APPLY_FAILED boom
			next: finish`},
		{"a canary that leaves the pool leaves the others untried", func(o *Options) { o.Canary = ref("c") }, pool("a", "b", "c"), `
			next: start-precheck c, start-precheck a, start-precheck b
			precheck-passed a b
			host-left c
			next: finish
			state: a=not-started b=not-started c=skipped
			err: HANDLE_INVALID [host; OpaqueRef:c]`},
		{"pause after the canary", func(o *Options) { o.Canary, o.PauseAfter = ref("b"), PauseCanary }, pool("a", "b", "c"), `
			refused: continue
			next: start-precheck b, start-precheck a, start-precheck c
			precheck-passed a b c
			next: start-apply b
			refused: continue
			apply-done b
			phase: paused
			next:
			continue
			refused: continue
			next: start-apply a
			apply-done a
			phase: apply
			next: start-apply c
			apply-done c
			next: finish`},
		{"pause after each, one at a time, not after the last", func(o *Options) { o.PauseAfter, o.MaxFailures = PauseEach, 2 }, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			apply-done a
			next:
			phase: paused
			continue
			next: start-apply b
			apply-failed b PATCH_APPLY_FAILED boom
			phase: paused
			next:
			continue
			next: start-apply c
			apply-done c
			next: finish`},
		{"no pause after an apply that has not ended", func(o *Options) { o.PauseAfter = PauseEach }, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			apply-absent a
			next: start-apply a
			host-lost a
			host-live a
			apply-running a
			phase: apply
			apply-done a
			phase: paused`},
		{"a failure is no question to a person", func(o *Options) { o.PauseAfter = PauseEach }, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			apply-failed a PATCH_APPLY_FAILED boom
			next: finish`},
		{"cancelled while it waits", func(o *Options) { o.PauseAfter = PauseEach }, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			apply-done a
			next:
			cancel
			next: finish
			state: a=applied b=not-started c=not-started
			err: TASK_CANCELLED [OpaqueRef:task]`},
		{"the last hosts leave the pool while it waits", func(o *Options) { o.PauseAfter = PauseEach }, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			apply-done a
			host-left b c
			next: finish
			err: none`},
		{"cancel kills prechecks", func(o *Options) { o.MaxParallel = 2 }, pool("a", "b", "c"), `
			next: start-precheck a, start-precheck b
			cancel
			next: kill-precheck a, kill-precheck b
			precheck-failed a TASK_CANCELLED OpaqueRef:sub
			next: kill-precheck b
			precheck-passed b
			next: finish
			state: a=not-started b=not-started c=not-started
			err: TASK_CANCELLED [OpaqueRef:task]`},
		{"a precheck that somebody else cancels has failed", nil, pool("a", "b", "c"), `
			next: start-precheck a, start-precheck b, start-precheck c
			precheck-failed a TASK_CANCELLED OpaqueRef:sub
			state: a=failed`},
		{"cancel lets applies finish", nil, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			cancel
			next:
			apply-done a
			next: finish
			err: TASK_CANCELLED [OpaqueRef:task]`},
		{"cancel comes too late", nil, pool("a"), `
			next: start-precheck a
			precheck-passed a
			next: start-apply a
			cancel
			apply-done a
			next: finish
			err: none`},
		{"kill ends applies", nil, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			cancel
			next:
			cancel kill
			next: kill-apply a
			cancel
			next: kill-apply a
			apply-interrupted a
			next: finish
			state: a=interrupted b=not-started`},
		{"hosts that have the patch are skipped", nil, pool("a+", "b", "c+-"), `
			state: a=skipped c=skipped
			next: start-precheck b
			precheck-passed b
			next: start-apply b
			apply-done b
			next: finish
			err: none`},
		{"every host has the patch", nil, pool("a+", "b+"), `
			next: finish
			err: none`},
		{"offline hosts are skipped if asked for", func(o *Options) { o.SkipOffline = true }, pool("a", "b-", "c"), `
			next: start-precheck a, start-precheck c
			state: b=skipped
			precheck-passed a c
			host-lost c
			next: start-apply a
			state: c=ready
			apply-done a
			next: finish
			state: c=skipped
			err: none`},
		{"a host that is back before its turn", nil, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			host-lost b
			host-live b
			apply-done a
			next: start-apply b, start-apply c`},
		{"offline at its turn", nil, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			host-lost b
			apply-done a
			next: finish
			state: b=failed c=not-started
			err: HOST_OFFLINE [OpaqueRef:b; b: HOST_OFFLINE]`},
		{"offline at the turn of its precheck", func(o *Options) { o.MaxParallel = 2 }, pool("a", "b", "c"), `
			next: start-precheck a, start-precheck b
			host-lost c
			precheck-passed a b
			next: finish
			state: c=failed a=not-started`},
		{"a canary is never passed over", func(o *Options) { o.Canary, o.SkipOffline = ref("b"), true }, pool("a", "b", "c"), `
			next: start-precheck b, start-precheck a, start-precheck c
			precheck-passed a b c
			host-lost b
			next: finish
			state: b=failed a=not-started
			err: HOST_OFFLINE [OpaqueRef:b; b: HOST_OFFLINE]`},
		{"away during its precheck and back in time: again", nil, pool("a", "b", "c"), `
			next: start-precheck a, start-precheck b, start-precheck c
			host-lost b
			precheck-passed a c
			after 59s
			next:
			state: b=away
			host-live b
			next: start-precheck b
			precheck-passed b
			next: start-apply a`},
		{"one fails its precheck, one is away: its answer is awaited", nil, pool("a", "b", "c"), `
			next: start-precheck a, start-precheck b, start-precheck c
			precheck-failed a PATCH_PRECHECK_FAILED_VM_RUNNING OpaqueRef:patch
			host-lost b
			precheck-passed c
			next:
			host-live b
			next: start-precheck b
			precheck-failed b PATCH_PRECHECK_FAILED_VM_RUNNING OpaqueRef:patch
			next: finish
			state: a=failed b=failed c=not-started`},
		{"a host that comes and goes does not gain time", nil, pool("a", "b"), `
			next: start-precheck a, start-precheck b
			precheck-passed a b
			next: start-apply a
			host-lost a
			after 30s
			host-live a
			host-lost a
			after 30s
			next: finish
			state: a=interrupted b=not-started`},
		{"a call that broke off is an absence", nil, pool("a", "b", "c"), `
			next: start-precheck a, start-precheck b, start-precheck c
			precheck-failed b CANNOT_CONTACT_HOST OpaqueRef:b
			state: b=away
			host-live b
			next: start-precheck b
			precheck-passed a b c
			next: start-apply a
			apply-failed a HOST_OFFLINE OpaqueRef:a
			state: a=silent`},
		{"away for too long during its precheck", func(o *Options) { o.SkipOffline = true }, pool("a", "b", "c"), `
			next: start-precheck a, start-precheck b, start-precheck c
			host-lost b
			precheck-passed a c
			after 1m
			next: finish
			state: b=failed
			err: HOST_OFFLINE [OpaqueRef:b; b: HOST_OFFLINE]`},
		{"silent during its apply: none is started until it answers", func(o *Options) { o.MaxParallel = 2 }, pool("a", "b", "c", "d"), `
			next: start-precheck a, start-precheck b
			precheck-passed a b
			next: start-precheck c, start-precheck d
			precheck-passed c d
			next: start-apply a
			apply-done a
			next: start-apply b, start-apply c
			host-lost b
			apply-running b
			state: b=silent
			apply-done c
			next:
			host-live b
			next:
			apply-running b
			next: start-apply d
			apply-done b d
			next: finish
			err: none`},
		{"interrupted: none is started, a person decides", func(o *Options) { o.MaxFailures, o.MaxParallel = 9, 2 }, pool("a", "b", "c", "d"), `
			next: start-precheck a, start-precheck b
			precheck-passed a b
			next: start-precheck c, start-precheck d
			precheck-passed c d
			next: start-apply a
			apply-done a
			next: start-apply b, start-apply c
			apply-failed c PATCH_APPLY_FAILED boom
			host-lost b
			after 1m
			next: finish
			state: b=interrupted d=not-started
			err: PATCH_APPLY_FAILED [interrupted: nobody knows how far the patch came on host b; look at the host, then run: poolpatch patch apply 1d6a --host b; b: PATCH_APPLY_FAILED; c: PATCH_APPLY_FAILED [boom]]`},
		{"what is interrupted is told first", func(o *Options) { o.MaxFailures = 9 }, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			apply-done a
			next: start-apply b, start-apply c
			apply-failed b PATCH_APPLY_FAILED boom
			after 1s
			apply-interrupted c
			next: finish
			err: PATCH_APPLY_FAILED [interrupted: nobody knows how far the patch came on host c; look at the host, then run: poolpatch patch apply 1d6a --host c; c: PATCH_APPLY_FAILED; b: PATCH_APPLY_FAILED [boom]]`},
		{"interrupted, and then its stamp was found", nil, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			apply-done a
			next: start-apply b, start-apply c
			apply-interrupted b
			next:
			apply-done b c
			next: finish
			err: none`},
		{"interrupted by hand before its turn", nil, pool("a", "b", "c"), prechecked + `
			apply-interrupted c
			next: finish
			state: a=not-started c=interrupted`},
		{"applied by hand before its turn", nil, pool("a", "b", "c"), `
			next: start-precheck a, start-precheck b, start-precheck c
			precheck-passed a b c
			apply-done c
			next: start-apply a
			apply-done a
			next: start-apply b
			apply-failed b PATCH_ALREADY_APPLIED OpaqueRef:patch
			next: finish
			state: b=applied c=skipped
			err: none`},
		{"a coordinator that takes over: the prechecks", nil, pool("a", "b", "c"), `
			next: start-precheck a, start-precheck b, start-precheck c
			host-live a b c
			precheck-gone a
			precheck-passed b
			precheck-failed c PATCH_PRECHECK_FAILED_VM_RUNNING OpaqueRef:patch
			next: start-precheck a
			precheck-passed a
			next: finish
			state: c=failed`},
		{"a coordinator that takes over: the applies", nil, pool("a", "b", "c", "d"), `
			next: start-precheck a, start-precheck b, start-precheck c, start-precheck d
			precheck-passed a b c d
			next: start-apply a
			apply-absent a
			next: start-apply a
			apply-done a
			next: start-apply b, start-apply c, start-apply d
			apply-absent b
			step: b precheck
			apply-running c
			step: c apply
			apply-done d
			next: start-apply b
			apply-done b c
			next: finish
			err: none`},
		{"the coordinator that died is away", func(o *Options) { o.SkipOffline = true }, pool("a", "b", "c"), prechecked + `
			host-lost a
			next: start-apply b, start-apply c
			apply-done b c
			next: finish
			state: a=skipped
			err: none`},
		{"a host leaves the pool, another one joins", nil, pool("a", "b", "c"), prechecked + `
			next: start-apply a
			host-left b
			host-joined d e
			host-joined d
			host-live d
			host-left e
			refused: host-joined c
			apply-done a
			next: start-apply c
			host-left c
			next: finish
			state: a=applied b=skipped c=skipped
			err: none`},
		{"what cannot be is refused", nil, pool("a", "b", "c"), `
			refused: precheck-passed a
			refused: apply-done x
			refused: host-live x
			refused: start-apply a
			refused: start-precheck a
			refused: leave-out a
			refused: nonsense a
			next: start-precheck a, start-precheck b, start-precheck c
			refused: apply-failed a PATCH_APPLY_FAILED boom
			refused: apply-failed a HOST_OFFLINE OpaqueRef:a
			refused: apply-running a
			precheck-passed a b c
			refused: precheck-failed a CANNOT_CONTACT_HOST OpaqueRef:a
			refused: start-apply a
			next: start-apply a
			apply-failed a PATCH_APPLY_FAILED boom
			refused: apply-done a
			refused: apply-running a`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r, err := New(options(tc.edit), tc.hosts, noon)
			if err != nil {
				t.Fatal(err)
			}
			play(t, r, tc.script)
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		edit  func(*Options)
		hosts []Host
		want  string
	}{
		{"offline hosts, naming each", nil, pool("a", "b-", "c", "d-"),
			"HOST_OFFLINE [OpaqueRef:b; b: HOST_OFFLINE; d: HOST_OFFLINE [OpaqueRef:d]]"},
		{"an offline canary, whatever is skipped", func(o *Options) { o.Canary, o.SkipOffline = ref("b"), true }, pool("a", "b-", "c-"),
			"HOST_OFFLINE [OpaqueRef:b; b: HOST_OFFLINE]"},
		{"an interrupted host", nil, pool("a", "b!", "c"),
			"PATCH_APPLY_FAILED [interrupted: nobody knows how far the patch came on host b; look at the host, then run: poolpatch patch apply 1d6a --host b; b: PATCH_APPLY_FAILED]"},
		{"max_parallel", func(o *Options) { o.MaxParallel = -1 }, pool("a"), "INVALID_VALUE [max_parallel; -1]"},
		{"max_failures", func(o *Options) { o.MaxFailures = -1 }, pool("a"), "INVALID_VALUE [max_failures; -1]"},
		{"away_limit", func(o *Options) { o.AwayLimit = -1 }, pool("a"), "INVALID_VALUE [away_limit; -1ns]"},
		{"pause_after", func(o *Options) { o.PauseAfter = "lunch" }, pool("a"), "INVALID_VALUE [pause_after; lunch]"},
		{"a pause after no canary", func(o *Options) { o.PauseAfter = PauseCanary }, pool("a"),
			"INVALID_VALUE [pause_after; canary]: there is no canary"},
		{"a canary of elsewhere", func(o *Options) { o.Canary = ref("z") }, pool("a"), "HANDLE_INVALID [host; OpaqueRef:z]"},
		{"no hosts", nil, nil, "a pool of 0 hosts with 0 coordinators"},
		{"a host twice", nil, pool("a", "b", "b"), "host b (OpaqueRef:b) is null or stands in the pool twice"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r, err := New(options(tc.edit), tc.hosts, noon)
			if got := errText(err); got != tc.want {
				t.Errorf("the error is\n%s\nwant\n%s", got, tc.want)
			}
			if cmds := r.Next(noon); cmds != nil {
				t.Errorf("a refused rollout gives %v", cmds)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	r, err := New(options(nil), pool("a"), noon)
	if err != nil || r.MaxParallel != 4 || r.MaxFailures != 1 {
		t.Errorf("%d at once, %d failures, %v", r.MaxParallel, r.MaxFailures, err)
	}
}

// The names of the fields are what the next version reads.
func TestRecord(t *testing.T) {
	t.Parallel()
	r, err := New(options(func(o *Options) { o.Canary, o.PauseAfter = ref("b"), PauseEach }), pool("a+", "b"), noon)
	if err != nil {
		t.Fatal(err)
	}
	r = play(t, r, `
		host-joined c
		next: start-precheck b
		precheck-failed b OUT_OF_SPACE /tmp`)
	data, err := r.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"patch":"OpaqueRef:patch","uuid":"1d6a","task":"OpaqueRef:task","max_parallel":4,"max_failures":1,` +
		`"canary":"OpaqueRef:b","pause_after":"each","skip_offline":false,"away_limit":60000000000,` +
		`"phase":"precheck","cancelled":false,"killed":false,"hosts":[` +
		`{"host":"OpaqueRef:b","name":"b","coordinator":false,"live":true,"state":"failed","since":"2026-03-01T12:00:00Z","step":"precheck","reason":"","error":{"code":"OUT_OF_SPACE","params":["/tmp"]}},` +
		`{"host":"OpaqueRef:a","name":"a","coordinator":true,"live":true,"state":"skipped","since":"2026-03-01T12:00:00Z","step":"","reason":"already applied","error":null}],` +
		`"joined":[{"host":"OpaqueRef:c","name":"c"}],"began":"2026-03-01T12:00:00Z","ended":"0001-01-01T00:00:00Z"}`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("the record has changed (-was +now):\n%s", diff)
	}
	for name, replace := range map[string][2]string{
		"a new field":             {`"killed":false`, `"killed":false,"reboot":true`},
		"a new field of a host":   {`"live":true`, `"live":true,"drained":true`},
		"a new phase":             {`"phase":"precheck"`, `"phase":"reboot"`},
		"no phase":                {`"phase":"precheck"`, `"phase":""`},
		"a new state":             {`"state":"skipped"`, `"state":"draining"`},
		"the unknown state":       {`"state":"skipped"`, `"state":""`},
		"a new step":              {`"step":"precheck"`, `"step":"reboot"`},
		"a new reason":            {`"already applied"`, `"too old"`},
		"a new pause":             {`"each"`, `"lunch"`},
		"a failure without error": {`{"code":"OUT_OF_SPACE","params":["/tmp"]}`, `null`},
		"a lost canary":           {`"canary":"OpaqueRef:b"`, `"canary":"OpaqueRef:z"`},
		"another order":           {`"canary":"OpaqueRef:b"`, `"canary":"OpaqueRef:a"`},
		"two coordinators":        {`"coordinator":false`, `"coordinator":true`},
		"a second record":         {`"0001-01-01T00:00:00Z"}`, `"0001-01-01T00:00:00Z"}{}`},
		"half a record":           {`"0001-01-01T00:00:00Z"}`, ``},
	} {
		other := strings.Replace(want, replace[0], replace[1], 1)
		if other == want {
			t.Errorf("%s: nothing was replaced", name)
		}
		if _, err := Parse([]byte(other)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestUnansweredAndDeadline(t *testing.T) {
	t.Parallel()
	r, err := New(options(nil), pool("a", "b", "c"), noon)
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := r.Deadline(); ok {
		t.Errorf("nothing is awaited, but at %v", at)
	}
	r = play(t, r, prechecked+`
		next: start-apply a
		apply-done a
		next: start-apply b, start-apply c
		after 5s
		host-lost c
		after 5s
		host-lost b`)
	var names []string
	for _, turn := range r.Unanswered() {
		names = append(names, turn.Name)
	}
	if diff := cmp.Diff([]string{"b", "c"}, names); diff != "" {
		t.Errorf("who is asked: %s", diff)
	}
	at, ok := r.Deadline()
	if want := noon.Add(5*time.Second + limit); !ok || !at.Equal(want) {
		t.Errorf("the deadline is %v, %v, want %v", at, ok, want)
	}
	r.Next(at.Add(-1))
	if got := r.turn(ref("c")).State; got != Silent {
		t.Errorf("before the deadline c is %s", got)
	}
	r.Next(at)
	if got := r.turn(ref("c")).State; got != Interrupted {
		t.Errorf("at the deadline c is %s", got)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	r, err := New(options(func(o *Options) { o.Canary, o.SkipOffline, o.MaxFailures = ref("b"), true, 2 }),
		pool("a", "b", "c-", "d", "e+", "f"), noon)
	if err != nil {
		t.Fatal(err)
	}
	before := r.Progress()
	r = play(t, r, `
		next: start-precheck b, start-precheck a, start-precheck d, start-precheck f
		precheck-passed a b d f
		next: start-apply b
		apply-done b
		next: start-apply a
		host-joined g
		after 1h
		apply-done a
		next: start-apply d, start-apply f`)
	if err := r.Observe(Event{Kind: ApplyFailed, Host: ref("d"), At: noon, Err: xenapi.ErrPatchApplyFailed("no\x1b[2J\n  room " + strings.Repeat("x", 9000))}); err != nil {
		t.Fatal(err)
	}
	if p := r.Progress(); before != 1.0/6 || p != 5.25/6 {
		t.Errorf("the progress was %v and is %v", before, p)
	}
	if r.Complete() {
		t.Error("complete before the end")
	}
	if err := r.Observe(Event{Kind: ApplyFailed, Host: ref("f"), At: noon, Err: errors.New("secret")}); err != nil {
		t.Fatal(err)
	}
	r.Next(noon)
	if n := len(r.turn(ref("d")).Error.Params[0]); n > paramLimit+len("…") {
		t.Errorf("%d bytes of output are kept", n)
	}
	const cut = "…"
	want := "patch 1d6a: 2 applied, 2 failed, 2 skipped of 6 hosts\n" +
		"  c: skipped: offline\n" +
		"  d: failed: PATCH_APPLY_FAILED [" + cut + strings.Repeat("x", lineLimit-len("PATCH_APPLY_FAILED [.")) + "…\n" +
		"  f: failed: INTERNAL_ERROR [see the log of host f]\n" +
		"  g: joined the pool meanwhile and was left alone\n"
	if diff := cmp.Diff(want, r.Summary()); diff != "" {
		t.Errorf("the summary (-want +got):\n%s", diff)
	}
	rows := r.Rows()
	for i := range rows {
		rows[i].Error = rows[i].Error[:min(len(rows[i].Error), 18)]
	}
	if diff := cmp.Diff([]Row{
		{"b", "canary", StepApply, Applied, noon, ""},
		{"a", "coordinator", StepApply, Applied, noon.Add(time.Hour), ""},
		{"c", "", StepNone, Skipped, noon, "offline"},
		{"d", "", StepApply, Failed, noon, "PATCH_APPLY_FAILED"},
		{"e", "", StepNone, Skipped, noon, "already applied"},
		{"f", "", StepApply, Failed, noon, "INTERNAL_ERROR [se"},
	}, rows); diff != "" {
		t.Errorf("the rows (-want +got):\n%s", diff)
	}
	if p := r.Progress(); p != 1 || r.Complete() {
		t.Errorf("in the end the progress is %v and complete is %v", p, r.Complete())
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]bool{
		"apply-done b":                    true,
		"host-left b":                     true,
		"host-joined c\napply-done b":     false,
		"apply-failed b OUT_OF_SPACE tmp": false,
		"apply-interrupted b":             false,
		"host-lost b\nhost-live b\napply-absent b\nhost-lost b": false,
		"host-joined c\nhost-left c\napply-done b":              true,
	} {
		r, err := New(options(func(o *Options) { o.SkipOffline = true }), pool("a+", "b"), noon)
		if err != nil {
			t.Fatal(err)
		}
		r = play(t, r, "next: start-precheck b\nprecheck-passed b\nnext: start-apply b\n"+script+"\nnext: finish")
		if got := r.Complete(); got != want {
			t.Errorf("after %q complete is %v", script, got)
		}
	}
}

// What a patch printed reaches a terminal as one harmless line; what is kept of it is whole characters.
func TestTexts(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a\nb\tc": "a b c", "\x1b[31mred": `\x1b[31mred`, `say "no"`: `say "no"`, "naïve — 日本": "naïve — 日本", "": "",
		strings.Repeat("é", lineLimit+1): strings.Repeat("é", lineLimit) + "…",
	} {
		if got := line(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"h1.example-2": "h1.example-2", "": "''", "my host": "'my host'", "it's": `'it'\''s'`} {
		if got := word(in); got != want {
			t.Errorf("%q becomes %s, want %s", in, got, want)
		}
	}
	if got := tail("日" + strings.Repeat("x", paramLimit-1)); got != "…"+strings.Repeat("x", paramLimit-1) {
		t.Errorf("a cut character leaves %q", got[:8])
	}
	if got := tail(strings.Repeat("x", paramLimit)); len(got) != paramLimit {
		t.Errorf("a text of the greatest length becomes %d bytes", len(got))
	}
}

func ExampleRollout_Summary() {
	r, _ := New(Options{UUID: "1d6a"}, []Host{{Ref: "OpaqueRef:a", Name: "a", Coordinator: true, Live: true}}, noon)
	for _, kind := range []Kind{PrecheckPassed, ApplyDone} {
		r.Next(noon)
		_ = r.Observe(Event{Kind: kind, Host: "OpaqueRef:a", At: noon})
	}
	r.Next(noon)
	fmt.Print(r.Summary())
	// Output: patch 1d6a: 1 applied of 1 hosts
}
