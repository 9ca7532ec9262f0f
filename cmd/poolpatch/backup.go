package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"poolpatch/internal/db"
	"poolpatch/internal/db/etcdkv"
	"poolpatch/internal/durable"
	"poolpatch/internal/etcdserver"
	"poolpatch/internal/pool"
	"poolpatch/internal/replica"
	"poolpatch/xenapi"
)

func (c *cli) poolBackup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the pool's database to a file",
		Long: `Write the pool's database to a file, as it is at one moment: every record, and the pool's secrets,
so keep the file as you keep root's own. The content of VDIs is not in it. FILE - is stdout.

Any host can do it, whose daemon is asked over its unix socket; "pool restore" reads the file.`,
		Example: "  poolpatch pool backup /root/pool.backup",
		Args:    arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var n int
			err := c.outputFile(args[0], 0o600, func(w io.Writer) error {
				answer, err := c.ask(cmd.Context(), "/pool_backup")
				if err != nil {
					return err
				}
				n, err = w.Write(answer)
				return err
			})
			if err == nil {
				c.note("the pool's records are written, %s; they hold its secrets", size(int64(n)))
			}
			return err
		},
	}
	return cmd
}

func (c *cli) poolRestore() *cobra.Command {
	fromVDI := ""
	cmd := &cobra.Command{
		Use:   "restore FILE | restore --from-vdi IMAGE",
		Short: "Make this host's database from a backup, while its daemon is stopped",
		Long: `Make this host's database from a file that "pool backup" wrote, while its daemon is stopped. The host
that restores must be one of the pool in the backup, by its UUID in var/lib/poolpatch/host-uuid. Its
database directory must be empty: move an old one away first. The pool's other hosts stay stopped until
each has left the pool that was ("pool leave"): together they could go on as that. Then they are started,
and join, one by one.

With --from-vdi the backup is the newest whole one in the image of a VDI that the pool's database was kept
in ("xe sr-enable-database-replication"): a file of a file SR, or a block device. It is without secrets:
the users have no passwords until they get new ones, and hosts that were of the pool join it again.

A daemon that runs with --etcd-endpoints does not look at this database. Started without them, it goes on
with the pool in the backup. An etcd of your own is restored by its own means (etcdctl snapshot restore).

Nothing is left of a restoration that fails.`,
		Example: `  systemctl stop poolpatch
  mv /var/lib/poolpatch/etcd /var/lib/poolpatch/etcd.old
  poolpatch pool restore /root/pool.backup
  systemctl start poolpatch

  poolpatch pool restore --from-vdi /srv/patches/7f4c1e9a-0d0b-4a5e-9f0e-3f1c6a2b8d10.raw`,
		Args: func(cmd *cobra.Command, args []string) error {
			if fromVDI != "" {
				return arguments()(cmd, args)
			}
			return arguments("FILE")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name, read := fromVDI, c.readReplica
			if fromVDI == "" {
				name, read = args[0], c.readBackup
			}
			saved, err := read(name)
			if err == nil {
				err = c.mine(saved)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			n, err := restore(cmd.Context(), pathsBelow(c.root), saved)
			if errors.Is(err, db.ErrNotEmpty) {
				err = hinted{err, "mv " + pathsBelow(c.root).etcd + " somewhere else first"}
			}
			if err != nil {
				return err
			}
			c.note("restored %d keys; start the daemon now (without --etcd-endpoints, if it had them)", n)
			if fromVDI != "" {
				c.note("no user has a password: give root one with serve --root-password-file")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&fromVDI, "from-vdi", "", "`IMAGE` of a VDI that the pool's database was kept in, instead of a backup's file")
	return cmd
}

func (c *cli) readBackup(name string) (db.Saved, error) {
	in, _, err := c.input(name)
	if err != nil {
		return db.Saved{}, err
	}
	defer in.Close()
	return db.ReadBackup(in)
}

func (c *cli) readReplica(name string) (db.Saved, error) {
	image, err := os.Open(name)
	if err != nil {
		return db.Saved{}, err
	}
	defer image.Close()
	size, err := image.Seek(0, io.SeekEnd) // which tells that of a block device too
	if err != nil {
		return db.Saved{}, err
	}
	return replica.Read(image, size)
}

// mine refuses the backup of a pool that this host is not one of: its daemon would find that it was ejected, and begin a pool of
// its own.
func (c *cli) mine(saved db.Saved) error {
	file := pathsBelow(c.root).hostUUID
	hosts := saved.UUIDs(xenapi.Host{}.Class())
	uuid, err := readHostUUID(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return hinted{fmt.Errorf("this host has no UUID yet: there is no %s", file),
			"restore on a host of the pool in the backup; a new host takes the place of one that is lost for good when its UUID is in that file: " + strings.Join(hosts, ", ")}
	case err == nil && !slices.Contains(hosts, uuid):
		return hinted{fmt.Errorf("this host, %s, is not one of the pool in the backup", uuid), "restore on a host of that pool: " + strings.Join(hosts, ", ")}
	}
	return err
}

// restore makes a database beside the place where it belongs, and moves it there when it is whole: a crash leaves a
// directory that the next restoration removes.
func restore(ctx context.Context, p paths, backup db.Saved) (keys int, err error) {
	if entries, err := os.ReadDir(p.etcd); err == nil && len(entries) > 0 {
		return 0, fmt.Errorf("%s: %w", p.etcd, db.ErrNotEmpty)
	}
	making := p.etcd + ".restoring"
	if err := os.RemoveAll(making); err != nil {
		return 0, err
	}
	if keys, err = fill(ctx, making, backup); err != nil {
		return 0, errors.Join(err, os.RemoveAll(making))
	}
	if err := os.Remove(p.etcd); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	if err := os.Rename(making, p.etcd); err != nil {
		return 0, err
	}
	return keys, durable.SyncDir(filepath.Dir(p.etcd))
}

func fill(ctx context.Context, dir string, backup db.Saved) (keys int, err error) {
	server, err := etcdserver.Start(ctx, etcdserver.Config{Dir: dir, Name: "poolpatch"})
	if err != nil {
		return 0, err
	}
	keys, err = db.Restore(ctx, etcdkv.New(server.Client()), backup)
	return keys, errors.Join(err, server.Close())
}

// recoverAlone has the next start make this host's copy of the database the only one.
func recoverAlone(p paths) error {
	place, err := pool.ReadPlace(p.place)
	if err != nil {
		return err
	}
	idle := etcdserver.Idle(p.etcd)
	switch {
	case place.Role == pool.Client || errors.Is(idle, fs.ErrNotExist):
		return hinted{errors.New("this host has no copy of the database"), "poolpatch pool recover on one of the hosts that \"pool status\" showed as members"}
	case errors.Is(idle, etcdserver.ErrInUse):
		return hinted{errors.New("the daemon runs: its database may be whole, and would become a pool of one host"), "systemctl stop poolpatch, if the other copies are lost for good"}
	case idle != nil:
		return idle
	}
	place.Alone = true
	return place.Write(p.place)
}
