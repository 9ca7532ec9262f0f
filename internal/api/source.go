package api

import (
	"context"
	"fmt"
	"slices"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/rrd"
	"poolpatch/xenapi"
)

// Recorder records what is measured of this host and the SRs that it sees; [rrd.Recorder] does.
type Recorder interface {
	// Busy is the part of the processors' time that was used lately.
	Busy() float64
	// Forget drops what was recorded of a source.
	Forget(uuid, source string)
	// Save writes what was recorded to stable storage.
	Save() error
}

// dataSource is something that is measured.
type dataSource struct {
	NameLabel       string  `json:"name_label"`
	NameDescription string  `json:"name_description"`
	Enabled         bool    `json:"enabled"`
	Standard        bool    `json:"standard"`
	Units           string  `json:"units"`
	Min             float64 `json:"min"`
	Max             float64 `json:"max"`
	Value           float64 `json:"value"`
}

// Class names the XenAPI class.
func (dataSource) Class() string { return "data_source" }

func dataSources(sources []rrd.Source, unrecorded []string) []dataSource {
	all := make([]dataSource, len(sources))
	for i, s := range sources {
		all[i] = dataSource{
			NameLabel: s.Name, NameDescription: s.Description, Enabled: !slices.Contains(unrecorded, s.Name), Standard: true,
			Units: s.Units, Min: s.Min, Max: s.Max, Value: s.Value,
		}
	}
	return all
}

func (a *API) hostDataSources(_ context.Context, _ *call, host hostRef) ([]dataSource, error) {
	load, err := a.services.Machine.Load()
	if err != nil {
		return nil, err
	}
	rec, err := record(a, host)
	return dataSources(rrd.HostSources(load, a.services.Recorder.Busy()), rec.Unrecorded), err
}

func (a *API) srDataSources(_ context.Context, _ *call, sr srRef) ([]dataSource, error) {
	rec, err := record(a, sr)
	if err != nil {
		return nil, err
	}
	return dataSources(rrd.SRSources(rec), rec.Unrecorded), nil
}

func record[T xenapi.Object](a *API, ref xenapi.Ref[T]) (rec T, err error) {
	return rec, a.view(func(tx *db.Tx) error { rec, err = db.Get(tx, ref); return err })
}

func (a *API) hostDataSource(ctx context.Context, c *call, host hostRef, name string) (float64, error) {
	all, err := a.hostDataSources(ctx, c, host)
	if err != nil {
		return 0, err
	}
	s, err := named(all, name)
	return s.Value, err
}

func (a *API) srDataSource(ctx context.Context, c *call, sr srRef, name string) (float64, error) {
	all, err := a.srDataSources(ctx, c, sr)
	if err != nil {
		return 0, err
	}
	s, err := named(all, name)
	return s.Value, err
}

func named(all []dataSource, name string) (dataSource, error) {
	i := slices.IndexFunc(all, func(s dataSource) bool { return s.NameLabel == name })
	if i < 0 {
		return dataSource{}, xenapi.ErrInvalidValue("data_source", name)
	}
	return all[i], nil
}

func (a *API) hostRecordDataSource(ctx context.Context, c *call, host hostRef, name string) error {
	return a.recordHostSource(ctx, c, host, name, true)
}

// hostForgetDataSource also ends the recording, until host.record_data_source begins it anew.
func (a *API) hostForgetDataSource(ctx context.Context, c *call, host hostRef, name string) error {
	if err := a.recordHostSource(ctx, c, host, name, false); err != nil {
		return err
	}
	rec, err := record(a, host)
	a.services.Recorder.Forget(rec.UUID, name)
	return err
}

func (a *API) recordHostSource(ctx context.Context, c *call, host hostRef, name string, recorded bool) error {
	all, err := a.hostDataSources(ctx, c, host)
	if err == nil {
		_, err = named(all, name)
	}
	if err != nil {
		return err
	}
	return a.changeHost(ctx, host, func(rec *xenapi.Host) { rec.Unrecorded = recording(rec.Unrecorded, name, recorded) })
}

func (a *API) srRecordDataSource(ctx context.Context, c *call, sr srRef, name string) error {
	return a.recordSRSource(ctx, c, sr, name, true)
}

// srForgetDataSource has every host that sees the SR forget.
func (a *API) srForgetDataSource(ctx context.Context, c *call, sr srRef, name string) error {
	if err := a.recordSRSource(ctx, c, sr, name, false); err != nil {
		return err
	}
	rec, err := record(a, sr)
	a.services.Recorder.Forget(rec.UUID, name) // others do when they measure next
	return err
}

func (a *API) recordSRSource(ctx context.Context, c *call, sr srRef, name string, recorded bool) error {
	all, err := a.srDataSources(ctx, c, sr)
	if err == nil {
		_, err = named(all, name)
	}
	if err != nil {
		return err
	}
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, sr, func(rec *xenapi.SR) error { rec.Unrecorded = recording(rec.Unrecorded, name, recorded); return nil })
	})
}

// recording is the list of what is not recorded once a source is, or is not.
func recording(unrecorded []string, name string, recorded bool) []string {
	rest := slices.DeleteFunc(slices.Clone(unrecorded), func(other string) bool { return other == name })
	if !recorded {
		rest = append(rest, name)
	}
	return rest
}

// maxBackupDelay bounds how long host.backup_rrds may be told to wait.
const maxBackupDelay = time.Hour

// hostBackupRRDs has the host write what it has recorded to its own disk, after so many seconds.
func (a *API) hostBackupRRDs(ctx context.Context, _ *call, _ hostRef, delay float64) error {
	wait := time.Duration(delay * float64(time.Second))
	if !(delay >= 0 && delay <= maxBackupDelay.Seconds()) {
		return xenapi.ErrInvalidValue("delay", fmt.Sprint(delay))
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(wait):
		return a.services.Recorder.Save()
	}
}
