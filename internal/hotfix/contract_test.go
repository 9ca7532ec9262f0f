package hotfix

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"poolpatch/xenapi"

	"github.com/google/go-cmp/cmp"
)

const (
	testUUID = "8d2bdab6-37ef-4a1f-9a80-0e5b1d4e5a0c"
	testRef  = xenapi.Ref[xenapi.PoolPatch]("OpaqueRef:p")
	goodInfo = `<info uuid="8d2bdab6-37ef-4a1f-9a80-0e5b1d4e5a0c" version="1.2" name-label="Label" name-description="Text" after-apply-guidance="restartHost restartXAPI"/>`
)

// extract signs a program, and verifies and extracts it into a directory of its own.
func extract(t testing.TB, program string) Verified {
	t.Helper()
	key, keys := demoKey(t)
	var patch bytes.Buffer
	if err := Sign(strings.NewReader(program), &patch, key); err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(Options{KeyDir: keys.dir, Log: slog.New(slog.DiscardHandler)}).Extract(context.Background(), &patch, Dir(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// script is a program that does the same for every call.
func script(body string) string { return "#!/bin/sh\n" + body + "\n" }

// printing is a program that prints text and ends with a code.
func printing(text string, code string) string {
	return script("cat <<'END'\n" + text + "\nEND\nexit " + code)
}

func wantError(t *testing.T, err error, code string, params ...string) {
	t.Helper()
	got, ok := errors.AsType[*xenapi.Error](err)
	if !ok {
		t.Fatalf("%v is no API error, want %s %q", err, code, params)
	}
	if got.Code != code || !slices.Equal(got.Params, params) {
		t.Errorf("%s %q, want %s %q", got.Code, got.Params, code, params)
	}
}

func TestRunInfo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, program, code string
		param               string
	}{
		{"good", printing(goodInfo, "0"), "", ""},
		{"exit 2", printing(goodInfo, "2"), xenapi.CodeInvalidPatchWithLog, "Bad line endings?"},
		{"line endings", "#!/bin/sh\r\nexit 0\r\n", xenapi.CodeInvalidPatchWithLog, "Bad line endings?"},
		{"exit 3", printing(goodInfo, "3"), xenapi.CodeInternalError, "the patch's info ended with exit code 3"},
		{"signal", script("kill -9 $$"), xenapi.CodeInternalError, "the patch's info was ended by signal killed"},
		{"hang", script("sleep 1000"), xenapi.CodeInvalidPatchWithLog, "the patch's info did not end in time"},
		{"stray stderr", script("echo warning >&2; cat <<'END'\n" + goodInfo + "\nEND"), xenapi.CodeInvalidPatch, "what the patch says of itself is not XML: text stands outside of the document"},
		{"gigabyte", script("dd if=/dev/zero bs=1M count=1024 2>/dev/null"), xenapi.CodeInvalidPatch, "what the patch says of itself is not XML: XML syntax error on line 3: illegal character code U+0000"},
		{"no program", "this is text", xenapi.CodeInvalidPatch, "the signed file is not a program that this host can execute"},
		{"silent", script("exit 0"), xenapi.CodeInvalidPatch, "what the patch says of itself is not XML: there is no XML"},
		{"called with", script(`[ $# = 1 ] && [ "$1" = info ] && cat <<'END'` + "\n" + goodInfo + "\nEND"), "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := Env{Root: "/"}
			if tt.name == "hang" {
				e.Deadline = 100 * time.Millisecond
			}
			got, err := RunInfo(context.Background(), extract(t, tt.program), e)
			if tt.code != "" {
				wantError(t, err, tt.code, tt.param)
				return
			}
			want := Info{
				UUID: testUUID, Version: "1.2", NameLabel: "Label", NameDescription: "Text",
				AfterApplyGuidance: []xenapi.AfterApplyGuidance{"restartHost", "restartXAPI"}, XML: []byte(goodInfo + "\n"),
			}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v; -want +got:\n%s", err, diff)
			}
		})
	}
}

func TestParseInfo(t *testing.T) {
	t.Parallel()
	with := func(old, new string) string { return strings.Replace(goodInfo, old, new, 1) }
	for _, tt := range []struct{ name, xml, want string }{
		{"as it is", goodInfo, ""},
		{"prolog and comment", "<?xml version=\"1.0\"?>\n<!-- c -->\n" + goodInfo + "\n\n", ""},
		{"upper-case uuid", with(testUUID, strings.ToUpper(testUUID)), ""},
		{"other attributes", with("<info", `<info colour="red"`), ""},
		{"children", with("/>", "><x>text</x> text</info>"), ""},
		{"no guidance", with("restartHost restartXAPI", ""), ""},
		{"guidance twice", with("restartHost restartXAPI", "  restartHost\trestartHost "), ""},
		{"unknown guidance", with("restartXAPI", "reboot"), `the patch's after-apply-guidance "reboot" is not one of restartHVM, restartPV, restartHost, restartXAPI`},
		{"guidance in another case", with("restartXAPI", "restartxapi"), `the patch's after-apply-guidance "restartxapi" is not one of restartHVM, restartPV, restartHost, restartXAPI`},
		{"bad uuid", with(testUUID, "../../etc/passwd"), `the patch's uuid "../../etc/passwd" is not a UUID`},
		{"uuid in braces", with(testUUID, "{"+testUUID+"}"), `the patch's uuid "{` + testUUID + `}" is not a UUID`},
		{"no uuid", with(`uuid="`+testUUID+`"`, ""), "the patch's info has no attribute uuid"},
		{"no version", with(`version="1.2"`, ""), "the patch's info has no attribute version"},
		{"no label", with(`name-label="Label"`, ""), "the patch's info has no attribute name-label"},
		{"no description", with(`name-description="Text"`, ""), "the patch's info has no attribute name-description"},
		{"no guidance attribute", with(`after-apply-guidance="restartHost restartXAPI"`, ""), "the patch's info has no attribute after-apply-guidance"},
		{"attribute twice", with("<info", `<info version="9"`), "what the patch says of itself is not XML: attribute version stands twice"},
		{"other root", with("<info", "<patch"), "what the patch says of itself is an element patch, not info"},
		{"namespace", with("<info", "<x:info"), "what the patch says of itself is an element x:info, not info"},
		{"two documents", goodInfo + goodInfo, "what the patch says of itself is not XML: element info follows the end of the document"},
		{"text after", goodInfo + "done", "what the patch says of itself is not XML: text stands outside of the document"},
		{"not closed", with("/>", ">"), "what the patch says of itself is not XML: element info is not closed"},
		{"wrongly closed", with("/>", "></inf>"), "what the patch says of itself is not XML: element inf is closed and not open"},
		{"document type", "<!DOCTYPE info>" + goodInfo, "what the patch says of itself is not XML: it has a document type, which is not allowed"},
		{"deep", strings.Repeat("<a>", 1000), "what the patch says of itself is not XML: elements are nested too deep"},
	} {
		got, err := ParseInfo([]byte(tt.xml))
		if tt.want != "" {
			t.Run(tt.name, func(t *testing.T) { wantError(t, err, xenapi.CodeInvalidPatch, tt.want) })
			continue
		}
		if err != nil || got.UUID != testUUID || got.NameLabel != "Label" || string(got.XML) != tt.xml || len(got.AfterApplyGuidance) > 2 {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

// FuzzInfoXML checks that what is accepted can be a file name, and that a stamp reads back the same.
func FuzzInfoXML(f *testing.F) {
	f.Add([]byte(goodInfo))
	f.Add([]byte(`<?xml version="1.0"?><info uuid="X" version="&#10;&lt;" name-label='' name-description="" after-apply-guidance=""><!-- --></info>`))
	f.Add([]byte(strings.Repeat("<a b='c'>", 50)))
	f.Fuzz(func(t *testing.T, text []byte) {
		info, err := ParseInfo(text)
		if err != nil {
			if xenapi.CodeOf(err) != xenapi.CodeInvalidPatch {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if uuid, ok := xenapi.ParseUUID(info.UUID); !ok || uuid != info.UUID {
			t.Errorf("uuid %q", info.UUID)
		}
		again, err := ParseInfo(info.XML)
		if diff := cmp.Diff(info, again); diff != "" || err != nil {
			t.Errorf("%v; a stamp reads back as\n%s", err, diff)
		}
	})
}

func TestPrecheck(t *testing.T) {
	t.Parallel()
	const (
		unknown   = "Unknown error code or malformed xml"
		malformed = "Malformed prerequisite list"
		log       = xenapi.CodeInvalidPatchWithLog
		ref       = "OpaqueRef:p"
	)
	form := func(code, rest string) string {
		return printing(`<error errorcode="PATCH_PRECHECK_FAILED_`+code+`">`+rest+`</error>`, "1")
	}
	failed := func(text string) []string {
		return []string{xenapi.CodePatchPrecheckFailedUnknownError, ref, "Error running prechecks on patch " + ref + ": " + text}
	}
	for _, tt := range []struct {
		name, program string
		want          []string // code and parameters
	}{
		{"passes", printing("all is well", "0"), nil},
		{"unknown error", form("UNKNOWN_ERROR", "<info>T &amp; U</info>"), []string{xenapi.CodePatchPrecheckFailedUnknownError, ref, "T & U"}},
		{"layout does not matter", printing("<?xml version=\"1.0\"?>\n<!-- c --><error\n errorcode='PATCH_PRECHECK_FAILED_UNKNOWN_ERROR'>\n  <info>T</info>\n</error>\n", "1"), []string{xenapi.CodePatchPrecheckFailedUnknownError, ref, "T"}},
		{"iso", form("ISO_MOUNTED", "<info>T</info>"), []string{xenapi.CodePatchPrecheckFailedISOMounted, ref, "T"}},
		{"prerequisites", form("PREREQUISITE_MISSING", `<prerequisite uuid="a"/><prerequisite uuid="b"/>`), []string{xenapi.CodePatchPrecheckFailedPrerequisiteMissing, ref, "a;b"}},
		{"no prerequisite", form("PREREQUISITE_MISSING", ""), []string{xenapi.CodePatchPrecheckFailedPrerequisiteMissing, ref, ""}},
		{"version", form("WRONG_SERVER_VERSION", "<found>6</found><required>7</required>"), []string{xenapi.CodePatchPrecheckFailedWrongServerVersion, ref, "6", "7"}},
		{"version, other order", form("WRONG_SERVER_VERSION", "<required>7</required><found>6</found>"), []string{xenapi.CodePatchPrecheckFailedWrongServerVersion, ref, "6", "7"}},
		{"build", form("WRONG_SERVER_BUILD", "<found>1</found><required>^2.*$</required>"), []string{xenapi.CodePatchPrecheckFailedWrongServerBuild, ref, "1", "^2.*$"}},
		{"space", form("OUT_OF_SPACE", "<found>1</found><required>2</required>"), []string{xenapi.CodePatchPrecheckFailedOutOfSpace, ref, "1", "2"}},
		{"vm", form("VM_RUNNING", ""), []string{xenapi.CodePatchPrecheckFailedVMRunning, ref}},
		{"vm, children ignored", form("VM_RUNNING", "<vm>x</vm>"), []string{xenapi.CodePatchPrecheckFailedVMRunning, ref}},

		{"no such form", form("BAD_HAIR", "<info>T</info>"), []string{log, unknown}},
		{"other element", printing("<fault errorcode='PATCH_PRECHECK_FAILED_VM_RUNNING'/>", "1"), []string{log, unknown}},
		{"attribute more", printing("<error errorcode='PATCH_PRECHECK_FAILED_VM_RUNNING' x='1'/>", "1"), []string{log, unknown}},
		{"attribute missing", printing("<error/>", "1"), []string{log, unknown}},
		{"info missing", form("UNKNOWN_ERROR", ""), []string{log, unknown}},
		{"info empty", form("UNKNOWN_ERROR", "<info/>"), []string{log, unknown}},
		{"info twice", form("UNKNOWN_ERROR", "<info>T</info><info>T</info>"), []string{log, unknown}},
		{"info with elements", form("ISO_MOUNTED", "<info>T<b>U</b></info>"), []string{log, unknown}},
		{"text beside info", form("ISO_MOUNTED", "x<info>T</info>"), []string{log, unknown}},
		{"info of another form", form("WRONG_SERVER_VERSION", "<info>T</info>"), []string{log, unknown}},
		{"found missing", form("OUT_OF_SPACE", "<required>2</required>"), []string{log, unknown}},
		{"found empty", form("OUT_OF_SPACE", "<found/><required>2</required>"), []string{log, unknown}},
		{"found twice", form("OUT_OF_SPACE", "<found>1</found><found>1</found><required>2</required>"), []string{log, unknown}},
		{"prerequisite without uuid", form("PREREQUISITE_MISSING", "<prerequisite/>"), []string{log, malformed}},
		{"prerequisite with more", form("PREREQUISITE_MISSING", `<prerequisite uuid="a" x="b"/>`), []string{log, malformed}},
		{"another in the list", form("PREREQUISITE_MISSING", `<patch uuid="a"/>`), []string{log, malformed}},
		{"not XML", printing("went wrong", "1"), []string{log, "error parsing patch precheck xml: text stands outside of the document"}},
		{"stray stderr", script("echo warning >&2; echo '<error errorcode=\"PATCH_PRECHECK_FAILED_VM_RUNNING\"/>'; exit 1"), []string{log, "error parsing patch precheck xml: text stands outside of the document"}},
		{"nothing", script("exit 1"), []string{log, "error parsing patch precheck xml: there is no XML"}},

		{"exit 2", printing("T", "2"), failed("T\n")},
		{"signal", script("echo T; kill -9 $$"), failed("it was ended by signal killed: T\n")},
		{"hang", script("echo T; sleep 1000"), failed("it did not end in time: T\n")},
		{"XML with another exit code", strings.Replace(form("VM_RUNNING", ""), "exit 1", "exit 5", 1), failed("<error errorcode=\"PATCH_PRECHECK_FAILED_VM_RUNNING\"></error>\n")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := Env{Root: "/"}
			if tt.name == "hang" {
				e.Deadline = 300 * time.Millisecond
			}
			got, err := Precheck(context.Background(), extract(t, tt.program), e, testRef)
			if tt.want != nil {
				wantError(t, err, tt.want[0], tt.want[1:]...)
				return
			}
			if err != nil || got != "all is well\n" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	const backup = "<info>Backup files already present: /var/b</info>"
	for _, tt := range []struct {
		name, program string
		want          []string
	}{
		{"works", printing("done", "0"), nil},
		{"fails", printing("no", "1"), []string{xenapi.CodePatchApplyFailed, "no\n"}},
		{"fails otherwise", printing("no", "9"), []string{xenapi.CodePatchApplyFailed, "no\n"}},
		{"hangs", script("echo no; sleep 1000"), []string{xenapi.CodePatchApplyFailed, "the patch's apply did not end in time: no\n"}},
		{"ends well at the deadline", script("trap 'exit 0' TERM; echo no; while :; do :; done"), []string{xenapi.CodePatchApplyFailed, "the patch's apply did not end in time: no\n"}},
		{"killed", script("kill -9 $$"), []string{xenapi.CodePatchApplyFailed, "the patch's apply was ended by signal killed"}},
		{"backup files", printing(`<error errorcode="PATCH_PRECHECK_FAILED_UNKNOWN_ERROR">`+backup+`</error>`, "1"), []string{xenapi.CodePatchApplyFailedBackupFilesExist, "Backup files already present: /var/b"}},
		{"backup files, other code", printing(`<error errorcode="PATCH_PRECHECK_FAILED_ISO_MOUNTED">`+backup+`</error>`, "1"), []string{xenapi.CodeInternalError, "the patch found backup files of an earlier attempt, and reported them in an unknown form"}},
		{"backup files, as text", printing("Backup files already present", "1"), []string{xenapi.CodeInternalError, "the patch found backup files of an earlier attempt, and reported them in an unknown form"}},
		{"backup files and success", printing("Backup files already present", "0"), []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := Env{Root: "/"}
			if strings.Contains(tt.program, "TERM") || tt.name == "hangs" {
				e.Deadline = 300 * time.Millisecond
			}
			got, err := Apply(context.Background(), extract(t, tt.program), e)
			if torn := e.Deadline > 0 || tt.name == "killed"; errors.Is(err, ErrTorn) != torn {
				t.Errorf("torn: %v, error %v", !torn, err)
			}
			if len(tt.want) > 0 {
				wantError(t, err, tt.want[0], tt.want[1:]...)
				return
			}
			if err != nil || tt.want == nil && got != "done\n" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("POOLPATCH_TEST_LEAK", "1")
	v := extract(t, script(`env | grep -v '^_=\|^SHLVL=\|^PWD=\|^OLDPWD=' | sort; pwd`))
	var log bytes.Buffer
	got, err := Apply(context.Background(), v, Env{Root: "/tmp/root", Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(v.path)
	want := "HOME=/root\nLANG=C\nPATH=" + searchPath + "\nPOOLPATCH_ROOT=/tmp/root\nPOOLPATCH_SANDBOX=1\nTMPDIR=" + dir + "\n" + dir + "\n"
	if got != want || log.String() != want {
		t.Errorf("got %q, logged %q, want %q", got, log.String(), want)
	}
	other := t.TempDir()
	if got, err := Apply(context.Background(), v, Env{Root: "/", Scratch: other}); err != nil || !strings.HasSuffix(got, "TMPDIR="+other+"\n"+other+"\n") {
		t.Errorf("in another scratch directory: %q, %v", got, err)
	}
}

// TestExecutesOnlyWhatWasVerified tries to have other bytes executed than those that were verified.
func TestExecutesOnlyWhatWasVerified(t *testing.T) {
	t.Parallel()
	evil := script("echo evil")
	for name, change := range map[string]func(string) error{
		"written over": func(p string) error { return os.WriteFile(p, []byte(evil), 0o700) },
		"replaced": func(p string) error {
			return errors.Join(os.WriteFile(p+".new", []byte(evil), 0o700), os.Rename(p+".new", p))
		},
		"symbolic link": func(p string) error { return errors.Join(os.Rename(p, p+".old"), os.Symlink(p+".old", p)) },
		"removed":       os.Remove,
		"time set back": func(p string) error {
			info, err := os.Stat(p)
			if err != nil {
				return err
			}
			return errors.Join(os.WriteFile(p, []byte(script("echo 3vil")), 0o700), os.Chtimes(p, info.ModTime(), info.ModTime()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := extract(t, script("echo good"))
			if err := change(v.path); err != nil {
				t.Fatal(err)
			}
			if got, err := Apply(context.Background(), v, Env{Root: "/"}); err == nil {
				t.Errorf("it ran, and printed %q", got)
			}
		})
	}
	if _, err := Apply(context.Background(), Verified{}, Env{Root: "/"}); err == nil {
		t.Error("the zero Verified ran")
	}
}

func TestExtract(t *testing.T) {
	t.Parallel()
	key, keys := demoKey(t)
	var patch bytes.Buffer
	if err := Sign(strings.NewReader(script("echo good")), &patch, key); err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(Options{KeyDir: keys.dir, Log: slog.New(slog.DiscardHandler)})
	ctx := context.Background()

	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	program := filepath.Join(dir, programName)
	if err := errors.Join(os.WriteFile(outside, []byte("untouched"), 0o600), os.Symlink(outside, program)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // over a link, then over the program of an earlier call
		got, err := v.Extract(ctx, bytes.NewReader(patch.Bytes()), Dir(dir))
		if err != nil || got.Signer() != key.Fingerprint() || got.SignedSize() != int64(patch.Len()) {
			t.Fatalf("%+v, %v", got, err)
		}
		if info, err := os.Lstat(program); err != nil || info.Mode() != 0o700 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if text, _ := os.ReadFile(outside); string(text) != "untouched" {
			t.Errorf("a link's target was written: %q", text)
		}
		if out, err := Apply(ctx, got, Env{Root: "/"}); err != nil || out != "good\n" {
			t.Errorf("%q, %v", out, err)
		}
	}
	bad := bytes.Clone(patch.Bytes())
	bad[len(bad)-1] ^= 1
	if got, err := v.Extract(ctx, bytes.NewReader(bad), Dir(dir)); err == nil || got != (Verified{}) {
		t.Errorf("a bad patch gave %+v, %v", got, err)
	}
	if _, err := os.Lstat(program); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a bad patch's program is left: %v", err)
	}
	// A directory in the program's place is not removed with what is in it.
	if err := os.MkdirAll(filepath.Join(program, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Extract(ctx, bytes.NewReader(patch.Bytes()), Dir(dir)); err == nil {
		t.Error("a directory was replaced")
	}
}
