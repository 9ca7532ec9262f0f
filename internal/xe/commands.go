package xe

import "strings"

// declared has every command but those that classes have of themselves.
func declared() []command {
	common := &extra{common: true}
	return []command{
		{"help", "", "all", "Displays help; help COMMAND that of one command", help, &extra{common: true, anybody: true}},

		{"patch-upload", "file-name", "", "Upload a patch file to the server", patchUpload, common},
		{"patch-precheck", "uuid host-uuid", "", "Run the prechecks contained within the patch previously uploaded to the specified host", patchRun("precheck"), nil},
		{"patch-apply", "uuid host-uuid", "", "Apply the previously uploaded patch to the specified host", patchRun("apply"), common},
		{"patch-pool-apply", "uuid", "", "Apply the previously uploaded patch to all hosts in the pool", on("pool_patch", "pool_apply"), common},
		{"patch-clean", "uuid", "", "Delete a previously uploaded patch file", on("pool_patch", "clean"), &extra{deprecated: "vdi-destroy"}},
		{"patch-pool-clean", "uuid", "", "Delete a previously uploaded patch file on all hosts in the pool", on("pool_patch", "pool_clean"), &extra{deprecated: "vdi-destroy"}},
		{"patch-destroy", "uuid", "", "Remove an unapplied patch record and files from the server", on("pool_patch", "destroy"), nil},

		{"update-upload", "file-name", "sr-uuid", "Upload an update file into a VDI and introduce it", updateUpload, nil},
		{"update-introduce", "vdi-uuid", "", "Introduce the update that a VDI holds", updateIntroduce, nil},
		{"update-precheck", "uuid", "host-uuid <host-selectors>", "Run the prechecks contained within the update on a host", updateOnHosts("precheck"), nil},
		{"update-apply", "uuid", "host-uuid <host-selectors>", "Apply the update to a host", updateOnHosts("apply"), nil},
		{"update-pool-apply", "uuid", "", "Apply the update to all hosts in the pool", on("pool_update", "pool_apply"), nil},
		{"update-pool-clean", "uuid", "", "Delete the VDIs of the update", on("pool_update", "pool_clean"), nil},
		{"update-destroy", "uuid", "", "Remove an unapplied update and its patch, with their VDIs", on("pool_update", "destroy"), nil},

		{"vdi-create", "sr-uuid name-label virtual-size", "type sm-config: sharable tags:", "Create a VDI. Type is 'system' 'user' 'suspend' or 'crashdump'", vdiCreate, nil},
		{"vdi-introduce", "uuid sr-uuid type location", "name-label name-description sharable read-only other-config: xenstore-data: sm-config:", "Introduce a VDI object to the database", vdiIntroduce, nil},
		{"vdi-destroy", "uuid", "", "Destroy the specified VDI", on("VDI", "destroy"), nil},
		{"vdi-forget", "uuid", "", "Remove all records relating to the specified VDI from the database", on("VDI", "forget"), nil},
		{"vdi-update", "uuid", "", "Refresh the fields of the VDI object in the database", on("VDI", "update"), nil},
		{"vdi-unlock", "uuid", "force", "Attempt to unlock the storage of the specified VDI", vdiUnlock, nil},
		{"vdi-snapshot", "uuid", "driver-params-", "Create a snapshot of the specified VDI", vdiSnapshot, nil},
		{"vdi-clone", "uuid", "new-name-label new-name-description driver-params-", "Create a clone of the specified VDI", vdiClone, nil},
		{"vdi-copy", "uuid", "base-vdi-uuid sr-uuid into-vdi-uuid", "Copy either a full VDI or the block differences between two VDIs either into a fresh VDI in a specified SR or into an existing VDI", vdiCopy, nil},
		{"vdi-pool-migrate", "uuid sr-uuid", "", "Migrate a VDI to a specified SR", vdiPoolMigrate, nil},
		{"vdi-enable-cbt", "uuid", "", "Enable changed block tracking on a VDI", on("VDI", "enable_cbt"), nil},
		{"vdi-disable-cbt", "uuid", "", "Disable changed block tracking on a VDI", on("VDI", "disable_cbt"), nil},
		{"vdi-data-destroy", "uuid", "", "Delete the data of a snapshot VDI, but keep its changed block tracking metadata", on("VDI", "data_destroy"), nil},
		{"vdi-list-changed-blocks", "vdi-from-uuid vdi-to-uuid", "", "Write the changed blocks between the two given VDIs to the standard output, as a base64-encoded bitmap", vdiListChangedBlocks, nil},
		{"vdi-resize", "uuid disk-size", "online", "Resize the specified VDI", vdiResize, nil},
		{"vdi-import", "uuid filename", "format progress", "Import a raw VDI", vdiImport, nil},
		{"vdi-export", "uuid filename", "format base progress", "Export a VDI", vdiExport, nil},

		{"sr-create", "name-label type", "name-description host-uuid device-config: shared physical-size content-type sm-config:", "Create an SR, also a PBD. The device-config parameters can be specified by e.g. device-config:foo=baz", srCreate, nil},
		{"sr-introduce", "name-label type uuid", "name-description content-type shared sm-config:", "Introduces an SR (but does not create any PBDs)", srIntroduce, nil},
		{"sr-probe", "type", "host-uuid device-config: sm-config:", "Perform a storage probe. The device-config parameters can be specified by e.g. device-config:devs=/dev/sdb1", srProbe, nil},
		{"sr-scan", "uuid", "", "Force an SR scan, syncing database with VDIs present in underlying storage substrate", on("SR", "scan"), nil},
		{"sr-forget", "uuid", "", "Forget about the SR", on("SR", "forget"), nil},
		{"sr-destroy", "uuid", "", "Destroy the SR", on("SR", "destroy"), nil},
		{"sr-update", "uuid", "", "Refresh the fields of the SR object in the database", on("SR", "update"), nil},

		{"sr-enable-database-replication", "uuid", "", "Keep the pool's database on the SR too", on("SR", "enable_database_replication"), nil},
		{"sr-disable-database-replication", "uuid", "", "Keep the pool's database on the SR no longer, and destroy what is there", on("SR", "disable_database_replication"), nil},

		{"sr-data-source-list", "uuid", "", "List what is measured of an SR", srSources, nil},
		{"sr-data-source-query", "uuid data-source", "", "Print what is measured of an SR now", srSource, nil},
		{"sr-data-source-record", "uuid data-source", "", "Record what is measured of an SR", onSRSource("record_data_source"), nil},
		{"sr-data-source-forget", "uuid data-source", "", "Stop recording what is measured of an SR, and forget what was recorded", onSRSource("forget_data_source_archives"), nil},

		{"pbd-create", "host-uuid sr-uuid", "device-config: other-config:", "Create a PBD. The read-only device-config parameter can only be set on creation", pbdCreate, nil},
		{"pbd-destroy", "uuid", "", "Destroy the PBD", on("PBD", "destroy"), nil},
		{"pbd-plug", "uuid", "", "Attempt to attach the PBD to the host", on("PBD", "plug"), nil},
		{"pbd-unplug", "uuid", "", "Attempt to detach the PBD from the host", on("PBD", "unplug"), nil},

		{"vbd-create", "vm-uuid device", "vdi-uuid bootable type mode unpluggable", "Create a VBD on a host's control domain. The device is a number, or 'autodetect'. If no VDI is specified, an empty VBD will be created. The type parameter can be 'Disk' or 'CD', and the mode is 'RO' or 'RW'", vbdCreate, nil},
		{"vbd-destroy", "uuid", "", "Destroy the VBD", on("VBD", "destroy"), nil},
		{"vbd-plug", "uuid", "", "Attempt to attach the VBD to the running control domain", on("VBD", "plug"), nil},
		{"vbd-unplug", "uuid", "force", "Attempt to detach the VBD from the running control domain", vbdUnplug, nil},
		{"vbd-insert", "uuid vdi-uuid", "", "Insert a VDI into the CD drive that the VBD is", vbdInsert, nil},
		{"vbd-eject", "uuid", "", "Remove the VDI from the CD drive that the VBD is", on("VBD", "eject"), nil},

		{"host-enable", "", "<host-selectors>", "Enable a host", onHosts("enable"), nil},
		{"host-disable", "", "<host-selectors>", "Disable a host", onHosts("disable"), nil},
		{"host-reboot", "", "<host-selectors>", "Reboot a host", onHosts("reboot"), nil},
		{"host-shutdown", "", "<host-selectors>", "Shutdown a host", onHosts("shutdown"), nil},
		{"host-evacuate", "", "<host-selectors>", "Migrate all VMs off a host", onHosts("evacuate"), nil},
		{"host-restart-agent", "uuid", "", "Restart the daemon of a host", on("host", "restart_agent"), nil},
		{"host-shutdown-agent", "", "", "Stop the daemon of the host that is asked", send("host.shutdown_agent"), nil},
		{"host-dmesg", "", "<host-selectors>", "Print what the kernel of a host has said", printHosts("dmesg"), nil},
		{"host-get-server-certificate", "", "<host-selectors>", "Print the certificate that a host shows its clients", printHosts("get_server_certificate"), nil},
		{"host-server-certificate-install", "certificate private-key", "certificate-chain <host-selectors>", "Have a host show its clients the certificate in a file", hostInstallCertificate, nil},
		{"host-reset-server-certificate", "", "<host-selectors>", "Have a host make the certificate that it shows its clients anew", onHosts("reset_server_certificate"), nil},
		{"host-refresh-server-certificate", "", "<host-selectors>", "Give a host a new certificate among the hosts of its pool", onHosts("refresh_server_certificate"), nil},
		{"host-compute-free-memory", "", "<host-selectors>", "Print the memory of a host that is free, in bytes", printHosts("compute_free_memory"), nil},
		{"host-compute-memory-overhead", "", "<host-selectors>", "Print the memory that virtualization itself takes on a host, in bytes", printHosts("compute_memory_overhead"), nil},
		{"host-data-source-list", "", "<host-selectors>", "List what is measured of a host", hostSources, nil},
		{"host-data-source-query", "data-source", "<host-selectors>", "Print what is measured of a host now", hostSource, nil},
		{"host-data-source-record", "data-source", "<host-selectors>", "Record what is measured of a host", onHostSource("record_data_source"), nil},
		{"host-data-source-forget", "data-source", "<host-selectors>", "Stop recording what is measured of a host, and forget what was recorded", onHostSource("forget_data_source_archives"), nil},
		{"host-backup-rrds", "", "<host-selectors>", "Write what was recorded of a host to its disk", hostBackupRRDs, nil},
		{"host-set-hostname-live", "host-uuid host-name", "", "Give a host another host name, at once", hostSetHostname, nil},
		{"host-declare-dead", "uuid", "force", "Say that a host is off for certain", hostDeclareDead, nil},
		{"host-sync-data", "", "<host-selectors>", "Have a host see all that the pool has committed", onHosts("sync_data"), nil},
		{"host-get-system-status-capabilities", "", "<host-selectors>", "Print what a status report of a host can contain, as XML", printHosts("get_system_status_capabilities"), nil},
		{"host-get-system-status", "filename", "entries output <host-selectors>", "Download a status report of a host. The entries are keys, parted by commas; the output is 'tar' (the default), 'tar.gz' or 'zip'", hostStatus, nil},
		{"host-logs-download", "file-name", "<host-selectors>", "Download a copy of the logs of a host, as tar.gz", hostLogs, nil},
		{"host-bugreport-upload", "url", "http-proxy <host-selectors>", "Have a host put a status report of its own at a URL", hostReportUpload, nil},
		{"host-syslog-reconfigure", "", "<host-selectors>", "Have the log of a host go to the syslog server that its logging:syslog_destination names", onHosts("syslog_reconfigure"), nil},
		{"host-refresh-pack-info", "", "<host-selectors>", "Have the records follow what is applied on the disk of a host", onHosts("refresh_pack_info"), nil},
		{"host-power-on", "", "<host-selectors>", "Switch a host on", onHosts("power_on"), nil},
		{"host-set-power-on-mode", "power-on-mode", "power-on-config: <host-selectors>", "Say how a host is switched on: 'wake-on-lan', by a program of that name, or not at all (nothing)", hostSetPowerOnMode, nil},
		{"host-forget", "uuid", "force", "Forget about a host", hostForget, nil},

		{"pool-join", "master-address master-username master-password", "force", "Instruct host to join an existing pool", poolJoin, nil},
		{"pool-eject", "host-uuid", "force", "Instruct host to leave an existing pool", poolEject, nil},
		{"pool-designate-new-master", "host-uuid", "", "Request an orderly handover of the role of master to another host", poolDesignate, nil},
		{"pool-sync-database", "", "", "Synchronise the current database across all hosts in the pool", send("pool.sync_database"), nil},
		{"pool-enable-redo-log", "sr-uuid", "", "Keep the pool's database on an SR too, written after each change", poolEnableRedoLog, nil},
		{"pool-disable-redo-log", "", "", "End the redo log, and destroy what is there", send("pool.disable_redo_log"), nil},
		{"pool-recover-slaves", "", "", "Lead hosts that have lost their coordinator back to it; print their UUIDs", poolRecoverSlaves, nil},
		{"pool-emergency-transition-to-master", "", "", "Make the host that is asked the coordinator", send("pool.emergency_transition_to_master"), nil},
		{"pool-enable-tls-verification", "", "", "Have hosts verify the certificates of one another", send("pool.enable_tls_verification"), nil},
		{"pool-send-test-post", "dest-host dest-port body", "", "Post a text to a server over TLS and print its answer", poolTestPost, nil},
		{"pool-secret-rotate", "", "", "Give the pool another secret", send("pool.rotate_secret"), nil},
		{"pool-install-ca-certificate", "filename", "", "Have the pool trust the CA certificate in a file, under the file's name", installFile("install_ca_certificate"), nil},
		{"pool-uninstall-ca-certificate", "name", "", "Have the pool trust a CA certificate no more", uninstall("uninstall_ca_certificate"), nil},
		{"pool-certificate-install", "filename", "", "Have the pool trust the CA certificate in a file, under the file's name", installFile("certificate_install"), &extra{deprecated: "pool-install-ca-certificate"}},
		{"pool-certificate-uninstall", "name", "", "Have the pool trust a CA certificate no more", uninstall("certificate_uninstall"), &extra{deprecated: "pool-uninstall-ca-certificate"}},
		{"pool-certificate-list", "", "", "List the names of the CA certificates that the pool trusts", listInstalled("certificate_list"), nil},
		{"pool-certificate-sync", "", "", "Wait until every host has seen which certificates the pool trusts", send("pool.certificate_sync"), nil},
		{"pool-crl-install", "filename", "", "Have the pool trust nothing that the revocation list in a file revokes", installFile("crl_install"), nil},
		{"pool-crl-uninstall", "name", "", "Have the pool forget a revocation list", uninstall("crl_uninstall"), nil},
		{"pool-crl-list", "", "", "List the names of the revocation lists of the pool", listInstalled("crl_list"), nil},
		{"pool-enable-client-certificate-auth", "name", "", "Let in clients that show a certificate of this name", onThePool("enable_client_certificate_auth", "name"), nil},
		{"pool-disable-client-certificate-auth", "", "", "Let in no client by its certificate", onThePool("disable_client_certificate_auth"), nil},
		{"pool-ha-compute-max-host-failures-to-tolerate", "", "", "Print how many hosts may fail", poolMostFailures, nil},

		{"repository-introduce", "name-label binary-url source-url update", "name-description gpgkey-path", "Add the configuration for a new repository", repositoryIntroduce, nil},
		{"repository-forget", "uuid", "", "Remove the repository record from the database", on("Repository", "forget"), nil},
		{"pool-sync-updates", "", "force", "Fetch the patches that the enabled repositories list; print the hash of what they list", poolSyncUpdates, nil},
		{"host-apply-updates", "hash", "<host-selectors>", "Apply what the repositories list on a host; print what is to be done there afterwards", hostApplyUpdates, nil},
		{"pool-check-update-readiness", "", "requires-reboot", "Print why the pool cannot be updated now, a line for each reason", poolCheckUpdateReadiness, nil},
		{"pool-configure-repository-proxy", "proxy-url", "proxy-username proxy-password", "Have repositories reached through a proxy", poolConfigureRepositoryProxy, nil},
		{"pool-disable-repository-proxy", "", "", "Have repositories reached without a proxy", onPool("disable_repository_proxy"), nil},
		{"pool-configure-update-sync", "update-sync-frequency update-sync-day", "", "Say how often the pool fetches patches by itself: 'daily', or 'weekly' on a day from 0, Sunday", poolConfigureUpdateSync, nil},
		{"pool-set-update-sync-enabled", "value", "", "Have the pool fetch patches by itself, or not", poolSetUpdateSyncEnabled, nil},

		{"task-cancel", "uuid", "", "Set a task to cancelling and return", on("task", "cancel"), nil},

		{"message-create", "name priority body", "pool-uuid host-uuid sr-uuid", "Create a message associated with a particular object", messageCreate, nil},
		{"message-destroy", "uuid", "", "Destroy an existing message", on("message", "destroy"), nil},

		{"subject-add", "subject-name", "", "Let a user of the pool in; print the UUID of the subject", subjectAdd, nil},
		{"subject-remove", "subject-uuid", "", "Let a user in no longer", subjectRemove, nil},
		{"subject-role-add", "uuid", "role-name role-uuid", "Give a subject a role", subjectRole("add_to_roles"), nil},
		{"subject-role-remove", "uuid", "role-name role-uuid", "Take a role from a subject", subjectRole("remove_from_roles"), nil},
		{"session-subject-identifier-list", "", "", "List the subjects that are logged in", sessionSubjects, nil},
		{"session-subject-identifier-logout", "subject-identifier", "", "End the sessions of a subject", sessionLogoutSubject, nil},
		{"session-subject-identifier-logout-all", "", "", "End the sessions of every subject", sessionLogoutAll, nil},
		{"user-password-change", "new", "old", "Change the user's login password", changePassword, nil},
	}
}

func offer(c command) offered {
	o := offered{name: c.name, required: strings.Fields(c.required), optional: strings.Fields(c.optional), help: c.help, do: c.do}
	if c.more != nil {
		o.extra = *c.more
	}
	return o
}
