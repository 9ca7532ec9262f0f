package extension

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poolpatch/xenapi"
)

// directory has one program, which prints what the test says.
func directory(t *testing.T, text string) Directory {
	t.Helper()
	d := In(filepath.Join(t.TempDir(), "extensions"), t.TempDir())
	if err := errors.Join(os.Mkdir(d.path, 0o755), os.WriteFile(filepath.Join(d.path, "lab.one"), []byte("#!/bin/sh\n"+text+"\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	return d
}

// What somebody else than root may have written is not run.
func TestWhoseProgramsAreRun(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		change func(d Directory, file string) error
		has    bool
	}{
		"root's":                    {func(Directory, string) error { return nil }, true},
		"root's alone to read":      {func(_ Directory, f string) error { return os.Chmod(f, 0o700) }, true},
		"a user's":                  {func(_ Directory, f string) error { return os.Chown(f, 1000, 0) }, false},
		"written by the group":      {func(_ Directory, f string) error { return os.Chmod(f, 0o775) }, false},
		"written by everybody":      {func(_ Directory, f string) error { return os.Chmod(f, 0o757) }, false},
		"no program":                {func(_ Directory, f string) error { return os.Chmod(f, 0o644) }, false},
		"in a directory of a user":  {func(d Directory, _ string) error { return os.Chown(d.path, 1000, 0) }, false},
		"in a directory of anybody": {func(d Directory, _ string) error { return os.Chmod(d.path, 0o777) }, false},
		"a link": {func(d Directory, f string) error {
			return errors.Join(os.Rename(f, f+".real"), os.Symlink(f+".real", f))
		}, false},
	} {
		d := directory(t, "true")
		if err := c.change(d, filepath.Join(d.path, "lab.one")); err != nil {
			t.Fatal(err)
		}
		if d.Has("lab.one") != c.has {
			t.Errorf("%s: has %v", what, !c.has)
		}
		err := d.Do(t.Context(), "lab.one", nil)
		if c.has != (err == nil) || !c.has && xenapi.CodeOf(err) != xenapi.CodeXenAPIPluginFailure {
			t.Errorf("%s: %v", what, err)
		}
	}
	d := directory(t, "true")
	for _, name := range []string{"lab.none", "", ".", "..", "../extensions/lab.one", "lab.one\n", "/bin/true", "-x", strings.Repeat("x", 200)} {
		if err := d.Do(t.Context(), name, nil); !errors.Is(err, ErrMissing) || d.Has(name) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A program that does not do what it should is an error that says how.
func TestProgramsThatFail(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"echo out; echo why >&2; exit 4": {"4", "out\n", "why\n"},
		"kill -9 $$":                     {"ended by killed", "", ""},
		"echo soon; sleep 60":            {"ended after 300ms", "soon\n", ""},
		"echo no XML":                    {"no answer", "no XML\n", ""},
		"#":                              {"no answer", "", ""},
		"printf '<methodResponse><params><param><value><struct></struct></value></param></params></methodResponse>'": {"no answer", "<methodResponse><params><param><value><struct></struct></value></param></params></methodResponse>", ""},
	} {
		d := directory(t, text)
		d.deadline = 300 * time.Millisecond
		_, err := d.Call(t.Context(), "lab.one", nil)
		domain, _ := errors.AsType[*xenapi.Error](err)
		if domain == nil || domain.Code != xenapi.CodeXenAPIPluginFailure || strings.Join(domain.Params, "|") != strings.Join(want, "|") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	d := directory(t, "head -c 2000000 /dev/zero")
	if _, err := d.Call(t.Context(), "lab.one", nil); xenapi.CodeOf(err) != xenapi.CodeXenAPIPluginFailure || len(err.Error()) > 2*maxTold {
		t.Errorf("an endless answer: %.200v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := xenapi.ErrTaskCancelled("OpaqueRef:t")
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	if err := directory(t, "sleep 60").Do(ctx, "lab.one", nil); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
}

// What a program reads and knows.
func TestWhatAProgramGets(t *testing.T) {
	t.Parallel()
	d := directory(t, `echo "$(cat) $# $(pwd) $POOLPATCH_ROOT $EXTRA $SHELL" > "$POOLPATCH_ROOT/got"`)
	if err := d.Do(t.Context(), "lab.one", []byte("input"), "EXTRA=more"); err != nil {
		t.Fatal(err)
	}
	want := "input 0 " + d.root + " " + d.root + " more \n"
	if got, err := os.ReadFile(filepath.Join(d.root, "got")); string(got) != want {
		t.Errorf("%q %v, want %q", got, err, want)
	}
}
