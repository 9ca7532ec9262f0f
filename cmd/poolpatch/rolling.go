package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

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
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
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
		}),
	}
	cmd.Flags().IntVar(&f.parallel, "max-parallel", 0, "how many hosts are patched at once (default 4)")
	cmd.Flags().IntVar(&f.failures, "max-failures", 0, "after how many failures no further host is begun (default 1)")
	cmd.Flags().StringVar(&f.canary, "canary", "", "host that is patched first, alone")
	cmd.Flags().StringVar(&f.pause, "pause-after", "", `wait for "patch continue" after the canary, or after each host: canary or each`)
	cmd.Flags().BoolVar(&f.skipOffline, "skip-offline", false, "leave out hosts that are offline")
	return cmd
}

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
	began := time.Now().Add(-time.Second)
	done := make(chan error, 1)
	go func() {
		_, err := client.Run[string](ctx, p, nil, "pool_patch.pool_apply", o.Ref)
		done <- err
	}()
	v := c.newView()
	for {
		var err error
		ended := false
		select {
		case err = <-done:
			ended = true
		case <-time.After(watchPause):
		}
		// The record of an earlier rollout is not this one's.
		if r, rerr := rolloutOf(context.WithoutCancel(ctx), p, o.Ref); rerr == nil && r.Began.After(began) {
			v.show(r, guidanceOf(context.WithoutCancel(ctx), p))
		}
		if ended {
			if err == nil {
				c.note("%s is applied on every host%s", oneLine(o.Rec.NameLabel), afterwards(o.Rec))
			}
			return err
		}
	}
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
				if err != nil {
					return err
				}
				return c.printJSON([]byte(text))
			}
			v := c.newView()
			for {
				r, err := rolloutOf(ctx, p, o.Ref)
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
	w     io.Writer
	live  bool
	lines int               // that are on the screen
	shown map[string]string // by host, where it is no terminal
	once  bool
}

func (c *cli) newView() *view {
	return &view{w: c.stdout, live: terminal(c.stdout), shown: map[string]string{}}
}

func (v *view) show(r rollout.Rollout, needs map[string]string) {
	text := table(r, needs)
	if v.live {
		if v.lines > 0 {
			fmt.Fprintf(v.w, "\x1b[%dA\x1b[J", v.lines)
		}
		v.lines = strings.Count(text, "\n")
		fmt.Fprint(v.w, text)
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
			fmt.Fprintf(v.w, "%s: %s%s\n", oneLine(row.Host), row.State, after(": ", row.Error))
		}
	}
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
	finished := 0
	for _, t := range r.Hosts {
		if t.State.Final() {
			finished++
		}
	}
	fmt.Fprintf(&b, "%s: %d of %d hosts, %s\n", phases[r.Phase], finished, len(r.Hosts), until.Sub(r.Began).Round(time.Second))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tROLE\tSTEP\tSTATE\tSINCE\tNEEDS\tERROR")
	for _, row := range r.Rows() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", oneLine(row.Host), oneLine(row.Role), oneLine(string(row.Step)), row.State,
			row.Since.Local().Format(time.TimeOnly), oneLine(needs[row.Host]), oneLine(row.Error))
	}
	_ = w.Flush() // into memory
	return b.String()
}

var phases = map[rollout.Phase]string{
	rollout.PhasePrecheck: "prechecking", rollout.PhaseApply: "applying", rollout.PhasePaused: "waiting for \"patch continue\"", rollout.PhaseDone: "done",
}
