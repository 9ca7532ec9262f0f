package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

func (c *cli) srCommand() *cobra.Command {
	return c.connected(group("sr", "Storage repositories: list, make, choose the default, remove",
		`Storage repositories (SRs) hold VDIs, and with them the pool's patches. New patches go to the
pool's default SR if it is usable.`,
		c.srList(), c.srCreate(), c.srDefault(), c.srScan(),
		c.srVerb("SR.destroy", "is destroyed", &cobra.Command{
			Use: "destroy SR", Short: "Destroy an SR that is unplugged and holds no VDIs", Example: "  poolpatch sr destroy backup",
		}),
		c.srVerb("SR.forget", "is forgotten; its bytes stay where they are", &cobra.Command{
			Use: "forget SR", Short: "Forget an SR that is unplugged, leaving its bytes", Example: "  poolpatch sr forget backup",
		})))
}

func (c *cli) srList() *cobra.Command {
	return c.listFlags(&cobra.Command{
		Use:   "list",
		Short: "List the SRs: their space, and whether new patches go there",
		Example: `  poolpatch sr list
  poolpatch sr list -o json`,
		Args: arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			if c.output == "json" {
				return c.raw(ctx, p, "SR.get_all_records")
			}
			records, err := all[xenapi.SR](ctx, p)
			if err != nil {
				return err
			}
			plugs, err := all[xenapi.PBD](ctx, p)
			if err != nil {
				return err
			}
			_, pool, err := poolRecord(ctx, p)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, o := range srs.sorted(records) {
				r := o.Rec
				rows = append(rows, []string{r.UUID, r.NameLabel, r.Type, size(r.PhysicalSize), size(r.PhysicalSize - r.PhysicalUtilisation),
					yesNo(r.Shared), plugged(r, plugs), yesNo(pool.DefaultSR == o.Ref), fmt.Sprint(len(r.VDIs))})
			}
			return c.table("UUID NAME TYPE SIZE FREE SHARED PLUGGED DEFAULT VDIS", rows)
		}),
	})
}

// plugged counts the hosts that see an SR.
func plugged(sr xenapi.SR, plugs map[xenapi.Ref[xenapi.PBD]]xenapi.PBD) string {
	n := 0
	for _, ref := range sr.PBDs {
		if plugs[ref].CurrentlyAttached {
			n++
		}
	}
	return fmt.Sprintf("%d of %d", n, len(sr.PBDs))
}

func poolRecord(ctx context.Context, p *client.Client) (xenapi.Ref[xenapi.Pool], xenapi.Pool, error) {
	records, err := all[xenapi.Pool](ctx, p)
	for ref, rec := range records {
		return ref, rec, nil
	}
	if err == nil {
		err = fmt.Errorf("the pool has no pool record")
	}
	return "", xenapi.Pool{}, err
}

func (c *cli) srCreate() *cobra.Command {
	var driver, description, host string
	var device map[string]string
	var shared, standard bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an SR and plug it; prints its UUID",
		Long: `Make an SR and plug it; prints its UUID.

The driver "file" keeps VDIs as files in a directory: --device-config location=DIR. On XFS or btrfs
it clones VDIs at once; elsewhere each apply copies.`,
		Example: `  poolpatch sr create patches --device-config location=/srv/patches --default
  poolpatch sr create nfs --device-config location=/mnt/nfs/sr --shared`,
		Args: arguments("NAME"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			h, err := c.onHost(ctx, p, host)
			if err != nil {
				return err
			}
			ref, err := client.Run[xenapi.Ref[xenapi.SR]](ctx, p, nil, "SR.create", h.Ref, device, int64(0), args[0], description, driver, "user", shared, map[string]string{})
			if err != nil {
				return err
			}
			uuid, err := client.Call[string](ctx, p, "SR.get_uuid", ref)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.stdout, uuid)
			if standard {
				return setDefault(ctx, p, ref)
			}
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&driver, "type", "file", "`TYPE` of SR driver")
	f.StringToStringVar(&device, "device-config", nil, "`KEY=VALUE` of the driver's device config; may be repeated")
	f.StringVar(&description, "description", "", "`TEXT` that describes the SR")
	f.BoolVar(&shared, "shared", false, "every host of the pool can reach it")
	f.BoolVar(&standard, "default", false, "make it the pool's default SR")
	return hostFlag(cmd, &host)
}

func setDefault(ctx context.Context, p *client.Client, sr xenapi.Ref[xenapi.SR]) error {
	pool, _, err := poolRecord(ctx, p)
	if err != nil {
		return err
	}
	return p.Do(ctx, "pool.set_default_SR", pool, sr)
}

func (c *cli) srDefault() *cobra.Command {
	return &cobra.Command{
		Use:     "default SR",
		Short:   "Make an SR the pool's default, where new patches go",
		Example: "  poolpatch sr default patches",
		Args:    arguments("SR"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := srs.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			if err := setDefault(ctx, p, o.Ref); err != nil {
				return err
			}
			c.note("new patches go to %s", oneLine(o.Rec.NameLabel))
			return nil
		}),
	}
}

func (c *cli) srScan() *cobra.Command {
	return c.srVerb("SR.scan", "is scanned", &cobra.Command{
		Use:     "scan SR",
		Short:   "Look what is on an SR, and at its free space",
		Example: "  poolpatch sr scan patches",
	})
}

// srVerb is a command that runs one message on one SR.
func (c *cli) srVerb(message, done string, cmd *cobra.Command) *cobra.Command {
	cmd.Args = arguments("SR")
	cmd.RunE = c.pool(func(ctx context.Context, p *client.Client, args []string) error {
		o, err := srs.find(ctx, p, strings.TrimSpace(args[0]))
		if err != nil {
			return err
		}
		if _, err = client.Run[string](ctx, p, nil, message, o.Ref); err == nil {
			c.note("%s %s", oneLine(o.Rec.NameLabel), done)
		}
		return err
	})
	return cmd
}
