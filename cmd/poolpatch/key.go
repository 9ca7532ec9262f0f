package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"poolpatch/internal/hotfix"
)

func (c *cli) keyCommand() *cobra.Command {
	cmd := group("key", "Keys that this host trusts to sign patches",
		`Keys that this host trusts to sign patches: the public keys in etc/poolpatch/trusted-keys.d below
--root. A key is trusted from the moment its file is there (gpg --export --armor), and no more
from the moment it is gone. The directory is this host's own; it is never in the database.`, c.keyList())
	c.rootFlag(cmd.PersistentFlags())
	return cmd
}

func (c *cli) keyList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the trusted keys, and why one cannot be used",
		Example: `  poolpatch key list
  poolpatch key list --root /srv/host1`,
		Args: arguments(),
		RunE: func(*cobra.Command, []string) error {
			dir := pathsBelow(c.root).keys
			ring, err := hotfix.LoadKeyring(dir)
			if err != nil {
				return err
			}
			keys := ring.Keys(time.Now())
			var rows [][]string
			for _, k := range keys {
				usable := "usable"
				if k.Unusable != "" {
					usable = k.Unusable
				}
				rows = append(rows, []string{k.Fingerprint, strings.Join(k.UserIDs, ", "), expires(k.Expires), usable})
			}
			if len(keys) == 0 {
				c.note("this host trusts no key: put a public key into %s", dir)
			}
			return c.table("FINGERPRINT USER EXPIRES STATE", rows)
		},
	}
	cmd.Flags().BoolVar(&c.noHeaders, "no-headers", false, "leave the line of column names off")
	return cmd
}

func expires(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return when(t)
}
