package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"poolpatch/internal/volume"
	"poolpatch/xenapi"
)

// Leftovers looks at a daemon that runs and has nothing to do, and lists what should not be: findings of
// its own check, loop devices, mounts, programs, VDIs that no patch has, images without a VDI. The VDIs
// that the test itself made are expected.
func (d *Daemon) Leftovers(expected ...xenapi.Ref[xenapi.VDI]) []string {
	d.t.Helper()
	var left []string
	for _, f := range d.Check() {
		left = append(left, fmt.Sprintf("check: %s %s: %s", f.Invariant, f.Object, f.Problem))
	}
	left = append(left, d.strayVDIs(expected)...)
	left = append(left, d.strayImages()...)
	left = append(left, mountsBelow(d.PID(), d.Path("run"))...)
	for ref, rec := range Records[xenapi.Task](d) {
		if rec.Status == xenapi.TaskStatusPending {
			left = append(left, fmt.Sprintf("task %s (%s) is pending", ref, rec.NameLabel))
		}
	}
	return append(left, d.remains()...)
}

// Clean fails the test when the daemon, once what it is busy with has ended, has left something.
func (d *Daemon) Clean(expected ...xenapi.Ref[xenapi.VDI]) {
	d.t.Helper()
	var left []string
	if !within(patience, func() bool { left = d.Leftovers(expected...); return len(left) == 0 }) {
		d.t.Fatalf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// strayVDIs lists the VDIs that are neither expected nor a patch's, nor an update's.
func (d *Daemon) strayVDIs(expected []xenapi.Ref[xenapi.VDI]) (stray []string) {
	d.t.Helper()
	known := map[xenapi.Ref[xenapi.VDI]]bool{}
	for _, vdi := range expected {
		known[vdi] = true
	}
	for _, patch := range Records[xenapi.PoolPatch](d) {
		known[patch.VDI] = true
	}
	for _, update := range Records[xenapi.PoolUpdate](d) {
		known[update.VDI] = true
	}
	for ref, vdi := range Records[xenapi.VDI](d) {
		if !known[ref] {
			stray = append(stray, fmt.Sprintf("VDI %s (%s)", vdi.UUID, vdi.NameLabel))
		}
	}
	return stray
}

// strayImages lists the files of the plugged SRs that are not what the VDIs say.
func (d *Daemon) strayImages() (stray []string) {
	d.t.Helper()
	files := map[string]bool{}
	srs := map[xenapi.Ref[xenapi.SR]]string{}
	for _, pbd := range Records[xenapi.PBD](d) {
		dir := pbd.DeviceConfig["location"]
		if !pbd.CurrentlyAttached || dir == "" {
			continue
		}
		srs[pbd.SR] = dir
		entries, err := os.ReadDir(dir)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, e := range entries {
			if name := e.Name(); name != "poolpatch-sr.json" && name != "lost+found" {
				files[filepath.Join(dir, name)] = true
			}
		}
	}
	for _, vdi := range Records[xenapi.VDI](d) {
		dir, plugged := srs[vdi.SR]
		if !plugged {
			continue
		}
		for _, suffix := range []string{".raw", ".json"} {
			name := filepath.Join(dir, vdi.UUID+suffix)
			if !files[name] {
				stray = append(stray, "missing "+name)
			}
			delete(files, name)
		}
	}
	for name := range files {
		stray = append(stray, "file "+name)
	}
	return stray
}

// remains lists what of the daemon's work is on the machine: loop devices over its images, mounts that
// escaped its namespace, and processes of patches.
func (d *Daemon) remains() (left []string) {
	d.t.Helper()
	devices, err := volume.Devices()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, dev := range devices {
		if strings.HasPrefix(dev.Backing, filepath.Dir(d.Root)+"/") && strings.Contains(dev.Backing, ".raw") && d.owns(dev.Backing) {
			left = append(left, fmt.Sprintf("loop device %s over %s", dev.Path, dev.Backing))
		}
	}
	left = append(left, mountsBelow(os.Getpid(), d.Path("run"))...)
	return append(left, d.programs()...)
}

// owns reports whether a file is below the daemon's root.
func (d *Daemon) owns(file string) bool { return strings.HasPrefix(file, d.Root+"/") }

// mountsBelow lists what a process sees mounted below a directory.
func mountsBelow(pid int, dir string) (found []string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil // the process has ended, and its namespace with it
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			found = append(found, "mount "+fields[4])
		}
	}
	return found
}

// programs lists the living processes of patches that this host runs.
func (d *Daemon) programs() (found []string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil || !slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool {
			return string(v) == "POOLPATCH_ROOT="+d.Root
		}) {
			continue
		}
		name, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		found = append(found, fmt.Sprintf("process %s: %s", e.Name(), bytes.ReplaceAll(name, []byte{0}, []byte{' '})))
	}
	return found
}
