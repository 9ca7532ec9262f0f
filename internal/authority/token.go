package authority

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

// A token is "pp1." and the base32 of: the fingerprint of the authority (32 bytes), a secret (16), and the
// first bytes of the SHA-256 of both (2), by which a misspelt token is told from a wrong one. Base32 because
// it has no letter that a double click stops at, nor a capital: 50 bytes are 80 letters, and none is padding.
const (
	tokenPrefix = "pp1."
	secretSize  = 16
	sumSize     = 2
	payloadSize = sha256.Size + secretSize
)

var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// What can be wrong with a token.
var (
	ErrTokenMalformed = errors.New("that is not a join token, or not all of it")
	ErrTokenUnknown   = errors.New("the join token is not of this pool, or was used up")
	ErrTokenExpired   = errors.New("the join token has expired")
	// ErrOtherPool is what the host that joins finds itself, before it says anything.
	ErrOtherPool = errors.New("this is not the pool that the token names")
)

// TokenRecord is what a pool stores of a token: with it a token can be recognised, and not made.
type TokenRecord struct {
	// Hash is the SHA-256, in hexadecimal, of the token's fingerprint and secret.
	Hash string
	// Expires is the first moment at which the token does not count.
	Expires time.Time
}

// NewToken makes a join token: the text for a person to carry to the host that joins, and the record for the
// pool to store. ca is the authority whose certificate the joining host will meet ([Identity.Authority]).
// Whoever has the text can join one host; the caller removes the record in the transaction that lets it in.
func NewToken(ca Fingerprint, now time.Time, life time.Duration) (text string, record TokenRecord) {
	payload := make([]byte, payloadSize)
	copy(payload, ca[:])
	rand.Read(payload[len(ca):]) // never fails (crypto/rand)
	sum := sha256.Sum256(payload)
	text = tokenPrefix + tokenEncoding.EncodeToString(append(payload, sum[:sumSize]...))
	return text, TokenRecord{Hash: hashPayload(payload), Expires: now.Add(life).UTC().Round(0)}
}

// ParseToken says which authority a token names, so that the host that joins knows whom to trust before it
// sends anything. Letters may be capitals, and there may be white space around. Error: ErrTokenMalformed.
func ParseToken(text string) (Fingerprint, error) {
	payload, err := parseToken(text)
	if err != nil {
		return Fingerprint{}, err
	}
	return Fingerprint(payload[:sha256.Size]), nil
}

// LooksLikeToken reports whether text is meant to be a token, though it may not be a whole one.
func LooksLikeToken(text string) bool {
	return strings.HasPrefix(strings.ToLower(strings.TrimSpace(text)), tokenPrefix)
}

// Check says whether text is the token of this record, in a time that does not tell how much of it is right.
// Errors: ErrTokenMalformed, ErrTokenUnknown, ErrTokenExpired. The zero record is of no token.
func (r TokenRecord) Check(text string, now time.Time) error {
	payload, err := parseToken(text)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(hashPayload(payload)), []byte(r.Hash)) != 1 {
		return ErrTokenUnknown
	}
	if !now.Before(r.Expires) {
		return ErrTokenExpired
	}
	return nil
}

func parseToken(text string) ([]byte, error) {
	letters, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(text)), tokenPrefix)
	if !ok || len(letters) != tokenEncoding.EncodedLen(payloadSize+sumSize) {
		return nil, ErrTokenMalformed
	}
	all, err := tokenEncoding.DecodeString(letters)
	if err != nil || len(all) != payloadSize+sumSize {
		return nil, ErrTokenMalformed
	}
	payload := all[:payloadSize]
	if sum := sha256.Sum256(payload); !bytes.Equal(sum[:sumSize], all[payloadSize:]) {
		return nil, ErrTokenMalformed
	}
	return payload, nil
}

// hashPayload is not the hash whose beginning is in the token's text.
func hashPayload(payload []byte) string {
	sum := sha256.Sum256(append([]byte("poolpatch join token "), payload...))
	return hex.EncodeToString(sum[:])
}
