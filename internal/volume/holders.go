package volume

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxHolders bounds the list that a person reads.
const maxHolders = 8

// holders describes processes that have something open on the file system at dir. It looks at the device number, as a
// process in another namespace sees other paths.
func holders(dir string) (found []string) {
	var root unix.Stat_t
	if err := unix.Lstat(dir, &root); err != nil {
		return nil
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		if len(found) == maxHolders {
			return append(found, "...")
		}
		if what := held(process, root.Dev); what != "" {
			name, _ := os.ReadFile(process + "/comm")
			found = append(found, fmt.Sprintf("%s (%s): %s", filepath.Base(process), bytes.TrimSpace(name), what))
		}
	}
	return found
}

// held names the first thing that a process has on the device, "" when there is none.
func held(process string, device uint64) string {
	links := []string{process + "/cwd", process + "/root", process + "/exe"}
	files, _ := filepath.Glob(process + "/fd/*")
	for _, link := range append(links, files...) {
		var st unix.Stat_t
		if unix.Stat(link, &st) != nil || st.Dev != device {
			continue
		}
		path, _ := os.Readlink(link)
		return strings.TrimPrefix(link, process+"/") + " " + path
	}
	return ""
}
