package xenapi

// PoolUpdate is what took a patch's place in later servers. There are none here: the class stands for clients that ask for its
// objects before they turn to pool_patch.
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
}

// Class names the XenAPI class.
func (PoolUpdate) Class() string { return "pool_update" }
