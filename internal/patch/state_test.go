package patch

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolpatch/xenapi"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The whole matrix in one place: a change of the life cycle is seen as a change of this file.
func TestStateMatrix(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s", "")
	for _, e := range Events() {
		fmt.Fprintf(&b, " %-13s", e)
	}
	b.WriteString("\n")
	for _, s := range States() {
		fmt.Fprintf(&b, "%-12s", name(s))
		for _, e := range Events() {
			cell := "-"
			if next, err := s.Next(e); err == nil {
				cell = name(next)
			}
			fmt.Fprintf(&b, " %-13s", cell)
		}
		b.WriteString("\n")
	}
	got := trimLines(b.String())
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

func name(s State) string {
	if s == None {
		return "none"
	}
	return string(s)
}

func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// I3: nothing but a person's claim and the start that follows it leads to a running program.
func TestOnlyAClaimLeadsToRunning(t *testing.T) {
	for _, s := range States() {
		for _, e := range Events() {
			next, err := s.Next(e)
			if err != nil {
				continue
			}
			if next == Running && (e != Start || !s.Busy()) {
				t.Errorf("%q leads from %q to running", e, s)
			}
			if next.Busy() && !s.Busy() && e != Claim {
				t.Errorf("%q leads from %q to %q", e, s, next)
			}
		}
	}
}

func TestAfterACrashNothingIsBusy(t *testing.T) {
	for _, s := range States() {
		for _, e := range []Event{Crash, StampFound} {
			if next, err := s.Next(e); s.Busy() && (err != nil || next.Busy()) {
				t.Errorf("after %q, %q is %q, %v", e, s, next, err)
			}
		}
	}
}

func TestClaimsThatGoBesideOneAnother(t *testing.T) {
	here, there := xenapi.NewRef[xenapi.Host](), xenapi.NewRef[xenapi.Host]()
	for _, tc := range []struct {
		op     string
		host   xenapi.Ref[xenapi.Host]
		held   string
		on     xenapi.Ref[xenapi.Host]
		beside bool
	}{
		{opApply, here, opApply, here, false},
		{opApply, here, opApply, there, true},
		{opPrecheck, here, opApply, here, true},
		{opPrecheck, here, opPrecheck, here, true},
		{opDownload, here, opApply, here, true},
		{opApply, here, opClean, here, false},
		{opApply, here, opDestroy, "", false},
		{opClean, here, opPrecheck, there, false},
		{opDestroy, here, opDestroy, here, false},
		{opReplace, "", opApply, here, false},
		{opReplace, "", opDownload, here, false},
		{opPoolApply, here, opPoolApply, here, false},
		{opPoolApply, here, opApply, here, true},
		{opApply, here, opPoolApply, here, true},
		{opPoolApply, here, opClean, here, false},
		{opDestroy, here, opPoolApply, here, false},
		{opReplace, "", opPoolApply, here, false},
	} {
		if got := beside(tc.op, tc.host, xenapi.PatchClaim{Operation: tc.held, Host: tc.on}); got != tc.beside {
			t.Errorf("%s beside %s (same host %v): %v, want %v", tc.op, tc.held, tc.host == tc.on, got, tc.beside)
		}
	}
}

// M4.
func TestVDISize(t *testing.T) {
	for length, want := range map[int64]int64{
		-1: 4 << 30, 0: 4 << 30, 1 << 50: 4 << 30, 1<<63 - 1: 4 << 30,
		1 << 20: leastSize, 1 << 30: 4 << 30, 5 << 30: 20 << 30, 1 << 40: 4 << 40,
	} {
		if got := vdiSize(length); got != want {
			t.Errorf("a patch of %d bytes gets a VDI of %d bytes, want %d", length, got, want)
		}
	}
}

// M3, M10.
func TestUnusableSRsSayWhy(t *testing.T) {
	good := Candidate{Plugged: true, CanCreate: true, Free: 100}
	if why := unusable(good, 100); why != "" {
		t.Errorf("a good SR is refused: %s", why)
	}
	for want, spoil := range map[string]func(*Candidate){
		"its PBD is not plugged on this host":              func(c *Candidate) { c.Plugged = false },
		"its driver cannot create VDIs":                    func(c *Candidate) { c.CanCreate = false },
		"it holds ISO images":                              func(c *Candidate) { c.ContentType = "iso" },
		"100 bytes needed, 99 bytes free":                  func(c *Candidate) { c.Free = 99 },
		"its free space is not known: the disk is on fire": func(c *Candidate) { c.Err = fmt.Errorf("the disk is on fire") },
	} {
		c := good
		spoil(&c)
		if got := unusable(c, 100); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
