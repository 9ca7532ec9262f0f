package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		took []time.Duration
		want time.Duration
	}{
		{"never ran", nil, 0},
		{"once", []time.Duration{4}, 4},
		{"odd, not sorted", []time.Duration{9, 1, 5}, 5},
		{"even", []time.Duration{8, 2, 4, 100}, 6},
	} {
		took := times{"a": tt.took}
		if got := took.median("a"); got != tt.want {
			t.Errorf("%s: the median is %d, want %d", tt.name, got, tt.want)
		}
	}
}

// Poolpatch and its peer take turns, and neither always comes first.
func TestTakeTurns(t *testing.T) {
	t.Parallel()
	var order []string
	record := func(name string, d time.Duration) arm {
		return arm{name, func(context.Context) (time.Duration, error) {
			order = append(order, name)
			return d, nil
		}}
	}
	settle := func() error { order = append(order, "-"); return nil }
	took, err := takeTurns(t.Context(), 3, io.Discard, settle, record("a", 2), record("b", 3))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(order, ""), "-a-b-b-a-a-b"; got != want {
		t.Errorf("the order is %s, want %s", got, want)
	}
	if want := (times{"a": {2, 2, 2}, "b": {3, 3, 3}}); !cmp.Equal(took, want) {
		t.Errorf("the times are %v, want %v", took, want)
	}
}

func TestTakeTurnsStopsAtAnError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	_, err := takeTurns(t.Context(), 1, io.Discard, func() error { return nil },
		arm{"a", func(context.Context) (time.Duration, error) { return 0, broken }},
		arm{"b", func(context.Context) (time.Duration, error) { t.Error("b ran after a's error"); return 0, nil }})
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "a: ") {
		t.Errorf("the error is %v", err)
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		row  row
		want string
	}{
		{row{Ours: 9, Theirs: 1}, ""},
		{row{Ours: 8, Theirs: 10, Aim: 0.8}, "ok"},
		{row{Ours: 8.1, Theirs: 10, Aim: 0.8}, "MISSED"},
		{row{Ours: 150, Aim: 150}, "ok"},
		{row{Ours: 151, Aim: 150}, "MISSED"},
	} {
		if got := tt.row.verdict(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.row, got, tt.want)
		}
	}
}

func someReport() report {
	return report{
		Machine: machine{CPU: "A processor", Cores: 2, Memory: 24 << 30, Kernel: "6.18", FileSystem: "ext4", Go: "go1.26"},
		Size:    1 << 30, Runs: 3,
		Rows: []row{
			{What: "upload", Unit: "s", Ours: 3, Peer: "gpg", Theirs: 2, Aim: 0.8},
			{What: "clone", Unit: "ms", Ours: 15.25, Peer: "cp", Theirs: 5},
			{What: "memory", Unit: "MiB", Ours: 90.4, Aim: 150},
		},
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := someReport().write(&b, false); err != nil {
		t.Fatal(err)
	}
	want := `A processor, 2 cores, 24 GiB, Linux 6.18, ext4, go1.26
patch of 1G, medians of 3

WHAT    POOLPATCH  PEER          RATIO  AIM        
upload  3.00 s     2.00 s   gpg  1.50   ≤ 0.8      MISSED
clone   15.25 ms   5.00 ms  cp   3.05              
memory  90 MiB                          ≤ 150 MiB  ok
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := someReport().write(&b, true); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Machine struct{ Cores int }
		Rows    []map[string]any
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"what": "upload", "unit": "s", "poolpatch": 3.0, "peer": "gpg", "peer_value": 2.0, "aim": 0.8, "ratio": 1.5, "verdict": "MISSED"}
	if diff := cmp.Diff(want, got.Rows[0]); diff != "" || got.Machine.Cores != 2 {
		t.Errorf("%d cores, and %s", got.Machine.Cores, diff)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want int64 // --size; -1 is refused
	}{
		{nil, 1 << 30},
		{[]string{"--size", "256M"}, 256 << 20},
		{[]string{"--size", "65536K"}, 64 << 20},
		{[]string{"--size", "8589934592"}, 8 << 30},
		{[]string{"--size", "1M"}, -1},
		{[]string{"--size", "8589934592G"}, -1},
		{[]string{"--size", "-1G"}, -1},
		{[]string{"--size", "1T"}, -1},
		{[]string{"--size", "G"}, -1},
		{[]string{"--runs", "0"}, -1},
		{[]string{"--images", "0"}, -1},
		{[]string{"more"}, -1},
		{[]string{"--nothing"}, -1},
	} {
		o, err := parse(tt.args, io.Discard)
		switch {
		case tt.want < 0 && err == nil:
			t.Errorf("%q was taken", tt.args)
		case tt.want >= 0 && (err != nil || o.size != tt.want):
			t.Errorf("%q: a size of %d, want %d; %v", tt.args, o.size, tt.want, err)
		}
	}
}

// Every run measures the same bytes, and nothing can compress them.
func TestProgram(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "program")
	if err := writeProgram(t.Context(), name, "a-uuid", 1<<20); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	if got, want := hex.EncodeToString(sum[:]), "4019ca5790f9bb302d7aa83cb96535198f0d58d00b182c9a89a9e15b73e0ed85"; got != want {
		t.Errorf("the program of a seed has the SHA-256 %s, want %s", got, want)
	}
	if !bytes.HasPrefix(text, []byte("#!/bin/sh\n")) || !bytes.Contains(text[:400], []byte(`uuid="a-uuid"`)) {
		t.Errorf("the program begins with %q", text[:400])
	}
	if pages := slices.Collect(slices.Chunk(text, 4096)); bytes.Equal(pages[1], pages[2]) {
		t.Error("the noise repeats")
	}
}

func TestNoiseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := io.Copy(io.Discard, noise(ctx, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// What a peer writes is gone when it has been measured, also when it failed.
func TestPeersLeaveNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte("some bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		argv []string
		good bool
	}{
		{"good", []string{"cp", in, out}, true},
		{"failed", []string{"cp", in, in + "2", out}, false},
		{"writes nothing", []string{"true"}, false}, // so there is nothing to sync
	} {
		_, err := uncached(in, writes(tt.name, out, true, tt.argv...)).run(t.Context())
		if (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: its file is still there: %v", tt.name, err)
		}
	}
}
