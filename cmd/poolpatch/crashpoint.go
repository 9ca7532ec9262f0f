//go:build crashpoints

package main

import (
	"os"
	"sync"
	"syscall"
)

const (
	// crashVariable names the point of a protocol at which a daemon that was built for crash tests dies.
	crashVariable = "POOLPATCH_CRASH_AT"
	// stopVariable names the point at which it stops, once, until somebody has it go on.
	stopVariable = "POOLPATCH_STOP_AT"
)

// init makes the process kill itself at the named point, as if power had failed there: nothing that is
// deferred runs, and no other goroutine comes further. Where it is to stop, no goroutine comes further either, for a while.
func init() {
	crash, stop := os.Getenv(crashVariable), os.Getenv(stopVariable)
	var stopped sync.Once
	atStep = func(name string) {
		switch name {
		case crash:
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal comes to the process, not to this thread: wait for it
		case stop:
			stopped.Do(func() { _ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) })
		}
	}
}
