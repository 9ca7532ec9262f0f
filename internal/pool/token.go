package pool

import (
	"context"
	"time"

	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// maxTokens bounds how many tokens wait to be used.
const maxTokens = 16

// joinToken is a token that was given out. It is of no use to who reads it.
type joinToken struct {
	Hash    string    `json:"hash" xenapi:"internal,secret"`
	Expires time.Time `json:"expires" xenapi:"internal"`
}

// Class names the table.
func (joinToken) Class() string { return "join_token" }

// NewToken makes a token with which one host may join until life is over. Errors: OPERATION_NOT_ALLOWED when too many
// wait to be used, OTHER_OPERATION_IN_PROGRESS while the authority is replaced: the token names the one that the host meets.
func (c *Cluster) NewToken(ctx context.Context, life time.Duration) (text string, err error) {
	id, _ := c.Keys.Current()
	now := time.Now()
	text, record := authority.NewToken(id.Authority(), now, life)
	return text, c.DB.Update(ctx, func(tx *db.Tx) error {
		if phase, _ := Rotation(tx); phase != PhaseSteady {
			return rotating(tx)
		}
		waiting := 0
		for ref, t := range db.All[joinToken](tx) {
			if waiting++; now.Before(t.Expires) {
				continue
			}
			waiting--
			if err := db.Delete(tx, ref); err != nil {
				return err
			}
		}
		if waiting >= maxTokens {
			return xenapi.ErrOperationNotAllowed("16 join tokens wait to be used; they expire by themselves")
		}
		return db.Insert(tx, xenapi.Ref[joinToken](record.Hash), joinToken{record.Hash, record.Expires})
	})
}

// useToken takes away the token that a host shows, which admits it once. Errors: SESSION_AUTHENTICATION_FAILED.
func useToken(tx *db.Tx, text string, now time.Time) error {
	why := authority.ErrTokenUnknown
	for ref, t := range db.All[joinToken](tx) {
		err := authority.TokenRecord{Hash: t.Hash, Expires: t.Expires}.Check(text, now)
		if err == nil {
			return db.Delete(tx, ref)
		}
		if err != authority.ErrTokenUnknown {
			why = err
		}
	}
	return xenapi.ErrSessionAuthenticationFailed("join token", why.Error())
}
