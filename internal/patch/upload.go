package patch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"poolpatch/internal/db"
	"poolpatch/internal/hotfix"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// readBuffer holds what is read of an upload ahead of the first decision.
const readBuffer = 64 << 10

// Upload takes a signed patch of the announced length in bytes (-1, or something unbelievable, when it
// is not known) and gives its record. The same patch again is the same record. Nothing is left of an
// upload that fails. Errors: INVALID_PATCH, INVALID_PATCH_WITH_LOG, HOST_HAS_NO_PATCH_SR, SR_FULL,
// PATCH_ALREADY_EXISTS, OTHER_OPERATION_IN_PROGRESS, TASK_CANCELLED, and the reader's own when the
// client went away.
func (s *Service) Upload(ctx context.Context, t *task.Task, body io.Reader, length int64) (xenapi.Ref[xenapi.PoolPatch], error) {
	return s.Take(ctx, t, body, length, "")
}

// Take is Upload of a patch whose UUID is known before: a file that turns out to be another patch is INVALID_PATCH. "" is any.
func (s *Service) Take(ctx context.Context, t *task.Task, body io.Reader, length int64, uuid string) (xenapi.Ref[xenapi.PoolPatch], error) {
	return s.takeIn(ctx, t, incoming{
		body: body, length: length, uuid: uuid, extract: s.verifier.Extract,
		settle: func(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch]) (string, error) {
			return ref.String(), retell(tx, ref)
		},
	})
}

// incoming is a patch on its way in.
type incoming struct {
	body   io.Reader
	length int64  // announced, in bytes
	uuid   string // that the patch must have; "" is any
	// extract verifies the body and finds where in it the signed file ends.
	extract func(ctx context.Context, r io.Reader, dir hotfix.Directory) (hotfix.Verified, error)
	settle  settling
}

// settling is what the transaction does besides after which the pool has a patch. It gives the task's result.
type settling func(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch]) (result string, err error)

// takeIn is the one way in which a patch comes into a VDI of its own.
func (s *Service) takeIn(ctx context.Context, t *task.Task, from incoming) (xenapi.Ref[xenapi.PoolPatch], error) {
	// Clients probe with an empty body: nothing may be made before there is a byte.
	r := bufio.NewReaderSize(from.body, readBuffer)
	if _, err := r.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			return "", xenapi.ErrInvalidPatch("the upload is empty")
		}
		return "", fmt.Errorf("read upload: %w", err)
	}
	from.body = r
	space, err := s.newWorkspace(ctx, t, from.length, "Patch upload in progress", uploadSR)
	if err != nil {
		return "", err
	}
	// The VDI belongs to the task until publish: a crash before leaves a belonging that recovery
	// destroys, a failure ends in this Discard.
	defer space.Discard(ctx)
	s.step("upload-mounted")

	a, err := s.receive(ctx, t, space, from)
	if err != nil {
		return "", space.Explain(ctx, err)
	}
	s.step("upload-received")
	if from.uuid != "" && a.info.UUID != from.uuid {
		return "", xenapi.ErrInvalidPatch(fmt.Sprintf("it is patch %s, not %s", a.info.UUID, from.uuid))
	}
	t.About("pool_patch " + a.info.UUID)
	// Another upload of the same content may come first at the last moment, and may be destroyed again.
	for {
		if ref, done, err := s.known(ctx, t, &a, from.settle); done || err != nil {
			return ref, err
		}
		if a.imageDigest == "" {
			if a.imageDigest, err = space.Seal(ctx); err != nil {
				return "", space.Explain(ctx, err)
			}
			s.step("upload-sealed")
		}
		if ref, err := s.publish(ctx, t, space, a, from.settle); !errors.Is(err, errTwin) {
			return ref, err
		}
	}
}

// receive makes one pass over the stream: it goes into the file patch and at the same time through the
// verification, which writes the program into the scratch directory. Then the program is asked what it
// is, and removed. When receive returns, the file is on stable storage.
func (s *Service) receive(ctx context.Context, t *task.Task, space Workspace, from incoming) (a arrival, err error) {
	file, err := space.Create(patchFile, 0o440)
	if err != nil {
		return a, fmt.Errorf("patch file: %w", err)
	}
	room := &room{ctx: ctx, space: space}
	dir, err := newScratch(room)
	if err != nil {
		return a, err
	}
	in := &intake{ctx: ctx, r: from.body, task: t, promised: from.length}
	kept := &trimmed{w: roomWriter{file, room}}
	// A signed file that verifies is complete, whatever length was announced: some clients announce more.
	program, err := from.extract(ctx, io.TeeReader(in, kept), dir)
	if err != nil {
		return a, err
	}
	if err := kept.end(program.SignedSize()); err != nil {
		return a, err
	}
	s.step("upload-verified")
	info, err := s.runInfo(ctx, content{t, program, dir})
	if err != nil {
		return a, err
	}
	if err := program.Remove(); err != nil {
		return a, err
	}
	if err := file.Close(); err != nil {
		return a, fmt.Errorf("patch file: %w", err)
	}
	return arrival{info: info, digest: file.Digest(), signer: program.Signer(), size: program.SignedSize()}, nil
}

// intake is the upload's stream on its way in: it shows progress, and ends when the task is cancelled.
type intake struct {
	ctx      context.Context // of the upload that the intake lives for
	r        io.Reader
	task     *task.Task
	promised int64
	received int64
}

func (in *intake) Read(p []byte) (int, error) {
	if err := context.Cause(in.ctx); err != nil {
		return 0, err
	}
	n, err := in.r.Read(p)
	in.received += int64(n)
	if believable(in.promised) {
		in.task.Progress(in.ctx, float64(in.received)/float64(in.promised))
	}
	return n, err
}

// trimmed passes on what is written to it, but for zeroes at its end: of an image those are not of the file, or perhaps the
// first of them are.
type trimmed struct {
	w             io.Writer
	written, held int64 // bytes
}

func (f *trimmed) Write(p []byte) (int, error) {
	content := bytes.TrimRight(p, "\x00")
	if len(content) > 0 {
		if err := f.zeroes(f.held); err != nil {
			return 0, err
		}
		f.held = 0
		n, err := f.w.Write(content)
		if f.written += int64(n); err != nil {
			return n, err
		}
	}
	f.held += int64(len(p) - len(content))
	return len(p), nil
}

// end makes it a file of size bytes.
func (f *trimmed) end(size int64) error { return f.zeroes(size - f.written) }

func (f *trimmed) zeroes(n int64) error {
	if n == 0 {
		return nil
	}
	written, err := io.CopyN(f.w, zeroes{}, n)
	f.written += written
	return err
}

// zeroes are as many as one likes.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// arrival is a patch that has arrived: its content is sealed in a VDI, no record points at it yet.
type arrival struct {
	info        hotfix.Info
	digest      string // of the signed file
	signer      string
	size        int64  // of the signed file, bytes
	imageDigest string // of the VDI, once it is sealed
	// lost is a VDI that the record of the same patch names, and whose image is not there any more.
	lost xenapi.Ref[xenapi.VDI]
}

// known answers an upload of a patch that the pool has already, before any more work is done for it. A VDI of which there is
// only the record left is noted in the arrival, which is to take its place.
func (s *Service) known(ctx context.Context, t *task.Task, a *arrival, settle settling) (ref xenapi.Ref[xenapi.PoolPatch], done bool, err error) {
	var rec xenapi.PoolPatch
	look := func(tx *db.Tx) error {
		done = false
		if ref, err = db.ByUUID[xenapi.PoolPatch](tx, a.info.UUID); err != nil {
			return nil // a new patch
		}
		if rec, err = db.Get(tx, ref); err != nil {
			return err
		}
		done, err = s.standsFor(tx, rec, *a)
		return err
	}
	if err := s.db.View(look); err == nil && !done {
		return ref, false, nil
	}
	if !rec.VDI.IsNull() && !s.storage.HasImage(ctx, rec.VDI) {
		a.lost = rec.VDI
	}
	return ref, done, s.update(ctx, func(tx *db.Tx) error {
		if err := look(tx); err != nil || !done {
			return err
		}
		result, err := settle(tx, ref)
		if err != nil {
			return err
		}
		return t.Succeed(tx, result)
	})
}

// standsFor says whether a record that has an arriving patch's UUID is of the same content and still has
// it. One that has other content is in the way; one whose content is gone, or was changed, is to be repointed.
func (s *Service) standsFor(tx *db.Tx, rec xenapi.PoolPatch, a arrival) (bool, error) {
	vdi, inVDI := db.Lookup(tx, rec.VDI)
	intact := inVDI && rec.VDI != a.lost && vdi.Digest == rec.ImageDigest
	if !intact && !s.legacyExists(rec.Filename) {
		return false, nil
	}
	if rec.Digest == a.digest {
		return true, nil
	}
	return false, xenapi.ErrPatchAlreadyExists(rec.UUID)
}

// hasContent reports whether the patch can still be read: its VDI or its legacy file is there.
func (s *Service) hasContent(tx *db.Tx, rec xenapi.PoolPatch) bool {
	if _, ok := db.Lookup(tx, rec.VDI); ok && !rec.VDI.IsNull() {
		return true
	}
	return s.legacyExists(rec.Filename)
}

// Holds reports whether the pool has the content of a patch.
func (s *Service) Holds(tx *db.Tx, uuid string) bool {
	ref, err := db.ByUUID[xenapi.PoolPatch](tx, uuid)
	if err != nil {
		return false
	}
	rec, _ := db.Lookup(tx, ref)
	return s.hasContent(tx, rec)
}

// publish makes the arrival known: one transaction writes the record, the VDI's labels and the task's
// result (I2). Two uploads of one patch meet here; the second finds the first's record.
func (s *Service) publish(ctx context.Context, t *task.Task, space Workspace, a arrival, settle settling) (xenapi.Ref[xenapi.PoolPatch], error) {
	var ref xenapi.Ref[xenapi.PoolPatch]
	err := space.Keep(ctx,
		func(vdi *xenapi.VDI) {
			vdi.NameLabel = fmt.Sprintf("Patch %s (%s)", a.info.UUID, a.info.NameLabel)
			vdi.NameDescription = a.info.NameDescription
			vdi.Digest = a.imageDigest
		},
		func(tx *db.Tx) (err error) {
			if ref, err = s.record(tx, t, space.VDI(), a); err != nil {
				return err
			}
			result, err := settle(tx, ref)
			if err != nil {
				return err
			}
			return t.Succeed(tx, result)
		})
	if errors.Is(err, errTwin) {
		return "", err
	}
	s.step("upload-published")
	// A crash here leaves the record of a VDI without an image, to which nothing points: a scan of its SR removes it.
	if err == nil && !a.lost.IsNull() {
		if err := s.storage.DestroyVDI(ctx, t, a.lost); err != nil {
			s.log.Warn("record of a VDI without an image not removed; a scan of its SR does it", "vdi", a.lost, "error", err)
		}
	}
	return ref, err
}

// errTwin ends a publication because another upload of the same content came first.
var errTwin = errors.New("the same patch was uploaded at the same time")

// record inserts or repoints the pool_patch.
func (s *Service) record(tx *db.Tx, t *task.Task, vdi xenapi.Ref[xenapi.VDI], a arrival) (xenapi.Ref[xenapi.PoolPatch], error) {
	ref, err := db.ByUUID[xenapi.PoolPatch](tx, a.info.UUID)
	if err != nil {
		rec := xenapi.New[xenapi.PoolPatch]()
		rec.UUID = a.info.UUID
		a.describe(&rec, vdi)
		ref = xenapi.NewRef[xenapi.PoolPatch]()
		return ref, db.Insert(tx, ref, rec)
	}
	rec, err := db.Get(tx, ref)
	if err != nil {
		return "", err
	}
	if same, err := s.standsFor(tx, rec, a); err != nil || same {
		if same {
			err = errTwin
		}
		return ref, err
	}
	if err := collides(tx, ref, rec, t.Ref(), opReplace, ""); err != nil {
		return "", err
	}
	a.describe(&rec, vdi)
	return ref, db.Put(tx, ref, rec)
}

// describe writes what the arrival says into the record: all of it, so that a repointed record does not
// keep the old content's labels.
func (a arrival) describe(rec *xenapi.PoolPatch, vdi xenapi.Ref[xenapi.VDI]) {
	rec.NameLabel, rec.NameDescription, rec.Version = a.info.NameLabel, a.info.NameDescription, a.info.Version
	rec.AfterApplyGuidance = a.info.AfterApplyGuidance
	rec.Size, rec.Digest, rec.Signer = a.size, a.digest, a.signer
	rec.VDI, rec.ImageDigest, rec.Filename = vdi, a.imageDigest, ""
}
