package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// The exit codes; docs/cli.md lists them for scripts.
const (
	exitOK          = 0
	exitFailed      = 1   // the pool refused, or something failed
	exitUsage       = 2   // the command line is wrong: nothing was done
	exitUnreachable = 3   // no daemon could be reached
	exitFindings    = 4   // check found something
	exitInterrupted = 130 // a signal ended the command
)

// usageError is a command line that cannot be meant.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitError ends the command with a code and says nothing more.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// hinted is an error that knows the command that helps.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

// outcome is what a command that a signal has ended says of what it had begun, if that is not simply undone.
type outcome struct {
	error
	says string
}

func (e outcome) Unwrap() error { return e.error }

// cli is what every command knows: its streams, and the flags that several commands share.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	root                               string
	server, user, passwordFile, caFile string
	insecure                           bool
	output                             string // of lists and records: "" for a table, or json
	noHeaders                          bool
}

// run executes one command line and gives its exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks the command to clean up; the second kills it.
	defer context.AfterFunc(ctx, stop)()
	cobra.EnableCommandSorting = false // help tells commands in the order in which they are needed
	c := &cli{stdin: stdin, stdout: stdout, stderr: stderr}
	root := c.command()
	root.SetArgs(args)
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		plainUsage(root)
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	code := exitCode(ctx, err)
	c.report(cmd, err, code)
	return code
}

func exitCode(ctx context.Context, err error) int {
	if code, ok := errors.AsType[exitError](err); ok {
		return int(code)
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	if _, ok := errors.AsType[*client.ConnectionError](err); ok {
		return exitUnreachable
	}
	return exitFailed
}

// report says on stderr what went wrong in one line, then the error of the API where there is one, then
// a command that helps.
func (c *cli) report(cmd *cobra.Command, err error, code int) {
	if _, quiet := errors.AsType[exitError](err); quiet {
		return
	}
	domain, isDomain := errors.AsType[*xenapi.Error](err)
	switch {
	case code == exitInterrupted && !failed(err):
		fmt.Fprintf(c.stderr, "interrupted: %s\n", interruption(err))
	case isDomain:
		how := "error"
		if code == exitInterrupted {
			how = "interrupted, and failed"
		}
		fmt.Fprintf(c.stderr, "%s: %s: %s\n", how, strings.TrimPrefix(cmd.CommandPath(), "poolpatch "), sentence(domain))
		fmt.Fprintf(c.stderr, "%s\n", indent(describe(domain)))
	default:
		fmt.Fprintf(c.stderr, "error: %v\n", err)
	}
	if h := c.hint(cmd, err, code); h != "" {
		fmt.Fprintf(c.stderr, "hint:  %s\n", strings.TrimSpace(indent(strings.ReplaceAll(h, ". ", ".\n"))))
	}
}

// failed reports whether what a signal was to end has ended by itself before, with an error.
func failed(err error) bool {
	if _, still := errors.AsType[*client.StillRunning](err); still {
		return false
	}
	code := xenapi.CodeOf(err)
	return code != "" && code != xenapi.CodeTaskCancelled
}

func interruption(err error) string {
	if o, ok := errors.AsType[outcome](err); ok {
		return o.says
	}
	if still, ok := errors.AsType[*client.StillRunning](err); ok {
		return "what was begun goes on: poolpatch task wait " + short(still.UUID)
	}
	return "cancelled, and cleaned up"
}

func sentence(e *xenapi.Error) string {
	if s := e.Sentence(); s != "" {
		return s
	}
	return "the pool refused."
}

// describe writes the code and the parameters of an error as XenAPI knows them; the refusals of SRs a line each, for people.
func describe(e *xenapi.Error) string {
	switch {
	case len(e.Params) == 0:
		return e.Code
	case e.Code == xenapi.CodeHostHasNoPatchSR:
		text := e.Code + " [" + e.Params[0] + "]"
		for _, refusal := range e.Params[1:] {
			text += "\n" + humanSizes(refusal)
		}
		return text
	}
	return e.Code + " [" + strings.Join(e.Params, "; ") + "]"
}

var numberOfBytes = regexp.MustCompile(`\b[0-9]+ bytes\b`)

// humanSizes writes the numbers of bytes in a sentence for people.
func humanSizes(text string) string {
	return numberOfBytes.ReplaceAllStringFunc(text, func(found string) string {
		n, err := strconv.ParseInt(strings.TrimSuffix(found, " bytes"), 10, 64)
		if err != nil {
			return found
		}
		return size(n)
	})
}

func indent(text string) string {
	return "       " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n       ")
}

const rootLong = `poolpatch keeps a server pool's signed patches in disk images (VDIs) and applies them.

"poolpatch serve" is the daemon of a host. Every other command speaks XenAPI to it: over the
unix socket run/poolpatch/socket below --root, as root and without a password; or with
--server https://HOST from anywhere.

A patch's life: upload, precheck, apply, and "vdi destroy" for its content when it is not
needed any more. Objects are named by their UUID or the beginning of it, SRs and hosts by
their name too. Results go to stdout, everything else to stderr.

Exit codes:
    0  done
    1  the pool refused, or it failed
    2  the command line is wrong; nothing was done
    3  no daemon could be reached
    4  "poolpatch check" found something that is not repaired
  130  interrupted; what had begun was cancelled and cleaned up`

func (c *cli) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "poolpatch",
		Short: "Keep a pool's signed patches in disk images, and apply them",
		Long:  rootLong,
		Example: `  poolpatch demo                                  see it all on a throwaway pool
  poolpatch serve                                 run the daemon of this host
  poolpatch patch upload fix.gpg                  prints the patch's UUID
  poolpatch patch apply 3f1c
  poolpatch patch list --server https://pool.example --user root --password-file pw`,
		Args:          cobra.ArbitraryArgs,
		RunE:          onlyCommands,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddGroup(&cobra.Group{ID: "pool", Title: "The pool:"}, &cobra.Group{ID: "host", Title: "This host:"},
		&cobra.Group{ID: "author", Title: "Patch files:"})
	add(root, "pool", c.poolCommand(), c.patchCommand(), c.repositoryCommand(), c.vdiCommand(), c.srCommand(), c.pbdCommand(), c.hostCommand(), c.taskCommand(), c.userCommand(), c.xeCommand())
	add(root, "host", serveCommand(), c.checkCommand(), c.keyCommand())
	add(root, "author", c.hotfixCommand(), c.demoCommand())
	root.AddCommand(c.versionCommand())
	c.complete(root)
	return root
}

func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, cmd := range commands {
		cmd.GroupID = group
		root.AddCommand(cmd)
	}
}

// onlyCommands is what a command does that is only a list of others.
func onlyCommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	text := fmt.Sprintf("there is no command %q", strings.TrimPrefix(cmd.CommandPath()+" "+args[0], "poolpatch "))
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; is it " + strings.Join(near, " or ") + "?"
	}
	return usageError{errors.New(text)}
}

// group makes a command that is a list of others.
func group(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.ArbitraryArgs, RunE: onlyCommands}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(commands...)
	return cmd
}

// arguments refuses a command line that does not have the arguments that Use names.
func arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("%s is missing", names[len(args)])
		case len(args) > len(names):
			return usagef("%q is one argument too many", args[len(names)])
		}
		return nil
	}
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which version this is", Example: "  poolpatch version", Args: arguments(),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(c.stdout, "poolpatch", version())
			return err
		},
	}
}
