package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// agreed is a list that the API fits.
const agreed = `{"classes": {
	"PBD": {
		"implicit": ["get_all", "get_all_records", "get_by_uuid", "get_record"],
		"fields": [["uuid", "string", "RO/runtime", null, "rio"], ["host", "host ref", "RO/constructor", null, "rio"],
			["other_config", "(string -> string) map", "RW", {}, "miami", "pool-operator"]],
		"messages": [{"n": "plug", "p": [["self", "PBD ref"]], "r": "void", "role": "pool-operator"}]
	},
	"task": {
		"implicit": [], "fields": [["allowed_operations", "enum task_allowed_operations set", "RO/runtime", {}, "rio"]],
		"messages": [{"n": "set_status", "p": [["self", "task ref"], ["value", "enum task_status_type"]], "r": "void", "role": "read-only", "async": false}]
	},
	"pool": {
		"implicit": [], "fields": [["tags", "string set", "RW", {}, "orlando", "vm-operator"]],
		"messages": [{"n": "enable_ssl_legacy", "p": [["self", "pool ref"]], "r": "void", "role": "pool-operator"}]
	},
	"event": {
		"implicit": [], "fields": [["id", "int", "RO/constructor", null, "rio"]],
		"messages": [{"n": "next", "p": [], "r": "event record set", "role": "read-only"}]
	}
}}`

func run(t *testing.T, list string, except ...string) (printed string, ok bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "list.json")
	if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	ok, err := check(&b, file, except)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), ok
}

func TestAgreement(t *testing.T) {
	t.Parallel()
	printed, ok := run(t, agreed)
	const want = `refused with MESSAGE_REMOVED: pool.enable_ssl_legacy
declared: 4 messages, 4 present (100 %), 3 working (75 %)
all:      21 messages, 21 present (100 %), 20 working (95 %)
`
	if !ok || printed != want {
		t.Errorf("ok %v, printed:\n%swant:\n%s", ok, printed, want)
	}
}

// Each change makes the list say what the API does not.
func TestDifferences(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to, want string }{
		{`"n": "plug"`, `"n": "plug_in"`, "PBD.plug_in is missing"},
		{`"p": [["self", "PBD ref"]]`, `"p": []`, "PBD.plug: parameters is self PBD ref, XenAPI's is "},
		{`["self", "PBD ref"]`, `["pbd", "PBD ref"]`, "PBD.plug: parameters is self PBD ref, XenAPI's is pbd PBD ref"},
		{`["self", "PBD ref"]`, `["self", "SR ref"]`, "PBD.plug: parameters is self PBD ref, XenAPI's is self SR ref"},
		{`["self", "PBD ref"]`, `["self", "PBD ref", ""]`, "PBD.plug: parameters is self PBD ref, XenAPI's is self PBD ref (optional)"},
		{`"r": "void", "role": "pool-operator"}]
	},
	"task"`, `"r": "string", "role": "pool-operator"}]
	},
	"task"`, "PBD.plug: result is void, XenAPI's is string"},
		{`"role": "read-only", "async": false`, `"role": "pool-admin", "async": false`, "task.set_status: role is read-only, XenAPI's is pool-admin"},
		{`"async": false`, `"async": true`, "task.set_status: Async is false, XenAPI's is true"},
		{`"role": "pool-operator"}`, `"role": "pool-operator", "nosession": true}`, "PBD.plug: session is true, XenAPI's is false"},
		{`"miami", "pool-operator"`, `"miami", "pool-admin"`, "PBD.add_to_other_config: role is pool-operator, XenAPI's is pool-admin"},
		{`["host", "host ref", "RO/constructor"`, `["host", "SR ref", "RO/constructor"`, "field PBD.host: type is host ref, XenAPI's is SR ref"},
		{`["host", "host ref", "RO/constructor"`, `["host", "host ref", "RO/runtime"`, "field PBD.host: qualifier is constructor, XenAPI's is runtime"},
		{`["tags", `, `["labels", `, "field pool.labels is missing"},
		{`"enum task_allowed_operations set"`, `"string set"`, "field task.allowed_operations: type is enum set, XenAPI's is string set"},
		{`"PBD": {`, `"VBM": {`, "VBM.get_record is missing"},
	} {
		changed := strings.Replace(agreed, c.from, c.to, 1)
		if changed == agreed {
			t.Fatalf("%q is not in the list", c.from)
		}
		printed, ok := run(t, changed)
		if ok || !slices.Contains(strings.Split(printed, "\n"), c.want) {
			t.Errorf("%s: ok %v, want %q in:\n%s", c.to, ok, c.want, printed)
		}
	}
}

func TestClassesThatMayBeMissing(t *testing.T) {
	t.Parallel()
	printed, ok := run(t, strings.Replace(agreed, `"PBD"`, `"VBM"`, 1), "VBM", "pool")
	if !ok || !strings.Contains(printed, "not counted: VBM\n") || !strings.Contains(printed, "declared: 3 messages") {
		t.Errorf("ok %v, printed:\n%s", ok, printed)
	}
}

func TestListsThatAreNone(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "list.json")
	for _, text := range []string{"", "[]", `{"classes": {"PBD": {"fields": [[7]]}}}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := check(&bytes.Buffer{}, file, nil); err == nil {
			t.Errorf("%q is taken for a list", text)
		}
	}
	if _, err := check(&bytes.Buffer{}, file+".none", nil); err == nil {
		t.Error("a missing file is taken for a list")
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{
		"string": "string", "enum on_boot": "enum", "enum vdi_operations set": "enum set",
		"(string -> enum vdi_operations) map": "(string -> enum) map", "(enum vm_operations -> string) map": "(enum -> string) map",
		"(VM ref -> (string -> string) map) map": "(VM ref -> (string -> string) map) map",
		"enum":                                   "enum", "enum set": "enum set", "(enum -> string) map": "(enum -> string) map", "(string -> enum) map": "(string -> enum) map",
	} {
		if got := plain(kind); got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
}
