package storage

import (
	"context"
	"encoding"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/singleflight"

	"poolpatch/internal/db"
	"poolpatch/internal/storage/image"
	"poolpatch/internal/storage/pull"
	"poolpatch/xenapi"
)

// Wanted is what another host asks for that makes a copy of an image: its list of blocks, which of them are there
// now, or the content of some.
type Wanted struct {
	Part   Part
	VDI    xenapi.Ref[xenapi.VDI] // null: only a copy of it that this host is making itself
	Digest image.Digest           // of the image
	First  int64                  // of Data: the index of the first block
	Count  int64                  // of Data: how many blocks
}

// Part is one of the answers to [Wanted].
type Part string

// The parts. Zero is none.
const (
	List Part = "list" // image.Blocks in binary form
	Have Part = "have" // the set of blocks that can be had now, in binary form
	Data Part = "data" // the blocks, one after another
)

const (
	// maxLent bounds one answer with content, in blocks.
	maxLent = 16
	// keptLists is how many lists of blocks are kept: making one reads the whole image.
	keptLists = 4
)

// lender gives parts of images to other hosts. The lists that it keeps need no trust: who asks knows the digest.
type lender struct {
	making singleflight.Group

	mu     sync.Mutex
	lists  []list                       // the last one used is last
	shares map[image.Digest]*pull.Share // what this host is pulling
}

type list struct {
	digest image.Digest
	blocks *image.Blocks
}

// Lend answers another host, which has marked the VDI with the operation copy: so it cannot go or change meanwhile. It writes
// nothing down: after a crash the other host asks again.
// Errors: HANDLE_INVALID, SR_HAS_NO_PBDS, VDI_IO_ERROR when the image is not of the digest.
func (s *Service) Lend(ctx context.Context, want Wanted, send func(length int64) io.Writer) error {
	if share := s.lender.sharing(want.Digest); share != nil {
		return lendShare(share, want, send)
	}
	rec, file, err := s.openLent(ctx, want)
	if err != nil {
		return err
	}
	defer file.Close()
	switch want.Part {
	case Data:
		from, length, err := want.span(rec.VirtualSize)
		if err != nil {
			return err
		}
		s.step("lend-opened")
		if err := image.WriteTo(ctx, send(length), file, from, length); err != nil {
			return err
		}
		s.step("lend-sent")
		return nil
	case List, Have:
		blocks, err := s.blocksOf(ctx, want.Digest, file, rec.VirtualSize)
		if err != nil {
			return err
		}
		s.step("lend-listed")
		if want.Part == List {
			return sendWhole(blocks, send)
		}
		return sendWhole(pull.All(blocks), send)
	}
	return xenapi.ErrInvalidValue("part", string(want.Part))
}

// lendShare gives what this host has got so far of an image that it is pulling itself.
func lendShare(share *pull.Share, want Wanted, send func(int64) io.Writer) error {
	switch want.Part {
	case List:
		return sendWhole(share.Blocks(), send)
	case Have:
		return sendWhole(share.Have(), send)
	case Data:
		_, length, err := want.span(share.Blocks().Size())
		if err != nil {
			return err
		}
		content := make([]byte, length)
		if err := share.Read(want.First, content); err != nil {
			return xenapi.ErrVDIIOError(err.Error()).Because(err)
		}
		_, err = send(length).Write(content)
		return err
	}
	return xenapi.ErrInvalidValue("part", string(want.Part))
}

func sendWhole(what encoding.BinaryMarshaler, send func(int64) io.Writer) error {
	text, err := what.MarshalBinary()
	if err != nil {
		return err
	}
	_, err = send(int64(len(text))).Write(text)
	return err
}

// span is where in the image the wanted blocks lie, in bytes.
func (w Wanted) span(size int64) (from, length int64, err error) {
	if w.First < 0 || w.Count <= 0 || w.Count > maxLent || w.First >= (size+image.BlockSize-1)/image.BlockSize {
		return 0, 0, xenapi.ErrInvalidValue("blocks", fmt.Sprintf("%d from %d", w.Count, w.First))
	}
	from = w.First * image.BlockSize
	return from, min(w.Count*image.BlockSize, size-from), nil
}

// openLent opens an image that another host copies.
func (s *Service) openLent(ctx context.Context, want Wanted) (xenapi.VDI, *os.File, error) {
	rec, sr, err := s.vdiOnSR(want.VDI)
	if err != nil {
		return rec, nil, err
	}
	copied := false
	_ = s.view(func(tx *db.Tx) error {
		for t, op := range rec.CurrentOperations {
			copied = copied || op == xenapi.VDIOperationCopy && pending(tx, xenapi.Ref[xenapi.Task](t))
		}
		return nil
	})
	if !copied || rec.Digest != "" && rec.Digest != want.Digest.String() {
		return rec, nil, xenapi.ErrOperationNotAllowed("the VDI is not being copied, or has another content")
	}
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	file, err := sr.Open(dctx, rec.Location, ReadOnly)
	return rec, file, located(err, rec.SR, want.VDI)
}

// blocksOf gives the list of an image's blocks, of whatever digest where that is zero. It reads the image once for all
// who ask.
func (s *Service) blocksOf(ctx context.Context, digest image.Digest, file *os.File, size int64) (*image.Blocks, error) {
	if digest.IsZero() { // images of which nothing is known are not the same for that
		return s.readBlocks(ctx, digest, file, size)
	}
	if blocks := s.lender.find(digest); blocks != nil {
		return blocks, nil
	}
	made, err, _ := s.lender.making.Do(digest.String(), func() (any, error) { return s.readBlocks(ctx, digest, file, size) })
	if err != nil {
		return nil, err
	}
	return made.(*image.Blocks), nil
}

func (s *Service) readBlocks(ctx context.Context, digest image.Digest, file *os.File, size int64) (*image.Blocks, error) {
	blocks := new(image.Blocks)
	found, err := image.SumBlocks(ctx, file, size, blocks)
	switch {
	case err != nil:
		return nil, err
	case found != digest && !digest.IsZero():
		return nil, errSpoiled(found.String(), digest.String())
	}
	s.lender.keep(found, blocks)
	return blocks, nil
}

func (l *lender) find(digest image.Digest) *image.Blocks {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.lists, func(known list) bool { return known.digest == digest })
	if i < 0 {
		return nil
	}
	found := l.lists[i]
	l.lists = append(slices.Delete(l.lists, i, i+1), found)
	return found.blocks
}

func (l *lender) keep(digest image.Digest, blocks *image.Blocks) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lists) == keptLists {
		l.lists = slices.Delete(l.lists, 0, 1)
	}
	l.lists = append(l.lists, list{digest, blocks})
}

// offer shows others what this host is pulling, until the function that it gives is called. Where two tasks pull the
// same image, one of them is shown.
func (l *lender) offer(digest image.Digest, share *pull.Share) (withdraw func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shares == nil {
		l.shares = map[image.Digest]*pull.Share{}
	}
	l.shares[digest] = share
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.shares[digest] == share {
			delete(l.shares, digest)
		}
		share.Close()
	}
}

func (l *lender) sharing(digest image.Digest) *pull.Share {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shares[digest]
}
