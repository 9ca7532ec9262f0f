package report

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

const (
	// maxFile bounds what a report has of one file, in bytes: its end.
	maxFile = 1 * mib
	// maxFiles bounds how many files a report has of one directory: the newest.
	maxFiles = 500
)

// logs are the daemon's and those of the patches that it ran.
func (m *Maker) logs(_ context.Context, p *part) error {
	if err := p.file("poolpatch.log", p.now, []byte(m.from.Log())); err != nil {
		return err
	}
	return p.directory(m.from.PatchLogs, "patches")
}

func (m *Maker) stamps(_ context.Context, p *part) error {
	return p.directory(m.from.Stamps, "applied")
}

// records are in files of a class each, and several where it has many objects.
func (m *Maker) records(_ context.Context, p *part) error {
	var class string
	var held bytes.Buffer
	number := 0
	flush := func() error {
		if held.Len() == 0 {
			return nil
		}
		number++
		name := class
		if number > 1 {
			name = fmt.Sprintf("%s-%d", class, number)
		}
		err := p.file(path.Join("records", name+".jsonl"), p.now, held.Bytes())
		held.Reset()
		return err
	}
	err := m.from.Records(func(of string, line []byte) error {
		if of != class || held.Len()+len(line) > maxFile {
			if err := flush(); err != nil {
				return err
			}
		}
		if of != class {
			class, number = of, 0
		}
		held.Write(line)
		return held.WriteByte('\n')
	})
	return errors.Join(err, flush())
}

func (m *Maker) check(ctx context.Context, p *part) error {
	findings, err := m.from.Findings(ctx)
	if err != nil {
		return err
	}
	return p.json("check.json", findings)
}

func (m *Maker) versions(_ context.Context, p *part) error {
	if err := p.json("versions.json", m.from.Versions()); err != nil {
		return err
	}
	return errors.Join(p.copy("/proc/version", "kernel-version.txt"), p.copy("/proc/cmdline", "kernel-command-line.txt"),
		p.copy(filepath.Join(m.from.Root, "etc/os-release"), "os-release.txt"))
}

func (m *Maker) kernelLog(_ context.Context, p *part) error {
	text, err := m.from.KernelLog()
	if err != nil {
		return err
	}
	return p.file("kernel.log", p.now, []byte(text))
}

func (m *Maker) disks(_ context.Context, p *part) error {
	return errors.Join(p.json("space.json", m.from.Space()), p.copy("/proc/self/mounts", "mounts.txt"), p.copy("/proc/partitions", "partitions.txt"))
}

func (p *part) json(name string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return p.file(name, p.now, append(text, '\n'))
}

// copy adds a file of the host.
func (p *part) copy(file, name string) error {
	content, err := end(file)
	if err != nil {
		return err
	}
	return p.file(name, p.now, content)
}

// directory adds the regular files of a directory, the newest first.
func (p *part) directory(dir, name string) error {
	found, err := newest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for i, file := range found {
		if i == maxFiles {
			p.miss(fmt.Sprintf("%s: %d older files", name, len(found)-i))
			break
		}
		content, err := end(filepath.Join(dir, file.name))
		if err != nil {
			p.miss(path.Join(name, file.name) + ": " + err.Error())
			continue
		}
		if err := p.file(path.Join(name, file.name), file.at, content); err != nil {
			return err
		}
	}
	return nil
}

type aged struct {
	name string
	at   time.Time
}

func newest(dir string) ([]aged, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []aged
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			found = append(found, aged{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(found, func(a, b aged) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.name, b.name)) })
	return found, nil
}

// end is the last part of a file.
func end(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxFile {
		if _, err := f.Seek(-maxFile, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}
