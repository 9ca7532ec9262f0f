package xenapi

// VBD attaches a VDI to a virtual machine as a block device. Here that is a host's control domain: the device is one of the
// host's.
type VBD struct {
	UUID                   string                  `json:"uuid" xenapi:"runtime,since=rio"`
	AllowedOperations      []VBDOperation          `json:"allowed_operations" xenapi:"runtime,since=rio"`
	CurrentOperations      map[string]VBDOperation `json:"current_operations" xenapi:"runtime,since=rio"`
	VM                     Ref[VM]                 `json:"VM" xenapi:"constructor,since=rio,required"`
	VDI                    Ref[VDI]                `json:"VDI" xenapi:"constructor,since=rio,required"`
	Device                 string                  `json:"device" xenapi:"constructor,since=rio"`
	Userdevice             string                  `json:"userdevice" xenapi:"RW,role=vm-admin,since=rio,required"`
	Bootable               bool                    `json:"bootable" xenapi:"RW,role=vm-admin,since=rio,required"`
	Mode                   VBDMode                 `json:"mode" xenapi:"constructor,since=rio,required"`
	Type                   VBDType                 `json:"type" xenapi:"RW,role=vm-admin,since=rio,required"`
	Unpluggable            bool                    `json:"unpluggable" xenapi:"RW,role=vm-admin,since=miami" default:"true"`
	StorageLock            bool                    `json:"storage_lock" xenapi:"runtime,since=rio"`
	Empty                  bool                    `json:"empty" xenapi:"constructor,since=rio,required"`
	OtherConfig            map[string]string       `json:"other_config" xenapi:"RW,role=vm-admin,since=rio,required"`
	CurrentlyAttached      bool                    `json:"currently_attached" xenapi:"constructor,since=rio"`
	StatusCode             int64                   `json:"status_code" xenapi:"runtime,since=rio"`
	StatusDetail           string                  `json:"status_detail" xenapi:"runtime,since=rio"`
	RuntimeProperties      map[string]string       `json:"runtime_properties" xenapi:"runtime,since=rio"`
	QoSAlgorithmType       string                  `json:"qos_algorithm_type" xenapi:"RW,role=vm-admin,since=rio,required"`
	QoSAlgorithmParams     map[string]string       `json:"qos_algorithm_params" xenapi:"RW,role=vm-admin,since=rio,required"`
	QoSSupportedAlgorithms []string                `json:"qos_supported_algorithms" xenapi:"runtime,since=rio"`
	Metrics                Ref[VBDMetrics]         `json:"metrics" xenapi:"runtime,since=rio,removed"`

	// DeviceUse tells this use of the device from every other one, so that a daemon that starts knows whether what its
	// last run attached is still there.
	DeviceUse string `json:"device_use" xenapi:"internal"`
}

// Class names the XenAPI class.
func (VBD) Class() string { return "VBD" }
