package pool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"time"

	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// The pool's authority is replaced in three steps. Each is one transaction, and the next waits until every host has said
// that it has followed, so whoever is the coordinator then goes on:
//
//	PhaseSpread  the new authority is trusted beside the old one, which still signs
//	PhaseRenew   the new one signs, and every host gets a certificate of it
//	PhaseRetire  the new one alone is trusted, and hosts forget the old one
//
// At no time are there two hosts that live and do not know each other. A host that is not there stops it: it would come
// back to a pool that does not know it.

// Phase is how far the replacement of the pool's authority is.
type Phase string

const (
	PhaseSteady Phase = "steady" // none is going on
	PhaseSpread Phase = "spread"
	PhaseRenew  Phase = "renew"
	PhaseRetire Phase = "retire"
)

// followed is what a host says of its credentials: up to where it has followed the pool's trust.
type followed struct {
	Trusted string `json:"trusted" xenapi:"internal"` // SHA-256 of trust.Trusted, in hexadecimal
	Signer  string `json:"signer" xenapi:"internal"`  // fingerprint of the authority of its certificate
}

// Class names the table.
func (followed) Class() string { return "trust_followed" }

func followedBy(host xenapi.Ref[xenapi.Host]) xenapi.Ref[followed] {
	return xenapi.Ref[followed](host.String())
}

func digestOf(trusted []byte) string {
	sum := sha256.Sum256(trusted)
	return hex.EncodeToString(sum[:])
}

// report says in the database which credentials count on this host now.
func (c *Credentials) report(ctx context.Context) error {
	id, ok := c.keys.Current()
	if !ok {
		return nil
	}
	now := followed{Trusted: digestOf(id.Trust.Marshal()), Signer: id.Authority().String()}
	if c.pinned != nil {
		now.Trusted = digestOf(c.pinned)
	}
	return c.db.Insist(ctx, func(tx *db.Tx) error {
		host, err := db.ByUUID[xenapi.Host](tx, c.host)
		if err != nil {
			return nil // it is not of the pool any more
		}
		if err := ShowCertificate(tx, host, xenapi.CertificateTypeHostInternal, id.Leaf()); err != nil {
			return err
		}
		if was, ok := db.Lookup(tx, followedBy(host)); ok && was == now {
			return nil
		}
		return db.Put(tx, followedBy(host), now)
	})
}

// RotateAuthority begins to replace the pool's authority and returns; the coordinator goes on with [FollowRotation]. Errors:
// HOST_IS_SLAVE, HOST_OFFLINE naming a host that is not there, OTHER_OPERATION_IN_PROGRESS while one is replaced.
func (c *Cluster) RotateAuthority(ctx context.Context) error {
	made, err := authority.New("poolpatch pool", time.Now())
	if err != nil {
		return err
	}
	secret, err := made.Marshal()
	if err != nil {
		return err
	}
	return c.DB.Update(ctx, func(tx *db.Tx) error {
		if Coordinating(tx, c.Me) != nil {
			return notCoordinator(tx)
		}
		if phase, _ := Rotation(tx); phase != PhaseSteady {
			return rotating(tx)
		}
		for _, host := range InOrder(tx) {
			if !Alive(tx, host) {
				return xenapi.ErrHostOffline(host)
			}
		}
		return db.Change(tx, theTrust, func(t *trust) error {
			trusted, err := authority.ParseTrust([]byte(t.Trusted))
			t.Next, t.Trusted = string(secret), string(trusted.Add(made.Trust()).Marshal())
			return err
		})
	})
}

// rotating refuses what does not go together with the replacement of the authority.
func rotating(tx *db.Tx) *xenapi.Error {
	ref, _, _ := thePool(tx)
	return xenapi.ErrOtherOperationInProgress("pool", ref.String(), "rotate_authority")
}

// Rotation says how far the replacement of the authority is, and which hosts have not followed, the coordinator first.
func Rotation(tx *db.Tx) (phase Phase, waiting []xenapi.Ref[xenapi.Host]) {
	now, ok := db.Lookup(tx, theTrust)
	if !ok {
		return PhaseSteady, nil
	}
	phase = phaseOf(now)
	var signer string // asked for at every commit, so a key is parsed only while its certificates are waited for
	if phase == PhaseRenew {
		a, err := authority.Parse([]byte(now.Authority))
		if err != nil {
			return phase, InOrder(tx)
		}
		signer = a.Fingerprint().String()
	}
	for _, host := range InOrder(tx) {
		said, spoke := db.Lookup(tx, followedBy(host))
		switch {
		case phase == PhaseRetire && !spoke: // it has joined a moment ago, and never knew another authority
		case said.Trusted != digestOf([]byte(now.Trusted)), phase == PhaseRenew && said.Signer != signer:
			waiting = append(waiting, host)
		}
	}
	if phase == PhaseRetire && len(waiting) == 0 {
		return PhaseSteady, nil
	}
	return phase, waiting
}

// phaseOf is where a trust is on its way. That the last step is done, the hosts say.
func phaseOf(t trust) Phase {
	if t.Next != "" {
		return PhaseSpread
	}
	if trusted, err := authority.ParseTrust([]byte(t.Trusted)); err == nil && len(trusted.Fingerprints()) > 1 {
		return PhaseRenew
	}
	return PhaseRetire
}

// step makes the trust that of the next phase.
func (t *trust) step() error {
	if t.Next != "" {
		t.Authority, t.Next = t.Next, ""
		return nil
	}
	signer, err := authority.Parse([]byte(t.Authority))
	if err != nil {
		return err
	}
	t.Trusted = string(signer.Trust().Marshal())
	return nil
}

// FollowRotation takes the replacement of the authority from step to step, on the coordinator, until ctx ends.
func FollowRotation(ctx context.Context, d *db.DB, me xenapi.Ref[xenapi.Host], log *slog.Logger) error {
	due := func(tx *db.Tx) bool {
		phase, waiting := Rotation(tx)
		return (phase == PhaseSpread || phase == PhaseRenew) && len(waiting) == 0
	}
	for {
		var now Phase
		err := attend(ctx, d, me, log, "replace the pool's authority", 0, due, func(tx *db.Tx) error {
			if !due(tx) {
				return ErrNotCoordinator // another host was, and has taken the step
			}
			return db.Change(tx, theTrust, func(t *trust) error { err := t.step(); now = phaseOf(*t); return err })
		})
		if err != nil {
			return err
		}
		log.Info("the pool's authority is replaced", "phase", now)
	}
}
