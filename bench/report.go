package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// report is what a run found.
type report struct {
	Machine machine `json:"machine"`
	Size    int64   `json:"patch_bytes"`
	Runs    int     `json:"runs"`
	Rows    []row   `json:"rows"`
}

// machine is what the numbers hold for.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     int64  `json:"memory_bytes"`
	Kernel     string `json:"kernel"`
	FileSystem string `json:"file_system"` // of the directory that was worked in
	Go         string `json:"go"`
}

// row is a line of the table: poolpatch, its peer, and the aim. What has no peer has a limit of its own.
type row struct {
	What string  `json:"what"`
	Unit string  `json:"unit"` // of Ours and Theirs: s, ms or MiB
	Ours float64 `json:"poolpatch"`
	Peer string  `json:"peer,omitempty"`
	// Theirs is the peer's median; 0 when there is no peer.
	Theirs float64 `json:"peer_value,omitempty"`
	// Aim bounds Ours/Theirs from above, or Ours itself when there is no peer; 0 is no aim.
	Aim float64 `json:"aim,omitempty"`
}

// against makes a row of an arm and its peer. Aim 0 is for the reader's information.
func (t times) against(ours, peer string, aim float64) row {
	return row{What: ours, Unit: "s", Ours: t.median(ours).Seconds(), Peer: peer, Theirs: t.median(peer).Seconds(), Aim: aim}
}

// inMilliseconds is for rows of what is quick.
func (r row) inMilliseconds() row {
	r.Unit, r.Ours, r.Theirs = "ms", 1000*r.Ours, 1000*r.Theirs
	return r
}

// ratio is what the aim bounds.
func (r row) ratio() float64 {
	if r.Theirs == 0 {
		return r.Ours
	}
	return r.Ours / r.Theirs
}

func (r row) verdict() string {
	switch {
	case r.Aim == 0:
		return ""
	case r.ratio() <= r.Aim:
		return "ok"
	}
	return "MISSED"
}

// MarshalJSON adds what follows from the numbers.
func (r row) MarshalJSON() ([]byte, error) {
	type plain row
	return json.Marshal(struct {
		plain
		Ratio   float64 `json:"ratio,omitempty"`
		Verdict string  `json:"verdict,omitempty"`
	}{plain(r), r.shownRatio(), r.verdict()})
}

func (r row) shownRatio() float64 {
	if r.Theirs == 0 {
		return 0
	}
	return r.ratio()
}

func (f report) missed() (n int) {
	for _, r := range f.Rows {
		if r.verdict() == "MISSED" {
			n++
		}
	}
	return n
}

func (f report) write(w io.Writer, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(f)
	}
	m := f.Machine
	fmt.Fprintf(w, "%s, %d cores, %d GiB, Linux %s, %s, %s\n", m.CPU, m.Cores, (m.Memory+1<<29)>>30, m.Kernel, m.FileSystem, m.Go)
	fmt.Fprintf(w, "patch of %s, medians of %d\n\n", size(f.Size), f.Runs)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tPOOLPATCH\tPEER\t\tRATIO\tAIM\t")
	for _, r := range f.Rows {
		fmt.Fprintln(t, strings.Join(r.cells(), "\t"))
	}
	return t.Flush()
}

func (r row) cells() []string {
	theirs, ratio, aim := "", "", ""
	if r.Theirs != 0 {
		theirs, ratio = r.value(r.Theirs), fmt.Sprintf("%.2f", r.ratio())
	}
	if r.Aim != 0 {
		aim = "≤ " + fmt.Sprintf("%.1f", r.Aim)
		if r.Theirs == 0 {
			aim = "≤ " + r.value(r.Aim)
		}
	}
	return []string{r.What, r.value(r.Ours), theirs, r.Peer, ratio, aim, r.verdict()}
}

func (r row) value(v float64) string {
	if r.Unit == "MiB" {
		return fmt.Sprintf("%.0f MiB", v)
	}
	return fmt.Sprintf("%.2f %s", v, r.Unit)
}

// milliseconds makes the value of a row that has no peer.
func milliseconds(d time.Duration) float64 { return 1000 * d.Seconds() }

// thisMachine looks around from the directory that is worked in.
func thisMachine(dir string) (machine, error) {
	m := machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version()}
	if model, ok := procField("/proc/cpuinfo", "model name"); ok {
		m.CPU = model
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return m, fmt.Errorf("size of memory: %w", err)
	}
	m.Memory = int64(info.Totalram) * int64(info.Unit)
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, fmt.Errorf("kernel: %w", err)
	}
	m.Kernel = unix.ByteSliceToString(name.Release[:])
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return m, fmt.Errorf("file system of %s: %w", dir, err)
	}
	m.FileSystem = fileSystem(int64(fs.Type))
	return m, nil
}

func fileSystem(magic int64) string {
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs",
	}
	if name, ok := names[magic]; ok {
		return name
	}
	return fmt.Sprintf("file system %#x", magic)
}

// procField reads a line "name: value" of a file below /proc.
func procField(file, name string) (value string, ok bool) {
	f, err := os.Open(file)
	if err != nil {
		return "", false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, text, found := strings.Cut(lines.Text(), ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(text), true
		}
	}
	return "", false
}
