package report

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/xenapi"
)

// maker makes reports of a host that has little; edit changes where they come from.
func maker(t *testing.T, edit func(*Sources)) *Maker {
	t.Helper()
	root := t.TempDir()
	s := Sources{
		Root: root, Stamps: filepath.Join(root, "applied"), PatchLogs: filepath.Join(root, "patches"), Spool: filepath.Join(root, "spool"),
		Log:       func() string { return "the log" },
		KernelLog: func() (string, error) { return "the kernel", nil },
		Records: func(each func(string, []byte) error) error {
			return errors.Join(each("host", []byte("h1")), each("host", []byte("h2")), each("pool", []byte("p")))
		},
		Versions: func() any { return map[string]string{"poolpatch": "1"} },
		Space:    func() any { return []int{1} },
		Findings: func(context.Context) (any, error) { return []string{}, nil },
	}
	if edit != nil {
		edit(&s)
	}
	for file, text := range map[string]string{"applied/u1": "stamp", "patches/u1-apply.log": "printed", "etc/os-release": "ID=lab"} {
		write(t, filepath.Join(root, file), text)
	}
	return New(s)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func request(t *testing.T, keys, output string) Request {
	t.Helper()
	r, err := ParseRequest(keys, output)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// made is a report's files by their names, without the directory that all are in.
func made(t *testing.T, m *Maker, keys string) map[string]string {
	t.Helper()
	var b bytes.Buffer
	last := 0.0
	if err := m.Write(t.Context(), &b, request(t, keys, "tar"), func(f float64) { last = f }); err != nil || last != 1 {
		t.Fatal(err, last)
	}
	return untar(t, &b)
}

func untar(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	files := map[string]string{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(in)
		if dir, name, _ := strings.Cut(h.Name, "/"); regexp.MustCompile(`^bug-report-\d{14}$`).MatchString(dir) {
			files[name] = string(text)
		}
	}
}

// Each part that the table names is in a report, and clients can read the table.
func TestWhatAReportHas(t *testing.T) {
	t.Parallel()
	files := made(t, maker(t, nil), "")
	for name, want := range map[string]string{
		"poolpatch.log": "the log", "patches/u1-apply.log": "printed", "applied/u1": "stamp", "records/host.jsonl": "h1\nh2\n", "records/pool.jsonl": "p\n",
		"check.json": "[]\n", "versions.json": "{\n  \"poolpatch\": \"1\"\n}\n", "os-release.txt": "ID=lab", "kernel.log": "the kernel", "space.json": "[\n  1\n]\n",
	} {
		if files[name] != want {
			t.Errorf("%s: %q, want %q", name, files[name], want)
		}
	}
	if files["mounts.txt"] == "" || files["left-out.txt"] != "" {
		t.Errorf("mounts %q, left out %q", files["mounts.txt"], files["left-out.txt"])
	}
	text := Capabilities()
	for _, e := range entries {
		want := fmt.Sprintf(`<capability content-type="text/plain" default-checked="yes" key="%s" max-size="%d" max-time="60" min-size="0" min-time="-1" pii="%s"></capability>`, e.key, e.most, e.pii)
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
		if got := made(t, maker(t, nil), e.key); len(got) == 0 || len(got) >= len(files) {
			t.Errorf("of %s alone: %v", e.key, slices.Sorted(maps.Keys(got)))
		}
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ keys, output, code string }{
		{"kernel-info,kernel-info", "zip", ""},
		{"", "", ""},
		{"kernel-info,", "tar", xenapi.CodeInvalidValue},
		{"nothing", "tar", xenapi.CodeInvalidValue},
		{"", "tar.bz2", xenapi.CodeValueNotSupported},
	} {
		if r, err := ParseRequest(c.keys, c.output); xenapi.CodeOf(err) != c.code || err == nil && (r.ContentType() == "" || r.Extension() == "") {
			t.Errorf("%q %q: %v", c.keys, c.output, err)
		}
	}
}

// The same files are in each format.
func TestFormats(t *testing.T) {
	t.Parallel()
	for output, open := range map[string]func([]byte) (map[string]string, error){
		"tar.gz": func(b []byte) (map[string]string, error) {
			z, err := gzip.NewReader(bytes.NewReader(b))
			if err != nil {
				return nil, err
			}
			return untar(t, z), nil
		},
		"zip": func(b []byte) (map[string]string, error) {
			z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				return nil, err
			}
			files := map[string]string{}
			for _, f := range z.File {
				in, err := f.Open()
				if err != nil {
					return nil, err
				}
				text, _ := io.ReadAll(in)
				files[filepath.Base(f.Name)] = string(text)
			}
			return files, nil
		},
	} {
		f, size, err := maker(t, nil).Spool(t.Context(), request(t, "system-logs", output), func(float64) {})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		content, err := io.ReadAll(f)
		if err != nil || int64(len(content)) != size {
			t.Errorf("%s: %d bytes, said were %d: %v", output, len(content), size, err)
		}
		if files, err := open(content); err != nil || files["kernel.log"] != "the kernel" || len(files) != 1 {
			t.Errorf("%s: %v %v", output, files, err)
		}
	}
}

// What cannot be had, or is too large, costs no other part.
func TestWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	m := maker(t, func(s *Sources) {
		s.KernelLog = func() (string, error) { return "", errors.New("not permitted") }
		s.Findings = func(context.Context) (any, error) { return nil, errors.New("the SR hangs") }
		s.Records = func(each func(string, []byte) error) error {
			for range 6 {
				if err := each("VDI", bytes.Repeat([]byte("x"), maxFile-1)); err != nil {
					return err
				}
			}
			return each("pool", []byte("p"))
		}
	})
	for i := range maxFiles + 3 {
		write(t, filepath.Join(m.from.PatchLogs, fmt.Sprintf("old-%d", i)), "old")
		if err := os.Chtimes(filepath.Join(m.from.PatchLogs, fmt.Sprintf("old-%d", i)), time.Time{}, time.Unix(int64(i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(m.from.PatchLogs, "long"), strings.Repeat("a", maxFile)+"the end")
	all := request(t, "", "tar")
	all.entries = slices.Clone(all.entries)
	for i := range all.entries {
		all.entries[i].most = min(all.entries[i].most, 4*mib)
	}
	var b bytes.Buffer
	if err := m.Write(t.Context(), &b, all, func(float64) {}); err != nil {
		t.Fatal(err)
	}
	files := untar(t, &b)
	if text := files["patches/long"]; len(text) != maxFile || !strings.HasSuffix(text, "the end") {
		t.Errorf("of a long file there are %d bytes", len(text))
	}
	if files["records/VDI.jsonl"] == "" || files["records/VDI-4.jsonl"] == "" || files["records/VDI-5.jsonl"] != "" {
		t.Error("records are not bounded as the table says")
	}
	for _, want := range []string{"system-logs: not permitted\n", "poolpatch-check: the SR hangs\n", "patches: 5 older files\n", "records/pool.jsonl: 2 bytes are more than this part may still have\n"} {
		if !strings.Contains(files["left-out.txt"], want) {
			t.Errorf("no %q in %q", want, files["left-out.txt"])
		}
	}
	if files["patches/old-3"] != "" || files["patches/old-502"] != "old" || files["space.json"] == "" {
		t.Error("not the newest files, or not the parts after the broken ones")
	}
}

// A part that hangs is given up, a report that is cancelled ends, and one whose reader is gone.
func TestReportsThatEnd(t *testing.T) {
	t.Parallel()
	hang := func(s *Sources) {
		s.Findings = func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, ctx.Err() }
	}
	synctest.Test(t, func(t *testing.T) {
		if files := made(t, maker(t, hang), ""); files["kernel.log"] == "" || !strings.Contains(files["left-out.txt"], "poolpatch-check") {
			t.Errorf("beside a part that hangs: %v", files)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("cancelled")
		time.AfterFunc(time.Second, func() { cancel(cause) })
		if _, _, err := maker(t, hang).Spool(ctx, request(t, "", "tar"), func(float64) {}); !errors.Is(err, cause) {
			t.Errorf("cancelled: %v", err)
		}
	})
	gone := errors.New("gone")
	if err := maker(t, nil).Write(t.Context(), broken{gone}, request(t, "", "tar"), func(float64) {}); !errors.Is(err, gone) {
		t.Errorf("its reader is gone: %v", err)
	}
}

type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

// A crash while a report was spooled leaves a file, which is no other's in the way.
func TestSpoolAfterACrash(t *testing.T) {
	t.Parallel()
	m := maker(t, nil)
	write(t, m.from.Spool, strings.Repeat("left", 1<<10))
	f, size, err := m.Spool(t.Context(), request(t, "system-logs", "zip"), func(float64) {})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := io.ReadAll(f); int64(len(text)) != size || err != nil {
		t.Errorf("%d bytes, said were %d: %v", len(text), size, err)
	}
	if _, err := os.Stat(m.from.Spool); !os.IsNotExist(err) {
		t.Errorf("the file has a name: %v", err)
	}
}
