package volume

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// isolatedVariable marks, in the environment, the process that has its own mount namespace. Its value names both the
// process and the namespace, so a child that inherits the variable is not taken for isolated.
const isolatedVariable = "POOLPATCH_MOUNT_NAMESPACE"

// Isolate moves the process into a mount namespace of its own and runs the program again from its start, with the same
// process id, arguments and environment: a namespace belongs to a thread, and only exec brings all threads of
// a Go program into it. The second time it finds itself isolated and returns nil. So it is called first in main, and
// in TestMain of packages whose tests mount, before anything is opened or started.
//
// Mounts made inside are never seen outside and end with the process, however it ends. Those that are made outside later
// are seen inside where the root mount was a shared one, as systemd makes it; see [SeesLaterMounts]. It needs root.
func Isolate() error {
	here, err := namespace()
	if err != nil {
		return fmt.Errorf("isolate mounts: %w", err)
	}
	if os.Getenv(isolatedVariable) == here {
		return nil
	}
	runtime.LockOSThread() // never unlocked: the thread either becomes the program or is thrown away
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("isolate mounts: unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("isolate mounts: stop propagation: %w", err)
	}
	if here, err = namespace(); err != nil {
		return fmt.Errorf("isolate mounts: %w", err)
	}
	return again(here)
}

// SeesLaterMounts reports whether this process, once it is isolated, gets to see file systems that are mounted outside. It
// does not where the root mount was private: to change that is not for one process of the machine to do.
func SeesLaterMounts() (bool, error) {
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return false, fmt.Errorf("mounts of this process: %w", err)
	}
	return follows(string(mounts)), nil
}

// follows looks, in the text of proc(5)'s mountinfo, whether the last mount of / is a slave of one outside, or its peer.
func follows(mountinfo string) (yes bool) {
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 7 || fields[4] != "/" {
			continue
		}
		tags := fields[6:]
		tags = tags[:max(0, slices.Index(tags, "-"))]
		yes = slices.ContainsFunc(tags, func(tag string) bool {
			return strings.HasPrefix(tag, "master:") || strings.HasPrefix(tag, "shared:")
		})
	}
	return yes
}

// parentDeath is the signal that this process asked for when its parent ends, 0 for none. The kernel keeps it with the
// thread that asked, which is the first one, as this is.
var parentDeath = func() (signal int32) {
	_ = unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&signal)), 0, 0, 0) // it cannot fail
	return signal
}()

// again replaces the program by itself. This thread becomes its first one, and asks for what that had asked for.
func again(here string) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(parentDeath), 0, 0, 0); err != nil {
		return fmt.Errorf("isolate mounts: end with the parent: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("isolate mounts: %w", err)
	}
	if err := os.Setenv(isolatedVariable, here); err != nil {
		return fmt.Errorf("isolate mounts: %w", err)
	}
	return fmt.Errorf("isolate mounts: exec %s: %w", program, unix.Exec(program, os.Args, os.Environ()))
}

// namespace names this process and the mount namespace of this thread.
func namespace() (string, error) {
	mnt, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		return "", err
	}
	return strconv.Itoa(os.Getpid()) + " " + mnt, nil
}
