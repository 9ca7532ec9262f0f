package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"poolpatch/internal/auth"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

func (c *cli) userCommand() *cobra.Command {
	return c.connected(group("user", "Users who may log in: list, add, password, remove",
		`Users who may log in over HTTPS, each with a role. root is always there.`,
		c.userList(), c.userAdd(), c.userPassword(), c.userRemove()))
}

func (c *cli) userList() *cobra.Command {
	return c.listFlags(&cobra.Command{
		Use: "list", Short: "List the users, and what each may do", Example: "  poolpatch user list",
		Args: arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			if c.output == "json" {
				return c.raw(ctx, p, "user.get_all_records")
			}
			records, err := all[xenapi.User](ctx, p)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, o := range users.sorted(records) {
				role := o.Rec.OtherConfig["role"]
				if o.Rec.ShortName == auth.Root {
					role = "local superuser"
				}
				rows = append(rows, []string{o.Rec.UUID, o.Rec.ShortName, o.Rec.Fullname, role})
			}
			return c.table("UUID NAME FULL-NAME ROLE", rows)
		}),
	})
}

func (c *cli) userAdd() *cobra.Command {
	var role, file, full string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user with a role; prints the UUID",
		Long: `Add a user with a role; prints the UUID.

Roles, strongest first: pool-admin, pool-operator (patches and storage), vm-power-admin,
vm-admin (disk images), vm-operator, read-only. Each may what the weaker ones may.`,
		Example: "  poolpatch user add alice --role pool-operator --new-password-file pw",
		Args:    arguments("NAME"),
	}
	cmd.Flags().StringVar(&role, "role", xenapi.RoleReadOnly, "`ROLE` of the user")
	cmd.Flags().StringVar(&file, "new-password-file", "", "`FILE` whose first line becomes the user's password")
	cmd.Flags().StringVar(&full, "full-name", "", "`NAME` in full")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		password, err := newPassword(file)
		if err != nil {
			return err
		}
		return c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			rec := xenapi.User{ShortName: args[0], Fullname: full, OtherConfig: map[string]string{"role": role, "password": password}}
			ref, err := client.Call[xenapi.Ref[xenapi.User]](ctx, p, "user.create", rec)
			if err != nil {
				return err
			}
			uuid, err := client.Call[string](ctx, p, "user.get_uuid", ref)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.stdout, uuid)
			return err
		})(cmd, args)
	}
	return cmd
}

// newPassword reads a password that a user is to have.
func newPassword(file string) (string, error) {
	password, err := firstLine(file)
	if err == nil && password == "" {
		err = fmt.Errorf("--new-password-file is missing, or empty")
	}
	if err != nil {
		return "", usageError{err}
	}
	return password, nil
}

func (c *cli) userPassword() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "password USER", Short: "Give a user another password",
		Long: `Give a user another password. Sessions that are open stay so. In a pool of one host root's is set
again at each start of a daemon with --root-password-file: change that file too.`,
		Example: "  poolpatch user password alice --new-password-file pw",
		Args:    arguments("USER"),
	}
	cmd.Flags().StringVar(&file, "new-password-file", "", "`FILE` whose first line becomes the user's password")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		password, err := newPassword(file)
		if err != nil {
			return err
		}
		return c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			user, err := users.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			if err := p.Do(ctx, "user.set_password", user.Ref, password); err != nil {
				return err
			}
			c.note("%s has another password", oneLine(user.Rec.ShortName))
			return nil
		})(cmd, args)
	}
	return cmd
}

func (c *cli) userRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove USER", Short: "Remove a user and end the user's sessions",
		Example: "  poolpatch user remove alice",
		Args:    arguments("USER"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			user, err := users.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			if err := p.Do(ctx, "user.destroy", user.Ref); err != nil {
				return err
			}
			c.note("%s is gone", oneLine(user.Rec.ShortName))
			return nil
		}),
	}
}
