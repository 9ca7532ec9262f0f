package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"poolpatch/internal/authority"
	"poolpatch/internal/durable"
	"poolpatch/internal/etcdserver"
	"poolpatch/internal/httpd"
	"poolpatch/internal/journal"
	"poolpatch/internal/pool"
	"poolpatch/internal/volume"
	"poolpatch/xenapi"
)

func serveCommand() *cobra.Command {
	config := defaultConfig()
	var file string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon of this host",
		Long: `Run the daemon of this host.

At the first start it makes a pool of this one host, a TLS certificate, and a local SR
"Local storage" as the pool's default SR. It answers XenAPI on --https, and to root on the
unix socket run/poolpatch/socket below --root, which the other commands use.

Patches are trusted when a key in etc/poolpatch/trusted-keys.d below --root has signed them.`,
		Example: `  poolpatch serve
  poolpatch serve --root /srv/host1 --https 127.0.0.1:8443 --root-password-file /root/password`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file != "" {
				if err := config.load(cmd, file); err != nil {
					return usageError{err}
				}
			}
			if err := config.check(); err != nil {
				return usageError{err}
			}
			return serve(cmd.Context(), config, cmd.ErrOrStderr())
		},
	}
	config.flags(cmd.Flags())
	cmd.Flags().StringVar(&file, "config", "", "`FILE` with the same words as these flags, as TOML (root = \"/\")")
	return cmd
}

// atStep is called at each named point of the protocols: the upload's, the apply's, the copy's between hosts. Only a build for
// crash tests sets it.
var atStep func(name string)

func serve(ctx context.Context, config serveConfig, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	program, err := os.Executable() // while its file is there: an upgrade may replace it
	if err != nil {
		return err
	}
	// Mounts must end with the process, however it ends: from here on it has a mount namespace of its own.
	if err := volume.Isolate(); err != nil {
		return fmt.Errorf("private mount namespace (poolpatch serve needs root): %w", err)
	}
	level, err := logLevel(config.LogLevel)
	if err != nil {
		return usageError{err}
	}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	kept := journal.New(stderr, hostname)
	log := slog.New(kept.Handler(level))
	switch sees, err := volume.SeesLaterMounts(); {
	case err != nil:
		return err
	case !sees:
		log.Warn("/ is mounted privately: this daemon does not see file systems that are mounted from now on, and would make an SR below " +
			"one; start it again after mounting, or make / shared before it starts (mount --make-rshared /)")
	}
	// Transfers wait for disks in system calls, which hold a core's share of Go for a while; with more shares than
	// cores the others go on.
	runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	p := pathsBelow(config.Root)
	if err := makeDirectories(p); err != nil {
		return err
	}
	lock, err := lockDaemon(p)
	if err != nil {
		return fmt.Errorf("--root %s: %w", p.root, err)
	}
	defer lock.Close()
	err = life(ctx, config, p, kept, log)
	if errors.Is(err, errStopped) {
		return nil
	}
	if errors.Is(err, errMoved) {
		if ctx.Err() != nil {
			return nil // it was told to end meanwhile
		}
		// In the same process, so whoever supervises the daemon sees none end.
		return fmt.Errorf("start again: %w", syscall.Exec(program, os.Args, os.Environ()))
	}
	return err
}

// life is the daemon from its start to its end, which errMoved says is not the last.
func life(ctx context.Context, config serveConfig, p paths, kept *journal.Journal, log *slog.Logger) error {
	defer kept.Deliver()()
	moved, err := p.files().CompleteMove()
	if err != nil {
		return err
	}
	if moved {
		log.Info("this host's database is in another place from now on")
	}
	uuid, err := hostUUID(p)
	if err != nil {
		return err
	}
	roster := &pool.Roster{}
	keys := &authority.Keyholder{Allowed: roster.Names}
	if err := pool.Prepare(keys, p.identity, uuid, time.Now()); err != nil {
		return err
	}
	door := httpd.NewDoor(keys.Peer, isDatabasePath, log)
	door.Database(http.HandlerFunc(etcdserver.Absent)) // until this host has one
	door.Call(httpd.Roll{Asker: keys.Asker, Names: roster.Knows})
	var shown *x509.Certificate
	if config.HTTPS != "" {
		l, err := net.Listen("tcp", config.HTTPS)
		if err != nil {
			return fmt.Errorf("listen on --https: %w", err)
		}
		config.HTTPS = l.Addr().String() // with the port that a 0 has become
		secured, err := tlsConfig(config, p)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		shown = secured.Certificates[0].Leaf
		defer door.Serve(l, keys.ServerConfig(door.Ordinary(secured)))()
		log.Info("listening", "address", config.HTTPS, "tls", true)
	}

	d, err := assemble(ctx, config, p, uuid, keys, roster, door, kept, log)
	if errors.Is(err, etcdserver.ErrRemoved) || errors.Is(err, pool.ErrEjected) {
		log.Warn("this host was ejected from its pool; it begins one of its own")
		return errors.Join(p.files().Move(pool.Place{}, pool.Credential{}), errMoved)
	}
	if err != nil {
		return err
	}
	defer d.close()
	if err := d.show(ctx, shown); err != nil {
		return err
	}
	defer d.stay(ctx)()
	if err := d.recover(ctx); err != nil {
		return err
	}
	if err := d.firstStart(ctx, config, p); err != nil {
		return err
	}
	listeners, err := listen(config, p)
	if err != nil {
		return err
	}
	for _, l := range listeners {
		log.Info("listening", "address", l.Addr().String(), "tls", false)
	}
	door.Ask(d.trust.Asking)
	door.Site(d.server.Handler(false))
	// systemd learns that the service is ready; anywhere else this does nothing.
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("systemd not told that the service is ready", "error", err)
	}
	log.Info("ready", "version", version(), "host", d.identity.HostUUID)
	defer log.Info("stopped")
	return d.run(ctx, listeners)
}

// errMoved ends a daemon that is to start again at once: its database is in another place.
var errMoved = errors.New("the host moves to another pool")

func logLevel(text string) (level slog.Level, err error) {
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return level, fmt.Errorf("--log-level %s: it is debug, info, warn or error", text)
	}
	return level, nil
}

func makeDirectories(p paths) error {
	for dir, mode := range map[string]os.FileMode{
		p.etc: 0o755, p.keys: 0o755, p.extensions: 0o755, p.powerOn: 0o755, p.lib: 0o700, p.rrds: 0o700, p.legacy: 0o755, p.run: 0o755, p.mounts: 0o700, p.log: 0o755, p.patchLogs: 0o750,
	} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return fmt.Errorf("make the daemon's directories: %w", err)
		}
	}
	return nil
}

// hostUUID is the host's name for good: made at its first start.
func hostUUID(p paths) (string, error) {
	uuid, err := readHostUUID(p.hostUUID)
	if !errors.Is(err, os.ErrNotExist) {
		return uuid, err
	}
	uuid = xenapi.NewUUID()
	return uuid, durable.WriteFile(p.hostUUID, []byte(uuid+"\n"), 0o644)
}

// readHostUUID reads the name that a host has got. Errors: os.ErrNotExist.
func readHostUUID(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("host's UUID: %w", err)
	}
	uuid, ok := xenapi.ParseUUID(strings.TrimSpace(string(text)))
	if !ok {
		return "", fmt.Errorf("%s holds no UUID", file)
	}
	return uuid, nil
}

// listen opens the addresses without TLS.
func listen(config serveConfig, p paths) ([]httpd.Listener, error) {
	// A socket that a killed daemon left would refuse the new one; the daemon's lock has made sure
	// that no other daemon uses it.
	if err := os.Remove(p.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("unix socket: %w", err)
	}
	local, err := net.Listen("unix", p.socket)
	if err != nil {
		return nil, fmt.Errorf("unix socket: %w", err)
	}
	if err := os.Chmod(p.socket, 0o600); err != nil {
		return nil, fmt.Errorf("unix socket: %w", err)
	}
	listeners := []httpd.Listener{{Listener: local, Local: true}}
	if config.HTTP != "" {
		l, err := net.Listen("tcp", config.HTTP)
		if err != nil {
			return nil, fmt.Errorf("listen on --http: %w", err)
		}
		listeners = append(listeners, httpd.Listener{Listener: l})
	}
	return listeners, nil
}
