package patch

import (
	"context"
	"io"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/internal/hotfix"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Introduce makes an update of a VDI: its content, from the first byte, is the signed file of a patch, and then zeroes. The
// patch comes in as an upload does, into a VDI of its own; the VDI is only read. The same VDI again is the same update, and
// where the VDI of the update has gone another one takes its place. Errors: INVALID_UPDATE, UPDATE_ALREADY_EXISTS,
// VDI_INCOMPATIBLE_TYPE, VDI_IN_USE while somebody writes to it, and those of Upload.
func (s *Service) Introduce(ctx context.Context, t *task.Task, vdi xenapi.Ref[xenapi.VDI]) (ref xenapi.Ref[xenapi.PoolUpdate], err error) {
	if err := s.db.View(func(tx *db.Tx) error { return introducible(tx, vdi) }); err != nil {
		return "", err
	}
	err = s.storage.ReadVDI(ctx, t, vdi, func(image io.Reader, length int64) error {
		if length == 0 {
			return xenapi.ErrInvalidUpdate("the VDI is empty")
		}
		// A crash from here on leaves what one of an upload does, and an attachment, which are the task's.
		_, err := s.takeIn(ctx, t, incoming{
			body: image, length: length, extract: s.verifier.ExtractImage,
			settle: func(tx *db.Tx, patch xenapi.Ref[xenapi.PoolPatch]) (string, error) {
				made, err := introduce(tx, t.Ref(), patch, vdi)
				ref = made
				return ref.String(), err
			},
		})
		return err
	})
	return ref, twins{}.tell(err)
}

// introducible refuses a VDI that is not there or is none for data.
func introducible(tx *db.Tx, vdi xenapi.Ref[xenapi.VDI]) error {
	rec, err := db.Get(tx, vdi)
	if err != nil {
		return err
	}
	if rec.Type != xenapi.VDITypeUser && rec.Type != xenapi.VDITypeSystem {
		return xenapi.ErrVDIIncompatibleType(vdi, string(rec.Type))
	}
	return nil
}

// introduce gives a patch of the pool its update, or the update its VDI, in the transaction after which the pool has the patch. While
// that is cleaned or destroyed it would lose both again.
func introduce(tx *db.Tx, t xenapi.Ref[xenapi.Task], patch xenapi.Ref[xenapi.PoolPatch], vdi xenapi.Ref[xenapi.VDI]) (xenapi.Ref[xenapi.PoolUpdate], error) {
	if err := introducible(tx, vdi); err != nil {
		return "", err
	}
	if err := release(tx, vdi); err != nil {
		return "", err
	}
	twin, err := db.Get(tx, patch)
	if err != nil {
		return "", err
	}
	dropDead(tx, &twin)
	if err := collides(tx, patch, twin, t, opIntroduce, ""); err != nil {
		return "", err
	}
	ref, rec := twin.PoolUpdate, xenapi.New[xenapi.PoolUpdate]()
	if known, ok := db.Lookup(tx, ref); ok {
		if _, alive := db.Lookup(tx, known.VDI); alive {
			return "", xenapi.ErrUpdateAlreadyExists(known.UUID)
		}
		rec = known
	} else {
		ref, rec.UUID = xenapi.NewRef[xenapi.PoolUpdate](), updateUUID(twin.UUID)
		if _, taken := tx.RefByUUID(rec.Class(), rec.UUID); taken {
			return "", xenapi.ErrUpdateAlreadyExists(rec.UUID)
		}
		twin.PoolUpdate = ref
		if err := db.Put(tx, patch, twin); err != nil {
			return "", err
		}
	}
	describeUpdate(&rec, twin)
	rec.VDI = vdi
	return ref, db.Put(tx, ref, rec)
}

// release takes a VDI from every update that has it: it was read anew, and holds what it holds now.
func release(tx *db.Tx, vdi xenapi.Ref[xenapi.VDI]) error {
	for _, ref := range db.Referrers[xenapi.PoolUpdate](tx, "vdi", vdi) {
		if err := db.Change(tx, ref, func(rec *xenapi.PoolUpdate) error { rec.VDI = ""; return nil }); err != nil {
			return err
		}
	}
	return nil
}

// updateUUID is the UUID of a patch's update: clients that keep objects of all classes by their UUID must tell the two apart.
func updateUUID(patch string) string {
	groups := strings.Split(patch, "-")
	blank := "0000"
	if groups[1] == blank && groups[2] == blank {
		blank = "ffff"
	}
	groups[1], groups[2] = blank, blank
	return strings.Join(groups, "-")
}

// describeUpdate writes what a patch says of itself into its update.
func describeUpdate(rec *xenapi.PoolUpdate, patch xenapi.PoolPatch) {
	rec.NameLabel, rec.NameDescription, rec.Version = patch.NameLabel, patch.NameDescription, patch.Version
	rec.InstallationSize, rec.Digest, rec.Key = patch.Size, patch.Digest, patch.Signer
	if patch.Signer == hotfix.AllowListed {
		rec.Key = ""
	}
	rec.AfterApplyGuidance = nil
	for _, g := range patch.AfterApplyGuidance {
		rec.AfterApplyGuidance = append(rec.AfterApplyGuidance, xenapi.UpdateAfterApplyGuidance(g))
	}
}

// retell makes the update of a patch, where there is one, say what the patch says now. Of another content than that in its VDI
// it is no more.
func retell(tx *db.Tx, patch xenapi.Ref[xenapi.PoolPatch]) error {
	twin, err := db.Get(tx, patch)
	if err != nil {
		return err
	}
	rec, ok := db.Lookup(tx, twin.PoolUpdate)
	if !ok || rec.Digest == twin.Digest {
		return nil
	}
	describeUpdate(&rec, twin)
	rec.VDI = ""
	return db.Put(tx, twin.PoolUpdate, rec)
}
