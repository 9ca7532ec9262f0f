package sandbox

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

const (
	// killTimeout is how long processes may take to vanish after SIGKILL: one in uninterruptible I/O does not
	// die before that I/O ends.
	killTimeout  = 30 * time.Second
	pollInterval = 10 * time.Millisecond
)

// endGroup ends the group of a child that the caller has not reaped, so that the number is still ours:
// SIGTERM, grace, SIGKILL. It returns when only zombies are left of it.
func endGroup(group int, grace time.Duration) error {
	for _, step := range []struct {
		signal syscall.Signal
		limit  time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, killTimeout}} {
		gone, err := vanishes(group, 0)
		if gone || err != nil {
			return err
		}
		if err := syscall.Kill(-group, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal process group %d: %w", group, err)
		}
		if gone, err := vanishes(group, step.limit); gone || err != nil {
			return err
		}
	}
	return fmt.Errorf("process group %d survived SIGKILL for %v", group, killTimeout)
}

// vanishes waits until no living process of the group is left, for at most limit.
func vanishes(group int, limit time.Duration) (bool, error) {
	until := time.Now().Add(limit)
	for {
		left, err := members(group)
		if err != nil || len(left) == 0 {
			return err == nil, err
		}
		if !time.Now().Before(until) {
			return false, nil
		}
		time.Sleep(min(pollInterval, time.Until(until)))
	}
}

// members lists the processes of a group that still run; zombies do not.
func members(group int) ([]member, error) {
	return living(func(m member) bool { return m.group == group })
}
