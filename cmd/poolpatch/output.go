package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"poolpatch/xenapi/client"
)

// outputFlag gives a command -o json.
func (c *cli) outputFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVarP(&c.output, "output", "o", "", "`json`: the records as they come over the wire")
	return cmd
}

// listFlags gives a command that prints a table its flags.
func (c *cli) listFlags(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&c.noHeaders, "no-headers", false, "leave the line of column names off")
	return c.outputFlag(cmd)
}

func (c *cli) checkOutput() error {
	if c.output != "" && c.output != "json" {
		return usagef("--output %s: it is json, or left off for a table", c.output)
	}
	return nil
}

// raw prints the result of a message as it came over the wire.
func (c *cli) raw(ctx context.Context, p *client.Client, message string, args ...any) error {
	text, err := p.Raw(ctx, message, args...)
	if err != nil {
		return err
	}
	return c.printJSON(text)
}

func (c *cli) printJSON(text json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	_, err := fmt.Fprintln(c.stdout, b.String())
	return err
}

// table prints rows in columns that line up.
func (c *cli) table(headers string, rows [][]string) error {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	if !c.noHeaders && headers != "" {
		fmt.Fprintln(w, strings.Join(strings.Fields(headers), "\t"))
	}
	for _, row := range rows {
		for i := range row {
			row[i] = oneLine(row[i])
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// oneLine keeps what came from elsewhere from breaking the table, or the terminal.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s
}

// properties prints names and values, a line each.
func (c *cli) properties(pairs ...string) error {
	var rows [][]string
	for i := 0; i+1 < len(pairs); i += 2 {
		rows = append(rows, pairs[i:i+2])
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintf(w, "%s\t%s\n", row[0], oneLine(row[1]))
	}
	return w.Flush()
}

func (c *cli) note(format string, args ...any) { fmt.Fprintf(c.stderr, format+"\n", args...) }

// size writes bytes for people, in powers of 1024.
func size(n int64) string {
	if n < 0 {
		return "?"
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	f, i := float64(n), 0
	for f >= 1023.95 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") + " " + units[i]
}

// parseSize reads what size writes, and plain bytes.
func parseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "KMGTPiB ")
	unit := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(text[len(number):]), "B"), "i")
	shift, ok := map[string]int{"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}[unit]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok || !(n >= 0 && n <= float64(int64(1)<<62>>shift)) {
		return 0, usagef("%q is no size; sizes look like 4GiB, 512MiB or 1048576", text)
	}
	return int64(n * float64(int64(1)<<shift)), nil
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// when writes a time of the API, whose epoch stands for never.
func when(t time.Time) string {
	if t.IsZero() || t.Unix() == 0 {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}
