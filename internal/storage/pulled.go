package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/storage/image"
	"poolpatch/internal/storage/pull"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// maxList bounds the list of an image's blocks as it comes over the network, in bytes: 40 for each MiB that is not
// zero.
const maxList = 1 << 30

// canPull reports whether an error says no more than that this host does not see an SR which others may see.
func (s *Service) canPull(err error) bool {
	return s.others != nil && xenapi.CodeOf(err) == xenapi.CodeSRHasNoPBDs
}

// pullContent copies content from hosts that see its SR, and from those that are pulling it too. The caller has marked the
// source with the operation copy: by that mark the hosts find one another, and the source neither goes nor changes.
// Errors: SR_HAS_NO_PBDS when no host sees the SR, HOST_OFFLINE, VDI_IO_ERROR, SR_FULL.
func (s *Service) pullContent(ctx context.Context, t *task.Task, from, into xenapi.Ref[xenapi.VDI], fresh bool) error {
	src, err := s.lookup(from)
	if err != nil {
		return err
	}
	s.step("pull-begun")
	// A crash from here on leaves the mark on the source, the attachment and, where it is the task's own, the destination:
	// the next start of this host takes them away. Whoever was giving blocks has nothing to undo.
	dst, err := s.Attach(ctx, t, into, ReadWrite)
	if err != nil {
		return err
	}
	defer dst.Detach(ctx)
	s.step("pull-attached")
	digest, blocks, err := s.listOf(ctx, from, src)
	if err != nil {
		return err
	}
	s.step("pull-listed")
	share := pull.NewShare(dst.File, blocks)
	defer s.lender.offer(digest, share)()
	err = pull.Get(ctx, digest, share, func() []pull.Source { return s.sources(from, src.SR, digest) }, pull.Options{
		Zeroed: fresh,
		Progress: func(done, total int64) {
			s.step("pull-landed")
			t.Progress(ctx, float64(done)/float64(max(total, 1)))
		},
	})
	if err != nil {
		return s.pullError(ctx, into, src.VirtualSize, err)
	}
	s.step("pull-complete")
	// A crash here leaves all of the content on stable storage, and no digest that says so.
	if err := s.noteDigest(ctx, into, src.VirtualSize, digest); err != nil {
		return err
	}
	s.step("pull-noted")
	return nil
}

func (s *Service) lookup(ref xenapi.Ref[xenapi.VDI]) (rec xenapi.VDI, err error) {
	return rec, s.view(func(tx *db.Tx) error { rec, err = db.Get(tx, ref); return err })
}

// pullError makes a domain error of what ended a pull.
func (s *Service) pullError(ctx context.Context, into xenapi.Ref[xenapi.VDI], size int64, err error) error {
	if _, ok := errors.AsType[*pull.Incomplete](err); ok || errors.Is(err, image.ErrCorrupt) {
		return xenapi.ErrVDIIOError(err.Error()).Because(err)
	}
	rec, lerr := s.lookup(into)
	return errOr(lerr, s.ioError(ctx, rec.SR, size, err))
}

// listOf gets the list of an image's blocks from any host that has it, and the digest that the list must have: the
// recorded one. A VDI of which none is recorded has that of the list; the host that made it is one of the pool.
func (s *Service) listOf(ctx context.Context, vdi xenapi.Ref[xenapi.VDI], rec xenapi.VDI) (image.Digest, *image.Blocks, error) {
	var digest image.Digest
	if rec.Digest != "" {
		var err error
		if digest, err = image.ParseDigest(rec.Digest); err != nil {
			return digest, nil, err
		}
	}
	err := error(xenapi.ErrSRHasNoPBDs(rec.SR))
	for _, source := range s.sources(vdi, rec.SR, digest) {
		host := source.(remote)
		blocks, lerr := host.list(ctx)
		if lerr != nil {
			if !host.vdi.IsNull() {
				err = lerr // what hosts say that are still pulling explains nothing
			}
			continue
		}
		if digest.IsZero() {
			return blocks.Digest(), blocks, nil
		}
		if blocks.Digest() == digest && blocks.Size() == rec.VirtualSize {
			return digest, blocks, nil
		}
		err = xenapi.ErrVDIIOError("the list of blocks is not that of the image")
	}
	return digest, nil, err
}

// sources are the hosts that may have blocks of an image: those that see its SR, then, in any order, those whose tasks
// copy it at this moment.
func (s *Service) sources(vdi xenapi.Ref[xenapi.VDI], sr xenapi.Ref[xenapi.SR], digest image.Digest) []pull.Source {
	seeing, pulling := s.seenBy(sr), []xenapi.Ref[xenapi.Host]{}
	_ = s.view(func(tx *db.Tx) error {
		rec, _ := db.Lookup(tx, vdi)
		for t, op := range rec.CurrentOperations {
			work, ok := db.Lookup(tx, xenapi.Ref[xenapi.Task](t))
			if ok && op == xenapi.VDIOperationCopy && work.ResidentOn != s.host &&
				!slices.Contains(seeing, work.ResidentOn) && !slices.Contains(pulling, work.ResidentOn) {
				pulling = append(pulling, work.ResidentOn)
			}
		}
		return nil
	})
	var all []pull.Source
	for _, host := range seeing {
		all = append(all, remote{s, host, vdi, digest})
	}
	rand.Shuffle(len(pulling), func(i, j int) { pulling[i], pulling[j] = pulling[j], pulling[i] })
	for _, host := range pulling {
		all = append(all, remote{s, host, "", digest})
	}
	return all
}

// remote is an image, or what there is of it, on another host.
type remote struct {
	service *Service
	host    xenapi.Ref[xenapi.Host]
	vdi     xenapi.Ref[xenapi.VDI] // null: what the host is pulling itself
	digest  image.Digest
}

// Name implements pull.Source.
func (r remote) Name() string { return r.host.String() }

// Have implements pull.Source.
func (r remote) Have(ctx context.Context) (*pull.Set, error) {
	text, err := r.get(ctx, Have, nil)
	if err != nil {
		return nil, err
	}
	return pull.ParseSet(text)
}

// Read implements pull.Source.
func (r remote) Read(ctx context.Context, first int64, p []byte) error {
	count := (len(p) + image.BlockSize - 1) / image.BlockSize
	body, _, err := r.open(ctx, Data, url.Values{"first": {fmt.Sprint(first)}, "count": {fmt.Sprint(count)}})
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.ReadFull(body, p)
	return err
}

func (r remote) list(ctx context.Context) (*image.Blocks, error) {
	text, err := r.get(ctx, List, nil)
	if err != nil {
		return nil, err
	}
	blocks := &image.Blocks{}
	return blocks, blocks.UnmarshalBinary(text)
}

func (r remote) get(ctx context.Context, part Part, more url.Values) ([]byte, error) {
	body, _, err := r.open(ctx, part, more)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, maxList))
}

func (r remote) open(ctx context.Context, part Part, query url.Values) (io.ReadCloser, int64, error) {
	if query == nil {
		query = url.Values{}
	}
	query.Set("part", string(part))
	query.Set("digest", r.digest.String())
	if r.vdi != "" {
		query.Set("vdi", r.vdi.String())
	}
	return r.service.others.Read(ctx, r.host, "/image_blocks?"+query.Encode())
}
