package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"poolpatch/internal/pool"
)

// serveConfig is what poolpatch serve is told, by flags or by a file.
type serveConfig struct {
	Root             string   `toml:"root"`
	HTTPS            string   `toml:"https"`
	HTTP             string   `toml:"http"`
	Address          string   `toml:"address"`
	RootPasswordFile string   `toml:"root-password-file"`
	TLSCert          string   `toml:"tls-cert"`
	TLSKey           string   `toml:"tls-key"`
	EtcdEndpoints    []string `toml:"etcd-endpoints"`
	EtcdCA           string   `toml:"etcd-ca"`
	EtcdCert         string   `toml:"etcd-cert"`
	EtcdKey          string   `toml:"etcd-key"`
	LogLevel         string   `toml:"log-level"`
}

func defaultConfig() serveConfig {
	return serveConfig{Root: "/", HTTPS: ":443", LogLevel: "info"}
}

func (c *serveConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.Root, "root", c.Root, "`DIR` that every path of the daemon is below; patches change what is in it")
	f.StringVar(&c.HTTPS, "https", c.HTTPS, "`ADDRESS` and port to serve HTTPS on; \"\" for none")
	f.StringVar(&c.HTTP, "http", c.HTTP, "`ADDRESS` and port to serve plain HTTP on; none by default: passwords would go in clear")
	f.StringVar(&c.Address, "address", c.Address, "`ADDRESS` where clients reach this host; by default that of --https")
	f.StringVar(&c.RootPasswordFile, "root-password-file", c.RootPasswordFile, "`FILE` whose first line becomes the password of the user root, in a pool of one host")
	f.StringVar(&c.TLSCert, "tls-cert", c.TLSCert, "`FILE` of your TLS certificate (PEM); by default a self-signed one is made")
	f.StringVar(&c.TLSKey, "tls-key", c.TLSKey, "`FILE` of the key of --tls-cert (PEM)")
	f.StringSliceVar(&c.EtcdEndpoints, "etcd-endpoints", c.EtcdEndpoints, "`URLS` of your own etcd cluster; by default etcd runs inside the daemon")
	f.StringVar(&c.EtcdCA, "etcd-ca", c.EtcdCA, "`FILE` of the certificate authority of --etcd-endpoints (PEM)")
	f.StringVar(&c.EtcdCert, "etcd-cert", c.EtcdCert, "`FILE` of the client certificate for --etcd-endpoints (PEM)")
	f.StringVar(&c.EtcdKey, "etcd-key", c.EtcdKey, "`FILE` of the key of --etcd-cert (PEM)")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "`LEVEL` of the log: debug, info, warn or error")
}

// load reads a configuration file: the same words as the flags. A flag on the command line wins. Words
// that do not exist are refused by name.
func (c *serveConfig) load(cmd *cobra.Command, file string) error {
	fromFile := defaultConfig()
	meta, err := toml.DecodeFile(file, &fromFile)
	if err != nil {
		return fmt.Errorf("configuration file %s: %w", file, err)
	}
	var unknown []string
	for _, key := range meta.Undecoded() {
		unknown = append(unknown, key.String())
	}
	if len(unknown) > 0 {
		return fmt.Errorf("configuration file %s: unknown: %s", file, strings.Join(unknown, ", "))
	}
	given := map[string]string{}
	cmd.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = f.Value.String() })
	*c = fromFile
	for name, value := range given {
		if err := cmd.Flags().Set(name, strings.Trim(value, "[]")); err != nil {
			return err
		}
	}
	return nil
}

func (c *serveConfig) check() error {
	if !filepath.IsAbs(c.Root) {
		return fmt.Errorf("--root %s: the path must be absolute", c.Root)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fmt.Errorf("--tls-cert and --tls-key go together")
	}
	return errors.Join(c.checkEtcd(), c.checkPassword())
}

// checkEtcd refuses half of what an etcd cluster of one's own needs: the other half would be ignored.
func (c *serveConfig) checkEtcd() error {
	secured := c.EtcdCA != "" || c.EtcdCert != "" || c.EtcdKey != ""
	switch {
	case secured && len(c.EtcdEndpoints) == 0:
		return fmt.Errorf("--etcd-ca, --etcd-cert and --etcd-key are for --etcd-endpoints, which are missing")
	case secured && c.EtcdCA == "":
		return fmt.Errorf("--etcd-cert and --etcd-key need --etcd-ca")
	case (c.EtcdCert == "") != (c.EtcdKey == ""):
		return fmt.Errorf("--etcd-cert and --etcd-key go together")
	}
	return nil
}

// checkPassword refuses a file without a password: root would have none, and nobody would know.
func (c *serveConfig) checkPassword() error {
	password, err := firstLine(c.RootPasswordFile)
	if err == nil && password == "" && c.RootPasswordFile != "" {
		err = fmt.Errorf("--root-password-file %s: its first line is empty", c.RootPasswordFile)
	}
	return err
}

// paths are the daemon's own, below its root.
type paths struct {
	root, etc, keys, unsigned, tlsCert, tlsKey string
	extensions, powerOn                        string
	lib, hostUUID, hostName                    string
	identity, etcd, localSR, rrds              string
	place, moving, lock                        string
	legacy, stamps                             string
	report                                     string // on its way to where it is sent
	run, socket, mounts                        string
	log, patchLogs                             string
}

func pathsBelow(root string) paths {
	etc, lib := filepath.Join(root, "etc/poolpatch"), filepath.Join(root, "var/lib/poolpatch")
	run, log := filepath.Join(root, "run/poolpatch"), filepath.Join(root, "var/log/poolpatch")
	return paths{
		root: root, etc: etc, keys: filepath.Join(etc, "trusted-keys.d"), unsigned: filepath.Join(etc, "unsigned-patches"),
		extensions: filepath.Join(etc, "extensions"), powerOn: filepath.Join(etc, "power-on"),
		tlsCert: filepath.Join(etc, "tls.crt"), tlsKey: filepath.Join(etc, "tls.key"),
		lib: lib, hostUUID: filepath.Join(lib, "host-uuid"), hostName: filepath.Join(lib, "host-name"), identity: filepath.Join(lib, "identity"), etcd: filepath.Join(lib, "etcd"), localSR: filepath.Join(lib, "sr"), rrds: filepath.Join(lib, "rrd"),
		place: filepath.Join(lib, "place.json"), moving: filepath.Join(lib, "moving.json"), lock: filepath.Join(lib, "lock"),
		legacy: filepath.Join(root, "var/patch"), stamps: filepath.Join(root, "var/patch/applied"),
		report: filepath.Join(lib, "bugreport"),
		run:    run, socket: filepath.Join(run, "socket"), mounts: filepath.Join(run, "mounts"),
		log: log, patchLogs: filepath.Join(log, "patches"),
	}
}

// files are those that say where the host's database is.
func (p paths) files() pool.Files {
	return pool.Files{Place: p.place, Moving: p.moving, Identity: p.identity, Database: p.etcd}
}
