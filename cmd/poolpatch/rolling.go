package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"poolpatch/internal/rollout"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// watchPause lies between two looks at a rollout.
const watchPause = 500 * time.Millisecond

// rollFlags say how a patch goes onto the pool. They are keys of the patch's other_config for the time of the call.
type rollFlags struct {
	parallel, failures int
	canary, pause      string
	skipOffline        bool
}

func (c *cli) patchPoolApply() *cobra.Command {
	var f rollFlags
	cmd := &cobra.Command{
		Use:   "pool-apply UUID",
		Short: "Apply a patch on every host of the pool",
		Long: `Apply a patch on every host of the pool: all prechecks first, then the canary, the coordinator, and the
others. Hosts that have it are skipped. After a failure no further host is begun. Hosts that are offline are
refused before anything is changed.

The rollout is the pool's: it goes on when the coordinator dies. "patch status --watch" shows it from anywhere.
Interrupting this command cancels it: applies that run go on to their end, no other is begun.`,
		Example: `  poolpatch patch pool-apply 3f1c
  poolpatch patch pool-apply 3f1c --canary host3 --pause-after canary     then: poolpatch patch continue 3f1c`,
		Args: arguments("UUID"),
	}
	cmd.Flags().IntVar(&f.parallel, "max-parallel", 0, "`NUMBER` of hosts that are patched at once (default 4)")
	cmd.Flags().IntVar(&f.failures, "max-failures", 0, "`NUMBER` of failures after which no further host is begun (default 1)")
	cmd.Flags().StringVar(&f.canary, "canary", "", "`NAME` or UUID of the host that is patched first, alone")
	cmd.Flags().StringVar(&f.pause, "pause-after", "", "`WHAT` \"patch continue\" is waited for after: canary, or each for each host")
	cmd.Flags().BoolVar(&f.skipOffline, "skip-offline", false, "leave out hosts that are offline")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(cmd.Flags().Changed); err != nil {
			return err
		}
		return c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := patches.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			restore, err := f.set(ctx, p, o)
			if err != nil {
				return err
			}
			defer restore()
			return c.roll(ctx, p, o)
		})(cmd, args)
	}
	return cmd
}

// check refuses what no rollout can be told, before anything is asked.
func (f rollFlags) check(given func(flag string) bool) error {
	switch {
	case given("max-parallel") && f.parallel < 1:
		return usagef("--max-parallel %d: it is at least 1", f.parallel)
	case given("max-failures") && f.failures < 1:
		return usagef("--max-failures %d: it is at least 1", f.failures)
	case f.pause != "" && !slices.Contains(pauses, f.pause):
		return usagef("--pause-after %s: it is %s", f.pause, strings.Join(pauses, " or "))
	case f.pause == string(rollout.PauseCanary) && f.canary == "":
		return usagef("--pause-after canary needs --canary HOST")
	}
	return nil
}

// pauses are the words of --pause-after.
var pauses = []string{string(rollout.PauseCanary), string(rollout.PauseEach)}

// set writes the flags where pool_apply reads them, and gives what takes them away again.
func (f rollFlags) set(ctx context.Context, p *client.Client, o object[xenapi.PoolPatch]) (restore func(), err error) {
	keys := map[string]string{}
	if f.parallel != 0 {
		keys["max_parallel"] = strconv.Itoa(f.parallel)
	}
	if f.failures != 0 {
		keys["max_failures"] = strconv.Itoa(f.failures)
	}
	if f.pause != "" {
		keys["pause_after"] = f.pause
	}
	if f.skipOffline {
		keys["skip_offline"] = "true"
	}
	if f.canary != "" {
		host, err := hosts.find(ctx, p, f.canary)
		if err != nil {
			return nil, err
		}
		keys["canary"] = host.Ref.String()
	}
	restore = func() {
		for key := range keys {
			_ = p.Do(context.WithoutCancel(ctx), "pool_patch.remove_from_other_config", o.Ref, "poolpatch:"+key)
		}
	}
	restore() // what an earlier call that was killed has left
	for key, value := range keys {
		if err := p.Do(ctx, "pool_patch.add_to_other_config", o.Ref, "poolpatch:"+key, value); err != nil {
			restore()
			return nil, err
		}
	}
	return restore, nil
}

// roll applies a patch on the pool and shows how that goes.
func (c *cli) roll(ctx context.Context, p *client.Client, o object[xenapi.PoolPatch]) error {
	task, err := p.Async(ctx, "pool_patch.pool_apply", o.Ref)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.FinishTask(ctx, task, nil)
		done <- err
	}()
	patient := context.WithoutCancel(ctx)
	v := c.newView()
	var last rollout.Rollout
	for ended := false; !ended; {
		select {
		case err = <-done:
			ended = true
		case <-time.After(watchPause):
		}
		// The record of an earlier rollout is not this one's.
		if r, rerr := rolloutOf(patient, p, o.Ref); rerr == nil && r.Task == task {
			last = r
			v.show(r, guidanceOf(patient, p))
		}
	}
	if err != nil {
		return rollError(ctx, err, short(o.Rec.UUID))
	}
	c.note("%s is applied on every host%s%s", oneLine(o.Rec.NameLabel), leftOut(last), afterwards(o.Rec))
	return nil
}

// leftOut says which hosts a rollout has skipped that do not have the patch.
func leftOut(r rollout.Rollout) string {
	var names []string
	for _, t := range r.Hosts {
		if t.State == rollout.Skipped && t.Reason == rollout.Offline {
			names = append(names, oneLine(t.Name))
		}
	}
	return after(" but those that are offline: ", strings.Join(names, ", "))
}

// rollError says of a rollout that a person ended, or of which the daemon has told no end, what becomes of it.
func rollError(ctx context.Context, err error, patch string) error {
	if _, lost := errors.AsType[*client.ConnectionError](err); lost {
		return hinted{fmt.Errorf("the daemon does not answer any more, and the rollout goes on without it: %w", err),
			"poolpatch patch status " + patch + " --watch, on any host"}
	}
	if ctx.Err() != nil && !failed(err) {
		if _, still := errors.AsType[*client.StillRunning](err); !still {
			err = outcome{err, "the rollout is cancelled: hosts that had begun have ended, no other was begun"}
		}
		return hinted{err, "poolpatch patch status " + patch + " shows how far it came"}
	}
	return err
}

func rolloutOf(ctx context.Context, p *client.Client, patch xenapi.Ref[xenapi.PoolPatch]) (r rollout.Rollout, err error) {
	text, err := client.Call[string](ctx, p, "pool_patch.get_pool_apply_status", patch)
	if err != nil {
		return r, err
	}
	return rollout.Parse([]byte(text))
}

// guidanceOf is what each host still needs, by its name.
func guidanceOf(ctx context.Context, p *client.Client) map[string]string {
	needs := map[string]string{}
	records, _ := all[xenapi.Host](ctx, p)
	for _, rec := range records {
		var words []string
		for _, g := range rec.PendingGuidances {
			words = append(words, string(g))
		}
		needs[rec.NameLabel] = strings.Join(words, ", ")
	}
	return needs
}

func (c *cli) patchStatus() *cobra.Command {
	watch := false
	cmd := &cobra.Command{
		Use:     "status UUID",
		Short:   "Show how a patch goes onto the pool, or went",
		Example: "  poolpatch patch status 3f1c --watch",
		Args:    arguments("UUID"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := patches.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			if c.output == "json" {
				text, err := client.Call[string](ctx, p, "pool_patch.get_pool_apply_status", o.Ref)
				if neverRolled(err) {
					text, err = "null", nil
				}
				if err != nil {
					return err
				}
				return c.printJSON([]byte(text))
			}
			v := c.newView()
			for {
				r, err := rolloutOf(ctx, p, o.Ref)
				if neverRolled(err) {
					c.note("%s was never applied on the whole pool (patch pool-apply)", oneLine(o.Rec.NameLabel))
					return nil
				}
				if err != nil {
					return err
				}
				v.show(r, guidanceOf(ctx, p))
				if !watch || r.Phase == rollout.PhaseDone {
					return nil
				}
				select {
				case <-time.After(watchPause):
				case <-ctx.Done():
					return nil
				}
			}
		}),
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "show it until it has ended")
	return c.outputFlag(cmd)
}

// neverRolled tells a patch that no rollout is known of.
func neverRolled(err error) bool { return xenapi.CodeOf(err) == xenapi.CodeOperationNotAllowed }

func (c *cli) patchContinue() *cobra.Command {
	return c.patchWish("continue UUID", "Let a rollout go on that waits", "pool_patch.pool_apply_continue", nil)
}

func (c *cli) patchCancel() *cobra.Command {
	kill := false
	cmd := c.patchWish("cancel UUID", "End a rollout: no further host is begun", "pool_patch.pool_apply_cancel", &kill)
	cmd.Long = `End a rollout: no further host is begun, and prechecks that run are ended. Applies that run go on to their end,
unless --kill is given: then they are ended at once, and their hosts may be half patched (interrupted).`
	cmd.Flags().BoolVar(&kill, "kill", false, "end applies that run, too")
	return cmd
}

func (c *cli) patchWish(use, short, message string, more *bool) *cobra.Command {
	name, _, _ := strings.Cut(use, " ")
	return &cobra.Command{
		Use: use, Short: short, Example: "  poolpatch patch " + name + " 3f1c", Args: arguments("UUID"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := patches.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			params := []any{o.Ref}
			if more != nil {
				params = append(params, *more)
			}
			return p.Do(ctx, message, params...)
		}),
	}
}

// view shows a rollout again and again: on a terminal in the same place, else a line for each host that changed.
type view struct {
	w      io.Writer
	indent string            // before each line
	tty    *os.File          // nil where it is no terminal
	lines  int               // that are on the screen
	shown  map[string]string // by host, where it is no terminal
	once   bool
}

func (c *cli) newView() *view {
	v := &view{w: c.stdout, shown: map[string]string{}}
	if terminal(c.stdout) {
		v.tty = c.stdout.(*os.File)
	}
	return v
}

func (v *view) show(r rollout.Rollout, needs map[string]string) {
	text := indented(table(r, needs), v.indent)
	if v.tty != nil {
		v.draw(text, r.Phase == rollout.PhaseDone)
		return
	}
	if !v.once {
		v.once = true
		fmt.Fprint(v.w, text)
		for _, row := range r.Rows() {
			v.shown[row.Host] = string(row.State)
		}
		return
	}
	for _, row := range r.Rows() {
		if v.shown[row.Host] != string(row.State) {
			v.shown[row.Host] = string(row.State)
			fmt.Fprintf(v.w, "%s%s: %s%s\n", v.indent, oneLine(row.Host), row.State, after(": ", row.Error))
		}
	}
}

const (
	// keepWidth has a terminal not begin a new row for what is too long, and takeWidth has it do so again.
	keepWidth = "\x1b[?7l"
	takeWidth = "\x1b[?7h"
)

// draw puts a text into the place of the last one. A line that took two rows could not be found again, so lines are cut
// to the terminal's width, but for those of the last text.
func (v *view) draw(text string, last bool) {
	if v.lines > 0 {
		fmt.Fprintf(v.w, "\x1b[%dA\x1b[J", v.lines)
	}
	v.lines = strings.Count(text, "\n")
	if last {
		fmt.Fprint(v.w, text)
		return
	}
	columns, _, err := term.GetSize(int(v.tty.Fd()))
	if err != nil {
		columns = 80
	}
	fmt.Fprint(v.w, keepWidth+narrow(text, columns)+takeWidth)
}

func indented(text, indent string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(indent + line)
	}
	return b.String()
}

// narrow cuts each line of a text to a number of columns.
func narrow(text string, columns int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if runes := []rune(strings.TrimRight(line, "\n")); len(runes) > columns && columns > 0 {
			line = string(runes[:columns-1]) + "…\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

func after(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}

// table is a line about the whole, then one for each host.
func table(r rollout.Rollout, needs map[string]string) string {
	var b bytes.Buffer
	until := r.Ended
	if until.IsZero() {
		until = time.Now()
	}
	fmt.Fprintf(&b, "%s, %s\n", heading(r), until.Sub(r.Began).Round(time.Second))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tROLE\tSTEP\tSTATE\tSINCE\tNEEDS\tERROR")
	for _, row := range r.Rows() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", oneLine(row.Host), oneLine(row.Role), oneLine(string(row.Step)), row.State,
			when(row.Since), oneLine(needs[row.Host]), oneLine(row.Error))
	}
	_ = w.Flush() // into memory
	return b.String()
}

var phases = map[rollout.Phase]string{
	rollout.PhasePrecheck: "prechecking", rollout.PhaseApply: "applying", rollout.PhasePaused: "waiting for \"patch continue\"",
}

// heading says how many hosts are done with while the rollout goes on, and how they ended when it has.
func heading(r rollout.Rollout) string {
	count := map[rollout.State]int{}
	finished := 0
	for _, t := range r.Hosts {
		count[t.State]++
		if t.State.Final() {
			finished++
		}
	}
	if r.Phase != rollout.PhaseDone {
		return fmt.Sprintf("%s: %d of %d hosts", phases[r.Phase], finished, len(r.Hosts))
	}
	var words []string
	for _, state := range rollout.States() {
		if n := count[state]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, state))
		}
	}
	return "ended: " + strings.Join(words, ", ")
}
