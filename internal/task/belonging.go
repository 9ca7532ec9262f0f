package task

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Belonging is something temporary that a task owns. Its row is written before the thing is made.
type Belonging struct {
	Task xenapi.Ref[xenapi.Task] `json:"task" xenapi:"internal"`
	// Host is where the thing is, and who removes it when the task cannot any more.
	Host xenapi.Ref[xenapi.Host] `json:"host" xenapi:"internal"`
	// Kind says which package knows how to remove it.
	Kind string `json:"kind" xenapi:"internal"`
	// Object names the thing within its kind.
	Object string `json:"object" xenapi:"internal"`
	// Detail is what the removal needs to know besides.
	Detail  map[string]string `json:"detail" xenapi:"internal"`
	Created time.Time         `json:"created" xenapi:"internal"`
}

// Class names the table.
func (Belonging) Class() string { return "belonging" }

func belongingRef(kind, object string) xenapi.Ref[Belonging] {
	return xenapi.Ref[Belonging](kind + ":" + object)
}

// IsBelonging reports whether a row of the database is the belonging of a kind and name.
func IsBelonging(class, ref, kind, object string) bool {
	return class == Belonging{}.Class() && ref == string(belongingRef(kind, object))
}

// Own records, before it is made, a thing of the given kind as the task's. Things that several tasks may
// have of one object (attachments) carry the task in the object's name.
func (t *Task) Own(tx *db.Tx, kind, object string, detail map[string]string) error {
	return t.OwnAt(tx, t.service.host, kind, object, detail)
}

// OwnAt is Own of a thing that is on another host, which removes it when the task has ended.
func (t *Task) OwnAt(tx *db.Tx, host xenapi.Ref[xenapi.Host], kind, object string, detail map[string]string) error {
	return db.Insert(tx, belongingRef(kind, object), Belonging{
		Task: t.ref, Host: host, Kind: kind, Object: object, Detail: detail, Created: time.Now().UTC(),
	})
}

// Disown removes the record of a thing that is gone or has become a lasting object.
func Disown(tx *db.Tx, kind, object string) error {
	ref := belongingRef(kind, object)
	if _, ok := db.Lookup(tx, ref); !ok {
		return nil
	}
	return db.Delete(tx, ref)
}

// Owner finds the belonging of a kind and name.
func Owner(tx *db.Tx, kind, object string) (Belonging, bool) {
	return db.Lookup(tx, belongingRef(kind, object))
}

// Belongings lists what tasks own of one kind, oldest first.
func Belongings(tx *db.Tx, kind string) []Belonging {
	var all []Belonging
	for _, b := range db.All[Belonging](tx) {
		if b.Kind == kind {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b Belonging) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Object, b.Object))
	})
	return all
}

// Undo removes a thing that a dead task left, and its record; it is the function that the task itself
// would have called. It may be called again for a thing that is already gone.
type Undo func(ctx context.Context, b Belonging) error

// Recover removes what the tasks of this host's last daemon left, the youngest kind first as the undo
// list orders them, and ends those tasks as cancelled. It runs before any new task. An undo that fails
// is logged and its record kept for UndoEnded: one stuck thing must not keep the host down.
func (s *Service) Recover(ctx context.Context, undo []KindUndo) error {
	s.undo(ctx, undo, slog.LevelError, func(*db.Tx, Belonging) bool { return true })
	return s.endWorkless(ctx, func(xenapi.Task) bool { return true })
}

// EndWorkless ends the pending tasks of this host for which nobody works, as cancelled: their rows came about although the
// database had not said so when their work was to begin, or it did not take their end. A client's own task may wait for work.
func (s *Service) EndWorkless(ctx context.Context) error {
	return s.endWorkless(ctx, func(rec xenapi.Task) bool { return !rec.ByClient })
}

// undo logs at a level what it cannot remove.
func (s *Service) undo(ctx context.Context, undo []KindUndo, level slog.Level, dead func(*db.Tx, Belonging) bool) {
	for _, kind := range undo {
		for _, b := range s.left(kind.Kind, dead) {
			if err := kind.Undo(ctx, b); err != nil {
				s.log.Log(ctx, level, "left-over not removed; it is tried again", "kind", b.Kind, "object", b.Object, "error", err)
			}
		}
	}
}

// KindUndo names the function that removes belongings of one kind.
type KindUndo struct {
	Kind string
	Undo Undo
}

func (s *Service) left(kind string, dead func(*db.Tx, Belonging) bool) []Belonging {
	var mine []Belonging
	_ = s.db.View(func(tx *db.Tx) error {
		for _, b := range Belongings(tx, kind) {
			if b.Host == s.host && dead(tx, b) {
				mine = append(mine, b)
			}
		}
		return nil
	})
	slices.Reverse(mine)
	return mine
}

func (s *Service) endWorkless(ctx context.Context, which func(xenapi.Task) bool) error {
	err := s.db.Update(ctx, func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.Task](tx) {
			if rec.ResidentOn != s.host || rec.Status != xenapi.TaskStatusPending || rec.Roams || s.runs(ref) || !which(rec) {
				continue
			}
			cancelled := xenapi.ErrTaskCancelled(ref)
			if err := end(tx, ref, func(rec *xenapi.Task) { setFailure(rec, cancelled) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("end tasks without work: %w", err)
	}
	return nil
}
