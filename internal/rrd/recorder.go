package rrd

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/durable"
	"poolpatch/internal/machine"
	"poolpatch/xenapi"
)

const (
	// saveInterval lies between two saves: so much is lost with a machine.
	saveInterval = time.Hour
	// suffix ends the names of the files, which begin with the UUID of what is measured.
	suffix = ".rrd"
)

// Recorder measures this host, and the SRs that it has plugged.
type Recorder struct {
	db   *db.DB
	host xenapi.Ref[xenapi.Host]
	load func() (machine.Load, error)
	dir  string
	log  *slog.Logger

	mu   sync.Mutex
	kept map[string]map[string]*Series // by the UUID of what is measured, and the source's name
	last machine.Load                  // of the last sample
	busy float64
}

// New makes the recorder of a host, which keeps its files in a directory. It goes on with what they hold: one that is
// damaged is said in the log, and begun anew.
func New(d *db.DB, host xenapi.Ref[xenapi.Host], load func() (machine.Load, error), dir string, log *slog.Logger) *Recorder {
	r := &Recorder{db: d, host: host, load: load, dir: dir, log: log, kept: map[string]map[string]*Series{}}
	r.last, _ = load()                                        // what cannot be measured now is said at the first sample
	files, _ := filepath.Glob(filepath.Join(dir, "*"+suffix)) // the pattern is well formed
	for _, file := range files {
		series, err := read(file)
		if err != nil {
			log.Warn("what was measured is lost", "file", file, "error", err)
			continue
		}
		r.kept[strings.TrimSuffix(filepath.Base(file), suffix)] = series
	}
	return r
}

// Run samples until ctx ends, and saves now and then, and at the end.
func (r *Recorder) Run(ctx context.Context) {
	sample, save := time.NewTicker(Step), time.NewTicker(saveInterval)
	defer sample.Stop()
	defer save.Stop()
	for {
		select {
		case <-ctx.Done():
			r.saveOrSay()
			return
		case now := <-sample.C:
			r.sample(now)
		case <-save.C:
			r.saveOrSay()
		}
	}
}

func (r *Recorder) saveOrSay() {
	if err := r.Save(); err != nil {
		r.log.Warn("what was measured is not saved", "error", err)
	}
}

// sample measures everything that is to be recorded.
func (r *Recorder) sample(now time.Time) {
	load, err := r.load()
	if err != nil {
		r.log.Debug("load of the machine not measured", "error", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if total := load.ProcessorTotal - r.last.ProcessorTotal; r.last.ProcessorTotal > 0 && total > 0 {
		r.busy = float64(load.ProcessorBusy-r.last.ProcessorBusy) / float64(total)
	}
	r.last = load
	_ = r.db.View(func(tx *db.Tx) error {
		there := map[string]bool{}
		if host, ok := db.Lookup(tx, r.host); ok {
			there[host.UUID] = true
			r.add(host.UUID, stepOf(now), HostSources(load, r.busy), host.Unrecorded)
		}
		for ref, sr := range db.All[xenapi.SR](tx) {
			there[sr.UUID] = true
			if r.sees(tx, ref) {
				r.add(sr.UUID, stepOf(now), SRSources(sr), sr.Unrecorded)
			}
		}
		r.drop(func(uuid string) bool { return !there[uuid] })
		return nil
	})
}

func (r *Recorder) sees(tx *db.Tx, sr xenapi.Ref[xenapi.SR]) bool {
	return slices.ContainsFunc(db.Referrers[xenapi.PBD](tx, "SR", sr), func(ref xenapi.Ref[xenapi.PBD]) bool {
		pbd, _ := db.Lookup(tx, ref)
		return pbd.Host == r.host && pbd.CurrentlyAttached
	})
}

// add records a sample of an object, and forgets what is not to be recorded.
func (r *Recorder) add(uuid string, step int64, sources []Source, unrecorded []string) {
	series := r.kept[uuid]
	if series == nil {
		series = map[string]*Series{}
		r.kept[uuid] = series
	}
	for _, s := range sources {
		switch {
		case slices.Contains(unrecorded, s.Name):
			delete(series, s.Name)
			continue
		case series[s.Name] == nil:
			series[s.Name] = newSeries(step)
		}
		series[s.Name].add(step, s.Value)
	}
}

// drop forgets objects that are gone, with their files.
func (r *Recorder) drop(gone func(uuid string) bool) {
	for uuid := range r.kept {
		if !gone(uuid) {
			continue
		}
		if err := os.Remove(r.file(uuid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.log.Warn("what was measured of an object that is gone is not removed", "uuid", uuid, "error", err)
		}
		delete(r.kept, uuid)
	}
}

// Forget drops at once what was recorded of a source. It goes on being recorded unless the record of its object says otherwise.
func (r *Recorder) Forget(uuid, source string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kept[uuid], source)
}

// Busy is the part of the processors' time that was used between the last two samples.
func (r *Recorder) Busy() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.busy
}

func (r *Recorder) file(uuid string) string { return filepath.Join(r.dir, uuid+suffix) }

// saved is the content of a file.
type saved struct {
	Format int
	Series map[string]*Series
}

const format = 1

// Save writes all that is kept to stable storage.
func (r *Recorder) Save() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, uuid := range slices.Sorted(maps.Keys(r.kept)) {
		var text bytes.Buffer
		err := gob.NewEncoder(&text).Encode(saved{format, r.kept[uuid]})
		if err == nil {
			err = durable.WriteFile(r.file(uuid), text.Bytes(), 0o600)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func read(file string) (map[string]*Series, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var s saved
	if err := gob.NewDecoder(bytes.NewReader(text)).Decode(&s); err != nil {
		return nil, err
	}
	if s.Format != format {
		return nil, fmt.Errorf("it has format %d, not %d", s.Format, format)
	}
	for name, series := range s.Series {
		if !series.valid() {
			return nil, fmt.Errorf("its series %s is damaged", name)
		}
	}
	if s.Series == nil {
		s.Series = map[string]*Series{}
	}
	return s.Series, nil
}
