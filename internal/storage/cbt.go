package storage

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"poolpatch/internal/db"
	"poolpatch/internal/storage/image"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Changed block tracking. What changed between two VDIs is found out by comparing them, so nothing is kept while a VDI is
// written. A snapshot whose data is destroyed keeps the list of its blocks in the place of its content.

// kindReduction is the kind of belonging that such a replacement is, from before it is made. The object is the VDI's UUID.
const kindReduction = "reduction"

// SetCBT says whether what changes in a VDI is to be told later. Its snapshots inherit that. Errors: SR_OPERATION_NOT_SUPPORTED,
// OPERATION_NOT_ALLOWED for a snapshot, VDI_INCOMPATIBLE_TYPE.
func (s *Service) SetCBT(ctx context.Context, ref xenapi.Ref[xenapi.VDI], enabled bool) error {
	rec, sr, err := s.vdiOnSR(ref)
	switch {
	case err != nil:
		return err
	case !sr.Capabilities().CBT:
		return xenapi.ErrSROperationNotSupported(rec.SR)
	case rec.IsASnapshot:
		return xenapi.ErrOperationNotAllowed("a snapshot has what its VDI had when it was taken")
	case !ofADisk(rec):
		return xenapi.ErrVDIIncompatibleType(ref, string(rec.Type))
	case rec.CBTEnabled == enabled:
		return nil
	}
	return s.DescribeVDI(ctx, ref, func(vdi *xenapi.VDI) { vdi.CBTEnabled = enabled })
}

// ofADisk tells the VDIs that hold what a machine writes.
func ofADisk(rec xenapi.VDI) bool {
	return rec.Type == xenapi.VDITypeUser || rec.Type == xenapi.VDITypeSystem
}

// ChangedBlocks tells what differs in one VDI from another, in grains of 64 KiB. Errors: VDI_NO_CBT_METADATA, VDI_IN_USE while
// one of them is written, SR_HAS_NO_PBDS, VDI_IO_ERROR.
func (s *Service) ChangedBlocks(ctx context.Context, t *task.Task, from, to xenapi.Ref[xenapi.VDI]) (image.Changes, error) {
	if from == to {
		return nil, xenapi.ErrOperationNotAllowed("a VDI is compared to another one")
	}
	before, done, err := s.side(ctx, t, from)
	if err != nil {
		return nil, err
	}
	defer done()
	after, done, err := s.side(ctx, t, to)
	if err != nil {
		return nil, err
	}
	defer done()
	changes, err := image.Changed(ctx, before, after)
	return changes, s.ioError(ctx, "", 0, err)
}

// side attaches a VDI that is compared, until the function that it gives is called.
func (s *Service) side(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI]) (side image.Side, done func(), err error) {
	rec, err := s.lookup(ref)
	if err == nil && !rec.CBTEnabled {
		err = xenapi.ErrVDINoCBTMetadata(ref)
	}
	if err != nil {
		return side, nil, err
	}
	a, err := s.attachImage(ctx, t, &Attachment{VDI: ref, Mode: ReadOnly})
	if err != nil {
		return side, nil, err
	}
	if rec.Type == xenapi.VDITypeCBTMetadata {
		side.Blocks, err = readReduced(ctx, a.File, rec)
	} else {
		side.File = a.File
		side.Blocks, err = s.blocksIn(ctx, a.File, rec)
	}
	if err != nil {
		a.Detach(ctx)
		return side, nil, err
	}
	return side, func() { a.Detach(ctx) }, nil
}

// blocksIn lists the blocks of a VDI. Errors: VDI_IO_ERROR when they are not those that were written.
func (s *Service) blocksIn(ctx context.Context, file *os.File, rec xenapi.VDI) (*image.Blocks, error) {
	var digest image.Digest
	if rec.Digest != "" {
		var err error
		if digest, err = image.ParseDigest(rec.Digest); err != nil {
			return nil, err
		}
	}
	return s.blocksOf(ctx, digest, file, rec.VirtualSize)
}

// DestroyData leaves of a snapshot only what is needed to tell what has changed since it was taken: it becomes a VDI of type
// cbt_metadata. Its VBDs go. Errors: SR_OPERATION_NOT_SUPPORTED, OPERATION_NOT_ALLOWED, VDI_NO_CBT_METADATA,
// VDI_INCOMPATIBLE_TYPE, VDI_IN_USE.
func (s *Service) DestroyData(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI]) error {
	rec, sr, err := s.vdiOnSR(ref)
	if err != nil {
		return err
	}
	if _, able := sr.(Reducer); !able || !sr.Capabilities().CBT {
		return xenapi.ErrSROperationNotSupported(rec.SR)
	}
	l := lock{sr: rec.SR, srOp: xenapi.StorageOperationVDIDataDestroy, vdi: ref, vdiOp: xenapi.VDIOperationDataDestroy}
	if err := s.acquire(ctx, t, l, func(tx *db.Tx) error { return reducible(tx, ref) }); err != nil {
		return err
	}
	err = s.reduce(ctx, t, ref)
	return errOr(err, s.update(ctx, func(tx *db.Tx) error { return s.release(tx, t, l) }))
}

// reducible reports why a VDI's data cannot be destroyed.
func reducible(tx *db.Tx, ref xenapi.Ref[xenapi.VDI]) error {
	rec, err := db.Get(tx, ref)
	switch {
	case err != nil:
		return err
	case !ofADisk(rec):
		return xenapi.ErrVDIIncompatibleType(ref, string(rec.Type))
	case !rec.IsASnapshot:
		return xenapi.ErrOperationNotAllowed("only a snapshot's data can be destroyed")
	case !rec.CBTEnabled:
		return xenapi.ErrVDINoCBTMetadata(ref)
	case inUse(tx, rec.UUID):
		return xenapi.ErrVDIInUse(ref, string(xenapi.VDIOperationDataDestroy))
	}
	return nil
}

func (s *Service) reduce(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI]) error {
	side, done, err := s.side(ctx, t, ref)
	if err != nil {
		return err
	}
	done() // nobody else opens it under the mark
	rec, sr, err := s.vdiOnSR(ref)
	if err != nil {
		return err
	}
	content, err := reduced(side.Blocks)
	if err != nil {
		return err
	}
	b := task.Belonging{Object: rec.UUID, Detail: map[string]string{"digest": side.Blocks.Digest().String()}}
	err = s.update(ctx, func(tx *db.Tx) error { return t.Own(tx, kindReduction, b.Object, b.Detail) })
	if err != nil {
		return err
	}
	// A crash from here on leaves the one content or the other, under the row of a snapshot: recovery looks which it is.
	dctx, cancel := cleanup(ctx)
	defer cancel()
	_, err = sr.(Reducer).Reduce(dctx, rec.Location, content)
	settled := s.undoReduction(dctx, b)
	return errOr(located(err, rec.SR, ref), settled)
}

// undoReduction brings to an end what a task began: where the content was replaced the row comes to say so, and where it was
// not it is the snapshot that it was.
func (s *Service) undoReduction(ctx context.Context, b task.Belonging) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	var ref xenapi.Ref[xenapi.VDI]
	_ = s.view(func(tx *db.Tx) error { ref, _ = db.ByUUID[xenapi.VDI](tx, b.Object); return nil })
	disown := func(tx *db.Tx) error { return task.Disown(tx, kindReduction, b.Object) }
	rec, sr, err := s.vdiOnSR(ref)
	if xenapi.CodeOf(err) == xenapi.CodeHandleInvalid {
		return s.update(ctx, disown)
	}
	if err != nil {
		return err
	}
	img, there, err := find(ctx, sr, func(img Image) bool { return img.Location == rec.Location })
	if err != nil {
		return err
	}
	if !there {
		return s.update(ctx, disown)
	}
	digest, err := s.digestOfReduced(ctx, sr, img, b.Detail["digest"])
	if err != nil {
		return err
	}
	if digest == "" {
		return s.update(ctx, disown)
	}
	was := rec.VirtualSize
	rec.Type, rec.VirtualSize, rec.PhysicalUtilisation, rec.Digest = xenapi.VDITypeCBTMetadata, img.Size, img.Used, digest
	if err := sr.Describe(ctx, s.imageOf(rec)); err != nil {
		return located(err, rec.SR, ref)
	}
	space := measured(ctx, sr)
	return s.update(ctx, func(tx *db.Tx) error {
		err := db.Change(tx, ref, func(vdi *xenapi.VDI) error {
			vdi.Type, vdi.VirtualSize, vdi.PhysicalUtilisation, vdi.Digest = rec.Type, rec.VirtualSize, rec.PhysicalUtilisation, rec.Digest
			return nil
		})
		for _, vbd := range db.Referrers[xenapi.VBD](tx, "VDI", ref) {
			err = errOr(err, db.Delete(tx, vbd))
		}
		return errOr(err, errOr(account(tx, rec.SR, rec.VirtualSize-was, space), disown(tx)))
	})
}

// digestOfReduced is the digest of an image whose content is the list of blocks of the digest want; "" where it is not that.
func (s *Service) digestOfReduced(ctx context.Context, sr SR, img Image, want string) (string, error) {
	file, err := sr.Open(ctx, img.Location, ReadOnly)
	if err != nil {
		return "", err
	}
	defer file.Close()
	blocks, err := parseReduced(file, img.Size)
	if err != nil || blocks.Digest().String() != want {
		return "", nil //nolint:nilerr // then it is still what it was
	}
	digest, err := image.Sum(ctx, file, img.Size)
	return digest.String(), err
}

// reduced is the content of a VDI of type cbt_metadata: the length of the list of blocks, big-endian in 8 bytes, and the list.
func reduced(blocks *image.Blocks) ([]byte, error) {
	list, err := blocks.MarshalBinary()
	return append(binary.BigEndian.AppendUint64(nil, uint64(len(list))), list...), err
}

func parseReduced(r io.ReaderAt, size int64) (*image.Blocks, error) {
	var head [8]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint64(head[:])
	if length > uint64(min(size-int64(len(head)), maxList)) {
		return nil, fmt.Errorf("a list of blocks with %d bytes", length)
	}
	list := make([]byte, length)
	if _, err := r.ReadAt(list, int64(len(head))); err != nil {
		return nil, err
	}
	blocks := new(image.Blocks)
	return blocks, blocks.UnmarshalBinary(list)
}

// readReduced reads what is left of a snapshot. Errors: VDI_IO_ERROR.
func readReduced(ctx context.Context, file *os.File, rec xenapi.VDI) (*image.Blocks, error) {
	digest, err := image.Sum(ctx, file, rec.VirtualSize)
	if err != nil {
		return nil, xenapi.ErrVDIIOError(err.Error()).Because(err)
	}
	if digest.String() != rec.Digest {
		return nil, errSpoiled(digest.String(), rec.Digest)
	}
	return parseReduced(file, rec.VirtualSize)
}
