package xenapi

// Classes that poolpatch has no objects of. They stand here so that a record that
// names them keeps its full XenAPI shape; their refs are always null.
type (
	DRTask         struct{}
	Feature        struct{}
	PCI            struct{}
	PGPU           struct{}
	PIF            struct{}
	PUSB           struct{}
	VBDMetrics     struct{}
	VGPU           struct{}
	VIF            struct{}
	VMPP           struct{}
	VMSS           struct{}
	VMAppliance    struct{}
	VMGuestMetrics struct{}
	VMMetrics      struct{}
	VTPM           struct{}
	VUSB           struct{}
	Blob           struct{}
	Console        struct{}
	Crashdump      struct{}
	HostCPU        struct{}
	HostCrashdump  struct{}
)

// Class names the XenAPI class.
func (DRTask) Class() string { return "DR_task" }

// Class names the XenAPI class.
func (Feature) Class() string { return "Feature" }

// Class names the XenAPI class.
func (PCI) Class() string { return "PCI" }

// Class names the XenAPI class.
func (PGPU) Class() string { return "PGPU" }

// Class names the XenAPI class.
func (PIF) Class() string { return "PIF" }

// Class names the XenAPI class.
func (PUSB) Class() string { return "PUSB" }

// Class names the XenAPI class.
func (VBDMetrics) Class() string { return "VBD_metrics" }

// Class names the XenAPI class.
func (VGPU) Class() string { return "VGPU" }

// Class names the XenAPI class.
func (VIF) Class() string { return "VIF" }

// Class names the XenAPI class.
func (VMPP) Class() string { return "VMPP" }

// Class names the XenAPI class.
func (VMSS) Class() string { return "VMSS" }

// Class names the XenAPI class.
func (VMAppliance) Class() string { return "VM_appliance" }

// Class names the XenAPI class.
func (VMGuestMetrics) Class() string { return "VM_guest_metrics" }

// Class names the XenAPI class.
func (VMMetrics) Class() string { return "VM_metrics" }

// Class names the XenAPI class.
func (VTPM) Class() string { return "VTPM" }

// Class names the XenAPI class.
func (VUSB) Class() string { return "VUSB" }

// Class names the XenAPI class.
func (Blob) Class() string { return "blob" }

// Class names the XenAPI class.
func (Console) Class() string { return "console" }

// Class names the XenAPI class.
func (Crashdump) Class() string { return "crashdump" }

// Class names the XenAPI class.
func (HostCPU) Class() string { return "host_cpu" }

// Class names the XenAPI class.
func (HostCrashdump) Class() string { return "host_crashdump" }
