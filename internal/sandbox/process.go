package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// member is a process as /proc shows it.
type member struct {
	pid   int
	state byte
	group int
	start uint64 // clock ticks since boot
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
