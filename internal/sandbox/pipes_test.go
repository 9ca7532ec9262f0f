package sandbox_test

import (
	"bytes"
	"testing"
	"time"

	"poolpatch/internal/sandbox"
)

// A program reads all of its input, however much there is, and its two streams can be kept apart.
func TestInputAndApart(t *testing.T) {
	t.Parallel()
	input := bytes.Repeat([]byte("0123456789"), 100<<10/10)
	for _, apart := range []bool{true, false} {
		r, err := sandbox.Run(t.Context(), sandbox.Command{Path: "/bin/sh", Args: []string{"-c", "cat; echo why >&2"}, Input: input, Apart: apart, Deadline: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		want, why := input, "why\n"
		if !apart {
			want, why = append(bytes.Clone(input), "why\n"...), ""
		}
		if !bytes.Equal(r.Output, want) || string(r.Errors) != why {
			t.Errorf("apart %v: %d bytes of output, %q", apart, len(r.Output), r.Errors)
		}
	}
	r, err := sandbox.Run(t.Context(), sandbox.Command{Path: "/bin/cat", Deadline: 10 * time.Second})
	if err != nil || len(r.Output) != 0 || r.ExitCode != 0 {
		t.Errorf("without input: %+v %v", r, err)
	}
}
