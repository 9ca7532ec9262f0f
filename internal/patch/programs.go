package patch

import (
	"context"
	"io"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/hotfix"
	"poolpatch/internal/sandbox"
	"poolpatch/internal/task"
)

// kindProgram is the kind of belonging that a program of a patch is, from before it starts until it has
// ended. The object is its scratch directory, which no other program ever gets.
const kindProgram = "program"

// runProgram calls a program that the content's task owns meanwhile. The program itself dies with the
// daemon, but what it has started may live on and hold the mount.
func (s *Service) runProgram(ctx context.Context, c content, deadline time.Duration, log io.Writer, call func(hotfix.Env) error) error {
	err := s.update(ctx, func(tx *db.Tx) error { return c.task.Own(tx, kindProgram, c.scratch.Path(), nil) })
	if err != nil {
		return err
	}
	defer func() {
		// What the program did stands, whether this is recorded or not.
		if err := s.update(ctx, func(tx *db.Tx) error { return task.Disown(tx, kindProgram, c.scratch.Path()) }); err != nil {
			s.log.Error("end of a patch's program not recorded; the next start does it", "directory", c.scratch.Path(), "error", err)
		}
	}()
	return call(hotfix.Env{Root: s.root, Scratch: c.scratch.Path(), Deadline: deadline, Log: log})
}

// endPrograms ends what a dead daemon's programs left running on this host.
func (s *Service) endPrograms(ctx context.Context) error {
	var left []string
	_ = s.db.View(func(tx *db.Tx) error {
		for _, b := range task.Belongings(tx, kindProgram) {
			if b.Host == s.host {
				left = append(left, b.Object)
			}
		}
		return nil
	})
	for _, scratch := range left {
		if err := sandbox.KillLeft(ctx, "TMPDIR="+scratch); err != nil {
			return err
		}
		if err := s.update(ctx, func(tx *db.Tx) error { return task.Disown(tx, kindProgram, scratch) }); err != nil {
			return err
		}
	}
	return nil
}
