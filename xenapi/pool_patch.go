package xenapi

// PoolPatch is a record of class pool_patch.
type PoolPatch struct {
	UUID               string               `json:"uuid" xenapi:"runtime,since=rio"`
	NameLabel          string               `json:"name_label" xenapi:"constructor,since=rio"`
	NameDescription    string               `json:"name_description" xenapi:"constructor,since=rio"`
	Version            string               `json:"version" xenapi:"constructor,since=miami"`
	Size               int64                `json:"size" xenapi:"runtime,since=miami"`
	PoolApplied        bool                 `json:"pool_applied" xenapi:"runtime,since=miami"`
	HostPatches        []Ref[HostPatch]     `json:"host_patches" xenapi:"runtime,since=miami,inverse=host_patch.pool_patch"`
	AfterApplyGuidance []AfterApplyGuidance `json:"after_apply_guidance" xenapi:"runtime,since=miami"`
	PoolUpdate         Ref[PoolUpdate]      `json:"pool_update" xenapi:"constructor,since=ely"`
	OtherConfig        map[string]string    `json:"other_config" xenapi:"RW,role=pool-operator,since=miami"`
	VDI                Ref[VDI]             `json:"VDI" xenapi:"runtime,since=patches-in-vdis"`
}

// Class names the XenAPI class.
func (PoolPatch) Class() string { return "pool_patch" }
