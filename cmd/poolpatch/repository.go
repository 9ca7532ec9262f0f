package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

var repositories = kind[xenapi.Repository]{"repository", "repositories", "poolpatch repository list",
	func(r xenapi.Repository) string { return r.UUID }, func(r xenapi.Repository) string { return r.NameLabel }, true}

func (c *cli) repositoryCommand() *cobra.Command {
	return c.connected(group("repository", "Where the pool fetches patches from by itself",
		`Where the pool fetches patches from by itself.

A repository is a directory behind http or https with patches and a signed index
(docs/repository.md; "poolpatch hotfix index" makes one). "sync" fetches what the pool lacks,
"apply" applies on a host what the repositories list, in their order.`,
		c.repositoryAdd(), c.repositoryList(), c.repositorySync(), c.repositoryApply(), c.repositoryRemove(), c.repositorySchedule(), c.repositoryProxy()))
}

func (c *cli) repositoryAdd() *cobra.Command {
	var name, description, key string
	cmd := &cobra.Command{
		Use:   "add URL",
		Short: "Have the pool fetch patches from a repository; prints its UUID",
		Long: `Have the pool fetch patches from a repository; prints its UUID. Nothing is fetched yet.

Its index must be signed by a key that the hosts trust for patches, or, with --key-file, by
one of that file in etc/poolpatch/trusted-keys.d.`,
		Example: `  poolpatch repository add https://patches.example/stable
  poolpatch repository add https://patches.example/stable --name stable --key-file vendor.asc`,
		Args: arguments("URL"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			pool, _, err := poolRecord(ctx, p)
			if err != nil {
				return err
			}
			if name == "" {
				name = args[0]
			}
			ref, err := client.Call[xenapi.Ref[xenapi.Repository]](ctx, p, "Repository.introduce", name, description, args[0], "", true, key)
			if err != nil {
				return err
			}
			if err := p.Do(ctx, "pool.add_repository", pool, ref); err != nil {
				return err
			}
			uuid, err := client.Call[string](ctx, p, "Repository.get_uuid", ref)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.stdout, uuid)
			return err
		}),
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "`NAME` of the repository; by default its URL")
	f.StringVar(&description, "description", "", "`TEXT` that describes the repository")
	f.StringVar(&key, "key-file", "", "`FILE` of trusted keys, of which one must sign the index")
	return cmd
}

func (c *cli) repositoryList() *cobra.Command {
	return c.listFlags(&cobra.Command{
		Use:   "list",
		Short: "List the repositories, and whether every host has what they list",
		Long: `List the repositories, and whether every host has what they list.

USED are those that the pool fetches from. HASH is that of the index that was fetched last.`,
		Example: "  poolpatch repository list",
		Args:    arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			if c.output == "json" {
				return c.raw(ctx, p, "Repository.get_all_records")
			}
			records, err := all[xenapi.Repository](ctx, p)
			if err != nil {
				return err
			}
			_, pool, err := poolRecord(ctx, p)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, o := range repositories.sorted(records) {
				hash := "-"
				if o.Rec.Hash != "" {
					hash = short(o.Rec.Hash)
				}
				used := o.Rec.Update && slices.Contains(pool.Repositories, o.Ref)
				rows = append(rows, []string{o.Rec.UUID, o.Rec.NameLabel, o.Rec.BinaryURL, yesNo(used), hash, yesNo(o.Rec.UpToDate)})
			}
			return c.table("UUID NAME URL USED HASH UP-TO-DATE", rows)
		}),
	})
}

func (c *cli) repositorySync() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Fetch the patches that the pool lacks; prints the hash of what is listed",
		Long: `Fetch the patches that the pool lacks; prints the hash of what is listed, which "apply" takes.
What was fetched before an error, or Ctrl-C, stays, and is not fetched again.`,
		Example: "  poolpatch repository sync",
		Args:    arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			pool, _, err := poolRecord(ctx, p)
			if err != nil {
				return err
			}
			m := c.taskMeter("sync")
			hash, err := client.Run[string](ctx, p, m.fraction, "pool.sync_updates", pool, force, "", "")
			m.end()
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(c.stdout, hash); err != nil {
				return err
			}
			c.note("next: poolpatch repository apply %s --host HOST", hash)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "fetch also what the pool has, and compare")
	return cmd
}

func (c *cli) repositoryApply() *cobra.Command {
	var host string
	cmd := &cobra.Command{
		Use:   "apply HASH",
		Short: "Apply on a host what the repositories list",
		Long: `Apply on a host, in their order, the patches that the repositories list and the host has not; prints
what the host needs afterwards. HASH is what "sync" has printed last: nothing is applied that
nobody has seen. It stops at the first patch that fails. One that was interrupted on the host
is not run again.`,
		Example: "  poolpatch repository apply 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --host host1",
		Args:    arguments("HASH"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := c.onHost(ctx, p, host)
			if err != nil {
				return err
			}
			m := c.taskMeter("apply")
			asked, err := client.Run[[][]string](ctx, p, m.fraction, "host.apply_updates", o.Ref, args[0])
			m.end()
			if err != nil {
				return err
			}
			for _, words := range asked {
				fmt.Fprintln(c.stdout, words[0])
			}
			c.note("%s has what the repositories list", hosts.name(o.Rec))
			return nil
		}),
	}
	return hostFlag(cmd, &host)
}

func (c *cli) repositoryRemove() *cobra.Command {
	return &cobra.Command{
		Use:     "remove REPOSITORY",
		Short:   "Fetch from a repository no more, and forget it; patches that came from it stay",
		Example: "  poolpatch repository remove stable",
		Args:    arguments("REPOSITORY"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := repositories.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			pool, _, err := poolRecord(ctx, p)
			if err != nil {
				return err
			}
			if err := p.Do(ctx, "pool.remove_repository", pool, o.Ref); err != nil {
				return err
			}
			return p.Do(ctx, "Repository.forget", o.Ref)
		}),
	}
}

func (c *cli) repositorySchedule() *cobra.Command {
	return &cobra.Command{
		Use:   "schedule daily|0..6|off",
		Short: "Have the pool sync by itself: daily, weekly on a day (0 is Sunday), or not",
		Long: `Have the pool sync by itself: daily, weekly on a day (0 is Sunday), or not. Nothing is applied by
itself. A sync that fails makes a message, and is tried again.`,
		Example: `  poolpatch repository schedule daily
  poolpatch repository schedule 3
  poolpatch repository schedule off`,
		Args: arguments("WHEN"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			pool, _, err := poolRecord(ctx, p)
			if err != nil {
				return err
			}
			if args[0] == "off" {
				return p.Do(ctx, "pool.set_update_sync_enabled", pool, false)
			}
			frequency, day := xenapi.UpdateSyncFrequencyDaily, int64(0)
			if args[0] != "daily" {
				frequency = xenapi.UpdateSyncFrequencyWeekly
				if day, err = strconv.ParseInt(args[0], 10, 64); err != nil {
					return usagef("%q is not daily, a day from 0 to 6, or off", args[0])
				}
			}
			if err := p.Do(ctx, "pool.configure_update_sync", pool, frequency, day); err != nil {
				return err
			}
			return p.Do(ctx, "pool.set_update_sync_enabled", pool, true)
		}),
	}
}

func (c *cli) repositoryProxy() *cobra.Command {
	var user, passwordFile string
	cmd := &cobra.Command{
		Use:   "proxy URL|off",
		Short: "Reach repositories through a proxy, or not",
		Example: `  poolpatch repository proxy http://proxy.example:3128
  poolpatch repository proxy http://proxy.example:3128 --proxy-user ann --proxy-password-file FILE
  poolpatch repository proxy off`,
		Args: arguments("URL"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			pool, _, err := poolRecord(ctx, p)
			if err != nil {
				return err
			}
			if args[0] == "off" {
				return p.Do(ctx, "pool.disable_repository_proxy", pool)
			}
			password, err := firstLine(passwordFile)
			if err != nil {
				return usageError{err}
			}
			return p.Do(ctx, "pool.configure_repository_proxy", pool, args[0], user, password)
		}),
	}
	cmd.Flags().StringVar(&user, "proxy-user", "", "`NAME` that the proxy knows")
	cmd.Flags().StringVar(&passwordFile, "proxy-password-file", "", "`FILE` whose first line is the proxy's password")
	return cmd
}
