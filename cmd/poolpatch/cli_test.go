package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"poolpatch/docs"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 4 << 30: "4 GiB", 150 << 20: "150 MiB",
		1<<30 - 1: "1 GiB", 1 << 62: "4 EiB", -1: "?",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "1048576": 1 << 20, "4GiB": 4 << 30, "4 GiB": 4 << 30, "4G": 4 << 30, "1.5KiB": 1536, "2TB": 2 << 40, "10B": 10,
	} {
		if got, err := parseSize(text); got != want || err != nil {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "4Q", "-1", "4 GiB more", "9999999PiB", "GiB", "1e400"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d", text, got)
		}
	}
}

func TestPick(t *testing.T) {
	t.Parallel()
	list := []object[xenapi.SR]{
		{"OpaqueRef:1", xenapi.SR{UUID: "3f1c0000-0000-4000-8000-000000000001", NameLabel: "Local storage"}},
		{"OpaqueRef:2", xenapi.SR{UUID: "3f1d0000-0000-4000-8000-000000000002", NameLabel: "nfs"}},
		{"OpaqueRef:3", xenapi.SR{UUID: "aaaa0000-0000-4000-8000-000000000003", NameLabel: "nfs"}},
		{"OpaqueRef:4", xenapi.SR{UUID: "bbbb0000-0000-4000-8000-000000000004", NameLabel: "3f1"}},
	}
	for word, want := range map[string]xenapi.Ref[xenapi.SR]{
		"3f1c": "OpaqueRef:1", "3F1C": "OpaqueRef:1", "Local storage": "OpaqueRef:1", "3f1": "OpaqueRef:4", "aaaa": "OpaqueRef:3",
		"3F1D0000-0000-4000-8000-000000000002": "OpaqueRef:2",
	} {
		if got, err := srs.pick(list, word); err != nil || got.Ref != want {
			t.Errorf("%q is %s, %v, want %s", word, got.Ref, err, want)
		}
	}
	for word, want := range map[string]string{
		"nfs": "could be 2 SRs:", "3f": "could be 2 SRs:", "": "there is no SR", "zz": "there is no SR", "local storage": "there is no SR",
	} {
		_, err := srs.pick(list, word)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", word, err, want)
		}
		if strings.Contains(want, "could") && strings.Count(err.Error(), "\n") != 2 {
			t.Errorf("%q: the candidates are not listed: %v", word, err)
		}
	}
}

func TestTableKeepsToItsLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &cli{stdout: &out}
	if err := c.table("NAME SIZE", [][]string{{"a\nb\x1b[2J", "1 B"}, {"longer name", ""}}); err != nil {
		t.Fatal(err)
	}
	want := "NAME         SIZE\na b [2J      1 B\nlonger name  -\n"
	if out.String() != want {
		t.Errorf("table\n%s\nwant\n%s", out.String(), want)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, test := range []struct {
		err  error
		ctx  context.Context
		want int
	}{
		{xenapi.ErrPatchIsApplied(), context.Background(), exitFailed},
		{errors.New("disk full"), context.Background(), exitFailed},
		{usagef("no"), context.Background(), exitUsage},
		{fmt.Errorf("wrapped: %w", &client.ConnectionError{Message: "x", Err: io.EOF}), context.Background(), exitUnreachable},
		{exitError(exitFindings), context.Background(), exitFindings},
		{context.Canceled, ended, exitInterrupted},
	} {
		if got := exitCode(test.ctx, test.err); got != test.want {
			t.Errorf("%v: exit code %d, want %d", test.err, got, test.want)
		}
	}
}

// Every error of docs/errors.md that a person can do something about has a hint, and names only commands that there are.
func TestEveryErrorHasAHint(t *testing.T) {
	t.Parallel()
	c := &cli{}
	root := c.command()
	for row := range strings.Lines(docs.Errors) {
		if !strings.HasPrefix(row, "| `") {
			continue
		}
		code := strings.Split(row, "`")[1]
		hint := c.hint(root, xenapi.NewError(code), exitFailed)
		if strings.Contains(row, forAuthors) == (hint != "") || strings.ContainsAny(hint, "`[]") {
			t.Errorf("%s: hint %q", code, hint)
		}
		for _, words := range regexp.MustCompile("`poolpatch ([a-z][a-z-]*)( [a-z][a-z-]*)?").FindAllStringSubmatch(row, -1) {
			path := strings.Fields(words[1] + words[2])
			if cmd, left, err := root.Find(path); err != nil || len(left) > 0 && cmd.HasSubCommands() {
				t.Errorf("%s: there is no command %q", code, strings.Join(path, " "))
			}
		}
	}
	for _, code := range []string{xenapi.CodeVDIMissing, xenapi.CodeRoleNotFound, xenapi.CodeOperationNotAllowed, xenapi.CodeSRBackendFailure} {
		if c.hint(root, xenapi.NewError(code), exitFailed) == "" {
			t.Errorf("%s has no hint", code)
		}
	}
}

func TestRefusalsOfSRs(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	c := &cli{stderr: &said}
	root := c.command()
	c.report(root, xenapi.ErrHostHasNoPatchSR("OpaqueRef:h", "SR 1 (Local storage): 4294967296 bytes needed, 3145728 bytes free", "SR 2 (iso): it holds ISO images"), exitFailed)
	for _, want := range []string{"\n       HOST_HAS_NO_PATCH_SR [OpaqueRef:h]\n", "\n       SR 1 (Local storage): 4 GiB needed, 3 MiB free\n", "\n       SR 2 (iso): it holds ISO images\n"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it said\n%s, without %q", said.String(), want)
		}
	}
	for line := range strings.Lines(said.String()) {
		if len(line) > 160 {
			t.Errorf("a long line: %q", line)
		}
	}
	if hint := c.hint(root, xenapi.ErrHostHasNoPatchSR("OpaqueRef:h", noSR), exitFailed); !strings.Contains(hint, "poolpatch sr create") {
		t.Errorf("without any SR the hint is %q", hint)
	}
}

func TestOutputFileIsWholeOrNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "out")
	c := &cli{}
	for _, before := range []string{"", "old"} {
		if before != "" {
			if err := c.outputFile(file, 0o600, writing([]byte(before))); err != nil {
				t.Fatal(err)
			}
		}
		broken := errors.New("broken")
		err := c.outputFile(file, 0o600, func(w io.Writer) error { return errors.Join(writing([]byte("half"))(w), broken) })
		if !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
		full := c.outputFile(file, 0o600, func(w io.Writer) error {
			return &os.PathError{Op: "write", Path: w.(*os.File).Name(), Err: syscall.ENOSPC}
		})
		if !errors.Is(full, syscall.ENOSPC) || strings.Contains(full.Error(), "part-") {
			t.Errorf("error %v", full)
		}
		text, err := os.ReadFile(file)
		if string(text) != before || before == "" && !os.IsNotExist(err) {
			t.Errorf("after a failure the file is %q, %v", text, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestSparse(t *testing.T) {
	t.Parallel()
	content := make([]byte, 300<<10)
	copy(content[10<<10:], "a few bytes")
	for i := range 50 << 10 {
		content[100<<10+i] = byte(i)
	}
	for _, piece := range []int{1, 511, 4096, 5000, 1 << 20} {
		file, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		out := &sparse{file, 0}
		for rest := content; len(rest) > 0; {
			n := min(piece, len(rest))
			if written, err := out.Write(rest[:n]); written != n || err != nil {
				t.Fatal(written, err)
			}
			rest = rest[n:]
		}
		if err := errors.Join(out.end(), file.Sync()); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file.Name())
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("in pieces of %d bytes the content is not the same: %d bytes, %v", piece, len(got), err)
		}
		if info, err := file.Stat(); err != nil || info.Sys().(*syscall.Stat_t).Blocks*512 > 100<<10 {
			t.Errorf("in pieces of %d bytes the file takes %d blocks", piece, info.Sys().(*syscall.Stat_t).Blocks)
		}
		file.Close()
	}
}

// A device or a pipe stays what it is; a directory is none that anything is written into.
func TestOutputIntoWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		text, err := os.ReadFile(pipe)
		read <- fmt.Sprint(string(text), err)
	}()
	c := &cli{}
	if err := c.outputFile(pipe, 0o600, writing([]byte("text"))); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "text<nil>" {
		t.Errorf("out of the pipe came %q", got)
	}
	if special, err := isSpecial(pipe); !special || err != nil {
		t.Errorf("the pipe is no pipe any more, %v", err)
	}
	if err := c.outputFile(dir, 0o600, writing([]byte("text"))); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("into a directory: %v", err)
	}
}

// A file that is as it was verifies, whatever became of the VDI that it was uploaded into.
func TestHintForASpoiledVDI(t *testing.T) {
	t.Parallel()
	err := xenapi.ErrInvalidPatch("the content of the patch's VDI is not what was uploaded: poolpatch1:00 instead of poolpatch1:01")
	hint := (&cli{}).hint(&cobra.Command{}, err, exitFailed)
	if !strings.Contains(hint, "vdi destroy") || !strings.Contains(hint, "patch upload") {
		t.Errorf("hint: %q", hint)
	}
}
