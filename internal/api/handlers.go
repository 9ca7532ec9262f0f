package api

import (
	"context"

	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/event"
	"poolpatch/internal/machine"
	"poolpatch/internal/outside"
	"poolpatch/internal/patch"
	"poolpatch/internal/pool"
	"poolpatch/internal/replica"
	"poolpatch/internal/report"
	"poolpatch/internal/repository"
	"poolpatch/internal/storage"
	"poolpatch/internal/task"
	"poolpatch/internal/trust"
	"poolpatch/xenapi"
)

// Services are what the handlers call.
type Services struct {
	DB      *db.DB
	Auth    *auth.Service
	Tasks   *task.Service
	Storage *storage.Service
	Patches *patch.Service
	Events  *event.Service
	Trust   *trust.Store
	Machine *machine.Machine
	// Recorder records what is measured.
	Recorder Recorder
	Replicas *replica.Service
	// Repositories are where the pool fetches patches from.
	Repositories *repository.Service
	Daemon       Daemon
	Log          Log
	Reports      *report.Maker
	Outside      *outside.Client
	// Extensions are this host's; nil where there are none.
	Extensions Extensions
	PowerOn    Programs
	Host       xenapi.Ref[xenapi.Host]
	// Others are the other hosts; nil where there are none.
	Others Others
	// Cluster is who is in the pool; nil where that never changes.
	Cluster *pool.Cluster
}

// Others sends a message to another host for a session; [pool.Hosts] does.
type Others interface {
	CallFor(ctx context.Context, host xenapi.Ref[xenapi.Host], session xenapi.Ref[xenapi.Session],
		t xenapi.Ref[xenapi.Task], result any, message string, params ...any) error
}

// handlers names the function of each message that is served. A function takes the context, the call
// and the message's parameters, and its types are checked against the declaration when the table is built.
func (a *API) handlers() map[string]any {
	return map[string]any{
		"session.login_with_password":             a.sessionLogin,
		"session.logout":                          a.sessionLogout,
		"session.change_password":                 a.sessionChangePassword,
		"session.slave_login":                     a.sessionSlaveLogin,
		"session.slave_local_login":               a.sessionLocalLoginSecret,
		"session.slave_local_login_with_password": a.sessionLocalLogin,
		"session.create_from_db_file":             a.sessionFromFile,
		"session.local_logout":                    a.sessionLogout,
		"session.get_all_subject_identifiers":     a.sessionSubjects,
		"session.logout_subject_identifier":       a.sessionLogoutSubject,
		"user.create":                             a.userCreate,
		"user.destroy":                            a.userDestroy,
		"user.get_all_records":                    a.userGetAllRecords,
		"user.set_password":                       a.userSetPassword,

		"auth.get_subject_identifier":                  a.authSubjectIdentifier,
		"auth.get_subject_information_from_identifier": a.authSubjectInformation,
		"auth.get_group_membership":                    a.authGroupMembership,

		"subject.create":                     a.subjectCreate,
		"subject.destroy":                    a.subjectDestroy,
		"subject.add_to_roles":               a.subjectAddRole,
		"subject.remove_from_roles":          a.subjectRemoveRole,
		"subject.get_permissions_name_label": a.subjectPermissionNames,

		"role.get_permissions":              a.roleGetPermissions,
		"role.get_permissions_name_label":   a.roleGetPermissionNames,
		"role.get_by_permission":            a.roleByPermission,
		"role.get_by_permission_name_label": a.roleByPermissionName,

		"task.create":         a.taskCreate,
		"task.destroy":        a.taskDestroy,
		"task.cancel":         a.taskCancel,
		"task.set_status":     a.taskSetStatus,
		"task.set_progress":   a.taskSetProgress,
		"task.set_result":     a.taskSetResult,
		"task.set_error_info": a.taskSetErrorInfo,

		"host.list_methods":                     a.hostListMethods,
		"host.get_servertime":                   a.hostServertime,
		"host.get_server_localtime":             a.hostServertime,
		"host.enable":                           a.hostEnable,
		"host.disable":                          a.hostDisable,
		"host.has_extension":                    a.hostHasExtension,
		"host.assert_can_evacuate":              a.hostAssertCanEvacuate,
		"host.evacuate":                         a.hostEvacuate,
		"host.get_vms_which_prevent_evacuation": a.hostVMsInTheWay,
		"host.get_uncooperative_resident_VMs":   a.hostUncooperativeVMs,

		"host.reboot":                              a.hostReboot,
		"host.shutdown":                            a.hostShutdown,
		"host.restart_agent":                       a.hostRestartAgent,
		"host.shutdown_agent":                      a.hostShutdownAgent,
		"host.emergency_clear_mandatory_guidance":  a.hostClearGuidance,
		"host.set_hostname_live":                   a.hostSetHostname,
		"host.dmesg":                               a.hostKernelLog,
		"host.dmesg_clear":                         a.hostClearKernelLog,
		"host.compute_free_memory":                 a.hostFreeMemory,
		"host.compute_memory_overhead":             a.hostMemoryOverhead,
		"host.get_data_sources":                    a.hostDataSources,
		"host.query_data_source":                   a.hostDataSource,
		"host.record_data_source":                  a.hostRecordDataSource,
		"host.forget_data_source_archives":         a.hostForgetDataSource,
		"host.backup_rrds":                         a.hostBackupRRDs,
		"host.get_server_certificate":              a.hostCertificate,
		"host.install_server_certificate":          a.hostInstallCertificate,
		"host.reset_server_certificate":            a.hostResetCertificate,
		"host.emergency_reset_server_certificate":  a.hostEmergencyResetCertificate,
		"host.refresh_server_certificate":          a.hostRefreshCertificate,
		"host.sync_data":                           a.hostSyncData,
		"host.declare_dead":                        a.hostDeclareDead,
		"host.set_numa_affinity_policy":            a.hostSetNUMAPolicy,
		"host.set_ssl_legacy":                      a.hostSetSSLLegacy,
		"host.set_https_only":                      a.hostSetHTTPSOnly,
		"host.emergency_reenable_tls_verification": a.hostVerifyTLS,
		"host.apply_edition":                       a.hostApplyEdition,
		"host.license_remove":                      a.hostLicenseRemove,
		"host.check_external_auth":                 a.hostCheckExternalAuth,
		"host.enable_external_auth":                a.hostEnableExternalAuth,
		"host.disable_external_auth":               a.hostDisableExternalAuth,
		"host.disable_local_storage_caching":       a.hostDisableCaching,

		"pool.add_to_guest_agent_config":                             a.poolAddGuestAgentConfig,
		"pool.remove_from_guest_agent_config":                        a.poolRemoveGuestAgentConfig,
		"pool.rotate_secret":                                         a.poolRotateSecret,
		"pool.enable_tls_verification":                               a.poolVerifyTLS,
		"pool.disable_ssl_legacy":                                    a.poolNothingToDo,
		"pool.set_https_only":                                        a.poolSetHTTPSOnly,
		"pool.disable_local_storage_caching":                         a.poolNothingToDo,
		"pool.enable_redo_log":                                       a.poolEnableRedoLog,
		"pool.disable_redo_log":                                      a.poolDisableRedoLog,
		"pool.enable_client_certificate_auth":                        a.poolEnableClientCertificates,
		"pool.disable_client_certificate_auth":                       a.poolDisableClientCertificates,
		"pool.install_ca_certificate":                                a.poolInstallCertificate,
		"pool.uninstall_ca_certificate":                              a.poolUninstallCertificate,
		"pool.certificate_install":                                   a.poolInstallCertificate,
		"pool.certificate_uninstall":                                 a.poolUninstallCertificate,
		"pool.certificate_list":                                      a.poolCertificates,
		"pool.certificate_sync":                                      a.poolSyncCertificates,
		"pool.crl_install":                                           a.poolInstallCRL,
		"pool.crl_uninstall":                                         a.poolUninstallCRL,
		"pool.crl_list":                                              a.poolCRLs,
		"pool.set_local_auth_max_threads":                            a.poolSetLocalAuthThreads,
		"pool.disable_repository_proxy":                              a.poolDisableRepositoryProxy,
		"pool.deconfigure_wlb":                                       a.poolDeconfigureWLB,
		"pool.disable_external_auth":                                 a.poolDisableExternalAuth,
		"pool.enable_external_auth":                                  a.poolEnableExternalAuth,
		"pool.detect_nonhomogeneous_external_auth":                   a.poolDetectUnlikeAuth,
		"pool.set_ext_auth_max_threads":                              a.poolSetExtAuthThreads,
		"pool.get_license_state":                                     a.poolLicenseState,
		"pool.apply_edition":                                         a.poolApplyEdition,
		"pool.recover_slaves":                                        a.poolRecoverSlaves,
		"pool.emergency_transition_to_master":                        a.poolBecomeMaster,
		"pool.ha_failover_plan_exists":                               a.haPlanExists,
		"pool.ha_compute_max_host_failures_to_tolerate":              a.haMost,
		"pool.ha_compute_hypothetical_max_host_failures_to_tolerate": a.haHypotheticalMost,
		"pool.ha_compute_vm_failover_plan":                           a.haPlan,

		"host.get_log":                        a.hostLog,
		"host.syslog_reconfigure":             a.hostReconfigureSyslog,
		"host.get_system_status_capabilities": a.hostReportCapabilities,
		"host.bugreport_upload":               a.hostUploadReport,
		"host.refresh_pack_info":              a.hostRefreshPackInfo,
		"host.call_extension":                 a.hostCallExtension,
		"host.set_iscsi_iqn":                  a.hostSetInitiator,
		"host.set_power_on_mode":              a.hostSetPowerOnMode,
		"host.power_on":                       a.hostPowerOn,
		"pool.send_test_post":                 a.poolTestPost,

		"host.destroy":              a.hostDestroy,
		"pool.designate_new_master": a.poolDesignate,
		"pool.sync_database":        a.poolSyncDatabase,
		"pool.has_extension":        a.poolHasExtension,
		"pool.join":                 a.poolJoin,
		"pool.join_force":           a.poolJoinForce,
		"pool.admit":                a.poolAdmit,
		"pool.eject":                a.poolEject,
		"pool.create_join_token":    a.poolCreateJoinToken,
		"pool.level":                a.poolLevel,
		"pool.rotate_authority":     a.poolRotateAuthority,
		"pool.get_authority_state":  a.poolAuthorityState,
		"pool.get_database_state":   a.poolDatabaseState,

		"SR.create":               a.srCreate,
		"SR.introduce":            a.srIntroduce,
		"SR.forget":               a.srForget,
		"SR.destroy":              a.srDestroy,
		"SR.scan":                 a.srScan,
		"SR.update":               a.srUpdate,
		"SR.probe":                a.srProbe,
		"SR.probe_ext":            a.srProbeExt,
		"SR.set_name_label":       a.srSetNameLabel,
		"SR.set_name_description": a.srSetNameDescription,
		"SR.set_shared":           a.srSetShared,
		"SR.set_physical_size":    a.srSetPhysicalSize,
		"SR.get_supported_types":  a.srSupportedTypes,
		"SR.get_data_sources":     a.srDataSources,
		"SR.query_data_source":    a.srDataSource,
		"SR.record_data_source":   a.srRecordDataSource,

		"SR.forget_data_source_archives": a.srForgetDataSource,

		"SR.assert_supports_database_replication": a.srAssertSupportsReplication,
		"SR.enable_database_replication":          a.srEnableReplication,
		"SR.disable_database_replication":         a.srDisableReplication,

		"PBD.create":            a.pbdCreate,
		"PBD.destroy":           a.pbdDestroy,
		"PBD.plug":              a.pbdPlug,
		"PBD.unplug":            a.pbdUnplug,
		"PBD.set_device_config": a.pbdSetDeviceConfig,

		"VDI.create":               a.vdiCreate,
		"VDI.destroy":              a.vdiDestroy,
		"VDI.forget":               a.vdiForget,
		"VDI.introduce":            a.vdiIntroduce,
		"VDI.copy":                 a.vdiCopy,
		"VDI.clone":                a.vdiClone,
		"VDI.pool_migrate":         a.vdiPoolMigrate,
		"VDI.enable_cbt":           a.vdiEnableCBT,
		"VDI.disable_cbt":          a.vdiDisableCBT,
		"VDI.list_changed_blocks":  a.vdiListChangedBlocks,
		"VDI.data_destroy":         a.vdiDataDestroy,
		"VDI.snapshot":             a.vdiSnapshot,
		"VDI.resize":               a.vdiResize,
		"VDI.update":               a.vdiUpdate,
		"VDI.set_name_label":       a.vdiSetNameLabel,
		"VDI.set_name_description": a.vdiSetNameDescription,
		"VDI.set_read_only":        a.vdiSetReadOnly,
		"VDI.set_sharable":         a.vdiSetSharable,
		"VDI.set_on_boot":          a.vdiSetOnBoot,
		"VDI.set_allow_caching":    a.vdiSetAllowCaching,
		"VDI.get_nbd_info":         a.vdiNBDInfo,

		"VDI.open_database":           a.vdiOpenDatabase,
		"VDI.read_database_pool_uuid": a.vdiReadPoolUUID,

		"VBD.create":            a.vbdCreate,
		"VBD.destroy":           a.vbdDestroy,
		"VBD.plug":              a.vbdPlug,
		"VBD.unplug":            a.vbdUnplug,
		"VBD.unplug_force":      a.vbdUnplugForce,
		"VBD.insert":            a.vbdInsert,
		"VBD.eject":             a.vbdEject,
		"VBD.set_mode":          a.vbdSetMode,
		"VBD.assert_attachable": a.vbdAssertAttachable,

		"pool_patch.precheck":              a.patchPrecheck,
		"pool_patch.apply":                 a.patchApply,
		"pool_patch.pool_apply":            a.patchPoolApply,
		"pool_patch.pool_apply_continue":   a.patchPoolApplyContinue,
		"pool_patch.pool_apply_cancel":     a.patchPoolApplyCancel,
		"pool_patch.get_pool_apply_status": a.patchPoolApplyStatus,
		"pool_patch.clean":                 a.patchClean,
		"pool_patch.clean_on_host":         a.patchCleanOnHost,
		"pool_patch.pool_clean":            a.patchPoolClean,
		"pool_patch.destroy":               a.patchDestroy,
		"host_patch.destroy":               a.hostPatchDestroy,

		"pool_update.introduce":  a.updateIntroduce,
		"pool_update.precheck":   a.updatePrecheck,
		"pool_update.apply":      a.updateApply,
		"pool_update.pool_apply": a.updatePoolApply,
		"pool_update.pool_clean": a.updatePoolClean,
		"pool_update.destroy":    a.updateDestroy,

		"Repository.introduce":            a.repositoryIntroduce,
		"Repository.forget":               a.repositoryForget,
		"Repository.set_gpgkey_path":      a.repositorySetKeyPath,
		"pool.add_repository":             a.poolAddRepository,
		"pool.remove_repository":          a.poolRemoveRepository,
		"pool.set_repositories":           a.poolSetRepositories,
		"pool.sync_updates":               a.poolSyncUpdates,
		"pool.check_update_readiness":     a.poolCheckUpdateReadiness,
		"pool.configure_repository_proxy": a.poolConfigureRepositoryProxy,
		"pool.configure_update_sync":      a.poolConfigureUpdateSync,
		"pool.set_update_sync_enabled":    a.poolSetUpdateSyncEnabled,
		"host.apply_updates":              a.hostApplyUpdates,
		"secret.create":                   a.secretCreate,
		"secret.introduce":                a.secretIntroduce,
		"secret.destroy":                  a.secretDestroy,

		"event.from":           a.eventFrom,
		"event.inject":         a.eventInject,
		"event.register":       a.eventRegister,
		"event.unregister":     a.eventUnregister,
		"event.next":           a.eventNext,
		"event.get_current_id": a.eventCurrentID,

		"message.create":       a.messageCreate,
		"message.destroy":      a.messageDestroy,
		"message.destroy_many": a.messageDestroyMany,
		"message.get":          a.messageGet,
		"message.get_since":    a.messageGetSince,
	}
}
