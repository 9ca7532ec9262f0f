package xenapi

// SM describes an SR driver: one record per type.
type SM struct {
	UUID                 string            `json:"uuid" xenapi:"runtime,since=rio"`
	NameLabel            string            `json:"name_label" xenapi:"runtime,since=rio"`
	NameDescription      string            `json:"name_description" xenapi:"runtime,since=rio"`
	Type                 string            `json:"type" xenapi:"runtime,since=rio"`
	Vendor               string            `json:"vendor" xenapi:"runtime,since=rio"`
	Copyright            string            `json:"copyright" xenapi:"runtime,since=rio"`
	Version              string            `json:"version" xenapi:"runtime,since=rio"`
	RequiredAPIVersion   string            `json:"required_api_version" xenapi:"runtime,since=rio"`
	Configuration        map[string]string `json:"configuration" xenapi:"runtime,since=rio"`
	Capabilities         []string          `json:"capabilities" xenapi:"runtime,since=miami,deprecated"`
	Features             map[string]int64  `json:"features" xenapi:"runtime,since=clearwater"`
	OtherConfig          map[string]string `json:"other_config" xenapi:"RW,role=pool-operator,since=miami"`
	DriverFilename       string            `json:"driver_filename" xenapi:"runtime,since=orlando"`
	RequiredClusterStack []string          `json:"required_cluster_stack" xenapi:"runtime,since=dundee"`
}

// Class names the XenAPI class.
func (SM) Class() string { return "SM" }
