package api

import (
	"context"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// dataSource is something that is measured. Nothing is recorded: a value is what it is now.
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

// unbounded stands for a bound that there is not. All clients read it; not all read infinity.
const unbounded = 1 << 62

// Class names the XenAPI class.
func (dataSource) Class() string { return "data_source" }

func source(name, description, units string, most, value float64) dataSource {
	return dataSource{NameLabel: name, NameDescription: description, Enabled: true, Standard: true, Units: units, Max: most, Value: value}
}

func (a *API) hostDataSources(context.Context, *call, hostRef) ([]dataSource, error) {
	load, err := a.services.Machine.Load()
	if err != nil {
		return nil, err
	}
	const kib = 1 << 10
	total := float64(load.MemoryTotal) / kib
	return []dataSource{
		source("loadavg", "Load average of the last minute", "", unbounded, load.Average),
		source("memory_total_kib", "Memory of the machine", "KiB", total, total),
		source("memory_free_kib", "Memory that is free", "KiB", total, float64(load.MemoryFree)/kib),
	}, nil
}

// srDataSources are what the SR's record says: a scan, an update and the daemons' rounds see to that.
func (a *API) srDataSources(_ context.Context, _ *call, sr srRef) ([]dataSource, error) {
	var rec xenapi.SR
	if err := a.view(func(tx *db.Tx) (err error) { rec, err = db.Get(tx, sr); return err }); err != nil {
		return nil, err
	}
	size := float64(rec.PhysicalSize)
	return []dataSource{
		source("physical_size", "Size of the SR", "B", size, size),
		source("physical_utilisation", "Part of the SR that is in use", "B", size, float64(rec.PhysicalUtilisation)),
		source("virtual_allocation", "Sum of the sizes of the SR's VDIs", "B", unbounded, float64(rec.VirtualAllocation)),
	}, nil
}

func (a *API) hostDataSource(ctx context.Context, c *call, host hostRef, name string) (float64, error) {
	all, err := a.hostDataSources(ctx, c, host)
	if err != nil {
		return 0, err
	}
	return valueOf(all, name)
}

func (a *API) srDataSource(ctx context.Context, c *call, sr srRef, name string) (float64, error) {
	all, err := a.srDataSources(ctx, c, sr)
	if err != nil {
		return 0, err
	}
	return valueOf(all, name)
}

func valueOf(all []dataSource, name string) (float64, error) {
	for _, s := range all {
		if s.NameLabel == name {
			return s.Value, nil
		}
	}
	return 0, xenapi.ErrInvalidValue("data_source", name)
}
