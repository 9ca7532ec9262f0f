package xenapi

import "time"

// HostPatch is a record of class host_patch.
type HostPatch struct {
	UUID             string            `json:"uuid" xenapi:"runtime,since=rio"`
	NameLabel        string            `json:"name_label" xenapi:"constructor,since=rio"`
	NameDescription  string            `json:"name_description" xenapi:"constructor,since=rio"`
	Version          string            `json:"version" xenapi:"constructor,since=rio"`
	Host             Ref[Host]         `json:"host" xenapi:"constructor,since=rio"`
	Applied          bool              `json:"applied" xenapi:"runtime,since=rio"`
	TimestampApplied time.Time         `json:"timestamp_applied" xenapi:"runtime,since=rio"`
	Size             int64             `json:"size" xenapi:"runtime,since=rio"`
	PoolPatch        Ref[PoolPatch]    `json:"pool_patch" xenapi:"constructor,since=miami"`
	OtherConfig      map[string]string `json:"other_config" xenapi:"RW,role=pool-operator,since=miami"`
}

// Class names the XenAPI class.
func (HostPatch) Class() string { return "host_patch" }
