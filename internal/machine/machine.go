// Package machine is the computer that a host is: it is rebooted and powered off, wakes others, has a name, one among iSCSI nodes too, a kernel
// with a log, and a load.
//
// It is not the host of the pool, which is a record, nor the daemon. Its invariant: a daemon that serves below a root of its
// own shares the machine with others, and changes nothing of it. Start with [Machine].
package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"poolpatch/internal/durable"
	"poolpatch/xenapi"
)

// commandTimeout bounds a command that makes the machine end: it answers at once, and the machine ends afterwards.
const commandTimeout = 30 * time.Second

// Options are for tests: what is nil is the machine's own.
type Options struct {
	Run         func(ctx context.Context, argv ...string) error
	SetHostname func(name string) error
	KernelLog   func(clear bool) (string, error)
	Broadcast   func(packet []byte) error // over UDP, to the port for magic packets
	Initiator   string                    // file that has the name among iSCSI nodes
}

// Machine is the computer that a daemon runs on.
type Machine struct {
	root    string
	options Options
}

// New is the machine of a daemon whose files are below root.
func New(root string, o Options) *Machine {
	if o.Run == nil {
		o.Run = run
	}
	if o.SetHostname == nil {
		o.SetHostname = func(name string) error { return setHostname(root, name) }
	}
	if o.KernelLog == nil {
		o.KernelLog = kernelLog
	}
	if o.Initiator == "" {
		o.Initiator = filepath.Join(root, "etc/iscsi/initiatorname.iscsi") // where iscsid looks
	}
	if o.Broadcast == nil {
		o.Broadcast = broadcast
	}
	return &Machine{root, o}
}

// own refuses to change a machine that is not this daemon's alone.
func (m *Machine) own() error {
	if m.root != "/" {
		return xenapi.ErrOperationNotAllowed("the daemon serves below " + m.root + ": the machine is not its own")
	}
	return nil
}

// Reboot begins to reboot the machine. Errors: OPERATION_NOT_ALLOWED.
func (m *Machine) Reboot(ctx context.Context) error { return m.end(ctx, "-r") }

// PowerOff begins to switch the machine off. Errors: OPERATION_NOT_ALLOWED.
func (m *Machine) PowerOff(ctx context.Context) error { return m.end(ctx, "-P") }

func (m *Machine) end(ctx context.Context, how string) error {
	if err := m.own(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	return m.options.Run(ctx, "shutdown", how, "now")
}

func run(ctx context.Context, argv ...string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// hostname is a name of RFC 1123: parts of letters, digits and hyphens, with dots between them.
var hostname = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)

// maxHostname is what Linux bounds a host name by, in bytes.
const maxHostname = 64

// SetHostname names the machine, for now and for its next start. Errors: HOST_NAME_INVALID, OPERATION_NOT_ALLOWED.
func (m *Machine) SetHostname(name string) error {
	switch {
	case len(name) > maxHostname:
		return xenapi.ErrHostNameInvalid(fmt.Sprintf("it is longer than %d bytes", maxHostname))
	case !hostname.MatchString(name):
		return xenapi.ErrHostNameInvalid("it is not made of letters, digits and hyphens, with dots between its parts")
	}
	if err := m.own(); err != nil {
		return err
	}
	return m.options.SetHostname(name)
}

// setHostname writes the name down first: a crash before the kernel knows it leaves a machine that has it from its next start on.
func setHostname(root, name string) error {
	if err := durable.WriteFile(filepath.Join(root, "etc/hostname"), []byte(name+"\n"), 0o644); err != nil {
		return err
	}
	return unix.Sethostname([]byte(name))
}

// KernelLog is what the kernel has said; before each line stands its priority.
func (m *Machine) KernelLog() (string, error) { return m.options.KernelLog(false) }

// ClearKernelLog is KernelLog, which is empty afterwards. Errors: OPERATION_NOT_ALLOWED.
func (m *Machine) ClearKernelLog() (string, error) {
	if err := m.own(); err != nil {
		return "", err
	}
	return m.options.KernelLog(true)
}

func kernelLog(clear bool) (string, error) {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return "", fmt.Errorf("size of the kernel's log: %w", err)
	}
	action := unix.SYSLOG_ACTION_READ_ALL
	if clear {
		action = unix.SYSLOG_ACTION_READ_CLEAR
	}
	text := make([]byte, size)
	n, err := unix.Klogctl(action, text)
	if err != nil {
		return "", fmt.Errorf("read the kernel's log: %w", err)
	}
	return strings.ToValidUTF8(string(text[:n]), "�"), nil
}

// Load is what the machine has to do, and to do it with.
type Load struct {
	Average                 float64 // of the last minute
	MemoryTotal, MemoryFree int64   // in bytes
	// ProcessorBusy is the time that all processors together have worked, of ProcessorTotal since the machine's start; in ticks.
	ProcessorBusy, ProcessorTotal int64
}

// Load reads the machine's load.
func (m *Machine) Load() (Load, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return Load{}, errors.Join(errors.New("load of the machine"), err)
	}
	const fixedPoint = 1 << 16 // SI_LOAD_SHIFT
	unit := int64(info.Unit)
	busy, total, err := processors()
	return Load{
		Average:     float64(info.Loads[0]) / fixedPoint,
		MemoryTotal: int64(info.Totalram) * unit, MemoryFree: int64(info.Freeram) * unit,
		ProcessorBusy: busy, ProcessorTotal: total,
	}, err
}

// processors reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq and steal.
func processors() (busy, total int64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	for i, field := range fields[1:9] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		total += ticks
		if i != 3 && i != 4 { // idle, iowait
			busy += ticks
		}
	}
	return busy, total, nil
}
