// Coverage holds the API of poolpatch against a list of XenAPI's own classes: which messages are there, take and give
// what XenAPI says, and do what they say instead of refusing. It is for whoever works on the API; the list, a JSON file, is
// not part of the project.
//
// Start with compare.go.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"poolpatch/internal/api"
)

func main() {
	except := flag.String("except", "", "classes, parted by commas, that may be missing")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: coverage [-except CLASS,CLASS] FILE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ok, err := check(os.Stdout, flag.Arg(0), strings.Split(*except, ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// check prints what a list of classes and the API differ in, and reports whether they agree.
func check(w io.Writer, file string, except []string) (ok bool, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	var list list
	if err := json.Unmarshal(text, &list); err != nil {
		return false, fmt.Errorf("%s: %w", file, err)
	}
	ours := api.New(api.Services{}, slog.New(slog.DiscardHandler)).Whole()
	r := compare(list, ours, except)
	r.print(w)
	return len(r.problems) == 0, nil
}
