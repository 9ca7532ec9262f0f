package etcdserver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolpatch/internal/db"
	"poolpatch/internal/db/etcdkv"
	"poolpatch/internal/etcdserver"
)

// childDir makes the test binary a process that commits for ever, for the crash test to kill.
const childDir = "POOLPATCH_ETCDSERVER_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, commitForEver(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, dir string) *etcdserver.Server {
	t.Helper()
	s, err := etcdserver.Start(t.Context(), etcdserver.Config{Dir: dir, Name: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *etcdserver.Server, key, value string) {
	t.Helper()
	if _, err := etcdkv.New(s.Client()).Commit(t.Context(), nil, []db.Op{{Key: key, Value: []byte(value)}}); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, s *etcdserver.Server) map[string]string {
	t.Helper()
	items, _, err := etcdkv.New(s.Client()).Load(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, item := range items {
		all[item.Key] = string(item.Value)
	}
	return all
}

func TestDataOutlivesClose(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "deep", "etcd")
	s := start(t, dir)
	put(t, s, "/a", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	defer s.Close()
	if got := load(t, s)["/a"]; got != "1" {
		t.Errorf("after reopening /a is %q", got)
	}
}

func TestOneProcessPerDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	defer s.Close()
	began := time.Now()
	_, err := etcdserver.Start(t.Context(), etcdserver.Config{Dir: dir, Name: "test"})
	if !errors.Is(err, etcdserver.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the second start gave %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the second start took %v", took)
	}
	put(t, s, "/a", "1")
}

// A data file that another program holds open must not make the start wait for ever.
func TestDataFileHeldByAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := start(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "member/snap/db"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	if _, err := etcdserver.Start(t.Context(), etcdserver.Config{Dir: dir, Name: "test"}); !errors.Is(err, etcdserver.ErrInUse) {
		t.Errorf("start gave %v", err)
	}
}

func TestNothingListens(t *testing.T) {
	before := listeners(t)
	s := start(t, t.TempDir())
	defer s.Close()
	if after := listeners(t); after != before {
		t.Errorf("%d listening sockets before the start, %d after", before, after)
	}
}

// listeners counts the listening sockets of this process, TCP and unix.
func listeners(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range fds {
		number, _ := strconv.Atoi(fd.Name())
		if v, err := unix.GetsockoptInt(number, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && v == 1 {
			n++
		}
	}
	return n
}

func TestListenersAreCounted(t *testing.T) {
	before := listeners(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := listeners(t); got != before+1 {
		t.Errorf("%d listening sockets, want %d", got, before+1)
	}
}

// A damaged directory is refused, and left as it is for whoever repairs it: nothing of etcd has run on it.
func TestDamagedDirectory(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, dir string){
		"data file": func(t *testing.T, dir string) {
			overwrite(t, filepath.Join(dir, "member/snap/db"), 0, 16<<10)
		},
		"beginning of the log": func(t *testing.T, dir string) { overwrite(t, logFile(t, dir), 0, 4<<10) },
		"record in the log": func(t *testing.T, dir string) {
			path := logFile(t, dir)
			overwrite(t, path, int64(bytes.Index(read(t, path), []byte("xxxx"))), 8)
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := start(t, dir)
			put(t, s, "/a", strings.Repeat("x", 10<<10))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			damage(t, dir)
			before := hashes(t, dir)
			_, err := etcdserver.Start(t.Context(), etcdserver.Config{Dir: dir, Name: "test", Logger: slog.New(slog.DiscardHandler)})
			if !errors.Is(err, etcdserver.ErrDamaged) {
				t.Errorf("start gave %v", err)
			}
			if diff := cmp.Diff(before, hashes(t, dir)); diff != "" {
				t.Errorf("start changed the files (-before +after):\n%s", diff)
			}
		})
	}
}

// A record that a power loss cut off was never reported as committed: the server starts, with all else.
func TestTornLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	put(t, s, "/a", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := logFile(t, dir)
	end := (len(bytes.TrimRight(read(t, path), "\x00")) + 7) &^ 7 // records begin at multiples of 8
	torn := binary.LittleEndian.AppendUint64(nil, 4096)           // its length; only its first bytes were written
	writeAt(t, path, int64(end), append(torn, "damage! "...))
	s = start(t, dir)
	defer s.Close()
	if got := load(t, s)["/a"]; got != "1" {
		t.Errorf("after the start /a is %q", got)
	}
	if logs, err := filepath.Glob(filepath.Join(dir, "member/wal/*.broken")); len(logs) != 1 || err != nil {
		t.Errorf("etcd did not repair the log, so it was not torn: %q, %v", logs, err)
	}
}

// logFile is the one file that the log of a young directory has.
func logFile(t *testing.T, dir string) string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "member/wal/*.wal"))
	if len(logs) != 1 || err != nil {
		t.Fatalf("log files %q, %v", logs, err)
	}
	return logs[0]
}

// hashes gives the SHA-256 of each file under a directory.
func hashes(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	all := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all[path] = sha256.Sum256(read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func overwrite(t *testing.T, path string, offset int64, n int) {
	t.Helper()
	writeAt(t, path, offset, []byte(strings.Repeat("damage! ", n/8)))
}

func writeAt(t *testing.T, path string, offset int64, p []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(p, offset); err != nil {
		t.Fatal(err)
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatal(err)
	}
	defer unmount(t, dir)
	_, err := etcdserver.Start(t.Context(), etcdserver.Config{Dir: dir, Name: "test"})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("start gave %v", err)
	}
}

// unmount takes a file system away also while it is in use, and must be called before the directory is removed.
func unmount(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Error(err)
	}
}

// A disk that fills up while the server runs must end it with a reason, and not the process by itself.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256m"); err != nil {
		t.Fatal(err)
	}
	defer unmount(t, dir)
	s := start(t, dir)
	fill(t, filepath.Join(dir, "fill"))
	kv := etcdkv.New(s.Client())
	go func() {
		for i := 0; ; i++ {
			op := db.Op{Key: fmt.Sprintf("/%d", i), Value: []byte(strings.Repeat("x", 1<<20))}
			if _, err := kv.Commit(t.Context(), nil, []db.Op{op}); err != nil {
				return
			}
		}
	}()
	select {
	case <-s.Failed():
		if err := s.Err(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("the server died of %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server lives on")
	}
	_ = s.Close() // parts of etcd may hang
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for zeros := make([]byte, 1<<20); err == nil; {
		_, err = f.Write(zeros)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	s, err := etcdserver.Start(t.Context(), etcdserver.Config{
		Dir: t.TempDir(), Name: "test", QuotaBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kv := etcdkv.New(s.Client())
	for i := range 2000 { // the size is known ten times a second
		op := db.Op{Key: fmt.Sprintf("/%d", i), Value: make([]byte, 100<<10)}
		if _, err = kv.Commit(t.Context(), nil, []db.Op{op}); err != nil {
			break
		}
	}
	if !errors.Is(err, db.ErrRefused) {
		t.Errorf("past the quota a commit gave %v", err)
	}
}

// What a process printed as committed is there after it was killed. Kill -9 proves that the server relies
// on no orderly stop; that fsync is on, which only a power cut needs, is etcd's default and not changed.
func TestCommitsOutliveKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 3 {
		last := killAfter(t, dir, 50*(round+1))
		s := start(t, dir)
		all := load(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for i := range last + 1 {
			if _, ok := all[fmt.Sprintf("/row/%d", i)]; !ok {
				t.Fatalf("round %d: commit %d of %d was reported and is gone", round, i, last)
			}
		}
	}
}

// killAfter runs the child until it has reported n commits more than the first, and gives the last number.
func killAfter(t *testing.T, dir string, n int) int {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	last := -1
	for lines := bufio.NewScanner(out); lines.Scan(); n-- {
		if last, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			_ = child.Process.Kill() // lines that are in the pipe already count too
		}
	}
	if err := child.Wait(); err == nil || last < 0 {
		t.Fatalf("the child ended by itself after commit %d", last)
	}
	return last
}

func commitForEver(dir string) error {
	ctx := context.Background()
	s, err := etcdserver.Start(ctx, etcdserver.Config{Dir: dir, Name: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	kv := etcdkv.New(s.Client())
	for i := 0; ; i++ {
		key := fmt.Sprintf("/row/%d", i)
		if _, err := kv.Commit(ctx, nil, []db.Op{{Key: key, Value: []byte(strings.Repeat("v", 500))}}); err != nil {
			return err
		}
		fmt.Println(i)
	}
}
