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

		{"sr-data-source-list", "uuid", "", "List what is measured of an SR", srSources, nil},
		{"sr-data-source-query", "uuid data-source", "", "Print what is measured of an SR now", srSource, nil},

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
		{"host-enable-external-auth", "host-uuid auth-type service-name", "config:", "Let users of a directory in, on one host", hostEnableExternalAuth, nil},
		{"host-disable-external-auth", "host-uuid", "config:", "Let users of a directory in no longer, on one host", hostDisableExternalAuth, nil},
		{"host-set-hostname-live", "host-uuid host-name", "", "Give a host another host name, at once", hostSetHostname, nil},
		{"host-declare-dead", "uuid", "force", "Say that a host is off for certain", hostDeclareDead, nil},
		{"host-sync-data", "", "<host-selectors>", "Have a host see all that the pool has committed", onHosts("sync_data"), nil},
		{"host-forget", "uuid", "force", "Forget about a host", hostForget, nil},

		{"pool-join", "master-address master-username master-password", "force", "Instruct host to join an existing pool", poolJoin, nil},
		{"pool-eject", "host-uuid", "force", "Instruct host to leave an existing pool", poolEject, nil},
		{"pool-designate-new-master", "host-uuid", "", "Request an orderly handover of the role of master to another host", poolDesignate, nil},
		{"pool-sync-database", "", "", "Synchronise the current database across all hosts in the pool", send("pool.sync_database"), nil},
		{"pool-recover-slaves", "", "", "Lead hosts that have lost their coordinator back to it; print their UUIDs", poolRecoverSlaves, nil},
		{"pool-emergency-transition-to-master", "", "", "Make the host that is asked the coordinator", send("pool.emergency_transition_to_master"), nil},
		{"pool-enable-tls-verification", "", "", "Have hosts verify the certificates of one another", send("pool.enable_tls_verification"), nil},
		{"pool-secret-rotate", "", "", "Give the pool another secret", send("pool.rotate_secret"), nil},
		{"pool-enable-external-auth", "auth-type service-name", "uuid config:", "Let users of a directory in, on all hosts. The auth-type is 'AD' or 'LDAP', the service-name a domain; config:pass-filename=FILE reads a password from a file", poolEnableExternalAuth, nil},
		{"pool-disable-external-auth", "", "uuid config:", "Let users of a directory in no longer", poolDisableExternalAuth, nil},
		{"pool-ha-compute-max-host-failures-to-tolerate", "", "", "Print how many hosts may fail", poolMostFailures, nil},

		{"task-cancel", "uuid", "", "Set a task to cancelling and return", on("task", "cancel"), nil},

		{"message-create", "name priority body", "pool-uuid host-uuid sr-uuid", "Create a message associated with a particular object", messageCreate, nil},
		{"message-destroy", "uuid", "", "Destroy an existing message", on("message", "destroy"), nil},

		{"subject-add", "subject-name", "", "Let a user of the pool in, or a user or a group of its directory; print the UUID of the subject", subjectAdd, nil},
		{"subject-remove", "subject-uuid", "", "Let a user or a group in no longer", subjectRemove, nil},
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
