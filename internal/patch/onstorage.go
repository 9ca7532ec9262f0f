package patch

import (
	"context"
	"io"
	"os"

	"poolpatch/internal/storage"
	"poolpatch/internal/storage/image"
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
	return onWorkspace{w}, nil
}

func (o onStorage) OpenCopy(ctx context.Context, t *task.Task, vdi xenapi.Ref[xenapi.VDI], digest, label string,
	elsewhere func(need int64) (xenapi.Ref[xenapi.SR], error)) (Workspace, error) {

	w, err := o.Service.OpenCopy(ctx, t, vdi, digest, label, elsewhere)
	if err != nil {
		return nil, err
	}
	return onWorkspace{w}, nil
}

func (o onStorage) DestroyVDI(ctx context.Context, t *task.Task, vdi xenapi.Ref[xenapi.VDI]) error {
	return o.Service.RemoveVDI(ctx, t, vdi)
}

// onWorkspace shows a workspace of the storage service as patches ask for it.
type onWorkspace struct{ *storage.Workspace }

func (o onWorkspace) Open(name string) (io.ReadCloser, error) {
	r, err := o.Workspace.Open(name)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (o onWorkspace) Create(name string, perm os.FileMode) (File, error) {
	f, err := o.Workspace.Create(name, perm)
	if err != nil {
		return nil, err
	}
	return onFile{f}, nil
}

func (o onWorkspace) CreateTemporary(name string, perm os.FileMode) (io.WriteCloser, error) {
	f, err := o.Workspace.CreateTemporary(name, perm)
	if err != nil {
		return nil, err
	}
	return f, nil
}

type onFile struct{ *image.Writer }

func (o onFile) Digest() string { return o.Writer.Digest().String() }
