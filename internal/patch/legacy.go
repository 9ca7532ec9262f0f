package patch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"poolpatch/internal/db"
	"poolpatch/internal/durable"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Legacy files are patches that are kept as files of the coordinator's root file system, below
// /var/patch, by servers that came before (M7). A record names its file by the absolute path, as those
// servers did; only the last element counts here, so no record leads outside the directory.

// legacyExists reports whether a record's legacy file is there.
func (s *Service) legacyExists(filename string) bool {
	if filename == "" {
		return false
	}
	file, err := s.openLegacyFile(filename)
	if err != nil {
		return false
	}
	file.Close()
	return true
}

func (s *Service) openLegacyFile(filename string) (*os.File, error) {
	file, err := openInRoot(s.legacy, filepath.Base(filename))
	if err != nil {
		return nil, xenapi.ErrCannotFindPatch().Because(err)
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, xenapi.ErrCannotFindPatch()
	}
	return file, nil
}

func openInRoot(dir, name string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Open(name)
}

// removeLegacy removes a record's legacy file; one that is not there is success.
func (s *Service) removeLegacy(filename string) error {
	if filename == "" {
		return nil
	}
	return durable.Remove(filepath.Join(s.legacy, filepath.Base(filename)))
}

// FindLegacy makes records of the coordinator's legacy files that have none. A file that does not
// verify, or that no SR has room to open, is logged and left alone.
func (s *Service) FindLegacy(ctx context.Context, t *task.Task) error {
	names, err := s.unknownFiles()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.adoptLegacy(ctx, t, name); err != nil {
			s.log.Warn("file is not a patch that can be used", "file", filepath.Join(s.legacy, name), "error", err)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) unknownFiles() ([]string, error) {
	entries, err := os.ReadDir(s.legacy)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read legacy patches: %w", err)
	}
	known := map[string]bool{}
	_ = s.db.View(func(tx *db.Tx) error {
		for _, rec := range db.All[xenapi.PoolPatch](tx) {
			known[filepath.Base(rec.Filename)] = rec.Filename != ""
		}
		return nil
	})
	var names []string
	for _, entry := range entries {
		if entry.Type().IsRegular() && !known[entry.Name()] {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// adoptLegacy asks a legacy file what it is, in a workspace, and records it.
func (s *Service) adoptLegacy(ctx context.Context, t *task.Task, name string) error {
	path := filepath.Join(s.legacy, name)
	space, digest, err := s.openLegacy(ctx, t, xenapi.PoolPatch{UUID: name, Filename: path})
	if err != nil {
		return err
	}
	defer space.Discard(ctx)
	c, err := s.extract(ctx, t, space, 0)
	if err != nil {
		return err
	}
	info, err := s.runInfo(ctx, c)
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *db.Tx) error {
		if !s.coordinating(tx) {
			return errors.New("this host is not the coordinator any more")
		}
		ref, err := db.ByUUID[xenapi.PoolPatch](tx, info.UUID)
		if err != nil {
			rec := xenapi.New[xenapi.PoolPatch]()
			rec.UUID = info.UUID
			ref = xenapi.NewRef[xenapi.PoolPatch]()
			if err := db.Insert(tx, ref, rec); err != nil {
				return err
			}
		}
		err = db.Change(tx, ref, func(rec *xenapi.PoolPatch) error {
			if s.hasContent(tx, *rec) {
				return fmt.Errorf("patch %s has its content elsewhere", info.UUID)
			}
			vdi := rec.VDI
			arrival{info: info, digest: digest, signer: c.program.Signer(), size: c.program.SignedSize()}.describe(rec, vdi)
			rec.Filename = path
			return nil
		})
		if err != nil {
			return err
		}
		return retell(tx, ref)
	})
}
