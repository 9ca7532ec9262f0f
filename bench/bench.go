package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

const (
	// warmupSize is of the patch that the daemon sees first, and whose memory is measured too.
	warmupSize = 64 << 20
	// memoryAim is the most that the daemon may take, in MiB, whatever the patch's size (I6).
	memoryAim = 150
	// cleanupTimeout bounds what is done when the run is over.
	cleanupTimeout = time.Minute
)

// lab is where the measurements are made.
type lab struct {
	options
	work   string // directory of this run
	xfs    string // mounted file system that can clone
	log    io.Writer
	key    gpg
	daemon *daemon
	plain  *client.Client
	secure *client.Client

	patch  signedPatch // uncompressed
	zipped signedPatch // the same size, with gpg's default compression
	host   xenapi.Ref[xenapi.Host]
	local  xenapi.Ref[xenapi.SR] // made by the daemon at its first start; copies
	cloner xenapi.Ref[xenapi.SR] // on xfs; clones
}

// measure does the whole run.
func measure(ctx context.Context, o options, log io.Writer) (found report, err error) {
	l := &lab{options: o, log: log}
	defer func() { err = errors.Join(err, l.clear()) }()
	if err := l.prepare(ctx); err != nil {
		return found, err
	}
	found = report{Size: o.size, Runs: o.runs}
	if found.Machine, err = thisMachine(l.work); err != nil {
		return found, err
	}
	for _, part := range []struct {
		title string
		run   func(context.Context) ([]row, error)
	}{
		{"memory with a small patch", l.warmup},
		{"uploads", l.uploads},
		{"verification", l.verification},
		{"applying and copying", l.contents},
		{"clones", l.clones},
		{"memory", l.memory},
		{"small calls", l.calls},
	} {
		fmt.Fprintln(log, part.title)
		rows, err := part.run(ctx)
		if err != nil {
			return found, fmt.Errorf("%s: %w", part.title, err)
		}
		found.Rows = append(found.Rows, rows...)
	}
	return found, nil
}

// prepare makes what all measurements need. The daemon starts after the mount, which it could not see later.
func (l *lab) prepare(ctx context.Context) (err error) {
	fmt.Fprintf(l.log, "making patches of %s\n", size(l.size))
	if l.binary, err = filepath.Abs(l.binary); err != nil {
		return err
	}
	if l.dir, err = filepath.Abs(l.dir); err != nil {
		return err
	}
	if l.work, err = os.MkdirTemp(l.dir, "poolpatch-bench-*"); err != nil {
		return err
	}
	if l.key, err = newKey(ctx, filepath.Join(l.work, "gpg")); err != nil {
		return err
	}
	if l.patch, err = l.key.newPatch(ctx, l.work, l.size, "--compress-algo", "none"); err != nil {
		return err
	}
	if l.zipped, err = l.key.newPatch(ctx, l.work, l.size); err != nil {
		return err
	}
	if l.xfs, err = l.mountXFS(ctx); err != nil {
		return err
	}
	if l.daemon, err = startDaemon(ctx, l.binary, filepath.Join(l.work, "root"), l.key); err != nil {
		return err
	}
	return l.connect(ctx)
}

// mountXFS makes a file system that can share blocks, over a loop device past the page cache: a device that
// caches would slow all that is measured on it.
func (l *lab) mountXFS(ctx context.Context) (string, error) {
	disk, at := filepath.Join(l.work, "disk"), filepath.Join(l.work, "xfs")
	f, err := os.Create(disk)
	if err != nil {
		return "", err
	}
	// Room for a patch's VDI, as large as it may be at most, and for a host's copy of it.
	if err := errors.Join(f.Truncate(20*l.size+1<<30), f.Close(), os.Mkdir(at, 0o755)); err != nil {
		return "", err
	}
	if err := command(ctx, "mkfs.xfs", "-q", "-m", "reflink=1", disk); err != nil {
		return "", err
	}
	// Not torn by Ctrl-C: what there is to remove must be known.
	whole := context.WithoutCancel(ctx)
	device, err := output(whole, "losetup", "--find", "--show", "--direct-io=on", disk)
	if err != nil {
		return "", err
	}
	err = command(whole, "mount", device, at)
	// Of a mounted device this only says that it goes with its mount, however that ends.
	if err = errors.Join(err, command(whole, "losetup", "--detach", device)); err != nil {
		return "", err
	}
	return at, nil
}

func (l *lab) connect(ctx context.Context) (err error) {
	if l.plain, err = l.daemon.dial(ctx, false); err != nil {
		return err
	}
	if l.secure, err = l.daemon.dial(ctx, true); err != nil {
		return err
	}
	hosts, err := client.Call[[]xenapi.Ref[xenapi.Host]](ctx, l.plain, "host.get_all")
	if err != nil {
		return err
	}
	l.host = hosts[0]
	if l.local, err = l.defaultSR(ctx); err != nil {
		return err
	}
	l.cloner, err = client.Call[xenapi.Ref[xenapi.SR]](ctx, l.plain, "SR.create", l.host, map[string]string{"location": filepath.Join(l.xfs, "sr")},
		int64(0), "Clones", "", "file", "user", false, map[string]string{})
	return err
}

// clear removes everything, whatever happened before.
func (l *lab) clear() error {
	if l.work == "" {
		return nil
	}
	if l.daemon != nil {
		l.daemon.stop()
	}
	l.key.close()
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	var err error
	if l.xfs != "" {
		err = command(ctx, "umount", l.xfs)
	}
	if err != nil {
		return err // what is still mounted must not be removed file by file
	}
	return os.RemoveAll(l.work)
}

// settle comes before each measurement: nobody pays for what the one before it left to be written.
func (l *lab) settle() error {
	for _, dir := range []string{l.xfs, l.work} {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		err = unix.Syncfs(int(f.Fd()))
		f.Close()
		if err != nil {
			return fmt.Errorf("sync %s: %w", dir, err)
		}
	}
	return nil
}

// turns is takeTurns with what the lab says.
func (l *lab) turns(ctx context.Context, arms ...arm) (times, error) {
	return takeTurns(ctx, l.runs, l.log, l.settle, arms...)
}

// out is where peers write.
func (l *lab) out() string { return filepath.Join(l.work, "out") }

// imageOf is the file of a VDI on an SR of type file.
func (l *lab) imageOf(ctx context.Context, vdi xenapi.Ref[xenapi.VDI]) (file string, virtualSize int64, err error) {
	rec, err := client.Call[xenapi.VDI](ctx, l.plain, "VDI.get_record", vdi)
	if err != nil {
		return "", 0, err
	}
	dir := filepath.Join(l.daemon.root, "var/lib/poolpatch/sr")
	if rec.SR == l.cloner {
		dir = filepath.Join(l.xfs, "sr")
	}
	return filepath.Join(dir, rec.UUID+".raw"), rec.VirtualSize, nil
}
