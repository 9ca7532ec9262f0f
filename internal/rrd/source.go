package rrd

import (
	"poolpatch/internal/machine"
	"poolpatch/xenapi"
)

// Source is something that is measured.
type Source struct {
	Name, Description, Units string
	Min, Max                 float64
	Value                    float64 // now
}

// unbounded stands for a bound that there is not. All clients read it; not all read infinity.
const unbounded = 1 << 62

// HostSources are what is measured of a machine; busy is the part of its processors' time that was not idle, from 0 to 1.
func HostSources(load machine.Load, busy float64) []Source {
	const kib = 1 << 10
	total := float64(load.MemoryTotal) / kib
	return []Source{
		{"cpu_avg", "Part of the processors' time that is used, of the last seconds", "(fraction)", 0, 1, busy},
		{"loadavg", "Load average of the last minute", "", 0, unbounded, load.Average},
		{"memory_total_kib", "Memory of the machine", "KiB", 0, total, total},
		{"memory_free_kib", "Memory that is free", "KiB", 0, total, float64(load.MemoryFree) / kib},
	}
}

// SRSources are what an SR's record says: a scan, an update and the daemons' rounds see to that.
func SRSources(rec xenapi.SR) []Source {
	size := float64(rec.PhysicalSize)
	return []Source{
		{"physical_size", "Size of the SR", "B", 0, size, size},
		{"physical_utilisation", "Part of the SR that is in use", "B", 0, size, float64(rec.PhysicalUtilisation)},
		{"virtual_allocation", "Sum of the sizes of the SR's VDIs", "B", 0, unbounded, float64(rec.VirtualAllocation)},
	}
}
