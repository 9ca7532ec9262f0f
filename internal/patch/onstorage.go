package patch

import (
	"context"

	"poolpatch/internal/storage"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// OnStorage shows the storage service as patches ask for it.
func OnStorage(s *storage.Service) Storage { return onStorage{s} }

type onStorage struct{ *storage.Service }

func (o onStorage) Candidates(ctx context.Context) ([]Candidate, error) {
	found, err := o.Service.Candidates(ctx)
	all := make([]Candidate, len(found))
	for i, c := range found {
		all[i] = Candidate(c)
	}
	return all, err
}

func (o onStorage) NewWorkspace(ctx context.Context, t *task.Task, vdi xenapi.VDI) (Workspace, error) {
	w, err := o.Service.NewWorkspace(ctx, t, vdi)
	if err != nil {
		return nil, err // not a nil *storage.Workspace in a Workspace
	}
	return w, nil
}

func (o onStorage) OpenCopy(ctx context.Context, t *task.Task, vdi xenapi.Ref[xenapi.VDI], digest, label string) (Workspace, error) {
	w, err := o.Service.OpenCopy(ctx, t, vdi, digest, label)
	if err != nil {
		return nil, err
	}
	return w, nil
}
