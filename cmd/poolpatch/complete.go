package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// completeTimeout bounds how long a shell waits for words.
const completeTimeout = 2 * time.Second

// offer gives what may stand in a place of the command line; whoever asks goes by what is begun there.
type offer func(c *cli) []cobra.Completion

// completed says what the arguments of a command are; files where it is not here.
var completed = map[string][]offer{
	"patch show": {named(patches)}, "patch precheck": {named(patches)}, "patch apply": {named(patches)}, "patch pool-apply": {named(patches)},
	"patch status": {named(patches)}, "patch continue": {named(patches)}, "patch cancel": {named(patches)}, "patch download": {named(patches)},
	"patch destroy": {named(patches)}, "patch clean": {named(patches)}, "patch pool-clean": {named(patches)},
	"vdi show": {named(vdis)}, "vdi create": {named(srs), none}, "vdi copy": {named(vdis), named(srs)}, "vdi migrate": {named(vdis), named(srs)}, "vdi clone": {named(vdis)},
	"vdi destroy": {named(vdis)}, "vdi export": {named(vdis)},
	"sr default": {named(srs)}, "sr scan": {named(srs)}, "sr destroy": {named(srs)}, "sr forget": {named(srs)}, "sr create": {none},
	"pbd create": {named(srs)}, "pbd plug": {named(pbds)}, "pbd unplug": {named(pbds)}, "pbd destroy": {named(pbds)},
	"host show": {named(hosts)}, "host log": {named(hosts)}, "host bugreport": {named(hosts)}, "host rename": {named(hosts), none}, "host enable": {named(hosts)}, "host disable": {named(hosts)}, "host destroy": {named(hosts)},
	"pool eject": {named(hosts)}, "pool designate": {named(hosts)}, "pool level": {named(hosts)}, "pool join": {none},
	"repository add": {none}, "repository remove": {named(repositories)}, "repository apply": {none},
	"repository schedule": {these("daily", "off", "0", "1", "2", "3", "4", "5", "6")}, "repository proxy": {these("off")},
	"task wait": {named(tasks)}, "task cancel": {named(tasks)},
	"user add": {none}, "user remove": {named(users)}, "user password": {named(users)},
}

// completedFlags says the same of flags, by their names.
var completedFlags = map[string]offer{
	"host": named(hosts), "canary": named(hosts), "sr": named(srs), "vdi": named(vdis),
	"role":      these(xenapi.Roles()...),
	"log-level": these("debug", "info", "warn", "error"), "pause-after": these(pauses...), "type": these("file"),
	"server": none, "user": none, "as": none, "token": none, "name": none, "description": none, "full-name": none, "proxy-user": none, "serial": none, "key-file": none,
}

func none(*cli) []cobra.Completion { return nil }

func these(all ...string) offer { return func(*cli) []cobra.Completion { return all } }

// named gives the objects of a class: SRs and hosts by their names, the others by UUID, with the name beside it.
func named[T xenapi.Object](k kind[T]) offer {
	return func(c *cli) (all []cobra.Completion) {
		for _, o := range fetched(c, k) {
			word, beside := k.uuid(o.Rec), k.name(o.Rec)
			if k.byName && beside != "" {
				word, beside = beside, word
			}
			all = append(all, cobra.CompletionWithDesc(oneLine(word), oneLine(beside)))
		}
		return all
	}
}

// fetched asks the daemon for objects; nobody is there to be told why there are none.
func fetched[T xenapi.Object](c *cli, k kind[T]) []object[T] {
	ctx, cancel := context.WithTimeout(context.Background(), completeTimeout)
	defer cancel()
	p, err := c.dial(ctx)
	if err != nil {
		return nil
	}
	defer p.Close(ctx)
	records, err := client.Call[map[xenapi.Ref[T]]T](ctx, p, classOf[T]()+".get_all_records")
	if err != nil {
		return nil
	}
	return k.sorted(records)
}

// complete has the shell offer what the pool has.
func (c *cli) complete(cmd *cobra.Command) {
	if arguments, ok := completed[strings.TrimPrefix(cmd.CommandPath(), "poolpatch ")]; ok {
		cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) >= len(arguments) {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return c.beginning(arguments[len(args)], begun)
		}
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		from, ok := completedFlags[f.Name]
		if f.Name == "output" && strings.Contains(f.Usage, "`json`") {
			from, ok = these("json"), true
		}
		if ok {
			// The error is of a flag that two commands share and that has its function already.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, func(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return c.beginning(from, begun)
			})
		}
	})
	for _, sub := range cmd.Commands() {
		c.complete(sub)
	}
}

func (c *cli) beginning(from offer, begun string) (fitting []cobra.Completion, _ cobra.ShellCompDirective) {
	for _, word := range from(c) {
		if strings.HasPrefix(strings.ToLower(word), strings.ToLower(begun)) {
			fitting = append(fitting, word)
		}
	}
	return fitting, cobra.ShellCompDirectiveNoFileComp
}

// plainUsage takes the marks off that say in help which word is the value's: a shell would show them.
func plainUsage(cmd *cobra.Command) {
	strip := func(f *pflag.Flag) { f.Usage = strings.ReplaceAll(f.Usage, "`", "") }
	cmd.LocalFlags().VisitAll(strip)
	for _, sub := range cmd.Commands() {
		plainUsage(sub)
	}
}
