package xenapi

import "time"

// HostMetrics says whether a host is alive.
type HostMetrics struct {
	UUID        string            `json:"uuid" xenapi:"runtime,since=rio"`
	MemoryTotal int64             `json:"memory_total" xenapi:"runtime,since=rio"`
	MemoryFree  int64             `json:"memory_free" xenapi:"runtime,since=rio,deprecated"`
	Live        bool              `json:"live" xenapi:"runtime,since=rio"`
	LastUpdated time.Time         `json:"last_updated" xenapi:"runtime,since=rio"`
	OtherConfig map[string]string `json:"other_config" xenapi:"RW,role=pool-operator,since=orlando"`
}

// Class names the XenAPI class.
func (HostMetrics) Class() string { return "host_metrics" }
