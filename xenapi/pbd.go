package xenapi

// PBD joins an SR to a host; the host sees the SR while it is plugged.
type PBD struct {
	UUID              string            `json:"uuid" xenapi:"runtime,since=rio"`
	Host              Ref[Host]         `json:"host" xenapi:"constructor,since=rio,required"`
	SR                Ref[SR]           `json:"SR" xenapi:"constructor,since=rio,required"`
	DeviceConfig      map[string]string `json:"device_config" xenapi:"constructor,since=rio,required"`
	CurrentlyAttached bool              `json:"currently_attached" xenapi:"runtime,since=rio"`
	OtherConfig       map[string]string `json:"other_config" xenapi:"RW,role=pool-operator,since=miami"`
}

// Class names the XenAPI class.
func (PBD) Class() string { return "PBD" }
