package sandbox

import (
	"context"
	"fmt"
	"time"
)

// KillLeft ends what a dead daemon's programs left running, and returns when none of it runs any more: every
// process, whatever its group, that carries the mark of Run and was given the variable, NAME=value, in
// [Command].Env. The value must be of one run alone, such as the path of its working directory. Unlike a
// process group's number it is known before the program starts, so a crash at any moment leaves nothing
// that cannot be found.
func KillLeft(ctx context.Context, variable string) error {
	until := time.Now().Add(killTimeout)
	for {
		left, err := living(func(m member) bool { return marked(m.pid) && has(m.pid, variable) })
		if err != nil || len(left) == 0 {
			return err
		}
		for _, m := range left {
			if err := kill(m); err != nil {
				return err
			}
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d processes with %s survived SIGKILL for %v", len(left), variable, killTimeout)
		}
		pause(ctx, pollInterval)
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
}
