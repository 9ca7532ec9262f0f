package xenapi

import "time"

// VM is a virtual machine; poolpatch knows only each host's control domain.
type VM struct {
	UUID                        string                 `json:"uuid" xenapi:"runtime,since=rio"`
	AllowedOperations           []VMOperation          `json:"allowed_operations" xenapi:"runtime,since=rio"`
	CurrentOperations           map[string]VMOperation `json:"current_operations" xenapi:"runtime,since=rio"`
	NameLabel                   string                 `json:"name_label" xenapi:"RW,role=vm-admin,since=rio"`
	NameDescription             string                 `json:"name_description" xenapi:"RW,role=vm-admin,since=rio"`
	PowerState                  VMPowerState           `json:"power_state" xenapi:"constructor,since=rio" default:"Halted"`
	UserVersion                 int64                  `json:"user_version" xenapi:"RW,role=vm-admin,since=rio"`
	IsATemplate                 bool                   `json:"is_a_template" xenapi:"RW,role=vm-admin,since=rio"`
	IsDefaultTemplate           bool                   `json:"is_default_template" xenapi:"runtime,since=falcon"`
	SuspendVDI                  Ref[VDI]               `json:"suspend_VDI" xenapi:"constructor,since=rio"`
	ResidentOn                  Ref[Host]              `json:"resident_on" xenapi:"runtime,since=rio"`
	ScheduledToBeResidentOn     Ref[Host]              `json:"scheduled_to_be_resident_on" xenapi:"runtime,since=rio"`
	Affinity                    Ref[Host]              `json:"affinity" xenapi:"RW,role=vm-power-admin,since=rio"`
	MemoryOverhead              int64                  `json:"memory_overhead" xenapi:"runtime,since=rio"`
	MemoryTarget                int64                  `json:"memory_target" xenapi:"constructor,since=rio,deprecated"`
	MemoryStaticMax             int64                  `json:"memory_static_max" xenapi:"constructor,since=rio"`
	MemoryDynamicMax            int64                  `json:"memory_dynamic_max" xenapi:"constructor,since=rio"`
	MemoryDynamicMin            int64                  `json:"memory_dynamic_min" xenapi:"constructor,since=rio"`
	MemoryStaticMin             int64                  `json:"memory_static_min" xenapi:"constructor,since=rio"`
	VCPUsParams                 map[string]string      `json:"VCPUs_params" xenapi:"RW,role=vm-admin,since=rio"`
	VCPUsMax                    int64                  `json:"VCPUs_max" xenapi:"constructor,since=rio"`
	VCPUsAtStartup              int64                  `json:"VCPUs_at_startup" xenapi:"constructor,since=rio"`
	ActionsAfterSoftreboot      OnSoftrebootBehavior   `json:"actions_after_softreboot" xenapi:"RW,role=vm-admin,since=23.1.0,prototyped" default:"soft_reboot"`
	ActionsAfterShutdown        OnNormalExit           `json:"actions_after_shutdown" xenapi:"RW,role=vm-admin,since=rio"`
	ActionsAfterReboot          OnNormalExit           `json:"actions_after_reboot" xenapi:"RW,role=vm-admin,since=rio"`
	ActionsAfterCrash           OnCrashBehaviour       `json:"actions_after_crash" xenapi:"constructor,since=rio"`
	Consoles                    []Ref[Console]         `json:"consoles" xenapi:"runtime,since=rio"`
	VIFs                        []Ref[VIF]             `json:"VIFs" xenapi:"runtime,since=rio"`
	VBDs                        []Ref[VBD]             `json:"VBDs" xenapi:"runtime,since=rio,inverse=VBD.VM"`
	VUSBs                       []Ref[VUSB]            `json:"VUSBs" xenapi:"runtime,since=rio"`
	CrashDumps                  []Ref[Crashdump]       `json:"crash_dumps" xenapi:"runtime,since=rio"`
	VTPMs                       []Ref[VTPM]            `json:"VTPMs" xenapi:"runtime,since=rio"`
	PVBootloader                string                 `json:"PV_bootloader" xenapi:"RW,role=vm-admin,since=rio"`
	PVKernel                    string                 `json:"PV_kernel" xenapi:"RW,role=vm-admin,since=rio"`
	PVRamdisk                   string                 `json:"PV_ramdisk" xenapi:"RW,role=vm-admin,since=rio"`
	PVArgs                      string                 `json:"PV_args" xenapi:"RW,role=vm-admin,since=rio"`
	PVBootloaderArgs            string                 `json:"PV_bootloader_args" xenapi:"RW,role=vm-admin,since=rio"`
	PVLegacyArgs                string                 `json:"PV_legacy_args" xenapi:"RW,role=vm-admin,since=rio"`
	HVMBootPolicy               string                 `json:"HVM_boot_policy" xenapi:"constructor,since=rio,deprecated"`
	HVMBootParams               map[string]string      `json:"HVM_boot_params" xenapi:"RW,role=vm-admin,since=rio"`
	HVMShadowMultiplier         float64                `json:"HVM_shadow_multiplier" xenapi:"constructor,since=miami" default:"1"`
	Platform                    map[string]string      `json:"platform" xenapi:"RW,role=vm-admin,since=rio"`
	PCIBus                      string                 `json:"PCI_bus" xenapi:"RW,role=vm-admin,since=rio,deprecated"`
	OtherConfig                 map[string]string      `json:"other_config" xenapi:"RW,role=vm-admin,since=rio"`
	Domid                       int64                  `json:"domid" xenapi:"runtime,since=rio"`
	Domarch                     string                 `json:"domarch" xenapi:"runtime,since=rio"`
	LastBootCPUFlags            map[string]string      `json:"last_boot_CPU_flags" xenapi:"constructor,since=rio"`
	IsControlDomain             bool                   `json:"is_control_domain" xenapi:"runtime,since=rio"`
	Metrics                     Ref[VMMetrics]         `json:"metrics" xenapi:"runtime,since=rio"`
	GuestMetrics                Ref[VMGuestMetrics]    `json:"guest_metrics" xenapi:"runtime,since=rio"`
	LastBootedRecord            string                 `json:"last_booted_record" xenapi:"constructor,since=miami"`
	Recommendations             string                 `json:"recommendations" xenapi:"RW,role=vm-admin,since=rio"`
	XenstoreData                map[string]string      `json:"xenstore_data" xenapi:"RW,role=vm-admin,since=miami"`
	HAAlwaysRun                 bool                   `json:"ha_always_run" xenapi:"constructor,since=orlando,deprecated"`
	HARestartPriority           string                 `json:"ha_restart_priority" xenapi:"constructor,since=orlando"`
	IsASnapshot                 bool                   `json:"is_a_snapshot" xenapi:"runtime,since=orlando"`
	SnapshotOf                  Ref[VM]                `json:"snapshot_of" xenapi:"runtime,since=orlando"`
	Snapshots                   []Ref[VM]              `json:"snapshots" xenapi:"runtime,since=orlando"`
	SnapshotTime                time.Time              `json:"snapshot_time" xenapi:"runtime,since=orlando"`
	TransportableSnapshotID     string                 `json:"transportable_snapshot_id" xenapi:"runtime,since=orlando"`
	Blobs                       map[string]Ref[Blob]   `json:"blobs" xenapi:"runtime,since=orlando"`
	Tags                        []string               `json:"tags" xenapi:"RW,role=vm-operator,since=orlando"`
	BlockedOperations           map[VMOperation]string `json:"blocked_operations" xenapi:"RW,role=vm-admin,since=orlando"`
	SnapshotInfo                map[string]string      `json:"snapshot_info" xenapi:"runtime,since=midnight-ride"`
	SnapshotMetadata            string                 `json:"snapshot_metadata" xenapi:"runtime,since=midnight-ride"`
	Parent                      Ref[VM]                `json:"parent" xenapi:"runtime,since=midnight-ride"`
	Children                    []Ref[VM]              `json:"children" xenapi:"runtime,since=midnight-ride"`
	BIOSStrings                 map[string]string      `json:"bios_strings" xenapi:"runtime,since=midnight-ride"`
	ProtectionPolicy            Ref[VMPP]              `json:"protection_policy" xenapi:"constructor,since=cowley,deprecated"`
	IsSnapshotFromVMPP          bool                   `json:"is_snapshot_from_vmpp" xenapi:"constructor,since=cowley,removed"`
	SnapshotSchedule            Ref[VMSS]              `json:"snapshot_schedule" xenapi:"constructor,since=falcon"`
	IsVMSSSnapshot              bool                   `json:"is_vmss_snapshot" xenapi:"constructor,since=falcon"`
	Appliance                   Ref[VMAppliance]       `json:"appliance" xenapi:"constructor,since=rio"`
	StartDelay                  int64                  `json:"start_delay" xenapi:"constructor,since=boston"`
	ShutdownDelay               int64                  `json:"shutdown_delay" xenapi:"constructor,since=boston"`
	Order                       int64                  `json:"order" xenapi:"constructor,since=boston"`
	VGPUs                       []Ref[VGPU]            `json:"VGPUs" xenapi:"runtime,since=boston"`
	AttachedPCIs                []Ref[PCI]             `json:"attached_PCIs" xenapi:"runtime,since=boston"`
	SuspendSR                   Ref[SR]                `json:"suspend_SR" xenapi:"RW,role=vm-admin,since=boston"`
	Version                     int64                  `json:"version" xenapi:"constructor,since=boston"`
	GenerationID                string                 `json:"generation_id" xenapi:"constructor,since=clearwater" default:"0:0"`
	HardwarePlatformVersion     int64                  `json:"hardware_platform_version" xenapi:"RW,role=vm-admin,since=cream"`
	HasVendorDevice             bool                   `json:"has_vendor_device" xenapi:"constructor,since=dundee"`
	RequiresReboot              bool                   `json:"requires_reboot" xenapi:"runtime,since=ely"`
	ReferenceLabel              string                 `json:"reference_label" xenapi:"constructor,since=ely"`
	DomainType                  DomainType             `json:"domain_type" xenapi:"constructor,since=jura" default:"unspecified"`
	NVRAM                       map[string]string      `json:"NVRAM" xenapi:"constructor,since=naples"`
	PendingGuidances            []UpdateGuidance       `json:"pending_guidances" xenapi:"runtime,since=1.303.0"`
	PendingGuidancesRecommended []UpdateGuidance       `json:"pending_guidances_recommended" xenapi:"runtime,since=24.10.0,prototyped"`
	PendingGuidancesFull        []UpdateGuidance       `json:"pending_guidances_full" xenapi:"runtime,since=24.10.0,prototyped"`
}

// Class names the XenAPI class.
func (VM) Class() string { return "VM" }
