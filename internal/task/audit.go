package task

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"poolpatch/xenapi"
)

// Audit is what the log says, besides label and user, of work that changes something: when it has ended, and on the host
// that did it.
type Audit struct {
	Object     string // what is changed, "class uuid"; "" while that is not known
	Originator string // what the client calls itself
}

// About says which object the work turned out to be about.
func (t *Task) About(object string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.object = object
}

// audited is the task's Spec with what is known at the end.
func (t *Task) audited() Spec {
	t.mu.Lock()
	defer t.mu.Unlock()
	spec := t.spec
	if spec.Audit == nil || t.object == "" {
		return spec
	}
	spec.Audit = &Audit{Object: t.object, Originator: spec.Audit.Originator}
	return spec
}

// Ended writes the line of the log for a call, task or not, that Spec.Audit asks for.
func (s *Service) Ended(ctx context.Context, spec Spec, began time.Time, err error) {
	if spec.Audit == nil {
		return
	}
	line := []slog.Attr{slog.String("call", spec.Label)}
	if spec.Audit.Object != "" {
		line = append(line, slog.String("object", spec.Audit.Object))
	}
	line = append(line, slog.String("user", spec.User), slog.String("originator", spec.Audit.Originator),
		slog.Float64("seconds", time.Since(began).Round(time.Millisecond).Seconds()))
	if err != nil {
		line = append(line, slog.String("error", cmp.Or(xenapi.CodeOf(err), xenapi.CodeInternalError)))
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "call ended", line...)
}
