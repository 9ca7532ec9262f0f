package storage

import (
	"context"

	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

func (s *Service) pullFor(ctx context.Context, t *task.Task, vdi xenapi.Ref[xenapi.VDI], digest string,
	elsewhere func(need int64) (xenapi.Ref[xenapi.SR], error), edit func(*xenapi.VDI)) (xenapi.Ref[xenapi.VDI], error) {
	return "", xenapi.ErrSRHasNoPBDs("")
}
