package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"poolpatch/internal/check"
)

func (c *cli) checkCommand() *cobra.Command {
	var deep, repair bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compare what the daemon promises with what is there",
		Long: `Compare what the daemon promises with what is there: every VDI belongs to a record or a task,
every mount and loop device to a task, every applied patch has its stamp. It changes nothing
without --repair, and asks the daemon of this host over its unix socket. A repair never destroys
what a record or a task knows: where that is the question, it says what a person can do.

Exit code 0 when all is well, or was repaired, 4 when a promise is broken still. What breaks none and
is only to be known is listed without a rule.`,
		Example: `  poolpatch check
  poolpatch check --deep             read the content of every patch too
  poolpatch check --repair`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			return c.check(cmd.Context(), deep, repair)
		},
	}
	c.rootFlag(cmd.Flags())
	cmd.Flags().BoolVar(&deep, "deep", false, "read every patch's image and compare its digest")
	cmd.Flags().BoolVar(&repair, "repair", false, "repair what can be repaired")
	return c.listFlags(cmd)
}

func (c *cli) check(ctx context.Context, deep, repair bool) error {
	text, err := c.ask(ctx, "/check"+query(deep, repair))
	if err != nil {
		return err
	}
	var answer struct{ Findings []check.Finding }
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("answer of the daemon: %w", err)
	}
	if c.output == "json" {
		err = c.printJSON(text)
	} else {
		err = c.findings(answer.Findings)
	}
	if err == nil && slices.ContainsFunc(answer.Findings, left) {
		return exitError(exitFindings)
	}
	return err
}

// broken tells a broken promise from what is only to be known.
func broken(f check.Finding) bool { return f.Invariant != "" }

// left tells what is broken still from what was repaired.
func left(f check.Finding) bool { return broken(f) && !f.Repaired }

func (c *cli) findings(found []check.Finding) error {
	if len(found) == 0 {
		c.note("all is well")
		return nil
	}
	var rows [][]string
	for _, f := range found {
		rule, repair := f.Invariant, f.Repair
		switch {
		case !broken(f):
			rule, repair = "-", "nothing is broken"
		case f.Repaired:
			repair = "repaired: " + f.Repair
		case f.Advice != "":
			repair = "a person decides: " + f.Advice
		}
		rows = append(rows, []string{rule, f.Object, f.Problem, repair})
	}
	return c.table("RULE OBJECT PROBLEM REPAIR", rows)
}

// ask gets a path from the daemon on its unix socket. What the daemon does for it may take as long as it takes: the
// request has no deadline but the caller's.
func (c *cli) ask(ctx context.Context, path string) ([]byte, error) {
	socket := pathsBelow(c.root).socket
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return nil, unreachableCheck(socket, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("answer of the daemon: %w", err)
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the daemon could not do it (HTTP %d); its log says why", answer.StatusCode)
	}
	return text, nil
}

func query(deep, repair bool) string {
	var words []string
	if deep {
		words = append(words, "deep=1")
	}
	if repair {
		words = append(words, "repair=1")
	}
	if len(words) == 0 {
		return ""
	}
	return "?" + strings.Join(words, "&")
}
