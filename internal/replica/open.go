package replica

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/storage"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// maxOpened bounds a backup that is opened to be read, in bytes: it is in memory as long as somebody reads it.
const maxOpened = 32 << 20

// PoolUUID gives the UUID of the pool whose database is in a VDI. Errors: VDI_INCOMPATIBLE_TYPE, COULD_NOT_IMPORT_DATABASE
// when there is none, those of reading a VDI.
func (s *Service) PoolUUID(ctx context.Context, t *task.Task, vdi vdiRef) (uuid string, err error) {
	err = s.inspect(ctx, t, vdi, func(found slot, _ io.ReaderAt) error { uuid = found.Pool; return nil })
	return uuid, err
}

// Open reads the database in a VDI into memory. Whoever asked closes it. Errors: those of PoolUUID.
func (s *Service) Open(ctx context.Context, t *task.Task, vdi vdiRef) (opened *db.DB, err error) {
	err = s.inspect(ctx, t, vdi, func(found slot, image io.ReaderAt) (err error) {
		opened, err = s.load(ctx, found.Length, found.body(image))
		return err
	})
	return opened, err
}

// OpenFile is Open for a file that "poolpatch pool backup" wrote. The path is below the daemon's root, and no link in it leads
// out of that. Errors: COULD_NOT_IMPORT_DATABASE.
func (s *Service) OpenFile(ctx context.Context, path string) (*db.DB, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
		return nil, xenapi.ErrCouldNotImportDatabase("the path must be absolute, and written plainly")
	}
	root, err := os.OpenRoot(s.options.Root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// It does not wait for the other end of a pipe.
	file, err := root.OpenFile(path[1:], os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unopened(err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, unopened(err)
	case !info.Mode().IsRegular():
		return nil, xenapi.ErrCouldNotImportDatabase("it is no regular file")
	}
	return s.load(ctx, info.Size(), bufio.NewReader(file))
}

func unopened(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // the caller has the path
	}
	return xenapi.ErrCouldNotImportDatabase("the file cannot be read: " + err.Error()).Because(err)
}

// inspect shows a function the newest whole copy in a VDI, which it attaches for that.
func (s *Service) inspect(ctx context.Context, t *task.Task, vdi vdiRef, show func(slot, io.ReaderAt) error) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var rec xenapi.VDI
	if err := s.db.View(func(tx *db.Tx) (err error) { rec, err = db.Get(tx, vdi); return err }); err != nil {
		return err
	}
	if rec.Type != xenapi.VDITypeMetadata && rec.Type != xenapi.VDITypeRedoLog {
		return xenapi.ErrVDIIncompatibleType(vdi, string(rec.Type))
	}
	var a *storage.Attachment
	if err := patiently(ctx, func() (err error) { a, err = s.storage.Attach(ctx, t, vdi, storage.ReadOnly); return err }); err != nil {
		return err
	}
	defer a.Detach(ctx)
	found, err := newest(a.File, rec.VirtualSize)
	if errors.Is(err, ErrNone) {
		return xenapi.ErrCouldNotImportDatabase(err.Error()).Because(err)
	}
	if err != nil {
		return xenapi.ErrVDIIOError(err.Error()).Because(err)
	}
	return show(found, a.File)
}

// load makes a database in memory of a backup of length bytes.
func (s *Service) load(ctx context.Context, length int64, r io.Reader) (*db.DB, error) {
	if length > maxOpened {
		return nil, xenapi.ErrCouldNotImportDatabase(fmt.Sprintf("it is %d bytes large; at most %d are opened", length, maxOpened))
	}
	release, err := hold(ctx, s.turn)
	if err != nil {
		return nil, err
	}
	defer release()
	saved, err := db.ReadBackup(io.LimitReader(r, maxOpened))
	if err != nil {
		return nil, xenapi.ErrCouldNotImportDatabase(err.Error()).Because(err)
	}
	store := memkv.New()
	if _, err := db.Restore(ctx, store, saved); err != nil {
		return nil, err
	}
	opened, err := db.Open(ctx, store, db.Options{Tables: s.options.Tables})
	if errors.Is(err, db.ErrDamaged) {
		return nil, xenapi.ErrCouldNotImportDatabase(err.Error()).Because(err)
	}
	return opened, err
}
