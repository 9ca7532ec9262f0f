package xenapi

import "time"

// SyslogDestination is the key of Host.Logging that names a server of syslog.
const SyslogDestination = "syslog_destination"

// Host is a member of the pool.
type Host struct {
	UUID                            string                          `json:"uuid" xenapi:"runtime,since=rio"`
	NameLabel                       string                          `json:"name_label" xenapi:"RW,role=pool-operator,since=rio"`
	NameDescription                 string                          `json:"name_description" xenapi:"RW,role=pool-operator,since=rio"`
	MemoryOverhead                  int64                           `json:"memory_overhead" xenapi:"runtime,since=rio"`
	AllowedOperations               []HostAllowedOperation          `json:"allowed_operations" xenapi:"runtime,since=rio"`
	CurrentOperations               map[string]HostAllowedOperation `json:"current_operations" xenapi:"runtime,since=rio"`
	APIVersionMajor                 int64                           `json:"API_version_major" xenapi:"runtime,since=rio"`
	APIVersionMinor                 int64                           `json:"API_version_minor" xenapi:"runtime,since=rio"`
	APIVersionVendor                string                          `json:"API_version_vendor" xenapi:"runtime,since=rio"`
	APIVersionVendorImplementation  map[string]string               `json:"API_version_vendor_implementation" xenapi:"runtime,since=rio"`
	Enabled                         bool                            `json:"enabled" xenapi:"runtime,since=rio"`
	SoftwareVersion                 map[string]string               `json:"software_version" xenapi:"constructor,since=rio"`
	OtherConfig                     map[string]string               `json:"other_config" xenapi:"RW,role=pool-operator,since=rio"`
	Capabilities                    []string                        `json:"capabilities" xenapi:"constructor,since=rio"`
	CPUConfiguration                map[string]string               `json:"cpu_configuration" xenapi:"runtime,since=rio"`
	SchedPolicy                     string                          `json:"sched_policy" xenapi:"runtime,since=rio"`
	SupportedBootloaders            []string                        `json:"supported_bootloaders" xenapi:"runtime,since=rio"`
	ResidentVMs                     []Ref[VM]                       `json:"resident_VMs" xenapi:"runtime,since=rio,inverse=VM.resident_on"`
	Logging                         map[string]string               `json:"logging" xenapi:"RW,role=pool-operator,since=rio"`
	PIFs                            []Ref[PIF]                      `json:"PIFs" xenapi:"runtime,since=rio"`
	SuspendImageSR                  Ref[SR]                         `json:"suspend_image_sr" xenapi:"RW,role=pool-operator,since=rio"`
	CrashDumpSR                     Ref[SR]                         `json:"crash_dump_sr" xenapi:"RW,role=pool-operator,since=rio"`
	Crashdumps                      []Ref[HostCrashdump]            `json:"crashdumps" xenapi:"runtime,since=rio"`
	Patches                         []Ref[HostPatch]                `json:"patches" xenapi:"runtime,since=rio,deprecated,inverse=host_patch.host"`
	Updates                         []Ref[PoolUpdate]               `json:"updates" xenapi:"runtime,since=ely"`
	PBDs                            []Ref[PBD]                      `json:"PBDs" xenapi:"runtime,since=rio,inverse=PBD.host"`
	HostCPUs                        []Ref[HostCPU]                  `json:"host_CPUs" xenapi:"runtime,since=rio"`
	CPUInfo                         map[string]string               `json:"cpu_info" xenapi:"runtime,since=midnight-ride"`
	Hostname                        string                          `json:"hostname" xenapi:"RW,role=pool-operator,since=rio"`
	Address                         string                          `json:"address" xenapi:"RW,role=pool-operator,since=rio"`
	Metrics                         Ref[HostMetrics]                `json:"metrics" xenapi:"runtime,since=rio"`
	LicenseParams                   map[string]string               `json:"license_params" xenapi:"runtime,since=rio"`
	HAStatefiles                    []string                        `json:"ha_statefiles" xenapi:"runtime,since=orlando"`
	HANetworkPeers                  []string                        `json:"ha_network_peers" xenapi:"runtime,since=orlando"`
	Blobs                           map[string]Ref[Blob]            `json:"blobs" xenapi:"runtime,since=orlando"`
	Tags                            []string                        `json:"tags" xenapi:"RW,role=vm-operator,since=orlando"`
	ExternalAuthType                string                          `json:"external_auth_type" xenapi:"runtime,since=george"`
	ExternalAuthServiceName         string                          `json:"external_auth_service_name" xenapi:"runtime,since=george"`
	ExternalAuthConfiguration       map[string]string               `json:"external_auth_configuration" xenapi:"runtime,since=george"`
	Edition                         string                          `json:"edition" xenapi:"runtime,since=midnight-ride"`
	LicenseServer                   map[string]string               `json:"license_server" xenapi:"RW,role=pool-operator,since=midnight-ride" default:"{\"address\":\"localhost\",\"port\":\"27000\"}"`
	BIOSStrings                     map[string]string               `json:"bios_strings" xenapi:"runtime,since=midnight-ride"`
	PowerOnMode                     string                          `json:"power_on_mode" xenapi:"runtime,since=midnight-ride"`
	PowerOnConfig                   map[string]string               `json:"power_on_config" xenapi:"runtime,since=midnight-ride"`
	LocalCacheSR                    Ref[SR]                         `json:"local_cache_sr" xenapi:"constructor,since=cowley"`
	ChipsetInfo                     map[string]string               `json:"chipset_info" xenapi:"runtime,since=boston"`
	PCIs                            []Ref[PCI]                      `json:"PCIs" xenapi:"runtime,since=boston"`
	PGPUs                           []Ref[PGPU]                     `json:"PGPUs" xenapi:"runtime,since=boston"`
	PUSBs                           []Ref[PUSB]                     `json:"PUSBs" xenapi:"runtime,since=inverness"`
	SSLLegacy                       bool                            `json:"ssl_legacy" xenapi:"constructor,since=dundee,deprecated" default:"true"`
	GuestVCPUsParams                map[string]string               `json:"guest_VCPUs_params" xenapi:"RW,role=pool-operator,since=tampa"`
	Display                         HostDisplay                     `json:"display" xenapi:"RW,role=pool-operator,since=cream" default:"enabled"`
	VirtualHardwarePlatformVersions []int64                         `json:"virtual_hardware_platform_versions" xenapi:"runtime,since=cream" default:"[0]"`
	ControlDomain                   Ref[VM]                         `json:"control_domain" xenapi:"runtime,since=ely"`
	UpdatesRequiringReboot          []Ref[PoolUpdate]               `json:"updates_requiring_reboot" xenapi:"runtime,since=ely"`
	Features                        []Ref[Feature]                  `json:"features" xenapi:"runtime,since=falcon"`
	ISCSIIQN                        string                          `json:"iscsi_iqn" xenapi:"constructor,since=kolkata"`
	Multipathing                    bool                            `json:"multipathing" xenapi:"constructor,since=kolkata"`
	UEFICertificates                string                          `json:"uefi_certificates" xenapi:"constructor,since=quebec,deprecated"`
	Certificates                    []Ref[Certificate]              `json:"certificates" xenapi:"runtime,since=stockholm,inverse=Certificate.host"`
	Editions                        []string                        `json:"editions" xenapi:"runtime,since=stockholm"`
	PendingGuidances                []UpdateGuidance                `json:"pending_guidances" xenapi:"runtime,since=1.303.0"`
	TLSVerificationEnabled          bool                            `json:"tls_verification_enabled" xenapi:"runtime,since=1.313.0"`
	LastSoftwareUpdate              time.Time                       `json:"last_software_update" xenapi:"runtime,since=22.20.0,prototyped"`
	HTTPSOnly                       bool                            `json:"https_only" xenapi:"runtime,since=22.27.0,prototyped"`
	LatestSyncedUpdatesApplied      LatestSyncedUpdatesAppliedState `json:"latest_synced_updates_applied" xenapi:"runtime,since=23.18.0,prototyped" default:"unknown"`
	NUMAAffinityPolicy              HostNUMAAffinityPolicy          `json:"numa_affinity_policy" xenapi:"runtime,since=24.0.0,prototyped" default:"default_policy"`
	PendingGuidancesRecommended     []UpdateGuidance                `json:"pending_guidances_recommended" xenapi:"runtime,since=24.10.0,prototyped"`
	PendingGuidancesFull            []UpdateGuidance                `json:"pending_guidances_full" xenapi:"runtime,since=24.10.0,prototyped"`
	LastUpdateHash                  string                          `json:"last_update_hash" xenapi:"runtime,since=24.10.0,prototyped"`

	// BootID names the kernel's run in which the host was last entered: another one says that it was rebooted.
	BootID string `json:"boot_id" xenapi:"internal"`
	// ProcessID names the daemon's process in which it was: another one says that the toolstack was restarted.
	ProcessID string `json:"process_id" xenapi:"internal"`
	// Unrecorded names the data sources that host.forget_data_source_archives has taken out of what is recorded.
	Unrecorded []string `json:"unrecorded" xenapi:"internal"`
	// MAC is that of the network interface by which the host was reached when it was last entered: magic packets go to it.
	MAC string `json:"mac" xenapi:"internal"`
	// ExternalAuthPassword is that of the user who reads the directory of the pool.
	ExternalAuthPassword string `json:"external_auth_password" xenapi:"internal,secret"`
}

// Class names the XenAPI class.
func (Host) Class() string { return "host" }
