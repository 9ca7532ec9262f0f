package patch

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"poolpatch/internal/db"
	"poolpatch/internal/hotfix"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Storage is what patches need of SRs and VDIs. internal/storage implements it.
type Storage interface {
	// Candidates describes every SR that has a PBD on this host, plugged or not.
	Candidates(ctx context.Context) ([]Candidate, error)
	// NewWorkspace makes a temporary VDI of the task with an empty file system, mounted.
	NewWorkspace(ctx context.Context, t *task.Task, vdi xenapi.VDI) (Workspace, error)
	// OpenCopy makes the task's private copy of a VDI on an SR that this host can reach, checks that its
	// content has the digest, and mounts it. A copy whose digest differs is never mounted.
	// The copy comes onto the VDI's own SR where this host sees that and it has room, else onto the SR that elsewhere
	// gives for a VDI of that many bytes.
	OpenCopy(ctx context.Context, t *task.Task, vdi xenapi.Ref[xenapi.VDI], digest, label string,
		elsewhere func(need int64) (xenapi.Ref[xenapi.SR], error)) (Workspace, error)
	// ReadVDI gives fn a VDI's content up to where its last data ends, and how many bytes that is. Nobody writes to the VDI or
	// destroys it meanwhile.
	ReadVDI(ctx context.Context, t *task.Task, vdi xenapi.Ref[xenapi.VDI], fn func(r io.Reader, length int64) error) error
	// HasImage reports whether a VDI has its image, as far as this host can see.
	HasImage(ctx context.Context, vdi xenapi.Ref[xenapi.VDI]) bool
	// DestroyVDI removes a VDI and its content.
	DestroyVDI(ctx context.Context, t *task.Task, vdi xenapi.Ref[xenapi.VDI]) error
}

// Workspace is a mounted file system in a temporary VDI.
type Workspace interface {
	VDI() xenapi.Ref[xenapi.VDI]
	Dir() string
	// Open reads a file in Dir from its beginning.
	Open(name string) (io.ReadCloser, error)
	// Create makes a file in Dir that lasts. CreateTemporary makes one that goes before Seal or with Discard.
	// Both are for large content, and take part in Grow.
	Create(name string, perm os.FileMode) (File, error)
	CreateTemporary(name string, perm os.FileMode) (io.WriteCloser, error)
	// Size is the VDI's size in bytes; Grow enlarges VDI and file system while it is mounted.
	Size() int64
	Grow(ctx context.Context, size int64) error
	// Explain makes a domain error of one that came of a full SR (M10), or of one that cannot be read or written.
	Explain(ctx context.Context, err error) error
	// Seal unmounts, and gives the digest of the content as it then is. Only Discard and Keep follow.
	Seal(ctx context.Context) (digest string, err error)
	// Keep makes the sealed VDI a lasting one: edit describes it, commit runs in the transaction that
	// ends the task's ownership.
	Keep(ctx context.Context, edit func(*xenapi.VDI), commit func(*db.Tx) error) error
	// Discard unmounts and destroys the VDI. It does nothing after Keep, and may be called twice.
	Discard(ctx context.Context)
}

// File is written from its beginning to its end. Closed without an error, it is on stable storage.
type File interface {
	io.WriteCloser
	// Digest identifies the content of a file that is closed.
	Digest() string
}

// Candidate is an SR as the choice of M3 sees it.
type Candidate struct {
	SR          xenapi.Ref[xenapi.SR]
	UUID, Label string
	ContentType string
	Plugged     bool
	CanCreate   bool
	CanClone    bool
	Free        int64 // bytes; of a plugged SR
	Err         error // why Free is not known
}

// patchFile is the patch's name in the root of its VDI (M5).
const patchFile = "patch"

// content is a patch laid out for running: verified, its program extracted.
type content struct {
	task    *task.Task // runs the program
	program hotfix.Verified
	scratch scratch
}

// scratch is a directory of a workspace for a program to be extracted into and run in. Each run has its own: what
// one leaves is not in the way of the next, and is never removed file by file.
type scratch struct {
	room *room
	name string // in the workspace
}

func newScratch(r *room) (scratch, error) {
	dir, err := os.MkdirTemp(r.space.Dir(), "scratch-")
	if err != nil {
		return scratch{}, fmt.Errorf("scratch space: %w", err)
	}
	return scratch{r, filepath.Base(dir)}, nil
}

// Path and Create implement hotfix.Directory.
func (s scratch) Path() string { return filepath.Join(s.room.space.Dir(), s.name) }

func (s scratch) Create(name string, perm os.FileMode) (io.WriteCloser, error) {
	w, err := s.room.space.CreateTemporary(filepath.Join(s.name, name), perm)
	return roomWriter{w, s.room}, err
}

// room keeps a workspace large enough for the signed file and the program extracted from it, which may be many times as
// large: half of it stays free for what the program does (M4, M5). Whoever takes room is the one who writes.
type room struct {
	ctx   context.Context // of the call that the workspace lives for
	space Workspace
	taken int64 // bytes
}

// take makes room for n more bytes.
func (r *room) take(n int) error {
	r.taken += int64(n)
	size := r.space.Size()
	for size < 2*r.taken {
		size *= 2
	}
	if size == r.space.Size() {
		return nil
	}
	return r.space.Grow(r.ctx, size)
}

// roomWriter is a file that takes its room before it is written.
type roomWriter struct {
	io.WriteCloser
	room *room
}

func (w roomWriter) Write(p []byte) (int, error) {
	if err := w.room.take(len(p)); err != nil {
		return 0, err
	}
	return w.WriteCloser.Write(p)
}

// withContent gives fn the patch's content in a workspace that lives as long as fn does (M6).
func (s *Service) withContent(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch], fn func(content) error) error {
	s.enter(ctx, t, copying)
	space, err := s.openContent(ctx, t, ref)
	if err != nil {
		return err
	}
	defer space.Discard(ctx)
	s.step("content-mounted")
	s.enter(ctx, t, verifying)
	c, err := s.extract(ctx, t, space, s.sizeOf(ref))
	if err != nil {
		return space.Explain(ctx, err)
	}
	s.step("content-verified")
	s.enter(ctx, t, prechecking)
	return fn(c)
}

// openContent mounts a private copy of the patch's VDI, or puts the legacy file into a fresh workspace.
func (s *Service) openContent(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch]) (Workspace, error) {
	var rec xenapi.PoolPatch
	inVDI := false
	err := s.db.View(func(tx *db.Tx) (err error) {
		if rec, err = db.Get(tx, ref); err != nil {
			return err
		}
		_, inVDI = db.Lookup(tx, rec.VDI)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case inVDI:
		space, err := s.storage.OpenCopy(ctx, t, rec.VDI, rec.ImageDigest, copyLabel(rec),
			func(need int64) (xenapi.Ref[xenapi.SR], error) { return s.chooseSR(ctx, need, anySR) })
		if xenapi.CodeOf(err) == xenapi.CodeHandleInvalid && s.contentIn(ref) != rec.VDI {
			return s.openContent(ctx, t, ref) // it was moved meanwhile
		}
		return space, err
	case s.legacyExists(rec.Filename):
		space, _, err := s.openLegacy(ctx, t, rec)
		return space, err
	case rec.Filename != "" && s.fetch != nil && !s.isCoordinator():
		return s.fetchLegacy(ctx, t, rec)
	}
	return nil, xenapi.ErrCannotFindPatch()
}

// contentIn is the VDI that a patch's record points at.
func (s *Service) contentIn(ref xenapi.Ref[xenapi.PoolPatch]) (vdi xenapi.Ref[xenapi.VDI]) {
	_ = s.db.View(func(tx *db.Tx) error { rec, _ := db.Lookup(tx, ref); vdi = rec.VDI; return nil })
	return vdi
}

func copyLabel(rec xenapi.PoolPatch) string {
	return "Copy of patch " + rec.UUID + " (" + rec.NameLabel + ")"
}

func (s *Service) isCoordinator() (yes bool) {
	_ = s.db.View(func(tx *db.Tx) error { yes = s.coordinating(tx); return nil })
	return yes
}

// fetchLegacy puts the coordinator's file of a patch into a workspace of this host (M7).
func (s *Service) fetchLegacy(ctx context.Context, t *task.Task, rec xenapi.PoolPatch) (Workspace, error) {
	file, length, err := s.fetch(ctx, rec.UUID)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	space, _, err := s.fill(ctx, t, rec, &cutOff{file, length}, length)
	return space, err
}

// cutOff reads a file that must have a length: one that ends before it is not the file.
type cutOff struct {
	r    io.Reader
	left int64
}

func (c *cutOff) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); err == io.EOF && c.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// openLegacy copies a file of the root file system into a workspace, so that nothing large is extracted
// where the file is (M5, M7), and gives the content's digest. The file stays.
func (s *Service) openLegacy(ctx context.Context, t *task.Task, rec xenapi.PoolPatch) (Workspace, string, error) {
	file, err := s.openLegacyFile(rec.Filename)
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, "", fmt.Errorf("legacy file of patch %s: %w", rec.UUID, err)
	}
	return s.fill(ctx, t, rec, file, info.Size())
}

// fill makes a private workspace of a patch's signed file, wherever this host has room, and gives the file's digest.
func (s *Service) fill(ctx context.Context, t *task.Task, rec xenapi.PoolPatch, file io.Reader, length int64) (Workspace, string, error) {
	space, err := s.newWorkspace(ctx, t, length, copyLabel(rec), anySR)
	if err != nil {
		return nil, "", err
	}
	digest, err := writePatchFile(space, file)
	if err != nil {
		err = space.Explain(ctx, err)
		space.Discard(ctx)
		return nil, "", err
	}
	return space, digest, nil
}

func writePatchFile(space Workspace, r io.Reader) (digest string, err error) {
	w, err := space.Create(patchFile, 0o440)
	if err != nil {
		return "", fmt.Errorf("patch file in its workspace: %w", err)
	}
	if _, err := io.Copy(w, r); err != nil {
		return "", fmt.Errorf("copy patch file: %w", err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("copy patch file: %w", err)
	}
	return w.Digest(), nil
}

// extract verifies the patch in a workspace, a file of size bytes, 0 where that is not known, and extracts its program in the
// same pass.
func (s *Service) extract(ctx context.Context, t *task.Task, space Workspace, size int64) (content, error) {
	file, err := space.Open(patchFile)
	if err != nil {
		return content{}, fmt.Errorf("patch file of its VDI: %w", err)
	}
	defer file.Close()
	dir, err := newScratch(&room{ctx: ctx, space: space})
	if err != nil {
		return content{}, err
	}
	program, err := s.verifier.Extract(ctx, &gauge{Reader: file, ctx: ctx, task: t, size: size}, dir)
	return content{t, program, dir}, err
}
