package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

func (c *cli) hostCommand() *cobra.Command {
	return c.connected(group("host", "The hosts of the pool", "The hosts of the pool.", c.hostList(), c.hostShow(), c.hostRename(), c.hostEnable(), c.hostDisable(), c.hostLog(), c.hostReport(), c.hostDestroy()))
}

func (c *cli) hostList() *cobra.Command {
	return c.listFlags(&cobra.Command{
		Use: "list", Short: "List the hosts, and how many patches each has", Example: "  poolpatch host list",
		Args: arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			if c.output == "json" {
				return c.raw(ctx, p, "host.get_all_records")
			}
			records, err := all[xenapi.Host](ctx, p)
			if err != nil {
				return err
			}
			_, pool, err := poolRecord(ctx, p)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, o := range hosts.sorted(records) {
				role := "member"
				if pool.Master == o.Ref {
					role = "coordinator"
				}
				rows = append(rows, []string{o.Rec.UUID, o.Rec.NameLabel, o.Rec.Address, role, yesNo(o.Rec.Enabled), productVersion(o.Rec), fmt.Sprint(len(o.Rec.Patches))})
			}
			return c.table("UUID NAME ADDRESS ROLE ENABLED VERSION PATCHES", rows)
		}),
	})
}

func productVersion(h xenapi.Host) string { return h.SoftwareVersion["product_version"] }

func (c *cli) hostShow() *cobra.Command {
	return c.outputFlag(&cobra.Command{
		Use: "show HOST", Short: "Show one host and the patches that it has", Example: "  poolpatch host show host2",
		Args: arguments("HOST"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := hosts.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			if c.output == "json" {
				return c.raw(ctx, p, "host.get_record", o.Ref)
			}
			r := o.Rec
			err = c.properties("uuid", r.UUID, "name", r.NameLabel, "description", r.NameDescription, "address", r.Address,
				"enabled", yesNo(r.Enabled), "software", words(r.SoftwareVersion))
			if err != nil || len(r.Patches) == 0 {
				return err
			}
			fmt.Fprintln(c.stdout)
			return c.hostPatches(ctx, p, o.Ref)
		}),
	})
}

func (c *cli) hostPatches(ctx context.Context, p *client.Client, host xenapi.Ref[xenapi.Host]) error {
	v, err := viewPatches(ctx, p)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, o := range patches.sorted(v.patches) {
		if state := v.onHost(o.Rec, host); state[0] != "not applied" {
			rows = append(rows, append([]string{o.Rec.UUID, o.Rec.NameLabel}, state...))
		}
	}
	return c.table("PATCH NAME STATE SINCE", rows)
}

func (c *cli) hostEnable() *cobra.Command {
	return c.hostVerb("enable HOST", "Say that a host is ready for work", "Say that a host is ready for work.", "  poolpatch host enable host2", "host.enable", "is ready for work")
}

func (c *cli) hostDisable() *cobra.Command {
	return c.hostVerb("disable HOST", "Say that a host is not to get work", "Say that a host is not to get work; it does not become coordinator by hand then.",
		"  poolpatch host disable host2", "host.disable", "gets no work")
}

func (c *cli) hostRename() *cobra.Command {
	return &cobra.Command{
		Use: "rename HOST NAME", Short: "Give a host another name",
		Long: `Give a host another name. It goes by that name in this pool, and in the next one that it is in; its UUID
and its address stay.`,
		Example: "  poolpatch host rename host2 rack4-left", Args: arguments("HOST", "NAME"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := hosts.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			return p.Do(ctx, "host.set_name_label", o.Ref, args[1])
		}),
	}
}

func (c *cli) hostDestroy() *cobra.Command {
	return c.hostVerb("destroy HOST", "Take a dead host out of the pool for good",
		`Take a dead host out of the pool for good. What it had begun on shared SRs is removed, its local SRs and the
images on them are forgotten. A host that lives is taken out by "poolpatch pool eject".`,
		"  poolpatch host destroy host2", "host.destroy", "is out of the pool for good")
}
