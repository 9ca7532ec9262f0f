package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"poolpatch/internal/db"
	"poolpatch/internal/durable"
	"poolpatch/xenapi"
)

// Name reads what KeepName has kept; "" where nothing was.
func Name(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("name of this host: %w", err)
	}
	return string(text), nil
}

// KeepName keeps the name that an administrator has given this host in a file, until ctx ends: the host goes by it in the
// next pool too, although the pool that it leaves may tell it nothing any more.
func KeepName(ctx context.Context, d *db.DB, me xenapi.Ref[xenapi.Host], file string) error {
	kept, err := Name(file)
	if err != nil {
		return err
	}
	for {
		if err := d.Wait(ctx, func(tx *db.Tx) (bool, error) {
			rec, there := db.Lookup(tx, me)
			changed := there && rec.NameLabel != kept
			if changed {
				kept = rec.NameLabel
			}
			return changed, nil
		}); err != nil {
			return err
		}
		if err := durable.WriteFile(file, []byte(kept), 0o644); err != nil {
			return fmt.Errorf("name of this host: %w", err)
		}
	}
}
