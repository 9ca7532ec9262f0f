// Package arch holds no code: its tests keep the directions of ARCHITECTURE.md. Imports point down only,
// dangerous imports stay in one room each, and every package says what it is for.
package arch

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "poolpatch"

// layers lists the rooms from the top down. A package imports only packages of lower layers; those of one
// layer know nothing of one another.
var layers = [][]string{
	{"cmd/poolpatch", "build/coverage"},
	{"internal/httpd", "internal/metrics"},
	{"internal/api"},
	{"internal/repository"},
	{"internal/patch", "internal/pool", "internal/auth", "internal/event", "internal/rrd", "internal/replica"},
	{"internal/storage/filesr", "internal/storage/memsr", "test/harness"},
	{"internal/storage/srtest"},
	{"internal/storage"},
	{"internal/storage/pull"},
	{"internal/task", "internal/hotfix", "internal/volume", "internal/storage/image", "internal/rollout", "internal/message", "internal/trust", "internal/trust/trusttest", "internal/extension", "docs"},
	{"internal/db/etcdkv", "internal/db/memkv", "internal/db/kvtest", "internal/directory/ldaptest"},
	{"internal/db", "internal/sandbox", "internal/etcdserver", "internal/machine", "internal/directory"},
	{"internal/durable", "internal/check", "internal/authority", "internal/journal", "internal/report", "internal/outside"},
	{"xenapi/client", "internal/xe", "internal/xeclient"},
	{"internal/rpc", "internal/thincli"},
	{"xenapi"},
}

// reserved names imports that one room alone may have.
var reserved = map[string][]string{
	"go.etcd.io/etcd":            {"internal/db/etcdkv", "internal/etcdserver"},
	"github.com/ProtonMail":      {"internal/hotfix"},
	"github.com/spf13/cobra":     {"cmd/poolpatch"},
	"github.com/prometheus":      {"internal/metrics"},
	"net/http":                   {"internal/httpd", "internal/metrics", "internal/etcdserver", "internal/pool", "internal/repository", "internal/outside", "xenapi/client", "cmd/poolpatch"},
	"golang.org/x/crypto/argon2": {"internal/auth"},
	"github.com/go-ldap":         {"internal/directory", "internal/directory/ldaptest"},
	"github.com/go-asn1-ber":     {"internal/directory", "internal/directory/ldaptest"},
	"testing":                    {"internal/db/kvtest", "internal/storage/srtest", "internal/trust/trusttest", "internal/storage/memsr", "test/harness", "internal/directory/ldaptest"},
}

type listedPackage struct {
	ImportPath string
	Imports    []string
	Doc        string
	GoFiles    []string
	Dir        string
}

func packages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Doc,GoFiles,Dir", "./...")
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func room(importPath string) string { return strings.TrimPrefix(importPath, module+"/") }

func layerOf(name string) int {
	return slices.IndexFunc(layers, func(rooms []string) bool { return slices.Contains(rooms, name) })
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		name := room(p.ImportPath)
		from := layerOf(name)
		if from < 0 {
			if len(p.GoFiles) > 0 && !strings.HasPrefix(name, "bench") && !strings.HasPrefix(name, "test") {
				t.Errorf("%s stands in no layer: say in this test where it belongs", name)
			}
			continue
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, module+"/") {
				continue
			}
			if to := layerOf(room(imported)); to <= from {
				t.Errorf("%s imports %s, which is not below it", name, room(imported))
			}
		}
	}
}

func TestReservedImports(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			for prefix, rooms := range reserved {
				inside := imported == prefix || strings.HasPrefix(imported, prefix+"/")
				if inside && !slices.Contains(rooms, room(p.ImportPath)) {
					t.Errorf("%s imports %s, which is for %v alone", room(p.ImportPath), imported, rooms)
				}
			}
		}
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && len(strings.Fields(p.Doc)) < 8 {
			t.Errorf("%s does not say what it is for", room(p.ImportPath))
		}
	}
}

// mount(2) and unshare(2) decide what a crash leaves behind, so they are called in one room.
func TestOnlyVolumeMounts(t *testing.T) {
	call := regexp.MustCompile(`^(Mount|Unmount|Unshare)$`)
	eachFile(t, func(path string, file *ast.File) {
		if strings.Contains(path, "internal/volume/") || strings.HasSuffix(path, "_test.go") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || !call.MatchString(sel.Sel.Name) {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && (pkg.Name == "unix" || pkg.Name == "syscall") {
				t.Errorf("%s calls %s.%s; only internal/volume may", path, pkg.Name, sel.Sel.Name)
			}
			return true
		})
	})
}

// A shell string is an injection that waits for its day: programs are started with argument lists.
func TestNoShellStrings(t *testing.T) {
	eachFile(t, func(path string, file *ast.File) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && lit.Value == `"-c"` {
				t.Errorf(`%s passes "-c": start the program itself`, path)
			}
			return true
		})
	})
}

func eachFile(t *testing.T, fn func(path string, file *ast.File)) {
	t.Helper()
	root := "../.."
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		fn(strings.TrimPrefix(path, root+"/"), file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The page of what went wrong before names the test that keeps each defect out: they must be there.
func TestKnownDefectsHaveTheirTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/known-defects.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| |") {
			continue
		}
		rows++
		named := regexp.MustCompile("`([a-z0-9/]+)\\.(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(line, -1)
		if len(named) == 0 {
			t.Errorf("no test: %s", line)
		}
		for _, m := range named {
			if !hasTest(t, filepath.Join("../..", m[1]), m[2]) {
				t.Errorf("there is no %s in %s", m[2], m[1])
			}
		}
	}
	if rows == 0 {
		t.Error("the page has no table")
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}
