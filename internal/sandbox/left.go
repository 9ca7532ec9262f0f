package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// mark is in the environment of everything that Run starts, and of what that starts in turn.
const mark = "POOLPATCH_SANDBOX=1"

// KillLeft ends what a dead daemon's programs left running, and returns when none of it runs any more: every
// process, whatever its group, that carries the mark of Run and was given the variable, NAME=value, in
// [Command].Env. The value must be of one run alone, such as the path of its working directory. Unlike a
// process group's number it is known before the program starts, so a crash at any moment leaves nothing
// that cannot be found.
func KillLeft(ctx context.Context, variable string) error {
	until := time.Now().Add(killTimeout)
	for {
		left, err := living(func(m member) bool { return given(m.pid, mark, variable) })
		if err != nil || len(left) == 0 {
			return err
		}
		for _, m := range left {
			if err := kill(m); err != nil {
				return err
			}
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d processes with %s survived SIGKILL for %v", len(left), variable, killTimeout)
		}
		pause(ctx, pollInterval)
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
}

// given reports whether a process was started with all of these variables, each as NAME=value. One that has
// gone was not.
func given(pid int, variables ...string) bool {
	env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	all := bytes.Split(env, []byte{0})
	for _, v := range variables {
		if !slices.ContainsFunc(all, func(e []byte) bool { return string(e) == v }) {
			return false
		}
	}
	return true
}

// kill kills a member, unless its number has been given to another process since it was listed: a pidfd
// pins the process, and the second look is at the pinned one.
func kill(m member) error {
	proc, err := os.FindProcess(m.pid)
	if err != nil {
		return fmt.Errorf("process %d: %w", m.pid, err)
	}
	defer proc.Release()
	if now, err := readStat(m.pid); err != nil || now.start != m.start {
		return nil
	}
	if err := proc.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", m.pid, err)
	}
	return nil
}
