package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"poolpatch/internal/hotfix"
	"poolpatch/internal/repository"
)

// signedNames are how the names of files end that an index lists.
var signedNames = []string{".gpg", ".pgp", ".asc"}

func (c *cli) hotfixIndex() *cobra.Command {
	var t trust
	var file string
	var serial int64
	cmd := c.trustFlags(fileFlag(&cobra.Command{
		Use:   "index DIR -o FILE|-",
		Short: "Write the index of a directory of patches, which is then signed",
		Long: `Write the index of a directory of patches (docs/repository.md), which is then signed.

It lists the files whose names end in .gpg, .pgp or .asc, in the order of their names: hosts apply
them in that order, so begin the names with numbers. Each is verified and asked what it is, as
"hotfix info" does. Signed as DIR/` + repository.IndexName + `, the index makes the directory a repository.
A later index needs a higher serial number; by default that is the time.`,
		Example: `  poolpatch hotfix index stable/ -o index.json
  gpg --sign --output stable/` + repository.IndexName + ` index.json`,
		Args: arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usagef("-o FILE is missing")
			}
			v, err := c.verifier(t)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("serial") {
				serial = time.Now().Unix()
			}
			text, err := c.index(cmd.Context(), v, args[0], serial)
			if err != nil {
				return err
			}
			return c.outputFile(file, 0o644, writing(text))
		},
	}, &file), &t)
	cmd.Flags().Int64Var(&serial, "serial", 0, "`NUMBER` of the index; by default the seconds since 1970")
	return cmd
}

func (c *cli) index(ctx context.Context, v *hotfix.Verifier, dir string, serial int64) ([]byte, error) {
	files, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	var entries []repository.Entry
	for _, f := range files {
		if !f.Type().IsRegular() || !slices.Contains(signedNames, filepath.Ext(f.Name())) {
			continue
		}
		if !repository.PlainName(f.Name()) {
			return nil, fmt.Errorf("%s: an index allows letters, digits, and ._~- in names", f.Name())
		}
		e, err := c.indexEntry(ctx, v, filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		entries = append(entries, e)
	}
	x, err := repository.NewIndex(serial, entries)
	if err != nil {
		return nil, err
	}
	return x.Text()
}

// indexEntry reads a patch once: what is hashed is what was verified.
func (c *cli) indexEntry(ctx context.Context, v *hotfix.Verifier, path string) (e repository.Entry, err error) {
	f, err := os.Open(path)
	if err != nil {
		return e, err
	}
	defer f.Close()
	sum := sha256.New()
	err = c.extracted(ctx, v, io.TeeReader(f, sum), func(program hotfix.Verified, info hotfix.Info) error {
		e = repository.Entry{File: filepath.Base(path), Size: program.SignedSize(), SHA256: hex.EncodeToString(sum.Sum(nil)), UUID: info.UUID}
		return nil
	})
	return e, err
}

// extracted verifies a patch and asks its program what it is; the program is there until do returns.
func (c *cli) extracted(ctx context.Context, v *hotfix.Verifier, in io.Reader, do func(hotfix.Verified, hotfix.Info) error) (err error) {
	dir, err := os.MkdirTemp("", "poolpatch-info-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program, err := v.Extract(ctx, in, hotfix.Dir(dir))
	if err != nil {
		return err
	}
	info, err := hotfix.RunInfo(ctx, program, hotfix.Env{Root: c.root})
	if err != nil {
		return err
	}
	return do(program, info)
}
