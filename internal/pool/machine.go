package pool

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// memory gives the machine's memory in bytes: in all, and free.
func memory() (total, free int64) {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0, 0
	}
	return int64(info.Totalram) * int64(info.Unit), int64(info.Freeram) * int64(info.Unit)
}

// BootID names the kernel's present run.
func BootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// Booted is when the kernel began to run, by the clock as it is now.
func Booted() time.Time {
	var up unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(up.Nano()))
}

// Process is the process of a daemon. A daemon that executes itself stays the one it is.
type Process struct {
	ID      string // no other process has it until the machine is booted
	Started time.Time
}

// clockTicks is how many of them /proc counts a second: part of the kernel's ABI (USER_HZ).
const clockTicks = 100

// ThisProcess is the process that runs this code.
func ThisProcess() Process {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return Process{}
	}
	// The name, in parentheses, may hold anything; starttime is the 20th field after it (proc_pid_stat(5)).
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return Process{}
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return Process{}
	}
	return Process{ID: fmt.Sprintf("%d at %d", os.Getpid(), ticks), Started: Booted().Add(time.Duration(ticks) * time.Second / clockTicks)}
}

// Kernel is the release of the kernel that runs.
func Kernel() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}
