package volume

import (
	"context"
	"fmt"
	"time"
)

// step runs f, which blocks in the kernel and cannot be interrupted, for at most limit. When it is not done by then
// step returns the end of the context; f goes on, and if it still succeeds, undo (which may be nil) takes back
// its result, which nobody waits for any more.
func step[T any](ctx context.Context, limit time.Duration, what string, f func() (T, error), undo func(T)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var none T
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("%s: %w", what, err)
	}
	type outcome struct {
		value T
		err   error
	}
	done, left := make(chan outcome), make(chan struct{})
	defer close(left)
	go func() {
		v, err := f()
		select {
		case done <- outcome{v, err}:
		case <-left:
			if err == nil && undo != nil {
				undo(v)
			}
		}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return o.value, fmt.Errorf("%s: %w", what, o.err)
		}
		return o.value, nil
	case <-ctx.Done():
		return none, fmt.Errorf("%s: %w", what, ctx.Err())
	}
}

// act is step for what has no result.
func act(ctx context.Context, limit time.Duration, what string, f func() error, undo func()) error {
	_, err := step(ctx, limit, what, func() (struct{}, error) { return struct{}{}, f() }, func(struct{}) {
		if undo != nil {
			undo()
		}
	})
	return err
}

// pollInterval is the time between two looks at something that the kernel does in its own time.
const pollInterval = 5 * time.Millisecond

// until waits until ready says so, with an error, or the context ends.
func until(ctx context.Context, ready func() (bool, error)) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
