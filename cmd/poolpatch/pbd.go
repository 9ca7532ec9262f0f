package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

func (c *cli) pbdCommand() *cobra.Command {
	return c.connected(group("pbd", "How hosts see SRs: list, plug, unplug",
		`A PBD joins an SR to a host. The host sees the SR while its PBD is plugged.`,
		c.pbdList(), c.pbdCreate(),
		c.pbdVerb("PBD.plug", "is plugged", &cobra.Command{
			Use: "plug UUID", Short: "Let the host see the SR", Example: "  poolpatch pbd plug 71c2",
		}),
		c.pbdVerb("PBD.unplug", "is unplugged", &cobra.Command{
			Use: "unplug UUID", Short: "Take the SR off the host; its VDIs must not be in use", Example: "  poolpatch pbd unplug 71c2",
		}),
		c.pbdDestroy()))
}

func (c *cli) pbdList() *cobra.Command {
	var sr string
	cmd := &cobra.Command{
		Use: "list", Short: "List the PBDs of the pool, or of an SR", Example: "  poolpatch pbd list --sr patches",
		Args: arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			if c.output == "json" && sr == "" {
				return c.raw(ctx, p, "PBD.get_all_records")
			}
			on, err := all[xenapi.SR](ctx, p)
			if err != nil {
				return err
			}
			var only xenapi.Ref[xenapi.SR]
			if sr != "" {
				o, err := srs.pick(srs.sorted(on), sr)
				if err != nil {
					return err
				}
				only = o.Ref
			}
			if c.output == "json" {
				return c.raw(ctx, p, "PBD.get_all_records_where", fmt.Sprintf("field \"SR\"=\"%s\"", only))
			}
			return c.pbdTable(ctx, p, on, only)
		}),
	}
	cmd.Flags().StringVar(&sr, "sr", "", "`NAME` or UUID of an SR: only its PBDs")
	return c.listFlags(cmd)
}

func (c *cli) pbdTable(ctx context.Context, p *client.Client, on map[xenapi.Ref[xenapi.SR]]xenapi.SR, only xenapi.Ref[xenapi.SR]) error {
	records, err := all[xenapi.PBD](ctx, p)
	if err != nil {
		return err
	}
	members, err := all[xenapi.Host](ctx, p)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, o := range pbds.sorted(records) {
		if only.IsNull() || o.Rec.SR == only {
			rows = append(rows, []string{o.Rec.UUID, srs.label(on, o.Rec.SR), hosts.label(members, o.Rec.Host), yesNo(o.Rec.CurrentlyAttached), words(o.Rec.DeviceConfig)})
		}
	}
	return c.table("UUID SR HOST PLUGGED DEVICE", rows)
}

func (c *cli) pbdCreate() *cobra.Command {
	var host string
	var device map[string]string
	cmd := &cobra.Command{
		Use: "create SR", Short: "Join an SR to one more host; prints the PBD's UUID",
		Example: "  poolpatch pbd create nfs --host host2 --device-config location=/mnt/nfs/sr",
		Args:    arguments("SR"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			sr, err := srs.reference(ctx, p, args[0])
			if err != nil {
				return err
			}
			h, err := c.onHost(ctx, p, host)
			if err != nil {
				return err
			}
			ref, err := client.Call[xenapi.Ref[xenapi.PBD]](ctx, p, "PBD.create", xenapi.PBD{Host: h.Ref, SR: sr, DeviceConfig: device})
			if err != nil {
				return err
			}
			uuid, err := client.Call[string](ctx, p, "PBD.get_uuid", ref)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.stdout, uuid)
			return err
		}),
	}
	cmd.Flags().StringToStringVar(&device, "device-config", nil, "`KEY=VALUE` of the driver's device config; may be repeated")
	return hostFlag(cmd, &host)
}

func (c *cli) pbdDestroy() *cobra.Command {
	return c.pbdVerb("PBD.destroy", "is gone", &cobra.Command{
		Use: "destroy UUID", Short: "Remove a PBD that is unplugged", Example: "  poolpatch pbd destroy 71c2",
	})
}

// pbdVerb is a command that runs one message on one PBD.
func (c *cli) pbdVerb(message, done string, cmd *cobra.Command) *cobra.Command {
	cmd.Args = arguments("UUID")
	cmd.RunE = c.pool(func(ctx context.Context, p *client.Client, args []string) error {
		o, err := pbds.find(ctx, p, args[0])
		if err != nil {
			return err
		}
		if err = p.Do(ctx, message, o.Ref); err == nil {
			c.note("%s %s", short(o.Rec.UUID), done)
		}
		return err
	})
	return cmd
}
