package xenapi

// SR is a storage repository: a place that holds VDIs.
type SR struct {
	UUID                string                      `json:"uuid" xenapi:"runtime,since=rio"`
	NameLabel           string                      `json:"name_label" xenapi:"constructor,since=rio"`
	NameDescription     string                      `json:"name_description" xenapi:"constructor,since=rio"`
	AllowedOperations   []StorageOperation          `json:"allowed_operations" xenapi:"runtime,since=rio"`
	CurrentOperations   map[string]StorageOperation `json:"current_operations" xenapi:"runtime,since=rio"`
	VDIs                []Ref[VDI]                  `json:"VDIs" xenapi:"runtime,since=rio,inverse=VDI.SR"`
	PBDs                []Ref[PBD]                  `json:"PBDs" xenapi:"runtime,since=rio,inverse=PBD.SR"`
	VirtualAllocation   int64                       `json:"virtual_allocation" xenapi:"runtime,since=rio"`
	PhysicalUtilisation int64                       `json:"physical_utilisation" xenapi:"runtime,since=rio"`
	PhysicalSize        int64                       `json:"physical_size" xenapi:"constructor,since=rio"`
	Type                string                      `json:"type" xenapi:"constructor,since=rio"`
	ContentType         string                      `json:"content_type" xenapi:"constructor,since=rio"`
	Shared              bool                        `json:"shared" xenapi:"runtime,since=rio"`
	OtherConfig         map[string]string           `json:"other_config" xenapi:"RW,role=pool-operator,since=rio"`
	Tags                []string                    `json:"tags" xenapi:"RW,role=vm-operator,since=orlando"`
	SMConfig            map[string]string           `json:"sm_config" xenapi:"RW,role=pool-operator,since=miami"`
	Blobs               map[string]Ref[Blob]        `json:"blobs" xenapi:"runtime,since=orlando"`
	LocalCacheEnabled   bool                        `json:"local_cache_enabled" xenapi:"runtime,since=cowley"`
	IntroducedBy        Ref[DRTask]                 `json:"introduced_by" xenapi:"runtime,since=boston"`
	Clustered           bool                        `json:"clustered" xenapi:"runtime,since=dundee"`
	IsToolsSR           bool                        `json:"is_tools_sr" xenapi:"runtime,since=dundee"`

	// Capabilities are what the SR was found to be able to do when it was last plugged, for the hosts that do not see it.
	Capabilities []string `json:"capabilities" xenapi:"internal"`
	// Forgotten are the UUIDs of VDIs that VDI.forget has forgotten since the last scan, which finds those again that are there.
	Forgotten []string `json:"forgotten" xenapi:"internal"`
	// Unrecorded names the data sources that SR.forget_data_source_archives has taken out of what is recorded.
	Unrecorded []string `json:"unrecorded" xenapi:"internal"`
}

// Class names the XenAPI class.
func (SR) Class() string { return "SR" }
