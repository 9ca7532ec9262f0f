package task

import (
	"cmp"
	"context"
	"slices"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// How long rows of tasks are kept (facts, section 3).
const (
	keepEnded   = 65 * time.Minute
	keepPending = 24 * time.Hour // without anybody who runs it
	keepRows    = 200            // beyond which the oldest ended ones go first
)

// Collect removes rows of tasks that nobody will read any more.
func (s *Service) Collect(ctx context.Context, now time.Time) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		var ended []endedTask
		total := 0
		for ref, rec := range db.All[xenapi.Task](tx) {
			total++
			switch {
			case rec.Status != xenapi.TaskStatusPending:
				ended = append(ended, endedTask{ref, rec.Finished})
			case rec.ByClient && now.Sub(rec.Created) > keepPending && s.abandoned(tx, ref, rec):
				ended = append(ended, endedTask{ref, rec.Created.Add(-keepPending)})
			}
		}
		slices.SortFunc(ended, func(a, b endedTask) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.ref, b.ref)) })
		for _, e := range ended {
			if now.Sub(e.at) <= keepEnded && total <= keepRows {
				break
			}
			if err := db.Delete(tx, e.ref); err != nil {
				return err
			}
			total--
		}
		return nil
	})
}

// abandoned reports whether nobody runs a pending task. Only the host that it is on knows, while there
// is that host.
func (s *Service) abandoned(tx *db.Tx, ref xenapi.Ref[xenapi.Task], rec xenapi.Task) bool {
	if rec.ResidentOn == s.host {
		return !s.runs(ref)
	}
	_, exists := db.Lookup(tx, rec.ResidentOn)
	return !exists
}

type endedTask struct {
	ref xenapi.Ref[xenapi.Task]
	at  time.Time
}
