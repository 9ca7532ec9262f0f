package srtest

import (
	"errors"
	"os"
	"testing"
)

// TestLeftoversGo: what a killed test left mounted, the next one removes; what a living one has, it leaves alone.
func TestLeftoversGo(t *testing.T) {
	living := Tmpfs(t, 1<<20)
	killed, err := os.MkdirTemp("", leftoverPattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{killed + lockSuffix, killed + diskSuffix} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "mount", "-t", "tmpfs", "tmpfs", killed)
	if !mounted(killed) {
		t.Fatal("the leftover is not mounted")
	}
	Tmpfs(t, 1<<20)
	for _, name := range []string{killed, killed + lockSuffix, killed + diskSuffix} {
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there (%v)", name, err)
		}
	}
	if !mounted(living) {
		t.Error("the mount of a living test was removed")
	}
}

func TestUnmountedAtTheEnd(t *testing.T) {
	var dirs []string
	t.Run("mount", func(t *testing.T) {
		dirs = []string{XFS(t), Ext4(t, 16<<20), Tmpfs(t, 1<<20)}
		for _, dir := range dirs {
			if !mounted(dir) {
				t.Errorf("%s is not mounted", dir)
			}
		}
	})
	for _, dir := range dirs {
		for _, name := range []string{dir, dir + diskSuffix, dir + lockSuffix} {
			if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is still there (%v)", name, err)
			}
		}
	}
}
