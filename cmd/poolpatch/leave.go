package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"poolpatch/internal/pool"
)

func (c *cli) poolLeave() *cobra.Command {
	return &cobra.Command{
		Use:   "leave",
		Short: "Make this host a pool of its own, while its daemon is stopped",
		Long: `Make this host a pool of its own, while its daemon is stopped, whatever pool it was in: when that pool is
lost, or was restored from a backup on another host. It takes effect at the daemon's next start. The
host keeps its local SRs and the patches that it has applied; what else its copy of the database knows
it knows no more.

A pool that lives is left by "poolpatch pool eject", which this command does not replace: here nobody
tells the pool, and it counts on the host until "poolpatch host destroy".

A daemon that runs with --etcd-endpoints is of the pool in that etcd, and leaves it when it is started without.`,
		Example: `  systemctl stop poolpatch
  poolpatch pool leave
  systemctl start poolpatch`,
		Args: arguments(),
		RunE: func(*cobra.Command, []string) error {
			p := pathsBelow(c.root)
			if err := leave(p); err != nil {
				return err
			}
			c.note(`at its next start this host is a pool of its own, with its local SRs and the patches that it has applied
the pool that it was in is not told: if that goes on, "poolpatch host destroy" there takes this host out
what this host's copy of the database held stays in %s.former, until the host moves again`, p.etcd)
			return nil
		},
	}
}

// leave has the next start make this host a pool of its own, as one that was ejected.
func leave(p paths) error {
	if _, err := os.Stat(p.hostUUID); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no daemon has ever run here: there is no %s", p.hostUUID)
	}
	lock, err := lockDaemon(p)
	if errors.Is(err, errRuns) {
		return hinted{err, "systemctl stop poolpatch first; poolpatch pool eject HOST is for a host whose pool lives"}
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	return p.files().Move(pool.Place{}, pool.Credential{})
}

// errRuns says that a daemon has the host's files.
var errRuns = errors.New("the daemon runs")

// lockDaemon takes what a daemon holds for as long as it lives, wherever its database is: there is one below a root at a
// time, and none while a command changes the host's files. The kernel gives it back when the process ends.
func lockDaemon(p paths) (*os.File, error) {
	lock, err := os.OpenFile(p.lock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return lock, nil
	}
	lock.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errRuns
	}
	return nil, fmt.Errorf("lock %s: %w", p.lock, err)
}
