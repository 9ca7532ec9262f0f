package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

func (c *cli) taskCommand() *cobra.Command {
	return c.connected(group("task", "What the pool is doing: list, wait, cancel",
		`Tasks are the calls that run on the pool, and those that have ended a short while ago.`,
		c.taskList(), c.taskWait(), c.taskCancel()))
}

func (c *cli) taskList() *cobra.Command {
	return c.listFlags(&cobra.Command{
		Use: "list", Short: "List the tasks and how far they have come", Example: "  poolpatch task list",
		Args: arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			if c.output == "json" {
				return c.raw(ctx, p, "task.get_all_records")
			}
			records, err := all[xenapi.Task](ctx, p)
			if err != nil {
				return err
			}
			members, err := all[xenapi.Host](ctx, p)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, o := range tasks.sorted(records) {
				reason := ""
				if len(o.Rec.ErrorInfo) > 0 {
					reason = o.Rec.ErrorInfo[0]
				}
				rows = append(rows, []string{o.Rec.UUID, o.Rec.NameLabel, string(o.Rec.Status), fmt.Sprintf("%.0f %%", 100*o.Rec.Progress),
					hosts.label(members, o.Rec.ResidentOn), when(o.Rec.Created), reason})
			}
			return c.table("UUID NAME STATUS DONE HOST BEGUN ERROR", rows)
		}),
	})
}

func (c *cli) taskCancel() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel UUID",
		Short: "Cancel a task",
		Long: `Cancel a task. Its work stops at the next safe place and cleans up. A patch's program that runs
is not interrupted.`,
		Example: "  poolpatch task cancel 12ab",
		Args:    arguments("UUID"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := tasks.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			if err = p.Do(ctx, "task.cancel", o.Ref); err == nil {
				c.note("%s is asked to stop", oneLine(o.Rec.NameLabel))
			}
			return err
		}),
	}
}

func (c *cli) taskWait() *cobra.Command {
	return &cobra.Command{
		Use:   "wait UUID",
		Short: "Wait for the end of a task; fails as the task does",
		Long: `Wait for the end of a task, print its result, and remove it from the list. A task that failed
fails the command with the same error. Ctrl-C ends the waiting, not the task.`,
		Example: "  poolpatch task wait 12ab",
		Args:    arguments("UUID"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := tasks.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			m := c.taskMeter(o.Rec.NameLabel)
			result, err := p.WaitTask(ctx, o.Ref, m.fraction)
			m.end()
			if ctx.Err() != nil {
				return &client.StillRunning{Task: o.Ref, UUID: o.Rec.UUID, Cause: context.Cause(ctx)}
			}
			if err != nil {
				return err
			}
			return c.printResult(result)
		}),
	}
}

// printResult prints a task's result: as the text that it is, or else as the pool wrote it.
func (c *cli) printResult(result string) error {
	if text, err := client.Result[string](result); err == nil {
		result = text
	}
	if result = strings.TrimRight(result, "\n"); result == "" {
		return nil
	}
	_, err := fmt.Fprintln(c.stdout, result)
	return err
}
