package storage

import (
	"context"
	"io"

	"poolpatch/internal/db"
	"poolpatch/internal/storage/image"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// ImportRaw writes a raw stream into a VDI from its start; blocks of zeroes become holes. length is what
// the stream announced, for the progress, or -1. Errors: VDI_IO_ERROR when the stream is longer than the
// VDI, VDI_IN_USE, VDI_READONLY, SR_FULL.
func (s *Service) ImportRaw(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], r io.Reader, length int64) error {
	rec, _, err := s.vdiOnSR(ref)
	if err != nil {
		return err
	}
	a, err := s.Attach(ctx, t, ref, ReadWrite)
	if err != nil {
		return err
	}
	defer a.Detach(ctx)
	if _, err = image.ReadFrom(ctx, a.File, &meter{r: r, t: t, ctx: ctx, total: length}, rec.VirtualSize); err != nil {
		return s.ioError(ctx, rec.SR, rec.VirtualSize, err)
	}
	s.Remeasure(ctx, ref)
	return nil
}

// meter shows how far a stream has come.
type meter struct {
	r           io.Reader
	t           *task.Task
	ctx         context.Context // of the transfer that the meter lives for
	done, total int64
}

func (m *meter) Read(p []byte) (int, error) {
	if err := context.Cause(m.ctx); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.done += int64(n)
	if m.total > 0 {
		m.t.Progress(m.ctx, float64(m.done)/float64(m.total))
	}
	return n, err
}

// Export is a VDI opened for reading by a client.
type Export struct {
	Size int64 // bytes
	UUID string

	a *Attachment
	t *task.Task
}

// OpenExport attaches a VDI to be read; Close detaches it.
func (s *Service) OpenExport(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI]) (*Export, error) {
	var rec xenapi.VDI
	if err := s.view(func(tx *db.Tx) (err error) { rec, err = db.Get(tx, ref); return err }); err != nil {
		return nil, err
	}
	a, err := s.Attach(ctx, t, ref, ReadOnly)
	if err != nil {
		return nil, err
	}
	return &Export{Size: rec.VirtualSize, UUID: rec.UUID, a: a, t: t}, nil
}

// Write sends length bytes from offset to w.
func (e *Export) Write(ctx context.Context, w io.Writer, offset, length int64) error {
	return image.WriteTo(ctx, &gauge{w: w, t: e.t, ctx: ctx, total: length}, e.a.File, offset, length)
}

// Close detaches the VDI.
func (e *Export) Close(ctx context.Context) { e.a.Detach(ctx) }

type gauge struct {
	w           io.Writer
	t           *task.Task
	ctx         context.Context // of the transfer that the gauge lives for
	done, total int64
}

func (g *gauge) Write(p []byte) (int, error) {
	n, err := g.w.Write(p)
	g.done += int64(n)
	g.t.Progress(g.ctx, float64(g.done)/float64(max(g.total, 1)))
	return n, err
}

// ReadVDI gives fn a VDI's content from its beginning to where the last of its data ends, and how many bytes that is: what
// follows is zeroes. Nobody writes to the VDI or destroys it meanwhile. Errors: VDI_IN_USE, SR_HAS_NO_PBDS, VDI_IO_ERROR.
func (s *Service) ReadVDI(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI], fn func(r io.Reader, length int64) error) error {
	rec, _, err := s.vdiOnSR(ref)
	if err != nil {
		return err
	}
	a, err := s.Attach(ctx, t, ref, ReadOnly)
	if err != nil {
		return err
	}
	defer a.Detach(ctx)
	length, err := image.End(a.File, rec.VirtualSize)
	if err != nil {
		return s.ioError(ctx, rec.SR, rec.VirtualSize, err)
	}
	r, err := image.NewReader(a.File)
	if err != nil {
		return s.ioError(ctx, rec.SR, rec.VirtualSize, err)
	}
	defer r.Close()
	return fn(io.LimitReader(&diskReader{r}, length), length)
}

// diskReader says in the API's words that an image cannot be read.
type diskReader struct{ r io.Reader }

func (d *diskReader) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && err != io.EOF {
		err = xenapi.ErrVDIIOError(err.Error()).Because(err)
	}
	return n, err
}
