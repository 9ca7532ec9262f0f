package xenapi

import "time"

// HostPatch says how far one patch has come on one host.
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

	// State is the step that the apply has reached; it belongs to internal/patch.
	State string `json:"state" xenapi:"internal"`
	// Task applies the patch; it is null once that has ended.
	Task Ref[Task] `json:"task" xenapi:"internal"`
	// BootID names the kernel's run in which the patch came to ask for another; "" where it asks for none.
	BootID string `json:"boot_id" xenapi:"internal"`
}

// Class names the XenAPI class.
func (HostPatch) Class() string { return "host_patch" }
