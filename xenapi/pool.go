package xenapi

import "time"

// Pool is the one record that describes the pool.
type Pool struct {
	UUID                         string                          `json:"uuid" xenapi:"runtime,since=rio"`
	NameLabel                    string                          `json:"name_label" xenapi:"RW,role=pool-operator,since=rio"`
	NameDescription              string                          `json:"name_description" xenapi:"RW,role=pool-operator,since=rio"`
	Master                       Ref[Host]                       `json:"master" xenapi:"runtime,since=rio"`
	DefaultSR                    Ref[SR]                         `json:"default_SR" xenapi:"RW,role=pool-operator,since=rio"`
	SuspendImageSR               Ref[SR]                         `json:"suspend_image_SR" xenapi:"RW,role=pool-operator,since=rio"`
	CrashDumpSR                  Ref[SR]                         `json:"crash_dump_SR" xenapi:"RW,role=pool-operator,since=rio"`
	OtherConfig                  map[string]string               `json:"other_config" xenapi:"RW,role=pool-operator,since=rio"`
	HAEnabled                    bool                            `json:"ha_enabled" xenapi:"runtime,since=orlando"`
	HAConfiguration              map[string]string               `json:"ha_configuration" xenapi:"runtime,since=orlando"`
	HAStatefiles                 []string                        `json:"ha_statefiles" xenapi:"runtime,since=orlando"`
	HAHostFailuresToTolerate     int64                           `json:"ha_host_failures_to_tolerate" xenapi:"runtime,since=orlando"`
	HAPlanExistsFor              int64                           `json:"ha_plan_exists_for" xenapi:"runtime,since=orlando"`
	HAAllowOvercommit            bool                            `json:"ha_allow_overcommit" xenapi:"RW,role=pool-operator,since=orlando"`
	HAOvercommitted              bool                            `json:"ha_overcommitted" xenapi:"runtime,since=orlando"`
	Blobs                        map[string]Ref[Blob]            `json:"blobs" xenapi:"runtime,since=orlando"`
	Tags                         []string                        `json:"tags" xenapi:"RW,role=vm-operator,since=orlando"`
	GUIConfig                    map[string]string               `json:"gui_config" xenapi:"RW,role=vm-operator,since=orlando"`
	HealthCheckConfig            map[string]string               `json:"health_check_config" xenapi:"RW,role=pool-operator,since=dundee"`
	WLBURL                       string                          `json:"wlb_url" xenapi:"runtime,since=george"`
	WLBUsername                  string                          `json:"wlb_username" xenapi:"runtime,since=george"`
	WLBEnabled                   bool                            `json:"wlb_enabled" xenapi:"RW,role=pool-operator+client-cert,since=george"`
	WLBVerifyCert                bool                            `json:"wlb_verify_cert" xenapi:"RW,role=pool-operator,since=george,deprecated"`
	RedoLogEnabled               bool                            `json:"redo_log_enabled" xenapi:"runtime,since=midnight-ride"`
	RedoLogVDI                   Ref[VDI]                        `json:"redo_log_vdi" xenapi:"runtime,since=midnight-ride"`
	VswitchController            string                          `json:"vswitch_controller" xenapi:"runtime,since=midnight-ride,deprecated"`
	Restrictions                 map[string]string               `json:"restrictions" xenapi:"runtime,since=midnight-ride"`
	MetadataVDIs                 []Ref[VDI]                      `json:"metadata_VDIs" xenapi:"runtime,since=boston,inverse=VDI.metadata_of_pool"`
	HAClusterStack               string                          `json:"ha_cluster_stack" xenapi:"runtime,since=dundee"`
	AllowedOperations            []PoolAllowedOperation          `json:"allowed_operations" xenapi:"runtime,since=rio"`
	CurrentOperations            map[string]PoolAllowedOperation `json:"current_operations" xenapi:"runtime,since=rio"`
	GuestAgentConfig             map[string]string               `json:"guest_agent_config" xenapi:"runtime,since=dundee"`
	CPUInfo                      map[string]string               `json:"cpu_info" xenapi:"runtime,since=dundee"`
	PolicyNoVendorDevice         bool                            `json:"policy_no_vendor_device" xenapi:"RW,role=pool-operator,since=dundee"`
	LivePatchingDisabled         bool                            `json:"live_patching_disabled" xenapi:"RW,role=pool-operator,since=ely"`
	IGMPSnoopingEnabled          bool                            `json:"igmp_snooping_enabled" xenapi:"runtime,since=inverness"`
	UEFICertificates             string                          `json:"uefi_certificates" xenapi:"constructor,since=quebec"`
	CustomUEFICertificates       string                          `json:"custom_uefi_certificates" xenapi:"constructor,since=24.0.0,prototyped"`
	IsPSRPending                 bool                            `json:"is_psr_pending" xenapi:"RW,role=pool-operator,since=stockholm_psr"`
	TLSVerificationEnabled       bool                            `json:"tls_verification_enabled" xenapi:"runtime,since=1.290.0"`
	Repositories                 []Ref[Repository]               `json:"repositories" xenapi:"runtime,since=1.301.0"`
	ClientCertificateAuthEnabled bool                            `json:"client_certificate_auth_enabled" xenapi:"runtime,since=1.318.0"`
	ClientCertificateAuthName    string                          `json:"client_certificate_auth_name" xenapi:"runtime,since=1.318.0"`
	RepositoryProxyURL           string                          `json:"repository_proxy_url" xenapi:"runtime,since=21.3.0"`
	RepositoryProxyUsername      string                          `json:"repository_proxy_username" xenapi:"runtime,since=21.3.0"`
	RepositoryProxyPassword      Ref[Secret]                     `json:"repository_proxy_password" xenapi:"runtime,since=21.3.0"`
	MigrationCompression         bool                            `json:"migration_compression" xenapi:"RW,role=pool-operator,since=22.33.0,prototyped"`
	CoordinatorBias              bool                            `json:"coordinator_bias" xenapi:"RW,role=pool-operator,since=22.37.0" default:"true"`
	LocalAuthMaxThreads          int64                           `json:"local_auth_max_threads" xenapi:"constructor,since=23.27.0,prototyped" default:"8"`
	ExtAuthMaxThreads            int64                           `json:"ext_auth_max_threads" xenapi:"constructor,since=23.27.0,prototyped" default:"1"`
	TelemetryUUID                Ref[Secret]                     `json:"telemetry_uuid" xenapi:"runtime,since=23.9.0,prototyped"`
	TelemetryFrequency           TelemetryFrequency              `json:"telemetry_frequency" xenapi:"runtime,since=23.9.0,prototyped" default:"weekly"`
	TelemetryNextCollection      time.Time                       `json:"telemetry_next_collection" xenapi:"runtime,since=23.9.0,prototyped"`
	LastUpdateSync               time.Time                       `json:"last_update_sync" xenapi:"runtime,since=23.18.0,prototyped"`
	UpdateSyncFrequency          UpdateSyncFrequency             `json:"update_sync_frequency" xenapi:"runtime,since=23.18.0,prototyped" default:"weekly"`
	UpdateSyncDay                int64                           `json:"update_sync_day" xenapi:"runtime,since=23.18.0,prototyped"`
	UpdateSyncEnabled            bool                            `json:"update_sync_enabled" xenapi:"runtime,since=23.18.0,prototyped"`

	// Secret lets hosts of the pool that know only the old way of authentication in (pool_secret).
	Secret string `json:"secret" xenapi:"internal,secret"`
}

// Class names the XenAPI class.
func (Pool) Class() string { return "pool" }
