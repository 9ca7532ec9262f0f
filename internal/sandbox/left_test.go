package sandbox

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
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
			cmd := exec.Command("sleep", "3600")
			cmd.Env = c.env
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
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
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
}
