package xe

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// helpWidth is the width of the lists of commands, in characters.
const helpWidth = 76

const helpUsage = `Usage: xe <command> [-s server] [-pw passwd] [-p port] [-u user] [-pwf password-file]
        [command specific arguments]

To get help on a specific command: xe help <command>
To get a full listing of commands: xe help --all
`

// help explains commands, each once, or lists the common ones, or all.
func help(_ context.Context, r *run) error {
	explained := map[string]bool{}
	for _, p := range r.pairs {
		if p.value != "" || isReserved(p.key) || explained[p.key] {
			continue
		}
		c, ok := commands()[p.key]
		if !ok {
			return failure("Responding to help: Unknown command '" + p.key + "'")
		}
		explained[p.key] = true
		if err := r.out.line(describe(c)); err != nil {
			return err
		}
	}
	if len(explained) > 0 {
		return nil
	}
	return r.listCommands(r.has("all"))
}

func describe(c offered) string {
	text := fmt.Sprintf("command name            : %s\n        reqd params     : %s\n        optional params : %s\n        description     : %s",
		c.name, strings.Join(c.required, ", "), strings.Join(c.optional, ", "), c.help)
	if c.deprecated != "" {
		text += "\n        deprecated      : use " + c.deprecated
	}
	return text
}

func (r *run) listCommands(all bool) error {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(commands())) {
		if c := commands()[name]; all || c.common {
			names = append(names, name)
		}
	}
	if r.out.minimal {
		*r.out.kept = append(*r.out.kept, names...)
		return nil
	}
	title := "Common command list\n-------------------\n"
	if all {
		title = "Full command list\n-----------------\n"
	}
	return r.out.print(helpUsage + "\n" + title + "\n" + wrap(names))
}

// wrap writes names, parted by commas, in lines of a width.
func wrap(names []string) string {
	var b strings.Builder
	line := "       "
	for i, name := range names {
		if i < len(names)-1 {
			name += ","
		}
		if len(line)+1+len(name) > helpWidth {
			b.WriteString(line + "\n")
			line = "       "
		}
		line += " " + name
	}
	return b.String() + line
}
