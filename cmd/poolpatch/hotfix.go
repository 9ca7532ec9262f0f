package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"poolpatch/internal/hotfix"
	"poolpatch/xenapi"
)

func (c *cli) hotfixCommand() *cobra.Command {
	return group("hotfix", "Make and inspect patch files; needs no daemon",
		`Make and inspect patch files; needs no daemon.

A patch is a program in an OpenPGP signed message (docs/patch-file.md). "build" makes such a
program of a directory that holds patch.json, the tree payload/, the script apply and, if you
like, the script precheck; "sign" signs it, as "gpg --sign" does.`,
		c.hotfixBuild(), c.hotfixSign(), c.hotfixVerify(), c.hotfixInfo(), c.hotfixIndex(), c.hotfixKey())
}

func fileFlag(cmd *cobra.Command, file *string) *cobra.Command {
	cmd.Flags().StringVarP(file, "output", "o", "", "`FILE` to write, - for stdout")
	return cmd
}

func (c *cli) hotfixBuild() *cobra.Command {
	var file string
	return fileFlag(&cobra.Command{
		Use:     "build DIR -o FILE|-",
		Short:   "Make a patch's program of a directory; the same input gives the same bytes",
		Example: "  poolpatch hotfix build my-fix/ -o my-fix.run",
		Args:    arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usagef("-o FILE is missing")
			}
			return c.outputFile(file, 0o755, func(w io.Writer) error {
				return buffered(w, func(w io.Writer) error { return hotfix.Build(args[0], stopping{cmd.Context(), w}) })
			})
		},
	}, &file)
}

// buffered gives fn a buffer before w.
func buffered(w io.Writer, fn func(io.Writer) error) error {
	b := bufio.NewWriterSize(w, 1<<20)
	if err := fn(b); err != nil {
		return err
	}
	return b.Flush()
}

// stopping fails to write when ctx has ended.
type stopping struct {
	ctx context.Context
	w   io.Writer
}

func (s stopping) Write(p []byte) (int, error) {
	if err := context.Cause(s.ctx); err != nil {
		return 0, err
	}
	return s.w.Write(p)
}

func (c *cli) hotfixSign() *cobra.Command {
	var file, keyFile, passphraseFile string
	cmd := fileFlag(&cobra.Command{
		Use:   "sign PROGRAM|- --key FILE -o FILE|-",
		Short: "Sign a patch's program",
		Long: `Sign a patch's program with a private key that gpg has exported. Where the key is in gpg's own
keeping or on a card, sign with gpg: the result is as good.`,
		Example: `  gpg --export-secret-keys patches@example.com > key
  poolpatch hotfix sign my-fix.run --key key -o my-fix.gpg
  gpg --sign --compress-algo none --output my-fix.gpg my-fix.run`,
		Args: arguments("PROGRAM"),
	}, &file)
	cmd.Flags().StringVar(&keyFile, "key", "", "`FILE` with the private key, armored or not")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "`FILE` whose first line is the key's passphrase")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" || keyFile == "" {
			return usagef("--key FILE and -o FILE are needed")
		}
		key, err := signingKey(keyFile, passphraseFile)
		if err != nil {
			return err
		}
		in, _, err := c.input(args[0])
		if err != nil {
			return err
		}
		defer in.Close()
		return c.outputFile(file, 0o644, func(w io.Writer) error {
			return buffered(w, func(w io.Writer) error { return hotfix.Sign(in, stopping{cmd.Context(), w}, key) })
		})
	}
	return cmd
}

func signingKey(file, passphraseFile string) (*hotfix.SigningKey, error) {
	passphrase, err := firstLine(passphraseFile)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	key, err := hotfix.ParseSigningKey(data, []byte(passphrase))
	if errors.Is(err, hotfix.ErrProtected) && passphraseFile == "" {
		err = hinted{err, "--passphrase-file FILE, whose first line is the passphrase"}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// trust is what verify and info trust.
type trust struct{ keys string }

func (c *cli) trustFlags(cmd *cobra.Command, t *trust) *cobra.Command {
	cmd.Flags().StringVar(&t.keys, "keys", "", "`DIR` of public keys; by default this host's trusted keys")
	c.rootFlag(cmd.Flags())
	return cmd
}

func (c *cli) verifier(t trust) (*hotfix.Verifier, error) {
	dir := pathsBelow(c.root).keys
	if t.keys != "" {
		dir = t.keys
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("--keys: there is no directory %s", dir)
		}
	}
	return hotfix.NewVerifier(hotfix.Options{KeyDir: dir, Log: slog.New(slog.NewTextHandler(c.stderr, nil))}), nil
}

func (c *cli) hotfixVerify() *cobra.Command {
	var t trust
	return c.trustFlags(&cobra.Command{
		Use:   "verify FILE|-",
		Short: "Verify a signed patch as a host does; runs nothing",
		Example: `  poolpatch hotfix verify my-fix.gpg
  poolpatch hotfix verify my-fix.gpg --keys keys/`,
		Args: arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.verifier(t)
			if err != nil {
				return err
			}
			in, length, err := c.input(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			m := c.bytesMeter("verify", length)
			signed, err := v.Verify(cmd.Context(), in, io.Discard)
			m.end()
			if err != nil {
				return err
			}
			return c.properties("signed by", signed.Signer, "size", size(signed.Size), "sha256", signed.SHA256)
		},
	}, &t)
}

func (c *cli) hotfixInfo() *cobra.Command {
	var t trust
	return c.trustFlags(&cobra.Command{
		Use:   "info FILE|-",
		Short: "Verify a signed patch, then ask its program what it is",
		Long: `Verify a signed patch, then ask its program what it is, as an upload does. The program runs on
this machine: only what a trusted key has signed is run.`,
		Example: "  poolpatch hotfix info my-fix.gpg --keys keys/",
		Args:    arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.verifier(t)
			if err != nil {
				return err
			}
			in, _, err := c.input(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			return c.patchInfo(cmd.Context(), v, in)
		},
	}, &t)
}

func (c *cli) patchInfo(ctx context.Context, v *hotfix.Verifier, in io.Reader) error {
	return c.extracted(ctx, v, in, func(program hotfix.Verified, info hotfix.Info) error {
		return c.properties("uuid", info.UUID, "name", info.NameLabel, "description", info.NameDescription, "version", info.Version,
			"afterwards", guidance(xenapi.PoolPatch{AfterApplyGuidance: info.AfterApplyGuidance}),
			"signed by", program.Signer(), "size", size(program.SignedSize()))
	})
}

func (c *cli) hotfixKey() *cobra.Command {
	var name, email, passphraseFile string
	cmd := &cobra.Command{
		Use:   "generate-key FILE",
		Short: "Make a key to try things out with: FILE and FILE.pub",
		Long: `Make a key to try things out with: the private half in FILE, the public half in FILE.pub. Keys
that sign patches for others are made with gpg, and kept where they cannot be read. A file that
is there already is never overwritten.`,
		Example: `  poolpatch hotfix generate-key test-key --name "Test" --email test@example.com
  cp test-key.pub /etc/poolpatch/trusted-keys.d/`,
		Args: arguments("FILE"),
	}
	cmd.Flags().StringVar(&name, "name", "Test key", "`NAME` of the user id")
	cmd.Flags().StringVar(&email, "email", "", "`ADDRESS` of the user id")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "`FILE` whose first line protects the private key")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if strings.HasSuffix(args[0], ".pub") || args[0] == "-" {
			return usagef("FILE is the private key; FILE.pub is written beside it")
		}
		passphrase, err := firstLine(passphraseFile)
		if err != nil {
			return err
		}
		public, private, err := hotfix.GenerateKey(name, email, []byte(passphrase))
		if err != nil {
			return err
		}
		return writeKey(args[0], private, public)
	}
	return cmd
}

// writeKey writes both halves of a key, or none.
func writeKey(file string, private, public []byte) error {
	if err := writeNew(file, 0o600, private); err != nil {
		return err
	}
	if err := writeNew(file+".pub", 0o644, public); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

// writeNew writes a file that must not be there yet: a private key that is overwritten is lost.
func writeNew(name string, perm os.FileMode, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if errors.Is(err, os.ErrExist) {
		return hinted{fmt.Errorf("%s is there already", name), "give another FILE, or move that one away if nobody needs it"}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

func writing(text []byte) func(io.Writer) error {
	return func(w io.Writer) error { _, err := w.Write(text); return err }
}
