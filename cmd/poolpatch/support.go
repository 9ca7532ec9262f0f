package main

import (
	"context"
	"io"
	"net"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"poolpatch/internal/api"
	"poolpatch/internal/check"
	"poolpatch/internal/db"
	"poolpatch/internal/journal"
	"poolpatch/internal/machine"
	"poolpatch/internal/pool"
	"poolpatch/internal/report"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// forwardLog sends the log to the server of syslog that the host's record names. One that cannot be meant keeps no daemon from starting.
func (h *host) forwardLog(kept *journal.Journal) {
	_ = h.db.View(func(tx *db.Tx) error {
		rec, err := db.Get(tx, h.member.Host)
		if err == nil {
			err = kept.Forward(rec.Logging[xenapi.SyslogDestination])
		}
		if err != nil {
			h.log.Warn("the log goes to no syslog server", "error", err)
		}
		return nil
	})
}

// reachedBy is the MAC of the network interface that a host is reached by at an address.
func reachedBy(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(host)
	if ip == nil { // a name, which this machine may have for a loopback address
		ip = machine.Outgoing()
	}
	return machine.MACOf(ip)
}

// reports makes the status reports of this host. Records are those that table lists, once there is one.
func (h *host) reports(kept *journal.Journal, m *machine.Machine, table func() *api.API) *report.Maker {
	return report.New(report.Sources{
		Root: h.paths.root, Stamps: h.paths.stamps, PatchLogs: h.paths.patchLogs, Spool: h.paths.report,
		Log: kept.Recent, KernelLog: m.KernelLog,
		Records:  func(each func(string, []byte) error) error { return table().PublicRecords(each) },
		Versions: h.versions,
		Space:    h.space,
		Findings: func(ctx context.Context) (any, error) { return check.Run(ctx, false, false, h.storage, h.patches) },
	})
}

func (h *host) versions() any {
	return map[string]string{
		"poolpatch": version(), "go": runtime.Version(), "kernel": pool.Kernel(), "host": h.identity.HostUUID, "hostname": h.identity.Hostname,
		"database": h.identity.Database, "started": h.identity.Process.Started.UTC().Format("2006-01-02T15:04:05Z"),
	}
}

// space is how full the host's own file system and the SRs are; of those the records know, which asks no storage that may hang.
func (h *host) space() any {
	type space struct {
		Name     string `json:"name"`
		UUID     string `json:"uuid,omitempty"`
		Size     int64  `json:"size"`
		Used     int64  `json:"used"`
		Promised int64  `json:"promised,omitempty"` // to VDIs
	}
	var all []space
	var fs unix.Statfs_t
	if err := unix.Statfs(h.paths.lib, &fs); err == nil {
		all = append(all, space{Name: h.paths.lib, Size: int64(fs.Blocks) * fs.Bsize, Used: int64(fs.Blocks-fs.Bfree) * fs.Bsize})
	}
	_ = h.db.View(func(tx *db.Tx) error {
		for _, sr := range db.All[xenapi.SR](tx) {
			all = append(all, space{sr.NameLabel, sr.UUID, sr.PhysicalSize, sr.PhysicalUtilisation, sr.VirtualAllocation})
		}
		return nil
	})
	return all
}

func (c *cli) hostLog() *cobra.Command {
	return &cobra.Command{
		Use: "log HOST", Short: "Print the latest part of a host's log",
		Long: `Print the latest part of the log of a host's daemon, since it was started. The whole log is where whoever
supervises the daemon keeps it: journalctl -u poolpatch.`,
		Example: "  poolpatch host log host2", Args: arguments("HOST"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			host, err := hosts.reference(ctx, p, args[0])
			if err != nil {
				return err
			}
			text, err := client.Call[string](ctx, p, "host.get_log", host)
			if err == nil {
				_, err = io.WriteString(c.stdout, text)
			}
			return err
		}),
	}
}

func (c *cli) hostReport() *cobra.Command {
	var format, entries string
	cmd := &cobra.Command{
		Use: "bugreport HOST FILE", Short: "Write a host's status report to a file",
		Long: `Write what somebody who is to help needs to see of a host to a file: its log and those of its patches, the
pool's records without secrets, what a check finds, the kernel's log, versions and storage. FILE - is stdout.`,
		Example: `  poolpatch host bugreport host2 host2.tar.gz
  poolpatch host bugreport host2 logs.zip --format zip --entries xenserver-logs,system-logs`,
		Args: arguments("HOST", "FILE"),
	}
	cmd.Flags().StringVar(&format, "format", "tar.gz", "`FORMAT` of the file: tar, tar.gz or zip")
	cmd.Flags().StringVar(&entries, "entries", "", "`KEYS` of the parts to have, parted by commas; all by default")
	cmd.RunE = c.pool(func(ctx context.Context, p *client.Client, args []string) error {
		host, err := hosts.reference(ctx, p, args[0])
		if err != nil {
			return err
		}
		return c.outputFile(args[1], 0o600, func(w io.Writer) error {
			_, err := p.SystemStatus(ctx, host, entries, format, w, nil)
			return err
		})
	})
	return cmd
}
