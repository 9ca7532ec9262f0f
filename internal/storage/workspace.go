package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"poolpatch/internal/db"
	"poolpatch/internal/storage/image"
	"poolpatch/internal/task"
	"poolpatch/internal/volume"
	"poolpatch/xenapi"
)

// Workspace is a temporary VDI of a task with its file system mounted on this host. It goes with
// Discard, or with the task.
type Workspace struct {
	service *Service
	task    *task.Task
	vdi     xenapi.Ref[xenapi.VDI]
	size    int64

	attachment *Attachment     // nil once sealed
	volume     *volume.Volume  // nil once sealed
	files      []*image.Writer // of Create and CreateTemporary
	kept       bool
}

// NewWorkspace makes a VDI as rec says, with an empty file system, mounted. Errors: OUT_OF_SPACE naming the SR, VDI_IO_ERROR.
func (s *Service) NewWorkspace(ctx context.Context, t *task.Task, rec xenapi.VDI) (*Workspace, error) {
	ref, err := s.CreateTemporary(ctx, t, rec)
	if err != nil {
		return nil, s.nameFull(rec.SR, err)
	}
	w := &Workspace{service: s, task: t, vdi: ref}
	if err := w.mount(ctx, true); err != nil {
		err = w.Explain(ctx, err)
		w.Discard(ctx)
		return nil, err
	}
	return w, nil
}

// OpenCopy makes the task's private copy of a VDI (M6): a clone where its SR can clone, else a copy, there too if this host
// sees it and it has room, else on the SR that elsewhere gives for a VDI of need bytes. What this host does not see
// is pulled from the hosts that have it. The copy is mounted only if its content has the digest (I1). Errors: INVALID_PATCH
// when it has not, OUT_OF_SPACE naming the SR, those of elsewhere, VDI_IN_USE, SR_HAS_NO_PBDS when no host sees the SR.
func (s *Service) OpenCopy(ctx context.Context, t *task.Task, vdi xenapi.Ref[xenapi.VDI], digest, label string,
	elsewhere func(need int64) (xenapi.Ref[xenapi.SR], error)) (*Workspace, error) {

	rec, err := s.lookup(vdi)
	if err != nil {
		return nil, err
	}
	edit := func(rec *xenapi.VDI) {
		rec.NameLabel, rec.NameDescription = label, "Private copy of a host; it goes when the task has ended"
	}
	w := &Workspace{service: s, task: t}
	find := w.digestAsRead
	w.vdi, err = s.CloneTemporary(ctx, t, vdi, edit)
	switch xenapi.CodeOf(err) {
	case xenapi.CodeSROperationNotSupported, xenapi.CodeSRFull, xenapi.CodeSRHasNoPBDs:
		find = w.digestAsCopied
		w.vdi, err = s.copyWithRoom(ctx, t, vdi, rec, edit, elsewhere)
	}
	if errors.Is(err, errOtherContent) { // the copy has seen it before open could
		return nil, xenapi.ErrInvalidPatch(err.Error()).Because(err)
	}
	if err != nil {
		return nil, err
	}
	if err := w.open(ctx, digest, find); err != nil {
		err = w.Explain(ctx, err)
		w.Discard(ctx)
		return nil, err
	}
	return w, nil
}

// copyWithRoom copies a VDI as the task's to an SR that has room for it.
func (s *Service) copyWithRoom(ctx context.Context, t *task.Task, vdi xenapi.Ref[xenapi.VDI], rec xenapi.VDI, edit func(*xenapi.VDI),
	elsewhere func(need int64) (xenapi.Ref[xenapi.SR], error)) (xenapi.Ref[xenapi.VDI], error) {

	sr, err := s.withRoom(ctx, rec, elsewhere)
	if err != nil {
		return "", err
	}
	copied, err := s.CopyTemporary(ctx, t, vdi, sr, edit)
	return copied, s.nameFull(sr, err)
}

// withRoom chooses the VDI's own SR if all of the VDI finds room there, else what elsewhere gives. Where that is none, the
// own SR will do as long as it takes what the VDI holds.
func (s *Service) withRoom(ctx context.Context, rec xenapi.VDI, elsewhere func(need int64) (xenapi.Ref[xenapi.SR], error)) (xenapi.Ref[xenapi.SR], error) {
	free, unknown := s.Free(ctx, rec.SR)
	switch {
	case unknown != nil && !s.canPull(unknown):
		return "", unknown
	case unknown == nil && free >= rec.VirtualSize, elsewhere == nil:
		return rec.SR, nil
	}
	sr, err := elsewhere(rec.VirtualSize)
	if err != nil && unknown == nil && free >= rec.PhysicalUtilisation {
		return rec.SR, nil
	}
	return sr, err
}

// nameFull says which SR is full (M10): SR_FULL has no parameter for that. Other errors stay as they are.
func (s *Service) nameFull(sr xenapi.Ref[xenapi.SR], err error) error {
	full, ok := errors.AsType[*xenapi.Error](err)
	if !ok || full.Code != xenapi.CodeSRFull {
		return err
	}
	return xenapi.ErrOutOfSpace(fmt.Sprintf("%s: %s bytes needed, %s bytes free", s.nameOf(sr), full.Params[0], full.Params[1])).Because(err)
}

// nameOf names an SR for a person.
func (s *Service) nameOf(ref xenapi.Ref[xenapi.SR]) string {
	var sr xenapi.SR
	_ = s.view(func(tx *db.Tx) error { sr, _ = db.Lookup(tx, ref); return nil })
	return fmt.Sprintf("SR %s (%s)", sr.UUID, sr.NameLabel)
}

// open checks the content before the kernel's file system code sees it.
func (w *Workspace) open(ctx context.Context, digest string, find func(context.Context) (string, error)) error {
	if err := w.attach(ctx); err != nil {
		return err
	}
	found, err := find(ctx)
	if err != nil {
		return fmt.Errorf("digest of VDI %s: %w", w.vdi, err)
	}
	if digest == "" || found != digest {
		return xenapi.ErrInvalidPatch("the content of the patch's VDI is not what was uploaded: " + found + " instead of " + digest).Because(image.ErrCorrupt)
	}
	return w.mount(ctx, false)
}

// digestAsCopied is of the bytes that were written to a copy, which nobody has written to since: an attachment for
// writing takes the record's digest away.
func (w *Workspace) digestAsCopied(context.Context) (string, error) { return w.attachment.Digest, nil }

// digestAsRead is for a clone, whose bytes nobody has seen.
func (w *Workspace) digestAsRead(ctx context.Context) (string, error) {
	found, err := image.Sum(ctx, w.attachment.File, w.size)
	return found.String(), err
}

func (w *Workspace) attach(ctx context.Context) (err error) {
	if w.attachment, err = w.service.Attach(ctx, w.task, w.vdi, ReadWrite); err != nil {
		return err
	}
	return w.service.view(func(tx *db.Tx) error {
		rec, err := db.Get(tx, w.vdi)
		w.size = rec.VirtualSize
		return err
	})
}

func (w *Workspace) mount(ctx context.Context, format bool) (err error) {
	if w.attachment == nil {
		if err := w.attach(ctx); err != nil {
			return err
		}
	}
	w.volume, err = volume.Open(ctx, volume.Config{
		File: w.attachment.File, Dir: w.mountPoint(), Format: format, Label: "poolpatch",
	})
	return err
}

func (w *Workspace) mountPoint() string {
	return filepath.Join(w.service.mounts, string(w.vdi[len("OpaqueRef:"):]))
}

// VDI names the workspace's VDI.
func (w *Workspace) VDI() xenapi.Ref[xenapi.VDI] { return w.vdi }

// Dir is where the file system is mounted.
func (w *Workspace) Dir() string { return w.volume.Dir() }

// Size is the VDI's size in bytes.
func (w *Workspace) Size() int64 { return w.size }

// Open reads a file of the workspace. No link in it leads out of it.
func (w *Workspace) Open(name string) (*image.Reader, error) {
	f, err := os.OpenInRoot(w.Dir(), name)
	if err != nil {
		return nil, err
	}
	r, err := image.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

// Create makes the file name, which nobody has made before, for content that lasts. It is on stable storage when it
// is closed, and its digest is known.
func (w *Workspace) Create(name string, perm os.FileMode) (*image.Writer, error) {
	return w.follow(image.Create(filepath.Join(w.Dir(), name), perm))
}

// CreateTemporary is Create for a file that is not to last.
func (w *Workspace) CreateTemporary(name string, perm os.FileMode) (*image.Writer, error) {
	return w.follow(image.CreateTemporary(filepath.Join(w.Dir(), name), perm))
}

func (w *Workspace) follow(f *image.Writer, err error) (*image.Writer, error) {
	if err != nil {
		return nil, err
	}
	w.files = append(w.files, f)
	return f, nil
}

// Grow enlarges the VDI and its file system. Where the kernel does not let this process grow a mounted
// file system, it is unmounted for a moment: then no file in it may be open but those of Create and
// CreateTemporary, to which nobody may write meanwhile. Errors: SR_FULL, EBUSY.
func (w *Workspace) Grow(ctx context.Context, size int64) error {
	if err := w.attachment.Grow(ctx, w.task, size); err != nil {
		return err
	}
	if err := w.pause(); err != nil {
		return err
	}
	if err := w.volume.Grow(ctx, size); err != nil {
		return fmt.Errorf("grow the file system of VDI %s: %w", w.vdi, err)
	}
	w.size = size
	return nil
}

// pause closes the files that are being written. They open again when somebody writes on.
func (w *Workspace) pause() error {
	var errs []error
	for _, f := range w.files {
		errs = append(errs, f.Pause())
	}
	return errors.Join(errs...)
}

// fullBelow is what may be left of a full SR, in bytes.
const fullBelow = 16 << 20

// Explain says in the API's words that the VDI's SR is full (M10), or cannot be read or written. A loop device tells its file
// system, and mke2fs, of a full SR as of a broken disk. Other errors stay as they are. Errors: OUT_OF_SPACE naming the SR,
// what was needed and what there was; VDI_IO_ERROR.
func (w *Workspace) Explain(ctx context.Context, err error) error {
	rec, _ := w.service.lookup(w.vdi)
	full, broken := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EIO)
	if xenapi.CodeOf(err) != "" || !full && !broken {
		return w.service.nameFull(rec.SR, err)
	}
	free, unknown := w.service.Free(context.WithoutCancel(ctx), rec.SR)
	if full || unknown == nil && free < fullBelow {
		return xenapi.ErrOutOfSpace(fmt.Sprintf("%s: %d bytes needed at most, %d bytes free", w.service.nameOf(rec.SR), w.size, free)).Because(err)
	}
	return xenapi.ErrVDIIOError(err.Error()).Because(err)
}

// Seal ends the writing: what was deleted becomes holes, everything is on stable storage, nothing is
// mounted or attached, and the digest of the content is returned. All files must be closed.
func (w *Workspace) Seal(ctx context.Context) (string, error) {
	if err := w.volume.Trim(ctx); err != nil {
		w.service.log.Warn("space of deleted files not given back", "vdi", w.vdi, "error", err)
	}
	known := w.known()
	if err := w.volume.Close(ctx); err != nil {
		return "", fmt.Errorf("unmount VDI %s: %w", w.vdi, err)
	}
	w.volume = nil
	digest, err := image.SumKnown(ctx, w.attachment.File, w.size, known)
	if err != nil {
		return "", fmt.Errorf("digest of VDI %s: %w", w.vdi, err)
	}
	w.attachment.Detach(ctx)
	w.attachment = nil
	return digest.String(), nil
}

// known are the blocks of the image that were hashed on their way into a file: nearly all of it. Whoever wrote to
// the file behind the Writer's back has made an image of which the digest is wrong, and nobody will mount it.
func (w *Workspace) known() image.Known {
	known := image.Known{}
	for _, f := range w.files {
		extents, err := volume.Extents(f.Path())
		if err != nil {
			continue // it was temporary, and is gone; or else the image is read instead
		}
		for _, e := range extents {
			f.Locate(known, e.Logical, e.Physical, e.Length)
		}
	}
	return known
}

// Keep makes the sealed VDI a lasting one; see [Service.Keep].
func (w *Workspace) Keep(ctx context.Context, edit func(*xenapi.VDI), commit func(*db.Tx) error) error {
	if err := w.service.Keep(ctx, w.task, w.vdi, edit, commit); err != nil {
		return err
	}
	w.kept = true
	return nil
}

// Discard unmounts and destroys the VDI. It does nothing after Keep and may be called twice. What it
// cannot remove stays recorded as the task's, and goes by [Service.Undo] after the task has ended.
func (w *Workspace) Discard(ctx context.Context) {
	if w.kept {
		return
	}
	w.kept = true
	ctx, cancel := cleanup(ctx)
	defer cancel()
	_ = w.pause() // nobody wants to know what was not written
	if w.volume != nil {
		if err := w.volume.Discard(ctx); err != nil {
			w.service.log.Warn("temporary VDI still in use; it goes when that ends", "vdi", w.vdi, "error", err)
			w.service.noteBusy(w)
			return
		}
	}
	if w.attachment != nil {
		w.attachment.Detach(ctx)
	}
	w.service.Discard(ctx, w.task, w.vdi)
}

func (s *Service) noteBusy(w *Workspace) {
	rec, _ := s.lookup(w.vdi)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy[rec.UUID] = w
}

func (s *Service) busyWorkspace(uuid string) *Workspace {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy[uuid]
}

// unmountBusy goes on with the Discard of the workspace that an attachment is of, if that is one that was in use.
func (s *Service) unmountBusy(ctx context.Context, b task.Belonging) error {
	uuid := uuidOfVDI(b)
	w := s.busyWorkspace(uuid)
	if w == nil {
		return nil
	}
	if w.volume.InUse() {
		return xenapi.ErrVDIInUse(w.vdi, string(xenapi.VDIOperationDestroy))
	}
	if err := w.volume.Discard(ctx); err != nil {
		return err
	}
	w.attachment.Detach(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, uuid)
	return nil
}
