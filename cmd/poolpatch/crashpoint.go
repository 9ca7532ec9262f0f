//go:build crashpoints

package main

import (
	"os"
	"syscall"
)

// crashVariable names the point of a protocol at which a daemon that was built for crash tests dies.
const crashVariable = "POOLPATCH_CRASH_AT"

// init makes the process kill itself at the named point, as if power had failed there: nothing that is
// deferred runs, and no other goroutine comes further.
func init() {
	at := os.Getenv(crashVariable)
	atStep = func(name string) {
		if name != at {
			return
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal comes to the process, not to this thread: wait for it
	}
}
