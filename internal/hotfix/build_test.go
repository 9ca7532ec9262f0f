package hotfix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"poolpatch/xenapi"
)

// patchDir makes a directory to build from. A name that ends in a slash is a directory; the value of one
// that begins with "->" is a link's target.
func patchDir(t testing.TB, meta map[string]any, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	text, err := json.Marshal(meta)
	if err != nil {
		t.Fatal(err)
	}
	files["patch.json"] = string(text)
	for name, content := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case strings.HasSuffix(name, "/"):
			err = errors.Join(err, os.MkdirAll(path, 0o755))
		case strings.HasPrefix(content, "->"):
			err = errors.Join(err, os.Symlink(content[2:], path))
		default:
			err = errors.Join(err, os.WriteFile(path, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func demoMeta() map[string]any {
	return map[string]any{
		"uuid": strings.ToUpper(testUUID), "version": "1.2", "name-label": `A "label" & <more>` + "\n'END_OF_INFO'",
		"name-description": "Umlaut ä, $(rm -rf /), `x`", "after-apply-guidance": []string{"restartHost", "restartXAPI"},
	}
}

func build(t testing.TB, dir string) string {
	t.Helper()
	var out bytes.Buffer
	if err := Build(dir, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestBuildAndRun(t *testing.T) {
	t.Parallel()
	dir := patchDir(t, demoMeta(), map[string]string{
		"apply":                   "#!/bin/sh\ncat a 'sub dir/b' link; stat -c '%a %U:%G %Y' a; echo $POOLPATCH_ROOT; ls -d \"$TMPDIR\"/patch.*/payload | grep -cx \"$(pwd)\"; exit ${CODE-0}\n",
		"precheck":                "#!/bin/sh\necho '<error errorcode=\"PATCH_PRECHECK_FAILED_VM_RUNNING\"/>'; exit 1\n",
		"payload/a":               "content a\n",
		"payload/sub dir/b":       "content b\n",
		"payload/sub dir/empty/":  "",
		"payload/link":            "->sub dir/b",
		"payload/" + long("deep"): "long name\n",
	})
	v := extract(t, build(t, dir))
	ctx := context.Background()
	info, err := RunInfo(ctx, v, Env{Root: "/"})
	meta := demoMeta()
	if err != nil || info.UUID != testUUID || info.NameLabel != meta["name-label"] || info.NameDescription != meta["name-description"] || info.Version != "1.2" || len(info.AfterApplyGuidance) != 2 {
		t.Errorf("info %+v, %v", info, err)
	}
	_, err = Precheck(ctx, v, Env{Root: "/"}, testRef)
	wantError(t, err, xenapi.CodePatchPrecheckFailedVMRunning, "OpaqueRef:p")
	got, err := Apply(ctx, v, Env{Root: "/some/root"})
	want := "content a\ncontent b\ncontent b\n644 root:root 946684800\n/some/root\n1\n"
	if err != nil || got != want {
		t.Errorf("apply printed %q, %v; want %q", got, err, want)
	}
	wantOnly(t, filepath.Dir(v.path), programName)
}

// long is a path that does not fit into tar's oldest form.
func long(s string) string { return strings.Repeat(strings.Repeat(s, 20)+"/", 4) + "file" }

// wantOnly checks that a program cleaned its scratch directory up.
func wantOnly(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("left %v, %v; want %s alone", entries, err, name)
	}
}

func TestBuiltProgramEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, apply string
		deadline    time.Duration
		want        string
	}{
		{"exit code", "#!/bin/sh\necho no; exit 9\n", 0, "no\n"},
		{"not executable", "\x00\x01", 0, ""},
		{"ended at the deadline", "#!/bin/sh\necho no; sleep 1000\n", 2 * time.Second, "the patch's apply did not end in time: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := extract(t, build(t, patchDir(t, demoMeta(), map[string]string{"apply": tt.apply, "payload/": ""})))
			_, err := Apply(context.Background(), v, Env{Root: "/", Deadline: tt.deadline})
			e, ok := errors.AsType[*xenapi.Error](err)
			if !ok || e.Code != xenapi.CodePatchApplyFailed || !strings.HasPrefix(e.Params[0], tt.want) {
				t.Errorf("got %v", err)
			}
			wantOnly(t, filepath.Dir(v.path), programName)
		})
	}
	// Without a precheck there is nothing that could fail, and nothing is extracted for it.
	v := extract(t, build(t, patchDir(t, demoMeta(), map[string]string{"apply": "#!/bin/sh\n", "payload/": ""})))
	if got, err := Precheck(context.Background(), v, Env{Root: "/"}, testRef); err != nil || got != "" {
		t.Errorf("precheck %q, %v", got, err)
	}
}

func TestBuildIsDeterministic(t *testing.T) {
	t.Parallel()
	files := func() map[string]string {
		return map[string]string{"apply": "#!/bin/sh\n", "payload/b": "b", "payload/a": "a", "payload/c/d": "d", "payload/l": "->a"}
	}
	one, two := patchDir(t, demoMeta(), files()), patchDir(t, demoMeta(), files())
	old := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := errors.Join(os.Chtimes(filepath.Join(two, "payload/a"), old, old), os.Chown(filepath.Join(two, "payload/b"), 1000, 1000)); err != nil {
		t.Fatal(err)
	}
	if build(t, one) != build(t, two) {
		t.Error("the same input gave different bytes")
	}
	if err := os.Chmod(filepath.Join(two, "payload/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if build(t, one) == build(t, two) {
		t.Error("another mode gave the same bytes")
	}
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	with := func(key string, value any) map[string]any {
		m := demoMeta()
		m[key] = value
		return m
	}
	files := map[string]string{"apply": "#!/bin/sh\n", "payload/": ""}
	for _, tt := range []struct {
		name  string
		meta  map[string]any
		files map[string]string
		want  string
	}{
		{"no apply", demoMeta(), map[string]string{"payload/": ""}, "apply is missing"},
		{"no payload", demoMeta(), map[string]string{"apply": ""}, "payload is missing"},
		{"another file", demoMeta(), map[string]string{"apply": "", "payload/": "", "README": ""}, "README has no meaning there"},
		{"apply is a directory", demoMeta(), map[string]string{"apply/": "", "payload/": ""}, "apply is of the wrong kind"},
		{"apply is a link", demoMeta(), map[string]string{"apply": "->/bin/true", "payload/": ""}, "apply is of the wrong kind"},
		{"unknown key", with("name", "x"), files, `unknown field "name"`},
		{"bad uuid", with("uuid", "x"), files, `uuid "x" is not a UUID`},
		{"no uuid", with("uuid", ""), files, "uuid is missing"},
		{"no label", with("name-label", ""), files, "name-label is missing"},
		{"no version", with("version", ""), files, "version is missing"},
		{"control character", with("name-label", "a\x01b"), files, "a character that XML cannot hold"},
		{"unknown guidance", with("after-apply-guidance", []string{"reboot"}), files, `after-apply-guidance "reboot" is not one of`},
		{"guidance of two words", with("after-apply-guidance", []string{"restartPV restartHVM"}), files, "is not one word"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			own := map[string]string{}
			for name, content := range tt.files {
				own[name] = content
			}
			var out bytes.Buffer
			if err := Build(patchDir(t, tt.meta, own), &out); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	dir := patchDir(t, demoMeta(), map[string]string{"apply": "", "payload/": ""})
	if err := syscall.Mkfifo(filepath.Join(dir, "payload/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Build(dir, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "archive payload/pipe: only files") {
		t.Errorf("a named pipe gave %v", err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if err := Build(patchDir(t, demoMeta(), map[string]string{"apply": "", "payload/": ""}), full); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk gave %v", err)
	}
}

// TestSignForGPG has the real gpg verify what Sign writes, with keys made by either.
func TestSignForGPG(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	passphrase := []byte("correct horse")
	public, private, err := GenerateKey("Demo", "demo@example.com", passphrase)
	if err != nil {
		t.Fatal(err)
	}
	g.must(t, public, "--import")
	if _, err := ParseSigningKey(private, []byte("wrong")); err == nil || !strings.Contains(err.Error(), "passphrase is wrong") {
		t.Errorf("a wrong passphrase gave %v", err)
	}
	if _, err := ParseSigningKey(public, nil); err == nil {
		t.Error("a public key can sign")
	}
	exported := func(name string, args ...string) []byte {
		return g.must(t, nil, append(args, "--passphrase", "", "--export-secret-keys", g.keys[name])...)
	}
	for _, tt := range []struct {
		name       string
		key        []byte
		passphrase []byte
	}{
		{"own", private, passphrase}, {"ed25519 of gpg", exported("ed"), nil},
		{"rsa of gpg", exported("rsa", "--armor"), nil}, {"subkey of gpg", exported("sub"), nil},
	} {
		key, err := ParseSigningKey(tt.key, tt.passphrase)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for _, size := range []int{1, partSize - 7, partSize - 6, partSize - 5, 2 * partSize, 3*partSize + 1000} {
			program := sample(size)
			file := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(file, program, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			var definite, parts bytes.Buffer
			if err := errors.Join(Sign(f, &definite, key), Sign(bytes.NewReader(program), &parts, key), f.Close()); err != nil {
				t.Fatal(err)
			}
			if definite.Bytes()[16] != 0xff || size >= partSize && parts.Bytes()[16] != 0xf4 {
				t.Errorf("%s: lengths begin with %x and %x", tt.name, definite.Bytes()[16], parts.Bytes()[16])
			}
			for form, patch := range map[string][]byte{"definite": definite.Bytes(), "parts": parts.Bytes()} {
				got := g.must(t, patch, "-o", "-", "--decrypt")
				status := string(g.must(t, patch, "--status-fd", "1", "-o", "/dev/null", "--verify"))
				if !bytes.Equal(got, program) || !strings.Contains(status, "GOODSIG") || !strings.Contains(status, key.Fingerprint()) {
					t.Errorf("%s, %s, %d bytes: gpg says %q", tt.name, form, size, status)
				}
			}
		}
	}
}

// TestSignRefusesAChangingFile has a file that is longer than it said.
func TestSignRefusesAChangingFile(t *testing.T) {
	t.Parallel()
	key, _ := demoKey(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "program"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	grow := writerFunc(func(p []byte) (int, error) {
		if p[0] != 0xc0|tagLiteral { // the length has been announced
			return len(p), nil
		}
		_, err := f.WriteAt(sample(100), 0)
		return len(p), err
	})
	if err := Sign(f, grow, key); !errors.Is(err, errSizeChanged) {
		t.Errorf("got %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// TestBuildSignVerifyExecute is the whole way of a patch, through Extract.
func TestBuildSignVerifyExecute(t *testing.T) {
	t.Parallel()
	key, keys := demoKey(t)
	big := patchDir(t, demoMeta(), map[string]string{"apply": "#!/bin/sh\nwc -c <big\n", "payload/big": string(sample(5 << 20))})
	var patch bytes.Buffer
	if err := Sign(strings.NewReader(build(t, big)), &patch, key); err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(Options{KeyDir: keys.dir, Log: slog.New(slog.DiscardHandler)}).Extract(context.Background(), &patch, Dir(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Apply(context.Background(), v, Env{Root: "/"}); err != nil || got != "5242880\n" {
		t.Errorf("%q, %v", got, err)
	}
}
