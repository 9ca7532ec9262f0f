package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Spool writes a report to a file without a name and gives that, at its beginning, with its length in bytes: servers want to know how much
// comes. The caller closes it, and it is gone.
//
// A crash between its making and the removal of its name leaves an empty file, which the next Spool takes.
func (m *Maker) Spool(ctx context.Context, r Request, progress func(float64)) (_ *os.File, size int64, err error) {
	f, err := m.nameless()
	if err != nil {
		return nil, 0, fmt.Errorf("file for the report: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := m.Write(ctx, f, r, progress); err != nil {
		return nil, 0, err
	}
	if size, err = f.Seek(0, io.SeekCurrent); err != nil {
		return nil, 0, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, size, err
}

// nameless makes a file and removes its name.
func (m *Maker) nameless() (*os.File, error) {
	m.spooling.Lock() // two must not open the same file
	defer m.spooling.Unlock()
	f, err := os.OpenFile(m.from.Spool, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(m.from.Spool); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
