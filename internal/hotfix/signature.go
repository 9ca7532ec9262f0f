package hotfix

import (
	"bytes"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/binary"
	"hash"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// clockSkew is how far a signature's time may lie ahead of this host's clock.
const clockSkew = 5 * time.Minute

// check verifies one signature over the program and gives the fingerprint of the trusted primary key.
//
// The rule of time: a signature counts if its key is good now. A key that has expired or was revoked refuses
// every patch, also those signed before: whoever holds such a key can write any date into a signature.
// A vendor that wants old patches to stay good extends the key and hands out the new public key file.
func (m *message) check(raw []byte, a announcement, digest hash.Cloner) (string, error) {
	sig, err := parseSignature(raw)
	if err != nil {
		return "", err
	}
	if err := fits(sig, a); err != nil {
		return "", err
	}
	if err := timely(sig, m.now); err != nil {
		return "", err
	}
	for _, key := range a.keys {
		if !sig.CheckKeyIdOrFingerprint(key.public) {
			continue
		}
		if sig.CreationTime.Before(key.public.CreationTime) {
			return "", refusef("the signature by key %s is older than the key", key.fingerprint)
		}
		if good(sig, key.public, digest) {
			return key.fingerprint, nil
		}
	}
	return "", refusef("the signature by key %s is wrong: the file was changed or damaged after it was signed", keyName(a.keyID))
}

// parseSignature reads a signature packet's content, all of it.
func parseSignature(raw []byte) (*packet.Signature, error) {
	const newFormatSignature = 0xc0 | tagSignature
	framed := append([]byte{newFormatSignature, 0xff}, binary.BigEndian.AppendUint32(nil, uint32(len(raw)))...)
	r := bytes.NewReader(append(framed, raw...))
	p, err := packet.Read(r)
	sig, ok := p.(*packet.Signature)
	if err != nil || !ok || r.Len() != 0 {
		return nil, refusal("the file is damaged: its signature cannot be read")
	}
	return sig, nil
}

// fits refuses a signature that is not the one announced, or that demands what is not known here.
func fits(sig *packet.Signature, a announcement) error {
	switch {
	case sig.Version != 4:
		return refusef("the file's signature is of version %d, which is not known", sig.Version)
	case sig.SigType != sigBinary || sig.Hash != a.hash || byte(sig.PubKeyAlgo) != a.algorithm,
		sig.IssuerKeyId == nil || *sig.IssuerKeyId != a.keyID:
		return refusal("the file is damaged: its signature is not the one that it announces")
	}
	for _, n := range sig.Notations {
		if n.IsCritical {
			return refusef("the file's signature has a notation %q that must be understood, and is not", n.Name)
		}
	}
	return nil
}

// timely refuses a signature whose own time has not come or has passed.
func timely(sig *packet.Signature, now time.Time) error {
	made := sig.CreationTime
	if made.After(now.Add(clockSkew)) {
		return refusef("the file's signature is from the future (%s): check this host's clock", made.UTC().Format(time.RFC3339))
	}
	if sig.SigLifetimeSecs == nil || *sig.SigLifetimeSecs == 0 {
		return nil
	}
	if end := made.Add(time.Duration(*sig.SigLifetimeSecs) * time.Second); !now.Before(end) {
		return refusef("the file's signature expired on %s", end.UTC().Format(time.RFC3339))
	}
	return nil
}

// good checks the signature itself, on a copy of the hash: another signature may need it too.
func good(sig *packet.Signature, key *packet.PublicKey, digest hash.Cloner) bool {
	h, err := digest.Clone()
	if err != nil || key.VerifySignature(h, sig) != nil {
		return false
	}
	// The packet repeats the hash's first two bytes, and VerifySignature has completed the hash. RSA and
	// the others do not cover them; a file in which they are wrong was damaged all the same.
	return bytes.Equal(h.Sum(nil)[:2], sig.HashTag[:])
}
