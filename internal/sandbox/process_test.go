package sandbox

import (
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const tail = " S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9"
	for _, name := range []string{"(sh)", "(a b)", "(a) S 1 2 3)", "()"} {
		m, err := parseStat(77, "77 "+name+tail)
		if err != nil || m.group != 77 || m.start != 4242 || m.state != 'S' {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	for _, text := range []string{"", "77 (sh)", "77 (sh) S 1 77", "77 (sh)" + strings.ReplaceAll(tail, "4242", "x")} {
		if m, err := parseStat(77, text); err == nil {
			t.Errorf("%q gave %+v", text, m)
		}
	}
}
