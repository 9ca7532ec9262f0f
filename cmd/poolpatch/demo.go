package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"poolpatch/internal/hotfix"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// demoTimeout bounds the whole demonstration, but for its cleaning up.
const demoTimeout = 2 * time.Minute

func (c *cli) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the whole life of a patch on a throwaway pool; leaves nothing behind",
		Long: `Show the whole life of a patch on a throwaway pool: a daemon below a temporary directory, which
plays the host's root; a key; a patch made from a directory, signed, uploaded, prechecked,
applied; and what is then to be seen. It needs root and e2fsprogs, changes nothing of this
machine, and leaves nothing behind, with Ctrl-C too.`,
		Example: "  poolpatch demo",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return hinted{errors.New("the demo makes file systems and mounts them: it needs root"), "sudo poolpatch demo"}
			}
			return c.demo(cmd.Context())
		},
	}
}

// demo is the stage, and the play on it.
func (c *cli) demo(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	begun := time.Now()
	dir, err := os.MkdirTemp("", "poolpatch-demo-")
	if err != nil {
		return err
	}
	// The daemon's mounts are in a namespace of its own, which has ended with it: below dir there are only
	// files by now.
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{cli: c, root: filepath.Join(dir, "host"), work: filepath.Join(dir, "author")}
	if err := d.play(ctx); err != nil {
		return err
	}
	c.say("\nThat was all, in %.1f s. The daemon has stopped, and %s goes away.", time.Since(begun).Seconds(), dir)
	return nil
}

func (c *cli) say(format string, args ...any) { fmt.Fprintf(c.stdout, format+"\n", args...) }

// demo is what the steps share.
type demo struct {
	*cli
	root, work string // the host's root, and the patch author's directory
	step       int
	pool       *client.Client
	patch      object[xenapi.PoolPatch]
	vdi        xenapi.VDI
	host       object[xenapi.Host]
}

func (d *demo) play(ctx context.Context) (err error) {
	if err := d.prepare(); err != nil {
		return err
	}
	d.title("A daemon starts below %s, which plays the root directory of a host.", d.root)
	child, err := startDaemon(d.root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, child.stop(err != nil && ctx.Err() == nil, d.stderr)) }()
	if d.pool, err = child.dial(ctx, client.Options{Socket: pathsBelow(d.root).socket, Originator: "poolpatch demo"}); err != nil {
		return err
	}
	if d.host, err = d.onHost(ctx, d.pool, ""); err != nil {
		return err
	}
	d.say("   It made a pool of this one host, and an SR for the patches:\n")
	if err := d.showSRs(ctx); err != nil {
		return err
	}
	for _, scene := range []func(context.Context) error{d.author, d.forge, d.upload, d.apply, d.inspect, d.free, d.verify} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) title(format string, args ...any) {
	d.step++
	d.say("\n%d. "+format, append([]any{d.step}, args...)...)
}

// show prints lines of text apart from what is said.
func (d *demo) show(text string) {
	for line := range strings.Lines(text) {
		d.say("     %s", strings.TrimRight(line, "\n"))
	}
}

const (
	configBefore = "greeting = \"helo, world\"\n"
	configAfter  = "greeting = \"hello, world\"\n"
)

// The patch's scripts: see docs/run-contract.md. Their working directory is the payload.
const (
	precheckScript = `#!/bin/sh
grep -q '"helo' "$POOLPATCH_ROOT/etc/greeting.conf" && { echo "greeting.conf has the typing error"; exit 0; }
echo '<error errorcode="PATCH_PRECHECK_FAILED_UNKNOWN_ERROR"><info>greeting.conf is fixed already</info></error>'
exit 1
`
	applyScript = `#!/bin/sh
set -e
cp etc/greeting.conf "$POOLPATCH_ROOT/etc/greeting.conf"
mkdir -p "$POOLPATCH_ROOT/opt/greeting"
cp opt/greeting/README "$POOLPATCH_ROOT/opt/greeting/README"
echo "etc/greeting.conf corrected, opt/greeting/README added"
`
)

// prepare puts what the host has, and what the author wrote, into place.
func (d *demo) prepare() error {
	uuid := xenapi.NewUUID()
	for name, text := range map[string]string{
		filepath.Join(d.root, "etc/greeting.conf"): configBefore,
		filepath.Join(d.work, "fix/patch.json"): fmt.Sprintf(`{
  "uuid": "%s",
  "version": "1.0",
  "name-label": "greeting-fix",
  "name-description": "Corrects the greeting",
  "after-apply-guidance": ["restartXAPI"]
}
`, uuid),
		filepath.Join(d.work, "fix/precheck"):                    precheckScript,
		filepath.Join(d.work, "fix/apply"):                       applyScript,
		filepath.Join(d.work, "fix/payload/etc/greeting.conf"):   configAfter,
		filepath.Join(d.work, "fix/payload/opt/greeting/README"): "Greetings have two l.\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			return err
		}
	}
	return os.MkdirAll(pathsBelow(d.root).keys, 0o755)
}

func (d *demo) showSRs(ctx context.Context) error {
	records, err := all[xenapi.SR](ctx, d.pool)
	for _, o := range srs.sorted(records) {
		d.show(fmt.Sprintf("%s  %s  %s free", o.Rec.NameLabel, o.Rec.Type, size(o.Rec.PhysicalSize-o.Rec.PhysicalUtilisation)))
	}
	return err
}

func (d *demo) signed() string { return filepath.Join(d.work, "fix.gpg") }

// author makes the patch: a directory, a program, a signed file.
func (d *demo) author(context.Context) error {
	d.title("An author makes a patch of a directory, and signs it.")
	public, private, err := hotfix.GenerateKey("Demo author", "author@example.com", nil)
	if err != nil {
		return err
	}
	key, err := hotfix.ParseSigningKey(private, nil)
	if err != nil {
		return err
	}
	if err := d.outputFile(filepath.Join(pathsBelow(d.root).keys, "demo.asc"), 0o644, writing(public)); err != nil {
		return err
	}
	program := filepath.Join(d.work, "fix.run")
	err = d.outputFile(program, 0o755, func(w io.Writer) error { return hotfix.Build(filepath.Join(d.work, "fix"), w) })
	if err != nil {
		return err
	}
	in, length, err := d.input(program)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := d.outputFile(d.signed(), 0o644, func(w io.Writer) error { return hotfix.Sign(in, w, key) }); err != nil {
		return err
	}
	d.say("   The host trusts the author's key, %s.\n", key.Fingerprint())
	d.show(fmt.Sprintf("patch.json, precheck, apply, payload/  →  fix.run, %s  →  fix.gpg, signed", size(length)))
	return nil
}

// forge uploads a copy with one bit changed, which must be refused.
func (d *demo) forge(ctx context.Context) error {
	d.title("Somebody changes one bit of it, and uploads that. Nothing of it is run, and nothing is left:\n")
	patch, err := os.ReadFile(d.signed())
	if err != nil {
		return err
	}
	patch[len(patch)/2] ^= 1
	_, err = d.pool.UploadPatch(ctx, strings.NewReader(string(patch)), int64(len(patch)), nil)
	refusal, ok := errors.AsType[*xenapi.Error](err)
	switch {
	case err == nil:
		return errors.New("the forged patch was taken")
	case !ok || refusal.Code != xenapi.CodeInvalidPatch:
		return err
	}
	d.show(describe(refusal))
	return nil
}

func (d *demo) upload(ctx context.Context) error {
	d.title("The patch itself is uploaded. It goes into a disk image (VDI) of at least four times its size,\n   the rest is scratch space; the host's own file system gets none of it.\n")
	in, length, err := d.input(d.signed())
	if err != nil {
		return err
	}
	defer in.Close()
	m := d.bytesMeter("     upload", length)
	d.patch.Ref, err = d.pool.UploadPatch(ctx, in, length, m.bytes)
	m.end()
	if err != nil {
		return err
	}
	if d.patch.Rec, err = client.Call[xenapi.PoolPatch](ctx, d.pool, "pool_patch.get_record", d.patch.Ref); err != nil {
		return err
	}
	if d.vdi, err = client.Call[xenapi.VDI](ctx, d.pool, "VDI.get_record", d.patch.Rec.VDI); err != nil {
		return err
	}
	d.show(fmt.Sprintf("patch %s  %s %s, %s\nVDI   %s  %s", d.patch.Rec.UUID, d.patch.Rec.NameLabel, d.patch.Rec.Version,
		size(d.patch.Rec.Size), d.vdi.UUID, size(d.vdi.VirtualSize)))
	return nil
}

// apply prechecks and applies, as two calls, the way an administrator does.
func (d *demo) apply(ctx context.Context) error {
	d.title("The host takes its own copy of the VDI, checks it bit for bit, verifies the signature again, and asks\n   the patch whether it fits (precheck):\n")
	text, err := client.Run[string](ctx, d.pool, nil, "pool_patch.precheck", d.patch.Ref, d.host.Ref)
	if err != nil {
		return err
	}
	d.show(text)
	d.title("It does: apply. The copy is thrown away afterwards.\n")
	if text, err = client.Run[string](ctx, d.pool, nil, "pool_patch.apply", d.patch.Ref, d.host.Ref); err != nil {
		return err
	}
	d.show(text)
	return nil
}

// inspect shows what changed on the host.
func (d *demo) inspect(ctx context.Context) error {
	d.title("What has changed on the host:\n")
	config, err := os.ReadFile(filepath.Join(d.root, "etc/greeting.conf"))
	if err != nil {
		return err
	}
	if string(config) != configAfter {
		return errors.New("the patch did not change the host")
	}
	d.show("etc/greeting.conf\n  - " + configBefore + "  + " + configAfter + "opt/greeting/README is new")
	stamp := "var/patch/applied/" + d.patch.Rec.UUID
	if _, err := os.Stat(filepath.Join(d.root, stamp)); err != nil {
		return err
	}
	v, err := viewPatches(ctx, d.pool)
	if err != nil {
		return err
	}
	state := v.onHost(v.patches[d.patch.Ref], d.host.Ref)
	d.show(fmt.Sprintf("%s is the stamp of it\nthe pool knows: %s since %s%s", stamp, state[0], state[1], afterwards(d.patch.Rec)))
	_, err = client.Run[string](ctx, d.pool, nil, "pool_patch.apply", d.patch.Ref, d.host.Ref)
	if xenapi.CodeOf(err) != xenapi.CodePatchAlreadyApplied {
		return errors.Join(errors.New("a second apply was not refused"), err)
	}
	d.say("\n   A second apply is refused, PATCH_ALREADY_APPLIED: a patch never runs twice by itself.")
	return nil
}

// free destroys the VDI: what is applied stays applied.
func (d *demo) free(ctx context.Context) error {
	d.title("The space is freed (vdi destroy). The record stays, for the host has the patch:\n")
	if _, err := client.Run[string](ctx, d.pool, nil, "VDI.destroy", d.patch.Rec.VDI); err != nil {
		return err
	}
	v, err := viewPatches(ctx, d.pool)
	if err != nil {
		return err
	}
	rec, ok := v.patches[d.patch.Ref]
	if !ok {
		return errors.New("the record of an applied patch went with its VDI")
	}
	d.show(fmt.Sprintf("%s  VDI: %s  applied on %s host", rec.NameLabel, strings.ReplaceAll(v.content(rec), "-", "none"), v.applied(rec)))
	return nil
}

// verify runs poolpatch check, and counts what is left.
func (d *demo) verify(ctx context.Context) error {
	d.title("poolpatch check looks for anything that was left behind:\n")
	d.cli.root = d.root
	text, err := d.ask(ctx, "/check"+query(true, false))
	if err != nil {
		return err
	}
	left, err := all[xenapi.VDI](ctx, d.pool)
	if err != nil {
		return err
	}
	if answer := strings.ReplaceAll(string(text), " ", ""); !strings.Contains(answer, `"findings":[]`) || len(left) > 0 {
		return fmt.Errorf("something was left behind: %d VDIs, %s", len(left), text)
	}
	d.show("all is well: no VDI, no mount, no loop device")
	return nil
}
