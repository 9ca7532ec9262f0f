package xenapi

// TaskAllowedOperation is the enum task_allowed_operations.
type TaskAllowedOperation string

const (
	TaskAllowedOperationCancel  TaskAllowedOperation = "cancel"
	TaskAllowedOperationDestroy TaskAllowedOperation = "destroy"
)

// Values lists the enum in its declared order.
func (TaskAllowedOperation) Values() []string {
	return []string{"cancel", "destroy"}
}

// TaskStatus is the enum task_status_type.
type TaskStatus string

const (
	TaskStatusPending    TaskStatus = "pending"
	TaskStatusSuccess    TaskStatus = "success"
	TaskStatusFailure    TaskStatus = "failure"
	TaskStatusCancelling TaskStatus = "cancelling"
	TaskStatusCancelled  TaskStatus = "cancelled"
)

// Values lists the enum in its declared order.
func (TaskStatus) Values() []string {
	return []string{"pending", "success", "failure", "cancelling", "cancelled"}
}

// PoolAllowedOperation is the enum pool_allowed_operations.
type PoolAllowedOperation string

const (
	PoolAllowedOperationHAEnable                     PoolAllowedOperation = "ha_enable"
	PoolAllowedOperationHADisable                    PoolAllowedOperation = "ha_disable"
	PoolAllowedOperationClusterCreate                PoolAllowedOperation = "cluster_create"
	PoolAllowedOperationDesignateNewMaster           PoolAllowedOperation = "designate_new_master"
	PoolAllowedOperationConfigureRepositories        PoolAllowedOperation = "configure_repositories"
	PoolAllowedOperationSyncUpdates                  PoolAllowedOperation = "sync_updates"
	PoolAllowedOperationGetUpdates                   PoolAllowedOperation = "get_updates"
	PoolAllowedOperationApplyUpdates                 PoolAllowedOperation = "apply_updates"
	PoolAllowedOperationTLSVerificationEnable        PoolAllowedOperation = "tls_verification_enable"
	PoolAllowedOperationCertRefresh                  PoolAllowedOperation = "cert_refresh"
	PoolAllowedOperationExchangeCertificatesOnJoin   PoolAllowedOperation = "exchange_certificates_on_join"
	PoolAllowedOperationExchangeCaCertificatesOnJoin PoolAllowedOperation = "exchange_ca_certificates_on_join"
	PoolAllowedOperationCopyPrimaryHostCerts         PoolAllowedOperation = "copy_primary_host_certs"
	PoolAllowedOperationEject                        PoolAllowedOperation = "eject"
)

// Values lists the enum in its declared order.
func (PoolAllowedOperation) Values() []string {
	return []string{"ha_enable", "ha_disable", "cluster_create", "designate_new_master", "configure_repositories", "sync_updates", "get_updates", "apply_updates", "tls_verification_enable", "cert_refresh", "exchange_certificates_on_join", "exchange_ca_certificates_on_join", "copy_primary_host_certs", "eject"}
}

// TelemetryFrequency is the enum telemetry_frequency.
type TelemetryFrequency string

const (
	TelemetryFrequencyDaily   TelemetryFrequency = "daily"
	TelemetryFrequencyWeekly  TelemetryFrequency = "weekly"
	TelemetryFrequencyMonthly TelemetryFrequency = "monthly"
)

// Values lists the enum in its declared order.
func (TelemetryFrequency) Values() []string {
	return []string{"daily", "weekly", "monthly"}
}

// UpdateSyncFrequency is the enum update_sync_frequency.
type UpdateSyncFrequency string

const (
	UpdateSyncFrequencyDaily  UpdateSyncFrequency = "daily"
	UpdateSyncFrequencyWeekly UpdateSyncFrequency = "weekly"
)

// Values lists the enum in its declared order.
func (UpdateSyncFrequency) Values() []string {
	return []string{"daily", "weekly"}
}

// RepositoryOrigin is the enum origin of repositories.
type RepositoryOrigin string

const (
	RepositoryOriginRemote     RepositoryOrigin = "remote"
	RepositoryOriginBundle     RepositoryOrigin = "bundle"
	RepositoryOriginRemotePool RepositoryOrigin = "remote_pool"
)

// Values lists the enum in its declared order.
func (RepositoryOrigin) Values() []string {
	return []string{"remote", "bundle", "remote_pool"}
}

// HostAllowedOperation is the enum host_allowed_operations.
type HostAllowedOperation string

const (
	HostAllowedOperationProvision    HostAllowedOperation = "provision"
	HostAllowedOperationEvacuate     HostAllowedOperation = "evacuate"
	HostAllowedOperationShutdown     HostAllowedOperation = "shutdown"
	HostAllowedOperationReboot       HostAllowedOperation = "reboot"
	HostAllowedOperationPowerOn      HostAllowedOperation = "power_on"
	HostAllowedOperationVmStart      HostAllowedOperation = "vm_start"
	HostAllowedOperationVmResume     HostAllowedOperation = "vm_resume"
	HostAllowedOperationVmMigrate    HostAllowedOperation = "vm_migrate"
	HostAllowedOperationApplyUpdates HostAllowedOperation = "apply_updates"
	HostAllowedOperationEnable       HostAllowedOperation = "enable"
)

// Values lists the enum in its declared order.
func (HostAllowedOperation) Values() []string {
	return []string{"provision", "evacuate", "shutdown", "reboot", "power_on", "vm_start", "vm_resume", "vm_migrate", "apply_updates", "enable"}
}

// LatestSyncedUpdatesAppliedState is the enum latest_synced_updates_applied_state.
type LatestSyncedUpdatesAppliedState string

const (
	LatestSyncedUpdatesAppliedStateYes     LatestSyncedUpdatesAppliedState = "yes"
	LatestSyncedUpdatesAppliedStateNo      LatestSyncedUpdatesAppliedState = "no"
	LatestSyncedUpdatesAppliedStateUnknown LatestSyncedUpdatesAppliedState = "unknown"
)

// Values lists the enum in its declared order.
func (LatestSyncedUpdatesAppliedState) Values() []string {
	return []string{"yes", "no", "unknown"}
}

// UpdateGuidance is the enum update_guidances.
type UpdateGuidance string

const (
	UpdateGuidanceRebootHost                         UpdateGuidance = "reboot_host"
	UpdateGuidanceRebootHostOnLivepatchFailure       UpdateGuidance = "reboot_host_on_livepatch_failure"
	UpdateGuidanceRebootHostOnKernelLivepatchFailure UpdateGuidance = "reboot_host_on_kernel_livepatch_failure"
	UpdateGuidanceRebootHostOnXenLivepatchFailure    UpdateGuidance = "reboot_host_on_xen_livepatch_failure"
	UpdateGuidanceRestartToolstack                   UpdateGuidance = "restart_toolstack"
	UpdateGuidanceRestartDeviceModel                 UpdateGuidance = "restart_device_model"
	UpdateGuidanceRestartVM                          UpdateGuidance = "restart_vm"
)

// Values lists the enum in its declared order.
func (UpdateGuidance) Values() []string {
	return []string{"reboot_host", "reboot_host_on_livepatch_failure", "reboot_host_on_kernel_livepatch_failure", "reboot_host_on_xen_livepatch_failure", "restart_toolstack", "restart_device_model", "restart_vm"}
}

// HostDisplay is the enum host_display.
type HostDisplay string

const (
	HostDisplayEnabled         HostDisplay = "enabled"
	HostDisplayDisableOnReboot HostDisplay = "disable_on_reboot"
	HostDisplayDisabled        HostDisplay = "disabled"
	HostDisplayEnableOnReboot  HostDisplay = "enable_on_reboot"
)

// Values lists the enum in its declared order.
func (HostDisplay) Values() []string {
	return []string{"enabled", "disable_on_reboot", "disabled", "enable_on_reboot"}
}

// HostNUMAAffinityPolicy is the enum host_numa_affinity_policy.
type HostNUMAAffinityPolicy string

const (
	HostNUMAAffinityPolicyAny           HostNUMAAffinityPolicy = "any"
	HostNUMAAffinityPolicyBestEffort    HostNUMAAffinityPolicy = "best_effort"
	HostNUMAAffinityPolicyDefaultPolicy HostNUMAAffinityPolicy = "default_policy"
)

// Values lists the enum in its declared order.
func (HostNUMAAffinityPolicy) Values() []string {
	return []string{"any", "best_effort", "default_policy"}
}

// AfterApplyGuidance is the enum after_apply_guidance.
type AfterApplyGuidance string

const (
	AfterApplyGuidanceRestartHVM  AfterApplyGuidance = "restartHVM"
	AfterApplyGuidanceRestartPV   AfterApplyGuidance = "restartPV"
	AfterApplyGuidanceRestartHost AfterApplyGuidance = "restartHost"
	AfterApplyGuidanceRestartXAPI AfterApplyGuidance = "restartXAPI"
)

// Values lists the enum in its declared order.
func (AfterApplyGuidance) Values() []string {
	return []string{"restartHVM", "restartPV", "restartHost", "restartXAPI"}
}

// StorageOperation is the enum storage_operations.
type StorageOperation string

const (
	StorageOperationScan                 StorageOperation = "scan"
	StorageOperationDestroy              StorageOperation = "destroy"
	StorageOperationForget               StorageOperation = "forget"
	StorageOperationPlug                 StorageOperation = "plug"
	StorageOperationUnplug               StorageOperation = "unplug"
	StorageOperationUpdate               StorageOperation = "update"
	StorageOperationVDICreate            StorageOperation = "vdi_create"
	StorageOperationVDIIntroduce         StorageOperation = "vdi_introduce"
	StorageOperationVDIDestroy           StorageOperation = "vdi_destroy"
	StorageOperationVDIResize            StorageOperation = "vdi_resize"
	StorageOperationVDIClone             StorageOperation = "vdi_clone"
	StorageOperationVDISnapshot          StorageOperation = "vdi_snapshot"
	StorageOperationVDIMirror            StorageOperation = "vdi_mirror"
	StorageOperationVDIEnableCBT         StorageOperation = "vdi_enable_cbt"
	StorageOperationVDIDisableCBT        StorageOperation = "vdi_disable_cbt"
	StorageOperationVDIDataDestroy       StorageOperation = "vdi_data_destroy"
	StorageOperationVDIListChangedBlocks StorageOperation = "vdi_list_changed_blocks"
	StorageOperationVDISetOnBoot         StorageOperation = "vdi_set_on_boot"
	StorageOperationPBDCreate            StorageOperation = "pbd_create"
	StorageOperationPBDDestroy           StorageOperation = "pbd_destroy"
)

// Values lists the enum in its declared order.
func (StorageOperation) Values() []string {
	return []string{"scan", "destroy", "forget", "plug", "unplug", "update", "vdi_create", "vdi_introduce", "vdi_destroy", "vdi_resize", "vdi_clone", "vdi_snapshot", "vdi_mirror", "vdi_enable_cbt", "vdi_disable_cbt", "vdi_data_destroy", "vdi_list_changed_blocks", "vdi_set_on_boot", "pbd_create", "pbd_destroy"}
}

// VDIOperation is the enum vdi_operations.
type VDIOperation string

const (
	VDIOperationClone             VDIOperation = "clone"
	VDIOperationCopy              VDIOperation = "copy"
	VDIOperationResize            VDIOperation = "resize"
	VDIOperationResizeOnline      VDIOperation = "resize_online"
	VDIOperationSnapshot          VDIOperation = "snapshot"
	VDIOperationMirror            VDIOperation = "mirror"
	VDIOperationDestroy           VDIOperation = "destroy"
	VDIOperationForget            VDIOperation = "forget"
	VDIOperationUpdate            VDIOperation = "update"
	VDIOperationForceUnlock       VDIOperation = "force_unlock"
	VDIOperationGenerateConfig    VDIOperation = "generate_config"
	VDIOperationEnableCBT         VDIOperation = "enable_cbt"
	VDIOperationDisableCBT        VDIOperation = "disable_cbt"
	VDIOperationDataDestroy       VDIOperation = "data_destroy"
	VDIOperationListChangedBlocks VDIOperation = "list_changed_blocks"
	VDIOperationSetOnBoot         VDIOperation = "set_on_boot"
	VDIOperationBlocked           VDIOperation = "blocked"
)

// Values lists the enum in its declared order.
func (VDIOperation) Values() []string {
	return []string{"clone", "copy", "resize", "resize_online", "snapshot", "mirror", "destroy", "forget", "update", "force_unlock", "generate_config", "enable_cbt", "disable_cbt", "data_destroy", "list_changed_blocks", "set_on_boot", "blocked"}
}

// VDIType is the enum vdi_type.
type VDIType string

const (
	VDITypeSystem      VDIType = "system"
	VDITypeUser        VDIType = "user"
	VDITypeEphemeral   VDIType = "ephemeral"
	VDITypeSuspend     VDIType = "suspend"
	VDITypeCrashdump   VDIType = "crashdump"
	VDITypeHAStatefile VDIType = "ha_statefile"
	VDITypeMetadata    VDIType = "metadata"
	VDITypeRedoLog     VDIType = "redo_log"
	VDITypeRrd         VDIType = "rrd"
	VDITypePvsCache    VDIType = "pvs_cache"
	VDITypeCBTMetadata VDIType = "cbt_metadata"
)

// Values lists the enum in its declared order.
func (VDIType) Values() []string {
	return []string{"system", "user", "ephemeral", "suspend", "crashdump", "ha_statefile", "metadata", "redo_log", "rrd", "pvs_cache", "cbt_metadata"}
}

// OnBoot is the enum on_boot.
type OnBoot string

const (
	OnBootReset   OnBoot = "reset"
	OnBootPersist OnBoot = "persist"
)

// Values lists the enum in its declared order.
func (OnBoot) Values() []string {
	return []string{"reset", "persist"}
}

// VBDOperation is the enum vbd_operations.
type VBDOperation string

const (
	VBDOperationAttach      VBDOperation = "attach"
	VBDOperationEject       VBDOperation = "eject"
	VBDOperationInsert      VBDOperation = "insert"
	VBDOperationPlug        VBDOperation = "plug"
	VBDOperationUnplug      VBDOperation = "unplug"
	VBDOperationUnplugForce VBDOperation = "unplug_force"
	VBDOperationPause       VBDOperation = "pause"
	VBDOperationUnpause     VBDOperation = "unpause"
)

// Values lists the enum in its declared order.
func (VBDOperation) Values() []string {
	return []string{"attach", "eject", "insert", "plug", "unplug", "unplug_force", "pause", "unpause"}
}

// VBDType is the enum vbd_type.
type VBDType string

const (
	VBDTypeCD     VBDType = "CD"
	VBDTypeDisk   VBDType = "Disk"
	VBDTypeFloppy VBDType = "Floppy"
)

// Values lists the enum in its declared order.
func (VBDType) Values() []string {
	return []string{"CD", "Disk", "Floppy"}
}

// VBDMode is the enum vbd_mode.
type VBDMode string

const (
	VBDModeRO VBDMode = "RO"
	VBDModeRW VBDMode = "RW"
)

// Values lists the enum in its declared order.
func (VBDMode) Values() []string {
	return []string{"RO", "RW"}
}

// VMPowerState is the enum vm_power_state.
type VMPowerState string

const (
	VMPowerStateHalted    VMPowerState = "Halted"
	VMPowerStatePaused    VMPowerState = "Paused"
	VMPowerStateRunning   VMPowerState = "Running"
	VMPowerStateSuspended VMPowerState = "Suspended"
)

// Values lists the enum in its declared order.
func (VMPowerState) Values() []string {
	return []string{"Halted", "Paused", "Running", "Suspended"}
}

// OnSoftrebootBehavior is the enum on_softreboot_behavior.
type OnSoftrebootBehavior string

const (
	OnSoftrebootBehaviorSoftReboot OnSoftrebootBehavior = "soft_reboot"
	OnSoftrebootBehaviorDestroy    OnSoftrebootBehavior = "destroy"
	OnSoftrebootBehaviorRestart    OnSoftrebootBehavior = "restart"
	OnSoftrebootBehaviorPreserve   OnSoftrebootBehavior = "preserve"
)

// Values lists the enum in its declared order.
func (OnSoftrebootBehavior) Values() []string {
	return []string{"soft_reboot", "destroy", "restart", "preserve"}
}

// OnNormalExit is the enum on_normal_exit.
type OnNormalExit string

const (
	OnNormalExitDestroy OnNormalExit = "destroy"
	OnNormalExitRestart OnNormalExit = "restart"
)

// Values lists the enum in its declared order.
func (OnNormalExit) Values() []string {
	return []string{"destroy", "restart"}
}

// VMOperation is the enum vm_operations.
type VMOperation string

const (
	VMOperationSnapshot                 VMOperation = "snapshot"
	VMOperationClone                    VMOperation = "clone"
	VMOperationCopy                     VMOperation = "copy"
	VMOperationCreateTemplate           VMOperation = "create_template"
	VMOperationRevert                   VMOperation = "revert"
	VMOperationCheckpoint               VMOperation = "checkpoint"
	VMOperationSnapshotWithQuiesce      VMOperation = "snapshot_with_quiesce"
	VMOperationProvision                VMOperation = "provision"
	VMOperationStart                    VMOperation = "start"
	VMOperationStartOn                  VMOperation = "start_on"
	VMOperationPause                    VMOperation = "pause"
	VMOperationUnpause                  VMOperation = "unpause"
	VMOperationCleanShutdown            VMOperation = "clean_shutdown"
	VMOperationCleanReboot              VMOperation = "clean_reboot"
	VMOperationHardShutdown             VMOperation = "hard_shutdown"
	VMOperationPowerStateReset          VMOperation = "power_state_reset"
	VMOperationHardReboot               VMOperation = "hard_reboot"
	VMOperationSuspend                  VMOperation = "suspend"
	VMOperationCsvm                     VMOperation = "csvm"
	VMOperationResume                   VMOperation = "resume"
	VMOperationResumeOn                 VMOperation = "resume_on"
	VMOperationPoolMigrate              VMOperation = "pool_migrate"
	VMOperationMigrateSend              VMOperation = "migrate_send"
	VMOperationGetBootRecord            VMOperation = "get_boot_record"
	VMOperationSendSysrq                VMOperation = "send_sysrq"
	VMOperationSendTrigger              VMOperation = "send_trigger"
	VMOperationQueryServices            VMOperation = "query_services"
	VMOperationShutdown                 VMOperation = "shutdown"
	VMOperationCallPlugin               VMOperation = "call_plugin"
	VMOperationChangingMemoryLive       VMOperation = "changing_memory_live"
	VMOperationAwaitingMemoryLive       VMOperation = "awaiting_memory_live"
	VMOperationChangingDynamicRange     VMOperation = "changing_dynamic_range"
	VMOperationChangingStaticRange      VMOperation = "changing_static_range"
	VMOperationChangingMemoryLimits     VMOperation = "changing_memory_limits"
	VMOperationChangingShadowMemory     VMOperation = "changing_shadow_memory"
	VMOperationChangingShadowMemoryLive VMOperation = "changing_shadow_memory_live"
	VMOperationChangingVCPUs            VMOperation = "changing_VCPUs"
	VMOperationChangingVCPUsLive        VMOperation = "changing_VCPUs_live"
	VMOperationChangingNVRAM            VMOperation = "changing_NVRAM"
	VMOperationAssertOperationValid     VMOperation = "assert_operation_valid"
	VMOperationDataSourceOp             VMOperation = "data_source_op"
	VMOperationUpdateAllowedOperations  VMOperation = "update_allowed_operations"
	VMOperationMakeIntoTemplate         VMOperation = "make_into_template"
	VMOperationImport                   VMOperation = "import"
	VMOperationExport                   VMOperation = "export"
	VMOperationMetadataExport           VMOperation = "metadata_export"
	VMOperationReverting                VMOperation = "reverting"
	VMOperationDestroy                  VMOperation = "destroy"
	VMOperationCreateVtpm               VMOperation = "create_vtpm"
)

// Values lists the enum in its declared order.
func (VMOperation) Values() []string {
	return []string{"snapshot", "clone", "copy", "create_template", "revert", "checkpoint", "snapshot_with_quiesce", "provision", "start", "start_on", "pause", "unpause", "clean_shutdown", "clean_reboot", "hard_shutdown", "power_state_reset", "hard_reboot", "suspend", "csvm", "resume", "resume_on", "pool_migrate", "migrate_send", "get_boot_record", "send_sysrq", "send_trigger", "query_services", "shutdown", "call_plugin", "changing_memory_live", "awaiting_memory_live", "changing_dynamic_range", "changing_static_range", "changing_memory_limits", "changing_shadow_memory", "changing_shadow_memory_live", "changing_VCPUs", "changing_VCPUs_live", "changing_NVRAM", "assert_operation_valid", "data_source_op", "update_allowed_operations", "make_into_template", "import", "export", "metadata_export", "reverting", "destroy", "create_vtpm"}
}

// OnCrashBehaviour is the enum on_crash_behaviour.
type OnCrashBehaviour string

const (
	OnCrashBehaviourDestroy            OnCrashBehaviour = "destroy"
	OnCrashBehaviourCoredumpAndDestroy OnCrashBehaviour = "coredump_and_destroy"
	OnCrashBehaviourRestart            OnCrashBehaviour = "restart"
	OnCrashBehaviourCoredumpAndRestart OnCrashBehaviour = "coredump_and_restart"
	OnCrashBehaviourPreserve           OnCrashBehaviour = "preserve"
	OnCrashBehaviourRenameRestart      OnCrashBehaviour = "rename_restart"
)

// Values lists the enum in its declared order.
func (OnCrashBehaviour) Values() []string {
	return []string{"destroy", "coredump_and_destroy", "restart", "coredump_and_restart", "preserve", "rename_restart"}
}

// DomainType is the enum domain_type.
type DomainType string

const (
	DomainTypeHVM         DomainType = "hvm"
	DomainTypePV          DomainType = "pv"
	DomainTypePVInPvh     DomainType = "pv_in_pvh"
	DomainTypePvh         DomainType = "pvh"
	DomainTypeUnspecified DomainType = "unspecified"
)

// Values lists the enum in its declared order.
func (DomainType) Values() []string {
	return []string{"hvm", "pv", "pv_in_pvh", "pvh", "unspecified"}
}

// MessageClass is the enum cls.
type MessageClass string

const (
	MessageClassVM          MessageClass = "VM"
	MessageClassHost        MessageClass = "Host"
	MessageClassSR          MessageClass = "SR"
	MessageClassPool        MessageClass = "Pool"
	MessageClassVMPP        MessageClass = "VMPP"
	MessageClassVMSS        MessageClass = "VMSS"
	MessageClassPVSProxy    MessageClass = "PVS_proxy"
	MessageClassVDI         MessageClass = "VDI"
	MessageClassCertificate MessageClass = "Certificate"
)

// Values lists the enum in its declared order.
func (MessageClass) Values() []string {
	return []string{"VM", "Host", "SR", "Pool", "VMPP", "VMSS", "PVS_proxy", "VDI", "Certificate"}
}

// EventOperation is the enum event_operation.
type EventOperation string

const (
	EventOperationAdd EventOperation = "add"
	EventOperationDel EventOperation = "del"
	EventOperationMod EventOperation = "mod"
)

// Values lists the enum in its declared order.
func (EventOperation) Values() []string {
	return []string{"add", "del", "mod"}
}

// UpdateAfterApplyGuidance is the enum update_after_apply_guidance.
type UpdateAfterApplyGuidance string

// Values lists the enum in its declared order.
func (UpdateAfterApplyGuidance) Values() []string {
	return []string{"restartHVM", "restartPV", "restartHost", "restartXAPI"}
}

// LivepatchStatus is the enum livepatch_status.
type LivepatchStatus string

// The values of livepatch_status.
const (
	LivepatchStatusOKLivepatchComplete   LivepatchStatus = "ok_livepatch_complete"
	LivepatchStatusOKLivepatchIncomplete LivepatchStatus = "ok_livepatch_incomplete"
	LivepatchStatusOK                    LivepatchStatus = "ok"
)

// Values lists the enum in its declared order.
func (LivepatchStatus) Values() []string {
	return []string{"ok_livepatch_complete", "ok_livepatch_incomplete", "ok"}
}
