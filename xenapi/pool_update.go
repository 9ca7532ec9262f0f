package xenapi

// PoolUpdate is a patch that came in as the content of a VDI, for clients that know no other way: pool_update.introduce reads
// the VDI, and makes it a patch of the pool like every other, which refers to the update. The update is a second name of that patch
// and of what it does.
type PoolUpdate struct {
	UUID               string                     `json:"uuid" xenapi:"runtime,since=rio"`
	NameLabel          string                     `json:"name_label" xenapi:"constructor,since=rio"`
	NameDescription    string                     `json:"name_description" xenapi:"constructor,since=rio"`
	Version            string                     `json:"version" xenapi:"constructor,since=ely"`
	InstallationSize   int64                      `json:"installation_size" xenapi:"constructor,since=ely"`
	Key                string                     `json:"key" xenapi:"constructor,since=ely"`
	AfterApplyGuidance []UpdateAfterApplyGuidance `json:"after_apply_guidance" xenapi:"constructor,since=ely"`
	VDI                Ref[VDI]                   `json:"vdi" xenapi:"constructor,since=rio"`
	Hosts              []Ref[Host]                `json:"hosts" xenapi:"runtime,since=ely"`
	OtherConfig        map[string]string          `json:"other_config" xenapi:"RW,role=pool-operator,since=inverness"`
	EnforceHomogeneity bool                       `json:"enforce_homogeneity" xenapi:"constructor,since=inverness"`

	// Digest is that of the signed file in the VDI, as pool_patch has it.
	Digest string `json:"digest" xenapi:"internal"`
}

// Class names the XenAPI class.
func (PoolUpdate) Class() string { return "pool_update" }
