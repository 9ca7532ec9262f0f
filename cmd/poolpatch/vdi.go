package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

func (c *cli) vdiCommand() *cobra.Command {
	return c.connected(group("vdi", "Disk images: list, make, copy, migrate, move bytes, destroy",
		`Disk images (VDIs) on the pool's SRs. Patches live in them: destroying the VDI of a patch frees
its space, and the record of where it is applied stays.`,
		c.vdiList(), c.vdiShow(), c.vdiCreate(), c.vdiCopy(), c.vdiMigrate(), c.vdiClone(), c.vdiDestroy(), c.vdiImport(), c.vdiExport()))
}

func (c *cli) vdiList() *cobra.Command {
	var sr string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the VDIs of the pool, or of an SR",
		Example: `  poolpatch vdi list
  poolpatch vdi list --sr "Local storage"`,
		Args: arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			if c.output == "json" && sr == "" {
				return c.raw(ctx, p, "VDI.get_all_records")
			}
			records, err := all[xenapi.SR](ctx, p)
			if err != nil {
				return err
			}
			var only xenapi.Ref[xenapi.SR]
			if sr != "" {
				o, err := srs.pick(srs.sorted(records), sr)
				if err != nil {
					return err
				}
				only = o.Ref
			}
			if c.output == "json" {
				return c.raw(ctx, p, "VDI.get_all_records_where", fmt.Sprintf("field \"SR\"=\"%s\"", only))
			}
			return c.vdiTable(ctx, p, records, only)
		}),
	}
	cmd.Flags().StringVar(&sr, "sr", "", "`NAME` or UUID of an SR: only its VDIs")
	return c.listFlags(cmd)
}

func (c *cli) vdiTable(ctx context.Context, p *client.Client, on map[xenapi.Ref[xenapi.SR]]xenapi.SR, only xenapi.Ref[xenapi.SR]) error {
	records, err := all[xenapi.VDI](ctx, p)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, o := range vdis.sorted(records) {
		if only.IsNull() || o.Rec.SR == only {
			rows = append(rows, []string{o.Rec.UUID, size(o.Rec.VirtualSize), size(o.Rec.PhysicalUtilisation), srs.label(on, o.Rec.SR), o.Rec.NameLabel})
		}
	}
	return c.table("UUID SIZE USED SR NAME", rows)
}

func (c *cli) vdiShow() *cobra.Command {
	return c.outputFlag(&cobra.Command{
		Use: "show UUID", Short: "Show one VDI", Example: "  poolpatch vdi show 90ab",
		Args: arguments("UUID"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := vdis.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			if c.output == "json" {
				return c.raw(ctx, p, "VDI.get_record", o.Ref)
			}
			on, err := all[xenapi.SR](ctx, p)
			if err != nil {
				return err
			}
			r := o.Rec
			return c.properties("uuid", r.UUID, "name", r.NameLabel, "description", r.NameDescription, "SR", srs.label(on, r.SR),
				"size", size(r.VirtualSize), "used", size(r.PhysicalUtilisation), "type", string(r.Type), "location", r.Location,
				"read-only", yesNo(r.ReadOnly), "missing", yesNo(r.Missing), "snapshot", yesNo(r.IsASnapshot), "other-config", words(r.OtherConfig))
		}),
	})
}

func (c *cli) vdiCreate() *cobra.Command {
	var name, description string
	cmd := &cobra.Command{
		Use: "create SR SIZE", Short: "Make an empty VDI; prints its UUID", Example: `  poolpatch vdi create "Local storage" 4GiB --name scratch`,
		Args: arguments("SR", "SIZE"),
	}
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of the VDI")
	cmd.Flags().StringVar(&description, "description", "", "`TEXT` that describes the VDI")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		bytes, err := parseSize(args[1])
		if err != nil {
			return err
		}
		return c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			sr, err := srs.reference(ctx, p, args[0])
			if err != nil {
				return err
			}
			rec := xenapi.New[xenapi.VDI]()
			rec.NameLabel, rec.NameDescription, rec.SR, rec.VirtualSize, rec.Type = name, description, sr, bytes, xenapi.VDITypeUser
			ref, err := client.Run[xenapi.Ref[xenapi.VDI]](ctx, p, nil, "VDI.create", rec)
			return c.printVDI(ctx, p, ref, err)
		})(cmd, args)
	}
	return cmd
}

// printVDI prints the UUID of a VDI that a message has made.
func (c *cli) printVDI(ctx context.Context, p *client.Client, ref xenapi.Ref[xenapi.VDI], err error) error {
	if err != nil {
		return err
	}
	uuid, err := client.Call[string](ctx, p, "VDI.get_uuid", ref)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.stdout, uuid)
	return err
}

func (c *cli) vdiCopy() *cobra.Command {
	return &cobra.Command{
		Use:     "copy UUID SR",
		Short:   "Copy a VDI in full to an SR; prints the copy's UUID",
		Example: `  poolpatch vdi copy 90ab backup`,
		Args:    arguments("UUID", "SR"),
		RunE:    c.vdiTo("copy", "VDI.copy"),
	}
}

func (c *cli) vdiMigrate() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate UUID SR",
		Short: "Move a VDI to an SR; prints the UUID that it has there",
		Long: `Move a VDI to an SR, as to empty an SR before it goes. A patch whose VDI it is follows it, and hosts
may apply the patch meanwhile. What was on the old SR is destroyed once all is on the new one.`,
		Example: "  poolpatch vdi migrate 90ab backup",
		Args:    arguments("UUID", "SR"),
		RunE:    c.vdiTo("migrate", "VDI.pool_migrate", map[string]string{}),
	}
}

// vdiTo sends a message that brings a VDI to an SR, and prints the UUID that it has there.
func (c *cli) vdiTo(verb, message string, params ...any) func(*cobra.Command, []string) error {
	return c.pool(func(ctx context.Context, p *client.Client, args []string) error {
		o, err := vdis.find(ctx, p, args[0])
		if err != nil {
			return err
		}
		sr, err := srs.reference(ctx, p, args[1])
		if err != nil {
			return err
		}
		m := c.workMeter(verb, o.Rec.PhysicalUtilisation)
		ref, err := runTask[xenapi.Ref[xenapi.VDI]](ctx, p, m, message, append([]any{o.Ref, sr}, params...)...)
		return c.printVDI(ctx, p, ref, err)
	})
}

func (c *cli) vdiClone() *cobra.Command {
	return &cobra.Command{
		Use:     "clone UUID",
		Short:   "Clone a VDI on its SR, sharing what is equal; prints the clone's UUID",
		Example: "  poolpatch vdi clone 90ab",
		Args:    arguments("UUID"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := vdis.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			ref, err := client.Run[xenapi.Ref[xenapi.VDI]](ctx, p, nil, "VDI.clone", o.Ref)
			return c.printVDI(ctx, p, ref, err)
		}),
	}
}

func (c *cli) vdiDestroy() *cobra.Command {
	return &cobra.Command{
		Use:   "destroy UUID",
		Short: "Destroy a VDI and its bytes: how the space of a patch is freed",
		Long: `Destroy a VDI and its bytes. For the VDI of a patch this is how its space is freed: hosts that
have the patch keep it applied, and the pool's record of it stays as long as one has.`,
		Example: "  poolpatch vdi destroy 90ab",
		Args:    arguments("UUID"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := vdis.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			if _, err = client.Run[string](ctx, p, nil, "VDI.destroy", o.Ref); err == nil {
				c.note("%s is gone; it used %s", short(o.Rec.UUID), size(o.Rec.PhysicalUtilisation))
			}
			return err
		}),
	}
}

func (c *cli) vdiImport() *cobra.Command {
	var into, sr, name string
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Write a raw image into a VDI (--vdi), or into a new one (--sr); prints its UUID",
		Example: `  poolpatch vdi import disk.raw --sr "Local storage" --name disk
  zcat disk.raw.gz | poolpatch vdi import - --vdi 90ab`,
		Args: arguments("FILE"),
	}
	cmd.Flags().StringVar(&into, "vdi", "", "`UUID` of the VDI to overwrite")
	cmd.Flags().StringVar(&sr, "sr", "", "`NAME` or UUID of the SR to make a VDI on")
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of the new VDI")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (into == "") == (sr == "") {
			return usagef("give --vdi UUID or --sr SR")
		}
		return c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			in, length, err := c.input(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			if into != "" {
				return c.importInto(ctx, p, into, in, length)
			}
			return c.importNew(ctx, p, sr, name, in, length)
		})(cmd, args)
	}
	return cmd
}

func (c *cli) importInto(ctx context.Context, p *client.Client, word string, in io.Reader, length int64) error {
	o, err := vdis.find(ctx, p, word)
	if err != nil {
		return err
	}
	m := c.bytesMeter("import", length)
	err = p.ImportVDI(ctx, o.Ref, in, length, m.bytes)
	m.end()
	return c.printVDI(ctx, p, o.Ref, err)
}

func (c *cli) importNew(ctx context.Context, p *client.Client, word, name string, in io.Reader, length int64) error {
	if length <= 0 {
		return usagef("a new VDI needs a size: give a file that is not empty, or a VDI made before with --vdi")
	}
	sr, err := srs.reference(ctx, p, word)
	if err != nil {
		return err
	}
	m := c.bytesMeter("import", length)
	ref, err := p.ImportNewVDI(ctx, sr, in, length, m.bytes)
	m.end()
	if err == nil && name != "" {
		err = p.Do(ctx, "VDI.set_name_label", ref, name)
	}
	return c.printVDI(ctx, p, ref, err)
}

func (c *cli) vdiExport() *cobra.Command {
	var file string
	var resume bool
	cmd := &cobra.Command{
		Use:   "export UUID -o FILE|-",
		Short: "Read a VDI as a raw image",
		Long: `Read a VDI as a raw image.

An export that breaks off leaves no file. With --resume it leaves FILE.part, and the same
command goes on from there.`,
		Example: `  poolpatch vdi export 90ab -o disk.raw
  poolpatch vdi export 90ab -o disk.raw --resume
  poolpatch vdi export 90ab -o - | gzip > disk.raw.gz`,
		Args: arguments("UUID"),
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "`FILE` to write, - for stdout")
	cmd.Flags().BoolVar(&resume, "resume", false, "keep what has come when the export breaks off, and go on from there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" || resume && file == "-" {
			return usagef("-o FILE is missing")
		}
		return c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := vdis.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			if resume {
				return c.exportFrom(ctx, p, o, file)
			}
			return c.outputFile(file, 0o644, func(w io.Writer) error { return c.export(ctx, p, o, 0, w) })
		})(cmd, args)
	}
	return cmd
}

func (c *cli) export(ctx context.Context, p *client.Client, o object[xenapi.VDI], offset int64, w io.Writer) error {
	m := c.bytesMeter("export", o.Rec.VirtualSize)
	defer m.end()
	f, ok := w.(*os.File)
	if !ok || !regular(f) {
		_, err := p.ExportVDI(ctx, o.Ref, offset, w, m.bytes)
		return err
	}
	out := &sparse{f, offset}
	_, err := p.ExportVDI(ctx, o.Ref, offset, out, m.bytes)
	return errors.Join(err, out.end())
}

func regular(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// exportFrom goes on at the end of FILE.part, which keeps what came when the export breaks off.
func (c *cli) exportFrom(ctx context.Context, p *client.Client, o object[xenapi.VDI], file string) error {
	special, err := isSpecial(file)
	if err != nil {
		return err
	}
	if special {
		return usagef("--resume needs a regular file: %s is none", file)
	}
	part := file + ".part"
	f, err := os.OpenFile(filepath.Clean(part), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	offset, err := f.Seek(0, io.SeekEnd)
	if err == nil && offset < o.Rec.VirtualSize {
		err = c.export(ctx, p, o, offset, f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(part, file)
}
