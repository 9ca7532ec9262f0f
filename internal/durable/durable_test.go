package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestWriteFile(t *testing.T) {
	t.Parallel()
	for _, perm := range []fs.FileMode{0o440, 0o600, 0o666} {
		dir := t.TempDir()
		path := filepath.Join(dir, "stamp")
		for _, data := range []string{"a longer first content", "second", ""} {
			if err := WriteFile(path, []byte(data), perm); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != data {
				t.Errorf("read %q, %v; want %q", got, err, data)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode() != perm {
				t.Errorf("mode %v, %v; want %v", info.Mode(), err, perm)
			}
		}
		if got := names(t, dir); got != "stamp" {
			t.Errorf("directory holds %q, want the file alone", got)
		}
	}
}

func TestWriteFileReplacesASymlinkItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(target, []byte("old"), 0o600), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(link, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(target); string(got) != "old" {
		t.Errorf("the link's target holds %q, want it untouched", got)
	}
}

func TestWriteFileThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// A directory that holds something cannot be renamed over.
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("data"), 0o600); err == nil {
		t.Error("writing over a directory succeeded")
	}
	if got := names(t, dir); got != "taken" {
		t.Errorf("directory holds %q, want no temporary file", got)
	}
	if err := WriteFile(filepath.Join(dir, "missing", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory gave %v", err)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path, filepath.Join(dir, "no", "such")} {
		if err := Remove(p); err != nil {
			t.Errorf("remove %s: %v", p, err)
		}
	}
	if got := names(t, dir); got != "" {
		t.Errorf("directory holds %q", got)
	}
	if err := os.MkdirAll(filepath.Join(dir, "full", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Remove(filepath.Join(dir, "full")); err == nil {
		t.Error("a directory that holds something was removed")
	}
}

func TestMkdir(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dir")
	if err := Mkdir(path, 0o777); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("mode %v, %v; want 0777 whatever the umask", info.Mode(), err)
	}
	if err := Mkdir(path, 0o777); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an existing directory gave %v", err)
	}
}
