package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// mark is in the environment of everything that Run starts, and of what that starts in turn.
const mark = "POOLPATCH_SANDBOX=1"

const (
	// killTimeout is how long a group may take to vanish after SIGKILL: a process in uninterruptible I/O
	// does not die before that I/O ends.
	killTimeout  = 30 * time.Second
	pollInterval = 10 * time.Millisecond
)

// Process names a process group so that another one with the same number is not taken for it.
type Process struct {
	Group     int    // the number of the group and of its leader
	StartTime uint64 // of the leader, in clock ticks since boot (proc(5), stat, field 22)
}

// KillGroup ends a group that a dead daemon left, and returns when none of its processes is left. A group
// that is gone is success.
//
// The number may have been reused since. While the leader lives, its start time decides. A leader dies with
// its daemon, so most often only its children are left: of these, those are killed that started no earlier
// and that carry the mark of Run in their environment. The number cannot have been reused while one of them
// lives.
func KillGroup(ctx context.Context, p Process) error {
	if p.Group <= 1 {
		return fmt.Errorf("process group %d is not one that a program was run in", p.Group)
	}
	until := time.Now().Add(killTimeout)
	for {
		ours, err := leftOver(p)
		if err != nil || len(ours) == 0 {
			return err
		}
		for _, m := range ours {
			if err := kill(m); err != nil {
				return err
			}
		}
		if time.Now().After(until) {
			return fmt.Errorf("process group %d survived SIGKILL for %v", p.Group, killTimeout)
		}
		pause(ctx, pollInterval)
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
}

// leftOver lists the living processes of the group that p names.
func leftOver(p Process) ([]member, error) {
	leader, err := readStat(p.Group)
	if err == nil && leader.start != p.StartTime {
		return nil, nil // the number belongs to another process now
	}
	led := err == nil
	all, err := members(p.Group)
	if err != nil {
		return nil, err
	}
	var ours []member
	for _, m := range all {
		if led || m.start >= p.StartTime && marked(m.pid) {
			ours = append(ours, m)
		}
	}
	return ours, nil
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

// marked reports whether a process carries the mark. One that has gone does not.
func marked(pid int) bool { return has(pid, mark) }

// has reports whether a process was given a variable, as NAME=value.
func has(pid int, variable string) bool {
	env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if string(v) == variable {
			return true
		}
	}
	return false
}

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

// member is a process as /proc shows it.
type member struct {
	pid   int
	state byte
	group int
	start uint64 // clock ticks since boot
}

// identify names the group that a child leads.
func identify(pid int) (Process, error) {
	m, err := readStat(pid)
	if err != nil {
		return Process{}, fmt.Errorf("start time of process %d: %w", pid, err)
	}
	return Process{Group: pid, StartTime: m.start}, nil
}

// members lists the processes of a group that still run; zombies do not.
func members(group int) ([]member, error) {
	return living(func(m member) bool { return m.group == group })
}

// living lists the processes that run, and of which match holds.
func living(match func(member) bool) ([]member, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var all []member
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		m, err := readStat(pid)
		if err == nil && m.state != 'Z' && m.state != 'X' && match(m) {
			all = append(all, m)
		}
	}
	return all, nil
}

// readStat reads /proc/PID/stat (proc(5)).
func readStat(pid int) (member, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return member{}, err
	}
	return parseStat(pid, string(text))
}

// parseStat takes the fields after the command's name, which stands in parentheses and may hold any byte.
func parseStat(pid int, text string) (member, error) {
	_, after, ok := cutLast(text, ") ")
	fields := strings.Fields(after)
	if !ok || len(fields) < 20 {
		return member{}, fmt.Errorf("process %d: stat has an unknown form", pid)
	}
	group, err := strconv.Atoi(fields[2])
	if err != nil {
		return member{}, fmt.Errorf("process %d: group: %w", pid, err)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return member{}, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return member{pid: pid, state: fields[0][0], group: group, start: start}, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
