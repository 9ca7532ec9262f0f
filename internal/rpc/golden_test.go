package rpc

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/xenapi"
)

var update = flag.Bool("update", false, "write the replies in testdata anew")

// fixed answers every call of the golden files with something that shows a rule of the wire.
type fixed struct{}

func (fixed) Dispatch(_ context.Context, method string, params []Value) (any, error) {
	switch method {
	case "test.echo":
		return params, nil
	case "pool_patch.apply":
		return nil, xenapi.ErrPatchAlreadyApplied("OpaqueRef:<patch>")
	case "test.broken":
		return "not shown", errors.New("open /secret: no such file")
	}
	result, ok := results[method]
	if !ok {
		return nil, xenapi.ErrMessageMethodUnknown(method)
	}
	return result, nil
}

// event has no snapshot when its object is gone.
type event struct {
	ID       string         `json:"id"`
	Ref      string         `json:"ref"`
	Snapshot map[string]any `json:"snapshot,omitempty"`
}

type batch struct {
	Events         []event       `json:"events"`
	ValidRefCounts map[string]I4 `json:"valid_ref_counts"`
	Token          string        `json:"token"`
}

var results = map[string]any{
	"session.login_with_password": xenapi.Ref[xenapi.Session]("OpaqueRef:8d6bd0a1-2e3c-4a51-a3a7-6b6f4a0ad3a8"),
	"system.listMethods":          []string{"VDI.get_record", "pool_patch.get_all_records"},
	"VDI.get_record":              vdiRecord(),
	"pool_patch.get_all":          []xenapi.Ref[xenapi.PoolPatch]{"OpaqueRef:1", "OpaqueRef:2"},
	"host.get_software_version":   map[string]string{"product_version": "6.5.0", "build_number": "", "a<b": "&"},
	"SM.get_features":             map[string]int64{"VDI_CLONE": 1, "VDI_DELETE": 2},
	"task.get_created":            time.Date(2015, 2, 13, 10, 20, 30, 999, time.FixedZone("", 3600)),
	"task.get_finished":           time.Time{},
	"task.get_progress":           0.1,
	"VDI.get_virtual_size":        int64(1) << 40,
	"VDI.get_parent":              xenapi.Ref[xenapi.VDI](""),
	"VDI.get_managed":             true,
	"VDI.get_type":                xenapi.VDIType("user"),
	"VDI.destroy":                 nil,
	"test.escapes":                "<a href=\"x\">&amp; 'b'</a>\x00\x01\x1b\t\n\r\x7f \u00e9\u20ac\U0001f600\u2028\ufffe \xff",
	"event.from": batch{
		Events: []event{
			{ID: "1", Ref: "OpaqueRef:1", Snapshot: map[string]any{"uuid": "1", "size": int64(5), "tags": []string(nil)}},
			{ID: "2", Ref: "OpaqueRef:2"},
		},
		ValidRefCounts: map[string]I4{"vdi": 3, "pool_patch": 0},
		Token:          "00000000000000000001,00000000000000000000",
	},
}

func vdiRecord() xenapi.VDI {
	vdi := xenapi.New[xenapi.VDI]()
	vdi.UUID = "6a3fbe4e-5c0f-4b62-a7f3-2a1e8c0c9d11"
	vdi.NameLabel = `"hotfix" <1>`
	vdi.AllowedOperations = []xenapi.VDIOperation{"clone", "destroy"}
	vdi.SR = "OpaqueRef:sr"
	vdi.VirtualSize = 4 << 30
	vdi.Type = "user"
	vdi.Managed = true
	vdi.SMConfig = map[string]string{"b": "2", "a": "1"}
	vdi.SnapshotTime = time.Unix(0, 0)
	vdi.Digest = "never on the wire"
	return vdi
}

// TestGolden sends each request of testdata and compares the reply byte by byte.
func TestGolden(t *testing.T) {
	t.Parallel()
	codecs := map[string]func(context.Context, Dispatcher, []byte) ([]byte, error){"xml": XML, "json1": JSON, "json2": JSON}
	for folder, answer := range codecs {
		requests, err := filepath.Glob(filepath.Join("testdata", folder, "*.request"))
		if err != nil || len(requests) == 0 {
			t.Fatalf("requests of %s: %v %v", folder, requests, err)
		}
		for _, name := range requests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				reply, err := answer(t.Context(), fixed{}, readFile(t, name))
				if err != nil {
					t.Fatal(err)
				}
				compareGolden(t, strings.TrimSuffix(name, ".request")+".reply", reply)
			})
		}
	}
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(readFile(t, name)), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
