package patch

import (
	"context"
	"io"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
)

// stage is a part of an apply or a precheck as its task shows it: what it is called, and from where to where it takes the
// progress. Nobody knows how far a program is, so the progress stands while it runs, short of the end.
type stage struct {
	name     string
	from, to float64
}

var (
	copying     = stage{"copying", 0, 0.6}
	verifying   = stage{"verifying", 0.6, 0.85}
	prechecking = stage{"prechecking", 0.85, 0.9}
	running     = stage{"running", 0.9, 1}
)

func (st stage) begin(tx *db.Tx, t *task.Task) error { return t.Stage(tx, st.name, st.from, st.to) }

// enter begins a stage by itself. It only shows something, so an error is left for the next write to meet.
func (s *Service) enter(ctx context.Context, t *task.Task, st stage) {
	_ = s.db.Update(ctx, func(tx *db.Tx) error { return st.begin(tx, t) })
}

// gauge shows on a task how much of a file has been read.
type gauge struct {
	io.Reader
	ctx        context.Context // of the call that the gauge lives for
	task       *task.Task
	read, size int64 // bytes; the size is 0 where it is not known
}

func (g *gauge) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	if g.read += int64(n); g.read <= g.size {
		g.task.Progress(g.ctx, float64(g.read)/float64(g.size))
	}
	return n, err
}
