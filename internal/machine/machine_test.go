package machine

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poolpatch/xenapi"
)

// fake is a machine that only remembers what was done to it.
func fake(root string) (m *Machine, done *[]string) {
	done = &[]string{}
	note := func(text string) { *done = append(*done, text) }
	return New(root, Options{
		Run:         func(_ context.Context, argv ...string) error { note(strings.Join(argv, " ")); return nil },
		SetHostname: func(name string) error { note("hostname " + name); return nil },
		KernelLog: func(clear bool) (string, error) {
			if clear {
				note("clear")
			}
			return "said", nil
		},
	}), done
}

// TestOwn does everything to a machine that is the daemon's own, and to one that it shares.
func TestOwn(t *testing.T) {
	t.Parallel()
	for _, step := range []struct {
		do   func(m *Machine) error
		want string
	}{
		{func(m *Machine) error { return m.Reboot(t.Context()) }, "shutdown -r now"},
		{func(m *Machine) error { return m.PowerOff(t.Context()) }, "shutdown -P now"},
		{func(m *Machine) error { return m.SetHostname("one.lab") }, "hostname one.lab"},
		{func(m *Machine) error { _, err := m.ClearKernelLog(); return err }, "clear"},
	} {
		m, done := fake("/")
		if err := step.do(m); err != nil || !slices.Equal(*done, []string{step.want}) {
			t.Errorf("%s: %v, done %q", step.want, err, *done)
		}
		m, done = fake("/srv/one")
		if code := xenapi.CodeOf(step.do(m)); code != xenapi.CodeOperationNotAllowed || len(*done) > 0 {
			t.Errorf("%s of a shared machine: %s, done %q", step.want, code, *done)
		}
		if text, err := m.KernelLog(); text != "said" || err != nil {
			t.Errorf("the log of a shared machine: %q, %v", text, err)
		}
	}
}

func TestHostname(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"one": true, "ONE-2": true, "a.b.c": true, "7": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "a-": false, "a..b": false, ".a": false, "a.": false, "a b": false, "a\nb": false, "ä": false, "a_b": false,
		strings.Repeat("a", 64): false, strings.Repeat("a.", 32) + "a": false,
	} {
		m, done := fake("/")
		err := m.SetHostname(name)
		if ok != (err == nil) || ok != (len(*done) == 1) || !ok && xenapi.CodeOf(err) != xenapi.CodeHostNameInvalid {
			t.Errorf("%q: %v, done %q", name, err, *done)
		}
	}
}

// TestRun has a program that ends well and others that do not, whose words are told.
func TestRun(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("echo \"$2 $1\"\nexit $1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), "/bin/sh", program, "0", "fine"); err != nil {
		t.Error(err)
	}
	if err := run(t.Context(), "/bin/sh", program, "3", "broken"); err == nil || !strings.Contains(err.Error(), "exit status 3: broken 3") {
		t.Errorf("got %v", err)
	}
	if err := run(t.Context(), program+"-missing"); err == nil {
		t.Error("a missing program runs")
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	load, err := New("/", Options{}).Load()
	if err != nil || load.MemoryFree <= 0 || load.MemoryTotal < load.MemoryFree || load.Average < 0 {
		t.Errorf("%+v, %v", load, err)
	}
}
