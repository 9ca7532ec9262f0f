package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Device is a loop device that is in use, by anybody on this machine.
type Device struct {
	Path    string // such as /dev/loop3
	Backing string // the file below it; " (deleted)" follows when it has no name any more
}

// Devices lists the loop devices that are in use, for the check that nothing has leaked. It sees those of
// all processes and all mount namespaces.
func Devices() ([]Device, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, fmt.Errorf("list loop devices: %w", err)
	}
	var devices []Device
	for _, file := range files {
		device := "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(file)))
		if backing := backing(device); backing != "" {
			devices = append(devices, Device{Path: device, Backing: backing})
		}
	}
	return devices, nil
}

// backing is the file below a loop device, "" when the device is free.
func backing(device string) string { return attribute(device, "loop/backing_file") }

// identity tells one use of a loop device from the next one, "" when it is free. Kernels before 5.15 have no
// sequence number; there two uses over the same file look the same.
func identity(device string) string {
	file := backing(device)
	if file == "" {
		return ""
	}
	return attribute(device, "diskseq") + " " + file
}

// attribute reads an attribute of a block device from sysfs, "" when it has none now.
func attribute(device, name string) string {
	text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), name))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(text), "\n")
}
