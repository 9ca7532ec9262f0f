package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// releasePatience is how long a device is waited for that somebody has open, but has not mounted: udev looks into every
// device that it hears of.
const releasePatience = 2 * time.Second

// Identity tells this use of the device from all others, so that [Adopt] finds it again.
func (l *Loop) Identity() string { return l.identity }

// Adopt takes over the device of a process that has ended. It gives nil when the device is no longer what identity says:
// nobody had it open, so it went with its process.
func Adopt(path, identity string) (*Loop, error) {
	if identity == "" {
		return nil, nil
	}
	l := &Loop{path: path, identity: identity}
	there, err := l.reopen()
	if err != nil || !there {
		return nil, err
	}
	status, err := unix.IoctlLoopGetStatus64(int(l.dev.Fd()))
	if err != nil {
		l.close()
		return nil, fmt.Errorf("status of %s: %w", path, err)
	}
	l.direct = status.Flags&unix.LO_FLAGS_DIRECT_IO != 0
	return l, l.dropInherited()
}

// dropInherited unmounts here what was mounted from the device when this process made its mount namespace, which began with
// all mounts that there were. Nobody uses them here, and where / is private they would keep the device in use for good. Those outside stay.
func (l *Loop) dropInherited() error {
	number, _, err := deviceNumber(l.path)
	if err != nil {
		return err
	}
	for _, dir := range mountsOf("/proc/thread-self", number) {
		if err := unmountOnce(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("drop the inherited mount of %s at %s: %w", l.path, dir, err)
		}
	}
	return nil
}

// reopen holds the device again, unless it was cleared meanwhile. While it is open nobody clears it, so what it is then it stays.
func (l *Loop) reopen() (there bool, err error) {
	dev, err := os.Open(l.path) // a read-only device is not opened for writing
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !l.inUse() {
		return false, dev.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dev = dev
	return true, nil
}

// Flush puts what was written to the device on stable storage.
func (l *Loop) Flush(ctx context.Context) error { return flush(ctx, l.path) }

// Release is Detach of a device that others may use. As long as they do it stays as it is, and the error is a *[InUseError].
func (l *Loop) Release(ctx context.Context) error {
	if l.claimed() {
		return l.busy()
	}
	l.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releasePatience)
	defer cancel()
	if until(ctx, func() (bool, error) { return !l.inUse(), nil }) == nil {
		return nil
	}
	there, err := l.reopen()
	switch {
	case err != nil:
		return fmt.Errorf("release %s: %w", l.path, err)
	case there:
		return l.busy()
	}
	return nil // it went in the last moment
}

// Leave leaves the device to who uses it. It clears itself when the last of them lets go.
func (l *Loop) Leave() { l.close() }

// claimed reports whether somebody has the device for himself alone, as a mount does: that will not pass by itself.
func (l *Loop) claimed() bool {
	dev, err := os.OpenFile(l.path, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		return errors.Is(err, unix.EBUSY)
	}
	dev.Close()
	return false
}

func (l *Loop) busy() error { return &InUseError{Device: l.path, Users: users(l.path)} }

// InUseError says that a device is used by others.
type InUseError struct {
	Device string
	Users  []string // such as "mounted at /mnt" or "1234 (dd)"; may be incomplete
}

// Error names the users.
func (e *InUseError) Error() string {
	who := strings.Join(e.Users, "; ")
	if who == "" {
		who = "in use by nobody that can be seen"
	}
	return e.Device + " is in use: " + who
}

// Is makes errors.Is(err, unix.EBUSY) hold.
func (e *InUseError) Is(target error) bool { return target == unix.EBUSY }

// users describes who uses a block device: the mounts of all namespaces, and processes that have it open.
func users(device string) (found []string) {
	number, rdev, err := deviceNumber(device)
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		if len(found) >= maxHolders {
			return append(found, "...")
		}
		if namespace, err := os.Readlink(process + "/ns/mnt"); err == nil && !seen[namespace] {
			seen[namespace] = true
			for _, dir := range mountsOf(process, number) {
				found = append(found, "mounted at "+dir)
			}
		}
		if filepath.Base(process) != fmt.Sprint(os.Getpid()) && opens(process, rdev) {
			name, _ := os.ReadFile(process + "/comm")
			found = append(found, fmt.Sprintf("%s (%s)", filepath.Base(process), bytes.TrimSpace(name)))
		}
	}
	return found
}

// deviceNumber is the number of a block device, as mountinfo writes it and as stat(2) gives it.
func deviceNumber(path string) (text string, rdev uint64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", 0, fmt.Errorf("stat %s: %w", path, err)
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)), st.Rdev, nil
}

// mountsOf lists where a process sees something mounted from the device of a number.
func mountsOf(process, number string) (dirs []string) {
	text, _ := os.ReadFile(process + "/mountinfo") // it may have ended
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[2] == number {
			dirs = append(dirs, unescape.Replace(fields[4]))
		}
	}
	return dirs
}

// unescape undoes what proc(5) does to names in mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func opens(process string, device uint64) bool {
	files, _ := filepath.Glob(process + "/fd/*")
	for _, file := range files {
		var st unix.Stat_t
		if unix.Stat(file, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == device {
			return true
		}
	}
	return false
}
