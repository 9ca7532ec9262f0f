package xenapi_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"poolpatch/xenapi"
)

func records() []xenapi.Object {
	return []xenapi.Object{
		xenapi.Session{}, xenapi.Task{}, xenapi.Pool{}, xenapi.Host{}, xenapi.HostMetrics{}, xenapi.HostPatch{},
		xenapi.PoolPatch{}, xenapi.SM{}, xenapi.SR{}, xenapi.PBD{}, xenapi.VDI{}, xenapi.VM{}, xenapi.VBD{}, xenapi.User{},
		xenapi.Role{}, xenapi.Message{}, xenapi.Certificate{},
	}
}

func TestEveryClassHasWellFormedTags(t *testing.T) {
	for _, rec := range records() {
		class := xenapi.ClassFor(reflect.TypeOf(rec))
		if class.Fields[0].Name != "uuid" {
			t.Errorf("%s starts with %q, want uuid", class.Name, class.Fields[0].Name)
		}
		seen := map[string]bool{}
		for _, f := range class.Fields {
			if f.Name == "" || seen[f.Name] {
				t.Errorf("%s: field %q is nameless or stands twice", class.Name, f.Name)
			}
			seen[f.Name] = true
			if f.Wire() && f.Since == "" && class.Name != "host_metrics" {
				t.Errorf("%s.%s does not say since when", class.Name, f.Name)
			}
			if f.Qualifier == xenapi.ReadWrite && f.SetterRole == "" {
				t.Errorf("%s.%s may be written by no role", class.Name, f.Name)
			}
		}
	}
}

func TestInverseFieldsNameRealFields(t *testing.T) {
	byName := map[string]*xenapi.Class{}
	for _, rec := range records() {
		c := xenapi.ClassFor(reflect.TypeOf(rec))
		byName[c.Name] = c
	}
	for _, c := range byName {
		for _, f := range c.Fields {
			if !f.Computed() {
				continue
			}
			other, ok := byName[f.InverseClass]
			if !ok {
				t.Errorf("%s.%s: no class %s", c.Name, f.Name, f.InverseClass)
				continue
			}
			back, ok := other.Field(f.InverseField)
			if !ok || !strings.Contains(back.Type.String(), "Ref[") {
				t.Errorf("%s.%s: %s.%s is no reference", c.Name, f.Name, f.InverseClass, f.InverseField)
			}
		}
	}
}

func TestNewFillsDefaults(t *testing.T) {
	host := xenapi.New[xenapi.Host]()
	if !host.SSLLegacy || host.Display != xenapi.HostDisplayEnabled || len(host.VirtualHardwarePlatformVersions) != 1 || host.LicenseServer["port"] != "27000" {
		t.Errorf("host defaults are %v %v %v %v", host.SSLLegacy, host.Display, host.VirtualHardwarePlatformVersions, host.LicenseServer)
	}
	if vm := xenapi.New[xenapi.VM](); vm.HVMShadowMultiplier != 1 || vm.GenerationID != "0:0" {
		t.Errorf("VM defaults are %v %q", vm.HVMShadowMultiplier, vm.GenerationID)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	a := xenapi.PoolPatch{OtherConfig: map[string]string{"k": "v"}, AfterApplyGuidance: []xenapi.AfterApplyGuidance{"restartHost"}}
	b := xenapi.Clone(a)
	b.OtherConfig["k"] = "w"
	b.AfterApplyGuidance[0] = "restartPV"
	if a.OtherConfig["k"] != "v" || a.AfterApplyGuidance[0] != "restartHost" {
		t.Error("the clone shares a map or a slice with the original")
	}
}

func TestSignatures(t *testing.T) {
	bySig := map[string]xenapi.Signature{}
	for _, s := range xenapi.Signatures() {
		if _, twice := bySig[s.FullName()]; twice {
			t.Errorf("%s is declared twice", s.FullName())
		}
		if s.Result == "" || s.Role == "" || s.Class == "" {
			t.Errorf("%+v lacks something", s)
		}
		bySig[s.FullName()] = s
	}
	apply := bySig["pool_patch.apply"]
	if apply.Required() != 2 || apply.Params[1].Type != "host ref" || apply.Role != xenapi.RolePoolOperator || apply.Lifecycle != "" {
		t.Errorf("pool_patch.apply is %+v", apply)
	}
	if clean := bySig["pool_patch.clean"]; clean.Lifecycle != "deprecated" || clean.Replacement != "VDI.destroy" {
		t.Errorf("pool_patch.clean is %+v", clean)
	}
	create := bySig["SR.create"]
	if create.Required() != 8 || create.Params[1].Type != "(string -> string) map" || !create.Params[8].Optional || create.Params[8].Default != "{}" {
		t.Errorf("SR.create is %+v", create)
	}
	login := bySig["session.login_with_password"]
	if login.Required() != 2 || !login.NoSession || login.Params[2].Default != "1.1" {
		t.Errorf("session.login_with_password is %+v", login)
	}
}

func TestRoleUUIDs(t *testing.T) {
	// As XenServer and XCP-ng have them.
	want := map[string]string{
		"pool-admin":     "0165f154-ba3e-034e-6b27-5d271af109ba",
		"pool-operator":  "b9ce9791-0604-50cd-0649-09b3284c7dfd",
		"vm-power-admin": "7955168d-7bec-10ed-105f-c6a7e6e63249",
		"vm-admin":       "aaa00ab5-7340-bfbc-0d1b-7cf342639a6e",
		"vm-operator":    "fb8d4ff9-310c-a959-0613-54101535d3d5",
		"read-only":      "7233b8e3-eacb-d7da-2c95-f2e581cdbf4e",
	}
	for _, role := range xenapi.Roles() {
		if got := xenapi.RoleUUID(role); got != want[role] {
			t.Errorf("%s has UUID %s, want %s", role, got, want[role])
		}
	}
}

func TestRolesWith(t *testing.T) {
	if got := xenapi.RolesWith("pool-operator+client-cert"); !slices.Equal(got, []string{"pool-admin", "pool-operator", "client-cert"}) {
		t.Errorf("pool-operator+client-cert: %v", got)
	}
	if got := xenapi.RolesWith("pool-operator"); slices.Contains(got, xenapi.RoleClientCert) {
		t.Errorf("pool-operator: %v", got)
	}
	if got := xenapi.RolesWith("read-only"); len(got) != 7 || got[5] != xenapi.RoleClientCert || got[6] != xenapi.RoleReadOnly {
		t.Errorf("read-only: %v", got)
	}
	if got := xenapi.RolesWith(xenapi.RoleLocalRoot); len(got) != 0 {
		t.Errorf("local-root-only is allowed to %v", got)
	}
	if got := xenapi.RolesWith(""); len(got) != 0 {
		t.Errorf("the zero role allows %v", got)
	}
}

func TestRefs(t *testing.T) {
	var null xenapi.Ref[xenapi.VDI]
	if !null.IsNull() || null.String() != "OpaqueRef:NULL" || xenapi.ParseRef[xenapi.VDI]("OpaqueRef:NULL") != null {
		t.Error("the zero ref is not the null ref")
	}
	if a, b := xenapi.NewRef[xenapi.VDI](), xenapi.NewRef[xenapi.VDI](); a == b || a.IsNull() {
		t.Errorf("fresh refs are %s and %s", a, b)
	}
}

func TestParseUUID(t *testing.T) {
	for in, want := range map[string]string{
		"0165F154-BA3E-034E-6B27-5D271AF109BA":          "0165f154-ba3e-034e-6b27-5d271af109ba",
		"0165f154-ba3e-034e-6b27-5d271af109b":           "",
		"../../../../../../etc/passwd-and-more":         "",
		"{0165f154-ba3e-034e-6b27-5d271af109ba}":        "",
		"urn:uuid:0165f154-ba3e-034e-6b27-5d271af109ba": "",
	} {
		if got, ok := xenapi.ParseUUID(in); got != want || ok != (want != "") {
			t.Errorf("ParseUUID(%q) = %q, %v", in, got, ok)
		}
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("disk on fire")
	err := fmt.Errorf("create VDI: %w", xenapi.ErrSRFull(2, 1).Because(cause))
	if xenapi.CodeOf(err) != "SR_FULL" || !errors.Is(err, cause) {
		t.Errorf("%v lost its code or its cause", err)
	}
	if got := err.Error(); got != "create VDI: SR_FULL [2; 1]: disk on fire" {
		t.Errorf("the text is %q", got)
	}
	if xenapi.CodeOf(cause) != "" {
		t.Error("an ordinary error has a code")
	}
}

func ExampleError() {
	err := xenapi.ErrSRFull(4<<30, 1<<30)
	fmt.Println(err.Description())
	fmt.Println(err.Sentence())
	// Output:
	// [SR_FULL 4294967296 1073741824]
	// The SR has too little free space: the bytes that were needed and the bytes that there were.
}

func ExampleRef() {
	var none xenapi.Ref[xenapi.VDI]
	fmt.Println(none, none.IsNull())
	// Output: OpaqueRef:NULL true
}
