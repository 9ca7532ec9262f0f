package harness

import (
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolpatch/xenapi"
)

// Program is a patch's program: a shell script. Bodies are POSIX shell; they find the host below
// $POOLPATCH_ROOT.
type Program struct {
	UUID     string // "" is a fresh one at the first use
	Label    string
	Guidance string
	Info     string // body instead of the well-formed answer
	Precheck string
	Apply    string // body after the line in the file "ran"
	Tail     string // what follows the script, which no shell reads
}

// Ran is the file below the host's root to which every apply appends a line: how often it ran.
const Ran = "ran"

// Text writes the program.
func (p *Program) Text() string {
	if p.UUID == "" {
		p.UUID = xenapi.NewUUID()
	}
	info := p.Info
	if info == "" {
		info = "cat <<'END'\n" + p.XML() + "\nEND"
	}
	return fmt.Sprintf("#!/bin/sh\ncase $1 in\ninfo)\n%s\n;;\nprecheck)\n%s\n;;\napply)\necho %s >> $POOLPATCH_ROOT/%s\n%s\n;;\nesac\nexit 0\n%s",
		info, or(p.Precheck, "echo prechecked"), p.UUID, Ran, or(p.Apply, "echo applied"), p.Tail)
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// XML is what info prints.
func (p *Program) XML() string {
	var label strings.Builder
	_ = xml.EscapeText(&label, []byte(or(p.Label, "A patch")))
	return fmt.Sprintf(`<info uuid="%s" version="1.2" name-label="%s" name-description="What it does" after-apply-guidance="%s"/>`,
		p.UUID, label.String(), p.Guidance)
}

// Signed writes the program and signs it with TheKey, without compression.
func (p *Program) Signed(t testing.TB) []byte {
	t.Helper()
	return TheKey(t).SignText(t, p.Text(), "--compress-algo", "none")
}

// Gate is a FIFO below the host's root at which a program waits: its body has [Gate.Wait].
type Gate struct {
	t    testing.TB
	path string
	name string
	held *os.File // while a program stands there: without it, the gate would open by itself
}

// NewGate makes a gate.
func NewGate(t testing.TB, d *Daemon, name string) *Gate {
	t.Helper()
	if err := unix.Mkfifo(d.Path(name), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &Gate{t: t, path: d.Path(name), name: name}
	t.Cleanup(func() {
		if g.held != nil {
			g.held.Close()
		}
	})
	return g
}

// GateWait is the shell command that waits at the gate of a name.
func GateWait(name string) string { return "read pass < $POOLPATCH_ROOT/" + name }

// Arrived waits until a program stands at the gate, and returns what lets it through.
func (g *Gate) Arrived() (open func()) {
	g.t.Helper()
	Eventually(g.t, "a program stands at the gate "+g.name, func() (there bool) {
		f, err := os.OpenFile(g.path, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			g.held = f
		}
		return err == nil
	})
	return func() {
		g.t.Helper()
		_, err := g.held.WriteString("go\n")
		if err := errors.Join(err, g.held.Close()); err != nil {
			g.t.Error(err)
		}
		g.held = nil
	}
}
