package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// arm is one of the things that take turns.
type arm struct {
	name string
	// run does it once and says how long that took; what it does before and after does not count.
	run func(ctx context.Context) (time.Duration, error)
}

// times are how long each arm took, by its name.
type times map[string][]time.Duration

// median is the middle one; of an even number the mean of the two in the middle. An arm that never ran has 0.
func (t times) median(name string) time.Duration {
	all := slices.Sorted(slices.Values(t[name]))
	if len(all) == 0 {
		return 0
	}
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// takeTurns runs the arms one after another, as often as runs says. Every other round goes backwards, so that
// none always profits from, or suffers under, the one before it. settle comes before each arm.
func takeTurns(ctx context.Context, runs int, log io.Writer, settle func() error, arms ...arm) (times, error) {
	took := times{}
	for n := range runs {
		for _, a := range round(arms, n) {
			if err := settle(); err != nil {
				return nil, err
			}
			d, err := a.run(ctx)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", a.name, err)
			}
			fmt.Fprintf(log, "  %d/%d  %-46s %8.3f s\n", n+1, runs, a.name, d.Seconds())
			took[a.name] = append(took[a.name], d)
		}
	}
	return took, nil
}

// round is the order of the n-th round.
func round(arms []arm, n int) []arm {
	order := slices.Clone(arms)
	if n%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// timed measures fn.
func timed(fn func() error) (time.Duration, error) {
	start := time.Now()
	err := fn()
	return time.Since(start), err
}
