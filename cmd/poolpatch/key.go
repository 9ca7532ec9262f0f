package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"poolpatch/internal/hotfix"
	"poolpatch/xenapi"
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
		Long: `List the trusted keys, and why one cannot be used. A file that is not understood is listed with the
reason and makes the command fail: this host takes no patch until it is mended, for it could be
the one that revokes a key.`,
		Example: `  poolpatch key list
  poolpatch key list --root /srv/host1`,
		Args: arguments(),
		RunE: func(*cobra.Command, []string) error {
			return c.listKeys(pathsBelow(c.root))
		},
	}
	cmd.Flags().BoolVar(&c.noHeaders, "no-headers", false, "leave the line of column names off")
	return cmd
}

// listKeys shows every key and every file that is not understood, and fails where there is one of those: this host takes no
// patch then.
func (c *cli) listKeys(p paths) error {
	keys, faults := hotfix.ListKeys(p.keys, time.Now())
	_, err := hotfix.LoadAllowList(p.unsigned)
	if fault, ok := errors.AsType[*xenapi.Error](err); ok {
		faults = append(faults, fault)
	}
	var rows [][]string
	for _, k := range keys {
		usable := "usable"
		if k.Unusable != "" {
			usable = k.Unusable
		}
		rows = append(rows, []string{k.Fingerprint, strings.Join(k.UserIDs, ", "), expires(k.Expires), usable})
	}
	for _, f := range faults {
		rows = append(rows, []string{"", f.Params[0], "", f.Params[1]})
	}
	if len(keys) == 0 {
		c.note("this host trusts no key: put a public key into %s", p.keys)
	}
	err = c.table("FINGERPRINT USER EXPIRES STATE", rows)
	if err == nil && len(faults) > 0 {
		err = faults[0]
	}
	return err
}

func expires(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return when(t)
}
