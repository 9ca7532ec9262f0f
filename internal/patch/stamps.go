package patch

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"poolpatch/internal/durable"
	"poolpatch/internal/hotfix"
	"poolpatch/xenapi"
)

// stamps are the files that say which patches are applied on the host: one per patch, named by its
// UUID, holding the XML that its info printed. They are the truth of the host's file system; the
// database follows them (facts, section 7).
type stamps struct{ dir string }

// stampMode keeps a stamp from being changed by accident.
const stampMode = 0o440

// maxStamp bounds what is read of a stamp.
const maxStamp = 1 << 20

func stampDir(legacy string) string { return filepath.Join(legacy, "applied") }

// stamp is one applied patch.
type stamp struct {
	info    hotfix.Info
	applied time.Time // the file's modification time
}

// write puts a stamp on stable storage.
func (st stamps) write(info hotfix.Info) error {
	if err := os.MkdirAll(st.dir, 0o755); err != nil {
		return fmt.Errorf("directory of stamps: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(st.dir, info.UUID), info.XML, stampMode); err != nil {
		return fmt.Errorf("stamp of patch %s: %w", info.UUID, err)
	}
	return nil
}

// read gives every well-formed stamp by UUID. One that is not is logged and left alone: it may belong to
// something else.
func (st stamps) read(log *slog.Logger) (map[string]stamp, error) {
	entries, err := os.ReadDir(st.dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read stamps: %w", err)
	}
	found := map[string]stamp{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") || !entry.Type().IsRegular() {
			continue
		}
		s, err := st.readOne(entry)
		if err != nil {
			log.Warn("stamp skipped", "file", filepath.Join(st.dir, entry.Name()), "error", err)
			continue
		}
		found[s.info.UUID] = s
	}
	return found, nil
}

func (st stamps) readOne(entry fs.DirEntry) (stamp, error) {
	info, err := entry.Info()
	if err != nil {
		return stamp{}, err
	}
	if info.Size() > maxStamp {
		return stamp{}, fmt.Errorf("%d bytes are too many for a stamp", info.Size())
	}
	text, err := os.ReadFile(filepath.Join(st.dir, entry.Name()))
	if err != nil {
		return stamp{}, err
	}
	parsed, err := hotfix.ParseInfo(text)
	if err != nil {
		return stamp{}, err
	}
	if uuid, ok := xenapi.ParseUUID(entry.Name()); !ok || uuid != parsed.UUID {
		return stamp{}, fmt.Errorf("the file's name is not the patch's uuid %s", parsed.UUID)
	}
	return stamp{info: parsed, applied: info.ModTime().UTC()}, nil
}
