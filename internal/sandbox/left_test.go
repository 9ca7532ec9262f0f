package sandbox

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKillLeft: what carries the mark and the variable goes, in whatever group it is; all else stays.
func TestKillLeft(t *testing.T) {
	t.Parallel()
	ours := "TMPDIR=" + t.TempDir()
	for _, c := range []struct {
		name string
		env  []string
		goes bool
	}{
		{"left", []string{mark, ours}, true},
		{"of another run", []string{mark, ours + "/other"}, false},
		{"not run by us", []string{ours}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := sleeper(t, c.env...)
			if err := KillLeft(context.Background(), ours); err != nil {
				t.Fatal(err)
			}
			m, err := readStat(cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			if gone := m.state == 'Z'; gone != c.goes {
				t.Errorf("the process is gone: %v, want %v", gone, c.goes)
			}
		})
	}
}

// sleeper starts a process in a session of its own, outside Run, that is killed when the test ends.
func sleeper(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "3600")
	cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// TestKillLeftEnds: a KillLeft that may not wait says why, and has killed all the same.
func TestKillLeftEnds(t *testing.T) {
	t.Parallel()
	ours := "TMPDIR=" + t.TempDir()
	cmd := sleeper(t, mark, ours)
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the daemon stops")
	cancel(cause)
	if err := KillLeft(ctx, ours); !errors.Is(err, cause) {
		t.Fatalf("got %v, want the context's cause", err)
	}
	if state, err := cmd.Process.Wait(); err != nil || state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it ended as %v, %v", state, err)
	}
}

// TestKillSparesAnotherWithTheNumber: the number of a process that was listed may be another's by now.
func TestKillSparesAnotherWithTheNumber(t *testing.T) {
	t.Parallel()
	cmd := sleeper(t)
	m, err := readStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	older := m
	older.start--
	if err := kill(older); err != nil {
		t.Fatal(err)
	}
	// Of the two signals the first counts: were the process killed above, this one came too late.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if state, err := cmd.Process.Wait(); err != nil || state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it ended as %v, %v", state, err)
	}
	if err := kill(m); err != nil {
		t.Errorf("a process that has gone gave %v", err)
	}
}

// TestKilledDaemonLeavesNothing runs this test binary as a daemon that is killed while its program runs. The
// program dies with it. Its children do not: one is in the program's group and ignores SIGTERM, one has left
// the group.
func TestKilledDaemonLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	daemon := exec.Command(os.Args[0], "-test.run=TestHelperDaemon")
	daemon.Env = append(os.Environ(), helperDir+"="+dir)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	pids := started(t, filepath.Join(dir, "pids"))
	t.Cleanup(func() {
		if !t.Failed() {
			return // the numbers may be others' by now
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = daemon.Wait()
	leader, children := pids[0], pids[1:]
	awaitLeft(t, pids, children)
	if err := KillLeft(context.Background(), "TMPDIR="+dir); err != nil {
		t.Fatal(err)
	}
	if left, err := among(pids); len(left) > 0 || err != nil {
		t.Errorf("of the program %d and its children %v there are left %v, %v", leader, children, left, err)
	}
}

// started waits until the helper's program has written the numbers of its processes.
func started(t *testing.T, path string) (pids []int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; pause(context.Background(), pollInterval) {
		text, err := os.ReadFile(path)
		for _, word := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
		if len(pids) > 0 {
			return pids
		}
		if time.Now().After(deadline) {
			t.Fatalf("the daemon's program has not started: %v", err)
		}
	}
}

// awaitLeft waits until of all these processes only want are left.
func awaitLeft(t *testing.T, all, want []int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; pause(context.Background(), pollInterval) {
		left, err := among(all)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(left, slices.Sorted(slices.Values(want))) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("of %v there are left %v, want %v", all, left, want)
		}
	}
}

// among lists which of these processes run, in ascending order.
func among(pids []int) (left []int, err error) {
	all, err := living(func(m member) bool { return slices.Contains(pids, m.pid) })
	for _, m := range all {
		left = append(left, m.pid)
	}
	slices.Sort(left)
	return left, err
}

// helperDir makes TestHelperDaemon a daemon whose program works in that directory.
const helperDir = "POOLPATCH_SANDBOX_TEST_DIR"

// TestHelperDaemon is the daemon of TestKilledDaemonLeavesNothing; on its own it does nothing.
func TestHelperDaemon(t *testing.T) {
	dir := os.Getenv(helperDir)
	if dir == "" {
		return
	}
	c := sh(`(trap '' TERM; exec sleep 1000) & inside=$!
		setsid sh -c 'echo $$ >outside.new && mv outside.new outside; exec sleep 1000' &
		while ! test -e outside; do sleep 0.01; done
		echo $$ $inside $(cat outside) >pids.new && mv pids.new pids
		wait`)
	c.Dir, c.Env = dir, append(c.Env, "TMPDIR="+dir)
	_, _ = Run(context.Background(), c)
}
