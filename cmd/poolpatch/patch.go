package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

func (c *cli) patchCommand() *cobra.Command {
	return c.connected(group("patch", "Upload, look at, apply and remove patches",
		`Upload, look at, apply and remove patches.

A patch is a signed file. It is kept in a VDI, and each host that applies it works on a private
copy. When a patch is applied everywhere, "poolpatch vdi destroy" frees the space of its
content; the record of what is applied stays.`,
		c.patchUpload(), c.patchList(), c.patchShow(), c.patchPrecheck(), c.patchApply(), c.patchPoolApply(), c.patchStatus(), c.patchContinue(), c.patchCancel(),
		c.patchDownload(), c.patchDestroy(), c.patchClean(), c.patchPoolClean()))
}

func (c *cli) patchUpload() *cobra.Command {
	return &cobra.Command{
		Use:   "upload FILE|-",
		Short: "Send a signed patch to the pool; prints its UUID",
		Long: `Send a signed patch to the pool; prints its UUID.

The pool chooses the SR: the default SR if it is usable, else one of the coordinator's that
can clone. It verifies the signature while the file arrives. The same patch again is the
same record. Nothing is left of an upload that fails or is interrupted.`,
		Example: `  poolpatch patch upload fix.gpg
  curl -s https://vendor.example/fix.gpg | poolpatch patch upload -`,
		Args: arguments("FILE"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			in, length, err := c.input(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			m := c.bytesMeter("upload", length)
			ref, err := p.UploadPatch(ctx, in, length, m.bytes)
			m.end()
			if err != nil {
				return err
			}
			rec, err := client.Call[xenapi.PoolPatch](ctx, p, "pool_patch.get_record", ref)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.stdout, rec.UUID)
			c.note("%s: %s, %s", oneLine(rec.NameLabel), size(rec.Size), "next: poolpatch patch precheck "+rec.UUID[:8])
			return nil
		}),
	}
}

func (c *cli) patchList() *cobra.Command {
	return c.listFlags(&cobra.Command{
		Use:   "list",
		Short: "List the pool's patches",
		Long: `List the pool's patches.

VDI is the disk image that holds the content; a patch whose content was cleaned has none, nor
has one that is still a file in var/patch. ON counts the hosts that have it applied.`,
		Example: `  poolpatch patch list
  poolpatch patch list -o json | jq -r '.[].name_label'`,
		Args: arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			if c.output == "json" {
				return c.raw(ctx, p, "pool_patch.get_all_records")
			}
			v, err := viewPatches(ctx, p)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, o := range patches.sorted(v.patches) {
				rows = append(rows, []string{o.Rec.UUID, o.Rec.NameLabel, o.Rec.Version, size(o.Rec.Size), v.content(o.Rec), v.applied(o.Rec), guidance(o.Rec)})
			}
			return c.table("UUID NAME VERSION SIZE VDI ON AFTERWARDS", rows)
		}),
	})
}

// patchView is what is said about patches: their records and those that they refer to.
type patchView struct {
	patches map[xenapi.Ref[xenapi.PoolPatch]]xenapi.PoolPatch
	rows    map[xenapi.Ref[xenapi.HostPatch]]xenapi.HostPatch
	hosts   map[xenapi.Ref[xenapi.Host]]xenapi.Host
	vdis    map[xenapi.Ref[xenapi.VDI]]xenapi.VDI
	srs     map[xenapi.Ref[xenapi.SR]]xenapi.SR
}

func viewPatches(ctx context.Context, p *client.Client) (v patchView, err error) {
	if v.patches, err = all[xenapi.PoolPatch](ctx, p); err != nil {
		return v, err
	}
	if v.rows, err = all[xenapi.HostPatch](ctx, p); err != nil {
		return v, err
	}
	if v.hosts, err = all[xenapi.Host](ctx, p); err != nil {
		return v, err
	}
	if v.vdis, err = all[xenapi.VDI](ctx, p); err != nil {
		return v, err
	}
	v.srs, err = all[xenapi.SR](ctx, p)
	return v, err
}

// content names the VDI that holds the patch. The API does not tell a file that servers that came before
// left from one that was cleaned.
func (v patchView) content(rec xenapi.PoolPatch) string {
	if vdi, ok := v.vdis[rec.VDI]; ok {
		return short(vdi.UUID)
	}
	return "-"
}

func (v patchView) applied(rec xenapi.PoolPatch) string {
	n := 0
	for _, ref := range rec.HostPatches {
		if v.rows[ref].Applied {
			n++
		}
	}
	return fmt.Sprintf("%d of %d", n, len(v.hosts))
}

// short is as much of a UUID as people compare.
func short(uuid string) string { return uuid[:min(8, len(uuid))] }

func guidance(rec xenapi.PoolPatch) string {
	var words []string
	for _, g := range rec.AfterApplyGuidance {
		words = append(words, string(g))
	}
	return strings.Join(words, " ")
}

func (c *cli) patchShow() *cobra.Command {
	return c.outputFlag(&cobra.Command{
		Use:   "show UUID",
		Short: "Show one patch: where its content is, and where it is applied",
		Example: `  poolpatch patch show 3f1c
  poolpatch patch show 3f1c -o json`,
		Args: arguments("UUID"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := patches.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			if c.output == "json" {
				return c.raw(ctx, p, "pool_patch.get_record", o.Ref)
			}
			v, err := viewPatches(ctx, p)
			if err != nil {
				return err
			}
			return c.showPatch(v, o.Rec)
		}),
	})
}

func (c *cli) showPatch(v patchView, rec xenapi.PoolPatch) error {
	vdi, sr := "-", "-"
	if r, ok := v.vdis[rec.VDI]; ok {
		vdi = r.UUID + "  " + size(r.VirtualSize) + ", " + size(r.PhysicalUtilisation) + " used"
		sr = srs.label(v.srs, r.SR)
	}
	err := c.properties("uuid", rec.UUID, "name", rec.NameLabel, "description", rec.NameDescription, "version", rec.Version,
		"signed file", size(rec.Size), "afterwards", guidance(rec), "VDI", vdi, "SR", sr)
	if err != nil || len(v.hosts) == 0 {
		return err
	}
	fmt.Fprintln(c.stdout)
	var rows [][]string
	for _, h := range hosts.sorted(v.hosts) {
		rows = append(rows, append([]string{hosts.label(v.hosts, h.Ref)}, v.onHost(rec, h.Ref)...))
	}
	return c.table("HOST STATE SINCE", rows)
}

// stateKey is where a daemon tells the state of a patch that is not applied: claimed, running, interrupted.
const stateKey = "poolpatch:state"

func (v patchView) onHost(rec xenapi.PoolPatch, host xenapi.Ref[xenapi.Host]) []string {
	for _, ref := range rec.HostPatches {
		row := v.rows[ref]
		switch {
		case row.Host != host:
		case row.Applied:
			return []string{"applied", when(row.TimestampApplied)}
		case row.OtherConfig[stateKey] != "":
			return []string{oneLine(row.OtherConfig[stateKey]), "-"}
		default:
			return []string{"begun, not applied", "-"}
		}
	}
	return []string{"not applied", "-"}
}

// hostFlag adds --host.
func hostFlag(cmd *cobra.Command, host *string) *cobra.Command {
	cmd.Flags().StringVar(host, "host", "", "`NAME` or UUID of the host; by default this one")
	return cmd
}

// onPatch runs a message that takes a patch and a host, and prints what the patch's program printed.
func (c *cli) onPatch(ctx context.Context, p *client.Client, message, word, host string) (object[xenapi.PoolPatch], object[xenapi.Host], error) {
	o, err := patches.find(ctx, p, word)
	if err != nil {
		return o, object[xenapi.Host]{}, err
	}
	h, err := c.onHost(ctx, p, host)
	if err != nil {
		return o, h, err
	}
	text, err := runTask[string](ctx, p, c.taskMeter(strings.TrimPrefix(message, "pool_patch.")), message, o.Ref, h.Ref)
	err = programError(err, short(o.Rec.UUID))
	if err == nil && text != "" {
		fmt.Fprintln(c.stdout, strings.TrimRight(text, "\n"))
	}
	return o, h, err
}

// programError says of a call that runs a patch's program what becomes of that when the call has no end of its own.
func programError(err error, patch string) error {
	if still, ok := errors.AsType[*client.StillRunning](err); ok {
		return outcome{err, "the patch's program goes on: poolpatch task wait " + short(still.UUID)}
	}
	if _, lost := errors.AsType[*client.ConnectionError](err); lost {
		return hinted{fmt.Errorf("the daemon does not answer any more; the patch's program may go on: %w", err),
			"poolpatch patch show " + patch + " says how far it came, when the daemon is back"}
	}
	return err
}

func (c *cli) patchPrecheck() *cobra.Command {
	var host string
	return hostFlag(&cobra.Command{
		Use:   "precheck UUID",
		Short: "Ask the patch whether it can be applied on a host; changes nothing",
		Example: `  poolpatch patch precheck 3f1c
  poolpatch patch precheck 3f1c --host host2`,
		Args: arguments("UUID"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, h, err := c.onPatch(ctx, p, "pool_patch.precheck", args[0], host)
			if err != nil {
				return err
			}
			c.note("%s can be applied on %s: poolpatch patch apply %s", oneLine(o.Rec.NameLabel), oneLine(h.Rec.NameLabel), short(o.Rec.UUID))
			return nil
		}),
	}, &host)
}

func (c *cli) patchApply() *cobra.Command {
	var host string
	return hostFlag(&cobra.Command{
		Use:   "apply UUID",
		Short: "Apply a patch on a host: precheck first, then its program",
		Long: `Apply a patch on a host: precheck first, then its program.

What the program prints is the result. Once it runs it is not interrupted: Ctrl-C then leaves
it running as a task, which "poolpatch task list" shows. A patch never runs twice on a host
by itself.`,
		Example: `  poolpatch patch apply 3f1c
  poolpatch patch apply 3f1c --host host2`,
		Args: arguments("UUID"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, h, err := c.onPatch(ctx, p, "pool_patch.apply", args[0], host)
			if err != nil {
				return err
			}
			c.note("%s is applied on %s%s", oneLine(o.Rec.NameLabel), oneLine(h.Rec.NameLabel), afterwards(o.Rec))
			return nil
		}),
	}, &host)
}

// afterwards says what the guidance asks of a person.
func afterwards(rec xenapi.PoolPatch) string {
	words := map[xenapi.AfterApplyGuidance]string{
		xenapi.AfterApplyGuidanceRestartHVM:  "restart its HVM guests",
		xenapi.AfterApplyGuidanceRestartPV:   "restart its PV guests",
		xenapi.AfterApplyGuidanceRestartHost: "restart the host",
		xenapi.AfterApplyGuidanceRestartXAPI: "restart the toolstack",
	}
	var steps []string
	for _, g := range rec.AfterApplyGuidance {
		steps = append(steps, words[g])
	}
	if len(steps) == 0 {
		return ""
	}
	return "; now " + strings.Join(steps, ", ")
}

// patchVerb is a command that runs one message on one patch.
func (c *cli) patchVerb(message string, done func(xenapi.PoolPatch) string, cmd *cobra.Command) *cobra.Command {
	cmd.Args = arguments("UUID")
	cmd.RunE = c.pool(func(ctx context.Context, p *client.Client, args []string) error {
		if strings.HasPrefix(cmd.Short, "Deprecated") {
			c.note("warning: %s is deprecated: poolpatch vdi destroy frees the space of a patch", cmd.CommandPath())
		}
		o, err := patches.find(ctx, p, args[0])
		if err != nil {
			return err
		}
		if _, err = runTask[string](ctx, p, c.taskMeter(cmd.Name()), message, o.Ref); err == nil {
			c.note("%s", done(o.Rec))
		}
		return err
	})
	return cmd
}

func (c *cli) patchDestroy() *cobra.Command {
	return c.patchVerb("pool_patch.destroy",
		func(rec xenapi.PoolPatch) string { return oneLine(rec.NameLabel) + " is gone" },
		&cobra.Command{
			Use:   "destroy UUID",
			Short: "Remove a patch that no host has applied: its content and its record",
			Long: `Remove a patch that no host has applied: its content and its record.

A patch that is applied somewhere keeps its record; "poolpatch vdi destroy" frees its space.`,
			Example: "  poolpatch patch destroy 3f1c",
		})
}

func (c *cli) patchClean() *cobra.Command {
	return c.patchVerb("pool_patch.clean",
		func(rec xenapi.PoolPatch) string { return "the coordinator has no file of " + oneLine(rec.NameLabel) },
		&cobra.Command{
			Use:     "clean UUID",
			Short:   "Deprecated (use vdi destroy): remove the patch's file, not its VDI, from the coordinator",
			Example: "  poolpatch patch clean 3f1c",
		})
}

func (c *cli) patchPoolClean() *cobra.Command {
	return c.patchVerb("pool_patch.pool_clean",
		func(rec xenapi.PoolPatch) string { return "the pool has no content of " + oneLine(rec.NameLabel) },
		&cobra.Command{
			Use:     "pool-clean UUID",
			Short:   "Deprecated (use vdi destroy): remove the patch's files and its VDI",
			Example: "  poolpatch patch pool-clean 3f1c",
		})
}

func (c *cli) patchDownload() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:     "download UUID -o FILE|-",
		Short:   "Fetch the signed file of a patch",
		Example: "  poolpatch patch download 3f1c -o fix.gpg",
		Args:    arguments("UUID"),
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "`FILE` to write, - for stdout")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" {
			return usagef("-o FILE is missing")
		}
		return c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := patches.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			return c.outputFile(file, 0o644, func(w io.Writer) error {
				m := c.bytesMeter("download", o.Rec.Size)
				defer m.end()
				_, err := p.DownloadPatch(ctx, o.Rec.UUID, w, m.bytes)
				return err
			})
		})(cmd, args)
	}
	return cmd
}

// words joins a map for a column.
func words(m map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, k+"="+m[k])
	}
	return strings.Join(list, " ")
}
