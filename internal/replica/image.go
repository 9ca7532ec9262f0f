package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"poolpatch/internal/db"
)

// An image begins with two headers, each in a block of its own; each says where the backup lies that it is of. So the headers
// alternate, and a backup is written where the newest whole one is not.
const (
	format    = "poolpatch replica 1"
	blockSize = 4096 // of a header, and what backups are aligned to
	bodiesAt  = 2 * blockSize
	// maxBody bounds a backup in an image, in bytes.
	maxBody = 256 << 20
)

// ErrNone says that an image holds no whole copy of a database.
var ErrNone = errors.New("the image holds no whole copy of a pool's database")

// header is a line of JSON; the line after it is its SHA-256, and zeroes are the rest of the block.
type header struct {
	Format     string    `json:"format"`
	Generation int64     `json:"generation"` // the higher of two is the newer
	Offset     int64     `json:"offset"`     // of the backup in the image, in bytes
	Length     int64     `json:"length"`
	SHA256     string    `json:"sha256"` // of the backup, in hexadecimal
	Pool       string    `json:"pool"`   // UUID
	Made       time.Time `json:"made"`
}

func (h header) marshal() ([]byte, error) {
	line, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	block := make([]byte, blockSize)
	copy(block, fmt.Appendf(line, "\n%s\n", sum(line)))
	return block, nil
}

// parse takes a block apart. One that is torn, of another format or of nobody is not ok.
func parse(block []byte, size int64) (h header, ok bool) {
	line, rest, _ := bytes.Cut(block, []byte("\n"))
	seal, _, _ := bytes.Cut(rest, []byte("\n"))
	if string(seal) != sum(line) || json.Unmarshal(line, &h) != nil || h.Format != format {
		return header{}, false
	}
	return h, h.Offset >= bodiesAt && h.Length > 0 && h.Length <= maxBody && h.Offset <= size-h.Length
}

func sum(text []byte) string {
	digest := sha256.Sum256(text)
	return hex.EncodeToString(digest[:])
}

// slot is a whole copy in an image.
type slot struct {
	header
	index int // of its header
}

// newest finds the newest whole copy in an image of size bytes; one is torn when its writer was. Errors: ErrNone, and those of
// reading: what cannot be read may be whole.
func newest(image io.ReaderAt, size int64) (slot, error) {
	var best slot
	for index := range 2 {
		block := make([]byte, blockSize)
		if _, err := image.ReadAt(block, int64(index)*blockSize); errors.Is(err, io.EOF) {
			continue // it is too short for a header
		} else if err != nil {
			return slot{}, fmt.Errorf("read header %d: %w", index, err)
		}
		h, ok := parse(block, size)
		if !ok || h.Generation <= best.Generation {
			continue
		}
		whole, err := h.whole(image)
		if err != nil {
			return slot{}, err
		}
		if whole {
			best = slot{h, index}
		}
	}
	if best.Generation == 0 {
		return slot{}, ErrNone
	}
	return best, nil
}

func (h header) whole(image io.ReaderAt) (bool, error) {
	digest := sha256.New()
	if _, err := io.Copy(digest, h.body(image)); err != nil {
		return false, fmt.Errorf("read copy %d: %w", h.Generation, err)
	}
	return hex.EncodeToString(digest.Sum(nil)) == h.SHA256, nil
}

func (h header) body(image io.ReaderAt) io.Reader {
	return io.NewSectionReader(image, h.Offset, h.Length)
}

// Read reads the newest whole copy in an image of size bytes. Errors: ErrNone, db.ErrNewerSchema.
func Read(image io.ReaderAt, size int64) (db.Saved, error) {
	s, err := newest(image, size)
	if err != nil {
		return db.Saved{}, err
	}
	return db.ReadBackup(s.body(image))
}

// medium is an image that is written.
type medium interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// writer puts backups into an image.
type writer struct {
	image medium
	size  int64                                       // of the image, in bytes
	grow  func(ctx context.Context, size int64) error // makes it at least so large
	step  func(name string)
}

// place says where a backup goes: before the newest whole copy if it fits there, else after it, for which the image may have
// to become need bytes large.
func (s slot) place(length int64) (offset, need int64) {
	offset = bodiesAt
	if s.Generation > 0 && bodiesAt+length > s.Offset {
		offset = align(s.Offset + s.Length)
	}
	return offset, offset + length
}

func align(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }

// write puts the backup of a pool, by its UUID, beside the newest whole one.
func (w writer) write(ctx context.Context, body []byte, pool string) error {
	if len(body) > maxBody {
		return fmt.Errorf("the pool's database is %d bytes large, a replica holds %d", len(body), maxBody)
	}
	last, err := newest(w.image, w.size)
	if err != nil && !errors.Is(err, ErrNone) {
		return err
	}
	offset, need := last.place(int64(len(body)))
	if need > w.size {
		// A crash after this leaves an image that is larger than it must be.
		if err := w.grow(ctx, grown(need)); err != nil {
			return err
		}
	}
	h := header{format, last.Generation + 1, offset, int64(len(body)), sum(body), pool, time.Now().UTC()}
	block, err := h.marshal()
	if err != nil {
		return err
	}
	// A crash until the header is written leaves the last copy, with its header, as it was: the body lies beside it, and the
	// header in whose place this one goes was of an older copy, or of a torn one.
	if err := put(w.image, body, offset); err != nil {
		return fmt.Errorf("write copy %d: %w", h.Generation, err)
	}
	w.step("replica-body")
	if err := put(w.image, block, int64(1-last.index)*blockSize); err != nil {
		return fmt.Errorf("write header of copy %d: %w", h.Generation, err)
	}
	w.step("replica-header")
	return nil
}

// grown leaves room for the database to grow.
func grown(need int64) int64 {
	const step = 1 << 20
	return (need + need/2 + step - 1) / step * step
}

func put(image medium, what []byte, offset int64) error {
	if _, err := image.WriteAt(what, offset); err != nil {
		return err
	}
	return image.Sync()
}
