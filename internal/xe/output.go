package xe

import (
	"strings"

	"poolpatch/internal/thincli"
)

// printer prints results: for people, or as one line for scripts.
type printer struct {
	peer    *thincli.Server
	minimal bool
	kept    *[]string // of the one line
}

func newPrinter(peer *thincli.Server, minimal bool) printer {
	return printer{peer, minimal, &[]string{}}
}

// line prints a result that is one text.
func (p printer) line(text string) error {
	if p.minimal {
		*p.kept = append(*p.kept, text)
		return nil
	}
	return p.print(text)
}

// cell is a field of a record that is printed.
type cell struct{ label, value string }

// record prints a record. The one line has the record's first field only.
func (p printer) record(cells []cell) error {
	if p.minimal {
		first := ""
		if len(cells) > 0 {
			first = minimalEscape.Replace(cells[0].value)
		}
		*p.kept = append(*p.kept, first)
		return nil
	}
	return p.print(layout(cells) + "\n")
}

// minimalEscape lets a value hold the comma that parts the values.
var minimalEscape = strings.NewReplacer(`\`, `\\`, `,`, `\,`)

// margin is how far the longest label stands from the left.
const margin = 4

// layout writes a record: the first label at the left, the others at the right, of one width.
func layout(cells []cell) string {
	width := 0
	for _, c := range cells {
		width = max(width, len(c.label))
	}
	width += margin
	var b strings.Builder
	for i, c := range cells {
		gap := strings.Repeat(" ", width-len(c.label))
		if i == 0 {
			b.WriteString(c.label + gap)
		} else {
			b.WriteString(gap + c.label)
		}
		b.WriteString(": " + c.value + "\n")
	}
	return b.String()
}

func (p printer) print(text string) error {
	return p.peer.Send(thincli.Message{Tag: thincli.Print, Text: text})
}

// flush prints the one line, at the end of a command that went well.
func (p printer) flush() error {
	if !p.minimal {
		return nil
	}
	return p.print(strings.Join(*p.kept, ","))
}
