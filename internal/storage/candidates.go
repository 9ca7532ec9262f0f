package storage

import (
	"context"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Candidate is an SR of this host as somebody sees it who looks for a place for a new VDI.
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

// Candidates describes every SR that has a PBD on this host, in order of creation.
func (s *Service) Candidates(ctx context.Context) ([]Candidate, error) {
	var all []Candidate
	err := s.view(func(tx *db.Tx) error {
		for _, ref := range db.Referrers[xenapi.PBD](tx, "host", s.host) {
			pbd, err := db.Get(tx, ref)
			if err != nil {
				return err
			}
			sr, err := db.Get(tx, pbd.SR)
			if err != nil {
				return err
			}
			all = append(all, Candidate{SR: pbd.SR, UUID: sr.UUID, Label: sr.NameLabel, ContentType: sr.ContentType})
		}
		return nil
	})
	for i := range all {
		s.inspect(ctx, &all[i])
	}
	return all, err
}

func (s *Service) inspect(ctx context.Context, c *Candidate) {
	sr, err := s.open(c.SR)
	if err != nil {
		return
	}
	c.Plugged, c.CanCreate, c.CanClone = true, sr.Capabilities().Create, sr.Capabilities().Clone
	c.Free, c.Err = s.Free(ctx, c.SR)
}
