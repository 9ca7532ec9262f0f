package report

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"io"
	"time"
)

// archive is what files are packed in, one after another.
type archive interface {
	file(name string, at time.Time, content []byte) error
	Close() error
}

// format is a way to pack.
type format struct {
	contentType, extension string
	pack                   func(io.Writer) archive
}

// formats are the ways to pack, by the names that clients have for them; the first is for who names none.
var formats = map[string]format{
	"":       {"application/x-tar", ".tar", packTar},
	"tar":    {"application/x-tar", ".tar", packTar},
	"tar.gz": {"application/gzip", ".tar.gz", packTarGz},
	"zip":    {"application/zip", ".zip", packZip},
}

type tarred struct {
	*tar.Writer
	below io.Closer // nil where there is nothing to close
}

func packTar(w io.Writer) archive { return tarred{tar.NewWriter(w), nil} }

func packTarGz(w io.Writer) archive {
	z := gzip.NewWriter(w)
	return tarred{tar.NewWriter(z), z}
}

func (t tarred) file(name string, at time.Time, content []byte) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), ModTime: at.Truncate(time.Second)}); err != nil {
		return err
	}
	_, err := t.Write(content)
	return err
}

func (t tarred) Close() error {
	err := t.Writer.Close()
	if t.below != nil {
		err = errors.Join(err, t.below.Close())
	}
	return err
}

type zipped struct{ *zip.Writer }

func packZip(w io.Writer) archive { return zipped{zip.NewWriter(w)} }

func (z zipped) file(name string, at time.Time, content []byte) error {
	w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: at})
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}
