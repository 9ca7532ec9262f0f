package patch

import (
	"context"
	"errors"
	"fmt"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Sizes of M4, in bytes.
const (
	sizeFactor  = 4       // a VDI is this many times as large as its patch
	unknownSize = 4 << 30 // of the VDI when nobody says how long the patch is
	leastSize   = 16 << 20
	// A length from here on is no length: clients that do not know it announce a pebibyte.
	unbelievable = 1 << 50
)

// vdiSize is the size of the VDI for a patch of the announced length, -1 for none.
func vdiSize(length int64) int64 {
	if !believable(length) {
		return unknownSize
	}
	return max(sizeFactor*length, leastSize)
}

func believable(length int64) bool { return length > 0 && length < unbelievable }

// purpose says what an SR is chosen for.
type purpose bool

const (
	// uploadSR is M3: the default SR, or one that clones, so that hosts get their copies for nothing.
	uploadSR purpose = false
	// anySR is for what nobody clones, a private copy: an SR that neither is the default nor clones will do too.
	anySR purpose = true
)

// newWorkspace chooses an SR and makes a mounted VDI on it that is large enough for a patch of the
// given length. Errors: HOST_HAS_NO_PATCH_SR.
func (s *Service) newWorkspace(ctx context.Context, t *task.Task, length int64, label string, p purpose) (Workspace, error) {
	size := vdiSize(length)
	sr, err := s.chooseSR(ctx, size, p)
	if err != nil {
		return nil, err
	}
	rec := xenapi.New[xenapi.VDI]()
	rec.SR, rec.VirtualSize, rec.Type = sr, size, xenapi.VDITypeUser
	rec.NameLabel = label
	return s.storage.NewWorkspace(ctx, t, rec)
}

// chooseSR takes the pool's default SR if it is usable, else the first usable one that can clone, else the first usable
// one where that serves the purpose.
func (s *Service) chooseSR(ctx context.Context, need int64, p purpose) (xenapi.Ref[xenapi.SR], error) {
	candidates, err := s.storage.Candidates(ctx)
	if err := errors.Join(err, context.Cause(ctx)); err != nil {
		return "", err
	}
	preferred := s.defaultSR()
	var refusals []string
	var clones, plain xenapi.Ref[xenapi.SR]
	for _, c := range candidates {
		why := unusable(c, need)
		if why == "" && c.SR != preferred && !c.CanClone && p == uploadSR {
			why = "it is not the default SR and cannot clone VDIs"
		}
		switch {
		case why != "":
			refusals = append(refusals, fmt.Sprintf("SR %s (%s): %s", c.UUID, c.Label, why))
		case c.SR == preferred:
			return c.SR, nil
		case c.CanClone && clones.IsNull():
			clones = c.SR
		case plain.IsNull():
			plain = c.SR
		}
	}
	for _, sr := range []xenapi.Ref[xenapi.SR]{clones, plain} {
		if !sr.IsNull() {
			return sr, nil
		}
	}
	if len(candidates) == 0 {
		refusals = []string{"the host has no PBD of any SR"}
	}
	return "", xenapi.ErrHostHasNoPatchSR(s.host, refusals...)
}

// unusable says why an SR cannot take a VDI of need bytes, or "" when it can.
func unusable(c Candidate, need int64) string {
	switch {
	case !c.Plugged:
		return "its PBD is not plugged on this host"
	case !c.CanCreate:
		return "its driver cannot create VDIs"
	case c.ContentType == "iso":
		return "it holds ISO images"
	case c.Err != nil:
		return "its free space is not known: " + c.Err.Error()
	case c.Free < need:
		return fmt.Sprintf("%d bytes needed, %d bytes free", need, c.Free)
	}
	return ""
}

func (s *Service) defaultSR() (sr xenapi.Ref[xenapi.SR]) {
	_ = s.db.View(func(tx *db.Tx) error {
		for _, pool := range db.All[xenapi.Pool](tx) {
			sr = pool.DefaultSR
		}
		return nil
	})
	return sr
}
