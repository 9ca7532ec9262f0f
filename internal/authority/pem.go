package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY"
	requestBlock     = "CERTIFICATE REQUEST"
)

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// decodePEM gives the contents of the blocks, which are of the given kinds in that order.
func decodePEM(text []byte, kinds ...string) ([][]byte, error) {
	blocks, err := pemBlocks(text)
	if err != nil {
		return nil, err
	}
	if len(blocks) != len(kinds) {
		return nil, fmt.Errorf("PEM: %d blocks instead of %d", len(blocks), len(kinds))
	}
	var contents [][]byte
	for i, block := range blocks {
		if block.Type != kinds[i] {
			return nil, fmt.Errorf("PEM: block %d is %q instead of %q", i+1, block.Type, kinds[i])
		}
		contents = append(contents, block.Bytes)
	}
	return contents, nil
}

// pemBlocks refuses a text of which encoding/pem would pass over a damaged block.
func pemBlocks(text []byte) ([]*pem.Block, error) {
	var blocks []*pem.Block
	rest := text
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks = append(blocks, block)
	}
	if len(blocks) == 0 || len(blocks) != bytes.Count(text, []byte("-----BEGIN ")) || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("PEM: missing or damaged")
	}
	return blocks, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return encodePEM(keyBlock, der), nil
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the key is not ECDSA P-256")
	}
	return key, nil
}

// parseAuthorityCertificate demands that the certificate is that of an authority and signed by itself, so a
// damaged one is found when it is read and not when it is needed.
func parseAuthorityCertificate(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("the certificate of %q is not that of an authority", cert.Subject.CommonName)
	}
	if err := cert.CheckSignatureFrom(cert); err != nil {
		return nil, fmt.Errorf("the certificate of authority %q: %w", cert.Subject.CommonName, err)
	}
	return cert, nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// newSerial is 128 random bits: serials are not counted, so authorities that were restored do not repeat any.
func newSerial() *big.Int {
	var serial [16]byte
	rand.Read(serial[:]) // never fails (crypto/rand)
	return new(big.Int).SetBytes(serial[:])
}
