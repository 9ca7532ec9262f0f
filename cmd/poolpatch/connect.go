package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"poolpatch/xenapi/client"
)

// logoutTimeout bounds the logout at the end of a command.
const logoutTimeout = 5 * time.Second

// rootFlag says below which directory the daemon's files are.
func (c *cli) rootFlag(f *pflag.FlagSet) {
	f.StringVar(&c.root, "root", "/", "`DIR` that the daemon's paths are below")
}

// connected gives a group of commands the flags that say where the pool is.
func (c *cli) connected(cmd *cobra.Command) *cobra.Command {
	f := cmd.PersistentFlags()
	c.rootFlag(f)
	f.StringVar(&c.server, "server", "", "`URL` of the pool, [https://]HOST[:PORT]; by default this host's unix socket")
	f.StringVar(&c.user, "user", "root", "`NAME` of the user to log in as, with --server")
	f.StringVar(&c.passwordFile, "password-file", "", "`FILE` whose first line is the password, with --server")
	f.StringVar(&c.caFile, "ca-file", "", "`FILE` of certificates (PEM) to trust instead of the system's, with --server")
	f.BoolVar(&c.insecure, "insecure", false, "take any certificate: whoever answers gets the password")
	return cmd
}

// pool makes the function of a command that talks to the pool.
func (c *cli) pool(fn func(ctx context.Context, p *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if err := c.checkOutput(); err != nil {
			return err
		}
		p, err := c.dial(ctx)
		if err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutTimeout)
			defer cancel()
			_ = p.Close(ctx) // the pool collects sessions that nobody closed
		}()
		return fn(ctx, p, args)
	}
}

func (c *cli) dial(ctx context.Context) (*client.Client, error) {
	o := client.Options{Originator: "poolpatch/" + version()}
	if c.server == "" {
		o.Socket = pathsBelow(c.root).socket
		return dialSocket(ctx, o)
	}
	password, err := firstLine(c.passwordFile)
	if err != nil {
		return nil, usageError{err}
	}
	if !strings.Contains(c.server, "://") {
		c.server = "https://" + c.server
	}
	o.URL, o.User, o.Password, o.InsecureSkipVerify = c.server, c.user, password, c.insecure
	if c.caFile != "" {
		if o.RootCAs, err = certificates(c.caFile); err != nil {
			return nil, usageError{err}
		}
	}
	p, err := client.Dial(ctx, o)
	if _, ok := errors.AsType[*client.ConnectionError](err); ok {
		return nil, fmt.Errorf("cannot reach %s: %w", c.server, err)
	}
	if e, ok := errors.AsType[*client.StatusError](err); ok && e.Code == http.StatusBadRequest && strings.HasPrefix(c.server, "http://") {
		return nil, hinted{err, "the port may be the one for HTTPS: --server https://" + strings.TrimPrefix(c.server, "http://")}
	}
	return p, err
}

func dialSocket(ctx context.Context, o client.Options) (*client.Client, error) {
	p, err := client.Dial(ctx, o)
	if _, ok := errors.AsType[*client.ConnectionError](err); !ok {
		return p, err
	}
	return nil, unreachable(o.Socket, err)
}

// unreachable says of a unix socket why nobody answers.
func unreachable(socket string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hinted{fmt.Errorf("no daemon runs here: there is no %s%w", socket, silent{err}),
			"poolpatch serve --root DIR starts one; --root says which, --server reaches another host's"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return hinted{fmt.Errorf("the daemon is not running: nobody listens on %s%w", socket, silent{err}), "systemctl status poolpatch"}
	case errors.Is(err, fs.ErrPermission):
		return hinted{fmt.Errorf("%s is for root%w", socket, silent{err}), "run the command as root, or use --server"}
	}
	return err
}

// silent keeps an error in the chain without repeating its text.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (e silent) Unwrap() error { return e.error }

func certificates(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca-file %s: it holds no certificate", filepath.Clean(file))
	}
	return pool, nil
}

// unreachableCheck is unreachable for a request that did not come through the client.
func unreachableCheck(socket string, err error) error {
	return unreachable(socket, &client.ConnectionError{Message: "check", Err: err})
}
