package main

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"poolpatch/internal/xeclient"
	"poolpatch/xenapi/client"
)

const (
	// xeDialTimeout bounds the making of a connection.
	xeDialTimeout = 10 * time.Second
	// xeExtra is the variable that has words for every command line, parted by commas, as scripts for xe set it.
	xeExtra = "XE_EXTRA_ARGS"
)

const xeLong = `xe is XenAPI's command line, over its own protocol: what administrators of XenServer and XCP-ng know, and
scripts use. "poolpatch xe help" lists the commands, which the daemon has; a poolpatch that is started under
the name xe, by a link, behaves as this command.

It speaks to the daemon of this host over its unix socket, or with -s to any host over TLS:

  -s HOST       the server; without it, or 127.0.0.1 without a port, this host's unix socket
  -p PORT       its port, by default 443, or 80 with --nossl
  -u USER       by default root
  -pw PASSWORD  other users of this host can see it: -pwf is better
  -pwf FILE     a file whose first line is the password
  --ca-file FILE, --insecure
                which certificate to trust, by default what the system does; or any
  --nossl       no TLS: the password can be seen on the way
  --root DIR    that the daemon's unix socket is below

The environment variable XE_EXTRA_ARGS has words for every command line, parted by commas.
The exit code is 0, or 1 when it failed; 3 when no daemon could be reached.`

// xeOptions are the words of a command line of xe that say where it goes.
type xeOptions struct {
	server, port, user, password, passwordFile, caFile, root string
	insecure, plain, help                                    bool
	words                                                    []string // the rest
}

func (c *cli) xeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "xe COMMAND [KEY=VALUE…]", Short: "XenAPI's own command line, for what is used to it", Long: xeLong,
		Example: `  poolpatch xe patch-list
  poolpatch xe patch-upload file-name=fix.gpg
  poolpatch xe -s pool.example -u root -pwf pw --ca-file tls.crt host-list --minimal`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := parseXE(args, os.Getenv(xeExtra))
			if err != nil {
				return err
			}
			if o.help {
				return cmd.Help()
			}
			return c.xe(cmd.Context(), o)
		},
	}
}

func (c *cli) xe(ctx context.Context, o xeOptions) error {
	d, err := o.dialer()
	if err != nil {
		return err
	}
	x := xeclient.Client{
		Dial: d.dial, DialOther: d.dialTLS, User: o.user, Password: o.password,
		Stdin: c.stdin, Stdout: c.stdout, Stderr: c.stderr,
	}
	code, err := x.Run(ctx, o.words)
	switch {
	case ctx.Err() != nil: // what the daemon had accepted goes on, but for transfers
		c.note("interrupted")
		return exitError(exitInterrupted)
	case err == nil && code != exitOK:
		return exitError(code)
	}
	return err
}

// parseXE reads a command line as xe does: its own options may stand anywhere, and everything else is the server's.
func parseXE(args []string, extra string) (xeOptions, error) {
	o := xeOptions{user: "root", password: "null", root: "/"}
	texts := map[string]*string{
		"-s": &o.server, "-h": &o.server, "-p": &o.port, "-u": &o.user, "-pw": &o.password, "-pwf": &o.passwordFile,
		"--ca-file": &o.caFile, "--root": &o.root,
	}
	keys := map[string]*string{"server": &o.server, "port": &o.port, "username": &o.user, "password": &o.password, "--ca-file": &o.caFile, "--root": &o.root}
	switches := map[string]*bool{"--insecure": &o.insecure, "--nossl": &o.plain, "--help": &o.help}
	if extra != "" {
		args = append(strings.Split(extra, ","), args...) // what is on the command line comes later and counts
	}
	for i := 0; i < len(args); i++ {
		key, value, _ := strings.Cut(args[i], "=")
		switch {
		case args[i] == "-h" && i+1 == len(args):
			o.help = true
		case texts[args[i]] != nil && i+1 == len(args):
			return o, usagef("%s is the last word, and needs a value", args[i])
		case texts[args[i]] != nil:
			i++
			*texts[args[i-1]] = args[i]
		case switches[args[i]] != nil:
			*switches[args[i]] = true
		case keys[key] != nil && strings.Contains(args[i], "="):
			*keys[key] = value
		default:
			o.words = append(o.words, args[i])
		}
	}
	o.help = o.help || len(o.words) == 0
	return o, o.readPassword()
}

func (o *xeOptions) readPassword() (err error) {
	if o.passwordFile == "" {
		return nil
	}
	if o.password, err = firstLine(o.passwordFile); err != nil {
		return usageError{err}
	}
	return nil
}

// xeDialer makes the connections of a command line.
type xeDialer struct {
	socket  string // "" is address
	address string
	plain   bool
	tls     *tls.Config
}

func (o xeOptions) dialer() (xeDialer, error) {
	d := xeDialer{plain: o.plain, tls: &tls.Config{InsecureSkipVerify: o.insecure, NextProtos: []string{"http/1.0"}}}
	if o.caFile != "" {
		var err error
		if d.tls.RootCAs, err = certificates(o.caFile); err != nil {
			return d, usageError{err}
		}
	}
	if o.port == "" && (o.server == "" || o.server == "127.0.0.1" || o.server == "localhost") {
		d.socket = pathsBelow(o.root).socket
		return d, nil
	}
	host, port := strings.TrimPrefix(o.server, "https://"), o.port
	if host == "" {
		host = "127.0.0.1"
	}
	if h, p, err := net.SplitHostPort(host); err == nil && port == "" {
		host, port = h, p
	}
	switch {
	case port != "":
	case o.plain:
		port = "80"
	default:
		port = "443"
	}
	d.address = net.JoinHostPort(host, port)
	return d, nil
}

func (d xeDialer) dial(ctx context.Context) (net.Conn, error) {
	plain := net.Dialer{Timeout: xeDialTimeout}
	switch {
	case d.socket != "":
		conn, err := plain.DialContext(ctx, "unix", d.socket)
		if err != nil {
			return nil, unreachable(d.socket, &client.ConnectionError{Message: "xe", Err: err})
		}
		return conn, nil
	case d.plain:
		conn, err := plain.DialContext(ctx, "tcp", d.address)
		return conn, cannotReach(d.address, err)
	}
	return d.dialTLS(ctx, d.address)
}

func (d xeDialer) dialTLS(ctx context.Context, address string) (net.Conn, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), "443")
	}
	secure := tls.Dialer{NetDialer: &net.Dialer{Timeout: xeDialTimeout}, Config: d.tls}
	ctx, cancel := context.WithTimeout(ctx, xeDialTimeout)
	defer cancel()
	conn, err := secure.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, cannotReach(address, err)
	}
	return conn, nil
}

func cannotReach(address string, err error) error {
	if err == nil {
		return nil
	}
	return &client.ConnectionError{Message: "xe at " + address, Err: err}
}

// startedAsXE reports whether the program was started under the name xe.
func startedAsXE(name string) bool { return filepath.Base(name) == "xe" }
