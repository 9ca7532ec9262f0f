package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"poolpatch/internal/hotfix"
	"poolpatch/internal/rollout"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

const (
	// demoTimeout bounds the whole demonstration, but for its cleaning up.
	demoTimeout = 3 * time.Minute
	// demoPause lies between two looks at something that is to come true.
	demoPause = 100 * time.Millisecond
)

func (c *cli) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the whole life of a patch on a throwaway pool; leaves nothing behind",
		Long: `Show the whole life of a patch on a throwaway pool of three hosts: three daemons on loopback addresses, each
below a temporary directory that plays its host's root; storage that they share; a key; a patch made from
a directory, signed, uploaded, and applied on one host after another; one host that loses its power in
the middle of it; and what is then to be seen. It needs root and e2fsprogs, changes nothing of this
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
	// Who closes the terminal has seen enough, and is to find nothing left behind either.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	begun := time.Now()
	dir, err := os.MkdirTemp("", "poolpatch-demo-")
	if err != nil {
		return err
	}
	// The daemons' mounts are in namespaces of their own, which have ended with them: below dir there are only
	// files by now.
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{cli: c, work: filepath.Join(dir, "author"), shared: filepath.Join(dir, "shared-storage")}
	for i := range d.hosts {
		d.hosts[i] = &demoHost{name: fmt.Sprintf("host%d", i+1), root: filepath.Join(dir, fmt.Sprintf("host%d", i+1))}
	}
	if err := d.play(ctx); err != nil {
		return err
	}
	c.say("\nThat was all, in %.1f s. The daemons have stopped, and %s goes away.", time.Since(begun).Seconds(), dir)
	return nil
}

func (c *cli) say(format string, args ...any) { fmt.Fprintf(c.stdout, format+"\n", args...) }

// demo is what the steps share.
type demo struct {
	*cli
	hosts        [3]*demoHost
	work, shared string // the patch author's directory, and that of the storage that all hosts see
	step         int
	pool         *client.Client // of the first host
	patch        object[xenapi.PoolPatch]
	vdi          xenapi.VDI
}

// demoHost is one of the hosts.
type demoHost struct {
	name, root, address string
	daemon              *childDaemon // nil when it is off
	client              *client.Client
	ref                 xenapi.Ref[xenapi.Host]
}

func (d *demo) play(ctx context.Context) (err error) {
	if err := d.prepare(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop(err != nil && ctx.Err() == nil)) }()
	for _, scene := range []func(context.Context) error{
		d.start, d.join, d.share, d.author, d.forge, d.upload, d.roll, d.powerCut, d.again, d.inspect, d.free, d.verify,
	} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	return nil
}

// start starts each host as a pool of its own.
func (d *demo) start(ctx context.Context) (err error) {
	d.title("Three daemons start. Each takes a directory for the root of its host:\n")
	for i, h := range d.hosts {
		if h.address, err = freeAddress(fmt.Sprintf("127.0.0.%d", i+1)); err != nil {
			return err
		}
		if err := h.start(); err != nil {
			return err
		}
	}
	for _, h := range d.hosts {
		if err := h.connect(ctx); err != nil {
			return err
		}
		d.show(fmt.Sprintf("%s  %s  below %s", h.name, h.address, h.root))
	}
	d.pool = d.hosts[0].client
	return nil
}

func (h *demoHost) start() (err error) {
	h.daemon, err = startDaemon(h.root, h.address)
	return err
}

// connect waits until the host's daemon answers, and calls the host by its name.
func (h *demoHost) connect(ctx context.Context) error {
	p, err := h.daemon.dial(ctx, client.Options{Socket: pathsBelow(h.root).socket, Originator: "poolpatch demo"})
	if err != nil {
		return err
	}
	h.client = p
	uuid, err := os.ReadFile(pathsBelow(h.root).hostUUID)
	if err != nil {
		return err
	}
	if h.ref, err = client.Call[xenapi.Ref[xenapi.Host]](ctx, p, "host.get_by_uuid", strings.TrimSpace(string(uuid))); err != nil {
		return err
	}
	return p.Do(ctx, "host.set_name_label", h.ref, h.name)
}

// stop stops what runs.
func (d *demo) stop(failed bool) error {
	errs := make(chan error, len(d.hosts))
	for _, h := range d.hosts {
		go func() {
			if h.daemon == nil {
				errs <- nil
				return
			}
			errs <- h.daemon.stop(failed, d.stderr)
		}()
	}
	var all []error
	for range d.hosts {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// join makes one pool of the hosts.
func (d *demo) join(ctx context.Context) error {
	d.title("host2 and host3 join host1's pool, each with a token that admits one host. Each has a copy of the\n   pool's database then: any one of the three may be lost.\n")
	for _, h := range d.hosts[1:] {
		token, err := client.Call[string](ctx, d.pool, "pool.create_join_token", int64(600))
		if err != nil {
			return err
		}
		before, _, err := poolRecord(ctx, d.pool)
		if err != nil {
			return err
		}
		if err := h.client.Do(ctx, "pool.join", d.hosts[0].address, "", token); err != nil {
			return err
		}
		if err := until(ctx, func() bool {
			if err := h.connect(ctx); err != nil {
				return false
			}
			ref, _, err := poolRecord(ctx, h.client)
			return err == nil && ref == before
		}); err != nil {
			return fmt.Errorf("%s has not come into the pool: %w", h.name, err)
		}
	}
	return d.status(ctx)
}

// until waits for something to come true.
func until(ctx context.Context, holds func() bool) error {
	for !holds() {
		select {
		case <-time.After(demoPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// status is what pool status shows.
func (d *demo) status(ctx context.Context) error {
	var text strings.Builder
	quiet := *d.cli
	quiet.stdout = &text
	_, pool, err := poolRecord(ctx, d.pool)
	if err != nil {
		return err
	}
	members, err := all[xenapi.Host](ctx, d.pool)
	if err != nil {
		return err
	}
	metrics, err := all[xenapi.HostMetrics](ctx, d.pool)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, o := range hosts.sorted(members) {
		rows = append(rows, statusOf(o, pool, metrics[o.Rec.Metrics].Live))
	}
	if err := quiet.table(statusColumns, rows); err != nil {
		return err
	}
	d.show(text.String())
	return nil
}

// share makes storage that all hosts see, for patches.
func (d *demo) share(ctx context.Context) error {
	d.title("A directory that all three see becomes a shared SR, and the place for patches:\n")
	sr, err := client.Run[xenapi.Ref[xenapi.SR]](ctx, d.pool, nil, "SR.create", d.hosts[0].ref, map[string]string{"location": d.shared}, int64(0),
		"Shared storage", "", "file", "user", true, map[string]string{})
	if err != nil {
		return err
	}
	pool, _, err := poolRecord(ctx, d.pool)
	if err != nil {
		return err
	}
	if err := d.pool.Do(ctx, "pool.set_default_SR", pool, sr); err != nil {
		return err
	}
	return d.showSRs(ctx)
}

func (d *demo) title(format string, args ...any) {
	d.step++
	d.say("\n%d. "+format, append([]any{d.step}, args...)...)
}

// demoIndent sets what is shown apart from what is said.
const demoIndent = "     "

// show prints lines of text apart from what is said.
func (d *demo) show(text string) {
	for line := range strings.Lines(text) {
		d.say(demoIndent+"%s", strings.TrimRight(line, "\n"))
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
if [ -e "$POOLPATCH_ROOT/etc/slow" ]; then sleep 100; fi
cp etc/greeting.conf "$POOLPATCH_ROOT/etc/greeting.conf"
mkdir -p "$POOLPATCH_ROOT/opt/greeting"
cp opt/greeting/README "$POOLPATCH_ROOT/opt/greeting/README"
echo "etc/greeting.conf corrected, opt/greeting/README added"
`
)

// prepare puts what the hosts have, and what the author wrote, into place.
func (d *demo) prepare() error {
	files := map[string]string{
		filepath.Join(d.work, "fix/patch.json"): fmt.Sprintf(`{
  "uuid": "%s",
  "version": "1.0",
  "name-label": "greeting-fix",
  "name-description": "Corrects the greeting",
  "after-apply-guidance": ["restartHost"]
}
`, xenapi.NewUUID()),
		filepath.Join(d.work, "fix/precheck"):                    precheckScript,
		filepath.Join(d.work, "fix/apply"):                       applyScript,
		filepath.Join(d.work, "fix/payload/etc/greeting.conf"):   configAfter,
		filepath.Join(d.work, "fix/payload/opt/greeting/README"): "Greetings have two l.\n",
		filepath.Join(d.work, "fix/payload/opt/greeting/sounds"): bulk(),
	}
	for _, h := range d.hosts {
		files[filepath.Join(h.root, "etc/greeting.conf")] = configBefore
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			return err
		}
	}
	for _, h := range d.hosts {
		if err := os.MkdirAll(pathsBelow(h.root).keys, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// bulk makes the patch large enough for its upload to be seen: bytes that do not compress.
func bulk() string {
	content := make([]byte, 6<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content) // never fails
	return string(content)
}

func (d *demo) showSRs(ctx context.Context) error {
	records, err := all[xenapi.SR](ctx, d.pool)
	if err != nil {
		return err
	}
	plugs, err := all[xenapi.PBD](ctx, d.pool)
	if err != nil {
		return err
	}
	var lines []string
	for _, o := range srs.sorted(records) {
		lines = append(lines, fmt.Sprintf("%-14s  %-8s  %s  %s free", o.Rec.NameLabel, d.whose(o.Rec, plugs), o.Rec.Type, size(o.Rec.PhysicalSize-o.Rec.PhysicalUtilisation)))
	}
	slices.Sort(lines)
	d.show(strings.Join(lines, "\n"))
	return nil
}

// whose names the host of an SR that only one sees.
func (d *demo) whose(sr xenapi.SR, plugs map[xenapi.Ref[xenapi.PBD]]xenapi.PBD) string {
	for _, h := range d.hosts {
		if !sr.Shared && len(sr.PBDs) == 1 && plugs[sr.PBDs[0]].Host == h.ref {
			return "on " + h.name
		}
	}
	return "on all"
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
	for _, h := range d.hosts {
		if err := d.outputFile(filepath.Join(pathsBelow(h.root).keys, "demo.asc"), 0o644, writing(public)); err != nil {
			return err
		}
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
	d.say("   The hosts trust the author's key, %s.\n", key.Fingerprint())
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
	d.title("The patch itself is uploaded, to host3, which passes the stream on to the coordinator. It goes\n   into a disk image (VDI) of at least four times its size, whose rest is scratch space. No host's\n   own file system gets any of it.\n")
	in, length, err := d.input(d.signed())
	if err != nil {
		return err
	}
	defer in.Close()
	m, begun := d.bytesMeter("     upload", length), time.Now()
	d.patch.Ref, err = d.hosts[2].client.UploadPatch(ctx, in, length, m.bytes)
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
	d.show(fmt.Sprintf("%s sent, verified and sealed in %.1f s", size(length), time.Since(begun).Seconds()))
	d.show(fmt.Sprintf("patch %s  %s %s, %s\nVDI   %s  %s", d.patch.Rec.UUID, d.patch.Rec.NameLabel, d.patch.Rec.Version,
		size(d.patch.Rec.Size), d.vdi.UUID, size(d.vdi.VirtualSize)))
	return nil
}

// roll begins to apply the patch on the pool, with a host that takes its time.
func (d *demo) roll(ctx context.Context) error {
	d.title("It is applied on the pool: every host's precheck first, then the coordinator, then the others. Each\n   takes its own copy of the VDI, checks it bit for bit, and verifies the signature again. host3 is slow:\n")
	if err := os.WriteFile(d.slow(), nil, 0o644); err != nil {
		return err
	}
	if _, err := d.pool.Async(ctx, "pool_patch.pool_apply", d.patch.Ref); err != nil {
		return err
	}
	_, err := d.awaitRollout(ctx, func(r rollout.Rollout) bool {
		return d.state(r, 0) == rollout.Applied && d.state(r, 1) == rollout.Applied && d.state(r, 2) == rollout.Applying && d.running(ctx)
	})
	return err
}

func (d *demo) slow() string { return filepath.Join(d.hosts[2].root, "etc/slow") }

// running reports whether the patch's program runs on host3.
func (d *demo) running(ctx context.Context) bool {
	logs, _ := filepath.Glob(filepath.Join(pathsBelow(d.hosts[2].root).patchLogs, "*-apply.log"))
	return len(logs) > 0 && ctx.Err() == nil
}

func (d *demo) state(r rollout.Rollout, host int) rollout.State {
	for _, t := range r.Hosts {
		if t.Host == d.hosts[host].ref {
			return t.State
		}
	}
	return rollout.Unknown
}

// awaitRollout shows the rollout until something holds of it.
func (d *demo) awaitRollout(ctx context.Context, holds func(rollout.Rollout) bool) (r rollout.Rollout, err error) {
	v := d.newView()
	v.indent = demoIndent
	err = until(ctx, func() bool {
		found, err := rolloutOf(ctx, d.pool, d.patch.Ref)
		if err != nil {
			return false // it has not begun
		}
		r = found
		v.show(r, nil)
		return holds(r)
	})
	return r, err
}

// powerCut kills host3 in the middle of the apply, and starts it again.
func (d *demo) powerCut(ctx context.Context) error {
	d.title("host3 loses its power in the middle of that, and comes back. Nobody knows how far the patch came\n   there, so nothing runs it again by itself:\n")
	h := d.hosts[2]
	if err := h.daemon.kill(); err != nil {
		return err
	}
	h.daemon = nil
	if err := os.Remove(d.slow()); err != nil {
		return err
	}
	if err := h.start(); err != nil {
		return err
	}
	if err := h.connect(ctx); err != nil {
		return err
	}
	r, err := d.awaitRollout(ctx, func(r rollout.Rollout) bool { return r.Phase == rollout.PhaseDone })
	if err != nil {
		return err
	}
	if d.state(r, 2) != rollout.Interrupted {
		return fmt.Errorf("host3 is %s, not interrupted", d.state(r, 2))
	}
	return nil
}

// again has a person decide.
func (d *demo) again(ctx context.Context) error {
	d.title("Somebody has looked at host3, and applies it there (patch apply --host host3). The patch's own\n   precheck decides:\n")
	text, err := client.Run[string](ctx, d.pool, nil, "pool_patch.apply", d.patch.Ref, d.hosts[2].ref)
	if err != nil {
		return err
	}
	d.show(text)
	_, err = client.Run[string](ctx, d.pool, nil, "pool_patch.apply", d.patch.Ref, d.hosts[2].ref)
	if xenapi.CodeOf(err) != xenapi.CodePatchAlreadyApplied {
		return errors.Join(errors.New("another apply was not refused"), err)
	}
	d.say("\n   Once more is refused, PATCH_ALREADY_APPLIED.")
	return nil
}

// inspect shows what changed on the hosts.
func (d *demo) inspect(ctx context.Context) error {
	d.title("What has changed on each host:\n")
	for _, h := range d.hosts {
		config, err := os.ReadFile(filepath.Join(h.root, "etc/greeting.conf"))
		if err != nil {
			return err
		}
		if string(config) != configAfter {
			return fmt.Errorf("the patch did not change %s", h.name)
		}
		if _, err := os.Stat(filepath.Join(h.root, "var/patch/applied", d.patch.Rec.UUID)); err != nil {
			return err
		}
	}
	d.show("etc/greeting.conf\n  - " + configBefore + "  + " + configAfter + "opt/greeting/README is new\nvar/patch/applied/" + d.patch.Rec.UUID + " is the stamp of it")
	d.say("\n   and what the pool says of them:\n")
	return d.status(ctx)
}

// free destroys the VDI: what is applied stays applied.
func (d *demo) free(ctx context.Context) error {
	d.title("The space is freed (vdi destroy). The record stays, for the hosts have the patch:\n")
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
	d.show(fmt.Sprintf("%s  VDI: %s  applied on %s hosts", rec.NameLabel, strings.ReplaceAll(v.content(rec), "-", "none"), v.applied(rec)))
	return nil
}

// verify runs poolpatch check, and counts what is left.
func (d *demo) verify(ctx context.Context) error {
	d.title("poolpatch check, on each host, looks for anything that was left behind:\n")
	for _, h := range d.hosts {
		d.cli.root = h.root
		text, err := d.ask(ctx, "/check"+query(true, false))
		if err != nil {
			return err
		}
		if answer := strings.ReplaceAll(string(text), " ", ""); !strings.Contains(answer, `"findings":[]`) {
			return fmt.Errorf("something was left behind on %s: %s", h.name, text)
		}
	}
	left, err := all[xenapi.VDI](ctx, d.pool)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%d VDIs were left behind", len(left))
	}
	d.show("all is well: no VDI, no mount, no loop device")
	return nil
}
