package pool

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"poolpatch/test/harness"
)

// victim is a variable that makes TestKilledRun the run that is killed.
const victim = "POOLPATCH_TEST_VICTIM"

// TestKilledRun: a test run that is killed in the middle takes its processes with it. What stays of its network is removed by
// the next run, which may use its very names and addresses.
func TestKilledRun(t *testing.T) {
	t.Parallel()
	if os.Getenv(victim) != "" {
		makeBedBy(t, 1, "", (*bed).formOnEtcd)
		fmt.Println(victim)
		select {} // until it is killed
	}
	dir := harness.Dir(t)
	run := startVictim(t, dir)
	pid := run.Process.Pid
	if links, names := belongings(t, pid); len(links) != 3 || len(names) != 2 {
		t.Errorf("the run has the links %q and the namespaces %q", links, names)
	}
	if len(working(t, dir)) < 3 {
		t.Error("the run has no etcd or no daemon")
	}
	if err := run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = run.Wait() // it was killed
	harness.Eventually(t, "the daemon and its etcd have ended", func() bool { return len(working(t, dir)) == 0 })
	if err := sweep(func(of int) bool { return of == pid }); err != nil {
		t.Error(err)
	}
	if links, names := belongings(t, pid); len(links)+len(names) > 0 {
		t.Errorf("of the killed run there are the links %q and the namespaces %q", links, names)
	}
	networkOf(t, pid, 0).port()
}

// belongings are the links and the namespaces of a test process.
func belongings(t testing.TB, pid int) (links, names []string) {
	t.Helper()
	links, names, err := inventory()
	if err != nil {
		t.Fatal(err)
	}
	others := func(name string) bool { return pidOf(name) != pid }
	return slices.DeleteFunc(links, others), slices.DeleteFunc(names, others)
}

// working lists the processes that have a temporary directory in their environment, but for gpg's agent, which ends when its
// own directory is removed.
func working(t testing.TB, dir string) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		text, _ := os.ReadFile(name) // the process may have ended
		program, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "comm"))
		if bytes.Contains(text, []byte("TMPDIR="+dir)) && string(program) != "gpg-agent\n" {
			pids = append(pids, filepath.Base(filepath.Dir(name)))
		}
	}
	return pids
}

// startVictim starts a test run of its own below a directory, and returns when it has a bed of one host and its etcd.
func startVictim(t testing.TB, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := exec.Command(self, "-test.run", "^TestKilledRun$")
	run.Env = append(os.Environ(), victim+"=1", "TMPDIR="+dir)
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = run.Process.Kill() }) // when the test has not come so far
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != victim {
		t.Log(lines.Text())
	}
	if lines.Text() != victim {
		t.Fatal("the run ended before it had a bed")
	}
	return run
}
