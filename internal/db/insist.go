package db

import (
	"context"
	"errors"
	"time"
)

// insistPause lies between two attempts of Insist.
const insistPause = 100 * time.Millisecond

// Insist is Update for what has already happened and must be recorded: when the store fails and nothing has
// changed, it tries again until ctx ends. fn's own errors end it, and so do a closed database, a store that
// refuses the commit for good, and an outcome that is in doubt.
func (d *DB) Insist(ctx context.Context, fn func(*Tx) error) error {
	for {
		var own error
		err := d.Update(ctx, func(tx *Tx) error {
			own = fn(tx)
			return own
		})
		if err == nil || own != nil || final(err) {
			return err
		}
		select {
		case <-time.After(insistPause):
		case <-ctx.Done():
			return err
		}
	}
}

func final(err error) bool {
	if errors.Is(err, ErrUnavailable) {
		return false // refused, but not for good
	}
	for _, end := range []error{ErrClosed, ErrRefused, ErrUnknownOutcome, ErrBehind} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}
