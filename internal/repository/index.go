package repository

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"poolpatch/internal/hotfix"
	"poolpatch/xenapi"
)

const (
	// IndexName is the file of a repository that holds its signed index.
	IndexName = "poolpatch-repository"

	indexFormat  = "poolpatch-repository"
	indexVersion = 1

	// maxIndex bounds the signed index, and the text in it, in bytes.
	maxIndex = 1 << 20
	// MaxPatches bounds the patches of one index.
	MaxPatches = 1000
	// maxSerial is the largest integer that every JSON reader keeps.
	maxSerial = 1<<53 - 1
)

// Index says what is in a repository.
type Index struct {
	Format  string  `json:"format"`
	Version int     `json:"version"`
	Serial  int64   `json:"serial"`
	Patches []Entry `json:"patches"` // in the order of application
}

// Entry is one patch of a repository.
type Entry struct {
	File   string `json:"file"`
	Size   int64  `json:"size"`   // of the signed file, bytes
	SHA256 string `json:"sha256"` // of the signed file, in lower-case hex
	UUID   string `json:"uuid"`
}

// NewIndex makes the index of a serial number.
func NewIndex(serial int64, patches []Entry) (Index, error) {
	x := Index{Format: indexFormat, Version: indexVersion, Serial: serial, Patches: patches}
	return x, x.check()
}

// Text is the index as it is signed.
func (x Index) Text() ([]byte, error) {
	if x.Patches == nil {
		x.Patches = []Entry{}
	}
	text, err := json.MarshalIndent(x, "", "  ")
	return append(text, '\n'), err
}

// ParseIndex reads the text of an index. What it does not know it refuses: a later version would mean something by it.
func ParseIndex(text []byte) (x Index, err error) {
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&x); err != nil {
		return x, fmt.Errorf("the index is not the JSON that it should be: %w", err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return x, errors.New("something follows the JSON of the index")
	}
	return x, x.check()
}

func (x Index) check() error {
	switch {
	case x.Format != indexFormat:
		return fmt.Errorf("the signed text is no index: its format is %q", x.Format)
	case x.Version != indexVersion:
		return fmt.Errorf("the index has version %d; version %d is known here", x.Version, indexVersion)
	case x.Serial < 1 || x.Serial > maxSerial:
		return fmt.Errorf("serial number %d is not between 1 and %d", x.Serial, int64(maxSerial))
	case len(x.Patches) > MaxPatches:
		return fmt.Errorf("the index has %d patches, more than %d", len(x.Patches), MaxPatches)
	}
	files, uuids := map[string]bool{}, map[string]bool{}
	for _, e := range x.Patches {
		if err := e.check(); err != nil {
			return err
		}
		if files[e.File] || uuids[e.UUID] {
			return fmt.Errorf("the index has file %s or patch %s twice", e.File, e.UUID)
		}
		files[e.File], uuids[e.UUID] = true, true
	}
	return nil
}

var (
	// plainName is one element of a path that means the same in a URL.
	plainName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._~-]{0,254}$`)
	plainSHA  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	plainUUID = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// PlainName reports whether a file of a repository may have the name.
func PlainName(name string) bool { return plainName.MatchString(name) && name != IndexName }

func (e Entry) check() error {
	switch {
	case !PlainName(e.File):
		return fmt.Errorf("the index has a file name that is not allowed: %q", e.File)
	case e.Size < 1 || e.Size > maxSerial:
		return fmt.Errorf("the index says that file %s has %d bytes", e.File, e.Size)
	case !plainSHA.MatchString(e.SHA256):
		return fmt.Errorf("the SHA-256 of file %s is not 64 hexadecimal digits in lower case", e.File)
	case !plainUUID.MatchString(e.UUID):
		return fmt.Errorf("the UUID of file %s is not one in lower case", e.File)
	}
	return nil
}

// sealed is an index whose signature is good.
type sealed struct {
	Index
	hash string // SHA-256 of the text, in lower-case hex
}

// readIndex verifies a signed index and reads it. Errors: a fault of the index, PATCH_TRUST_UNREADABLE, the reader's own.
func readIndex(ctx context.Context, v *hotfix.Verifier, in io.Reader) (sealed, error) {
	text := &bounded{limit: maxIndex}
	if _, err := v.Verify(ctx, &limited{in, maxIndex}, text); err != nil {
		return sealed{}, faultOf(err)
	}
	x, err := ParseIndex(text.Bytes())
	if err != nil {
		return sealed{}, fault(err.Error())
	}
	sum := sha256.Sum256(text.Bytes())
	return sealed{x, hex.EncodeToString(sum[:])}, nil
}

// fault is what is wrong with a repository, in words for the administrator.
type fault string

func (f fault) Error() string { return string(f) }

// faultOf makes a fault of what is said against a file; other errors stay as they are.
func faultOf(err error) error {
	domain, ok := errors.AsType[*xenapi.Error](err)
	if !ok {
		return err
	}
	switch domain.Code {
	case xenapi.CodeInvalidPatch, xenapi.CodeInvalidPatchWithLog:
		return fault(strings.Join(domain.Params, " "))
	case xenapi.CodePatchAlreadyExists:
		return fault("the pool has a patch with the same UUID and other content")
	}
	return err
}

// bounded keeps what is written, up to a limit.
type bounded struct {
	bytes.Buffer
	limit int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		return 0, fault(fmt.Sprintf("the index has more than %d bytes", b.limit))
	}
	return b.Buffer.Write(p)
}

// limited reads no more than a number of bytes, and says so.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), l.left+1)])
	if l.left -= n; l.left < 0 {
		return 0, fault(fmt.Sprintf("the index has more than %d bytes", maxIndex))
	}
	return n, err
}
