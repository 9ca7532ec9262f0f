package xe

import (
	"context"

	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// classes has every class that xe shows. The fields stand in the order in which they are printed.
var classes = []*class{
	{name: "pool", api: xenapi.ClassOf[xenapi.Pool](), list: "uuid,name-label,name-description,master,default-SR", fields: []field{
		{name: "uuid", flag: ro},
		{name: "name-label", flag: rw},
		{name: "name-description", flag: rw},
		{name: "master", flag: ro},
		{name: "default-SR", flag: rw},
		{name: "crash-dump-SR", flag: rw},
		{name: "suspend-image-SR", flag: rw},
		{name: "allowed-operations", flag: sro},
		{name: "current-operations", flag: sro},
		{name: "supported-sr-types", flag: sro, more: &special{value: supportedTypes}},
		{name: "other-config", flag: mrw},
		{name: "ha-enabled", flag: ro},
		{name: "ha-configuration", flag: mro},
		{name: "ha-statefiles", flag: sro},
		{name: "ha-host-failures-to-tolerate", flag: rw},
		{name: "ha-plan-exists-for", flag: ro},
		{name: "ha-allow-overcommit", flag: rw},
		{name: "ha-overcommitted", flag: ro},
		{name: "blobs", flag: mro},
		{name: "wlb-url", flag: ro},
		{name: "wlb-username", flag: ro},
		{name: "wlb-enabled", flag: rw},
		{name: "wlb-verify-cert", flag: rw, more: deprecated},
		{name: "gui-config", flag: mrw},
		{name: "health-check-config", flag: mrw},
		{name: "vswitch-controller", flag: ro, more: deprecated},
		{name: "restrictions", flag: mro},
		{name: "tags", flag: srw},
		{name: "ha-cluster-stack", flag: ro},
		{name: "guest-agent-config", flag: mro},
		{name: "cpu-info", flag: mro},
		{name: "policy-no-vendor-device", flag: rw},
		{name: "live-patching-disabled", flag: rw},
		{name: "igmp-snooping-enabled", flag: ro},
		{name: "client-certificate-auth-enabled", flag: ro},
		{name: "client-certificate-auth-name", flag: ro},
		{name: "local-auth-max-threads", flag: rw},
		{name: "repositories", flag: srw, more: &special{element: "repository"}},
		{name: "repository-proxy-url", flag: ro},
		{name: "repository-proxy-username", flag: ro},
		{name: "last-update-sync", flag: ro},
		{name: "update-sync-frequency", flag: ro},
		{name: "update-sync-day", flag: ro},
		{name: "update-sync-enabled", flag: ro},
	}},
	{name: "certificate", api: xenapi.ClassOf[xenapi.Certificate](), list: "uuid,name,type,host,not-before,not-after,fingerprint_sha256", fields: []field{
		{name: "uuid", flag: ro},
		{name: "name", flag: ro},
		{name: "type", flag: ro},
		{name: "host", flag: ro},
		{name: "not-before", flag: ro},
		{name: "not-after", flag: ro},
		{name: "fingerprint", flag: ro, more: deprecated},
		{name: "fingerprint_sha256", flag: ro},
		{name: "fingerprint_sha1", flag: ro},
	}},
	{name: "host", api: xenapi.ClassOf[xenapi.Host](), list: "uuid,name-label,name-description", fields: []field{
		{name: "uuid", flag: ro},
		{name: "name-label", flag: rw},
		{name: "name-description", flag: rw},
		{name: "allowed-operations", flag: sro},
		{name: "current-operations", flag: sro},
		{name: "enabled", flag: ro},
		{name: "display", flag: ro},
		{name: "API-version-major", flag: ro},
		{name: "API-version-minor", flag: ro},
		{name: "API-version-vendor", flag: ro},
		{name: "API-version-vendor-implementation", flag: mro},
		{name: "logging", flag: mrw},
		{name: "suspend-image-sr-uuid", flag: rw, path: "suspend_image_sr"},
		{name: "crash-dump-sr-uuid", flag: rw, path: "crash_dump_sr"},
		{name: "software-version", flag: mro},
		{name: "capabilities", flag: sro},
		{name: "other-config", flag: mrw},
		{name: "cpu_info", flag: mro},
		{name: "chipset-info", flag: mro},
		{name: "hostname", flag: ro},
		{name: "address", flag: ro},
		{name: "supported-bootloaders", flag: sro},
		{name: "blobs", flag: mro},
		{name: "memory-overhead", flag: ro},
		{name: "memory-total", flag: ro, path: "metrics.memory_total"},
		{name: "memory-free", flag: ro, path: "metrics.memory_free"},
		{name: "host-metrics-live", flag: ro, path: "metrics.live"},
		{name: "patches", flag: sro, more: &special{separator: ", ", deprecated: true, value: appliedPatches}},
		{name: "updates", flag: sro, more: commas},
		{name: "updates-requiring-reboot", flag: sro, more: commas},
		{name: "ha-statefiles", flag: sro},
		{name: "ha-network-peers", flag: sro},
		{name: "external-auth-type", flag: ro},
		{name: "external-auth-service-name", flag: ro},
		{name: "external-auth-configuration", flag: mro},
		{name: "edition", flag: ro},
		{name: "license-server", flag: mrw},
		{name: "power-on-mode", flag: ro},
		{name: "power-on-config", flag: mro},
		{name: "local-cache-sr", flag: ro},
		{name: "tags", flag: srw},
		{name: "ssl-legacy", flag: rw},
		{name: "guest_VCPUs_params", flag: mrw},
		{name: "virtual-hardware-platform-versions", flag: sro},
		{name: "control-domain-uuid", flag: ro, path: "control_domain"},
		{name: "resident-vms", flag: sro, path: "resident_VMs"},
		{name: "iscsi_iqn", flag: rw},
		{name: "multipathing", flag: rw},
		{name: "pending-guidances", flag: sro},
		{name: "latest-synced-updates-applied", flag: ro},
	}},
	{name: "patch", api: xenapi.ClassOf[xenapi.PoolPatch](), list: "uuid,name-label,name-description,size,hosts,after-apply-guidance", fields: []field{
		{name: "uuid", flag: ro},
		{name: "name-label", flag: ro},
		{name: "name-description", flag: ro},
		{name: "size", flag: ro},
		{name: "hosts", flag: sro, more: &special{separator: ", ", value: appliedHosts}},
		{name: "VDI-uuid", flag: ro, path: "VDI"},
		{name: "after-apply-guidance", flag: sro, more: commas},
	}},
	{name: "update", api: xenapi.ClassOf[xenapi.PoolUpdate](), list: "uuid,name-label,name-description,installation-size,hosts,after-apply-guidance", fields: []field{
		{name: "uuid", flag: ro},
		{name: "name-label", flag: ro},
		{name: "name-description", flag: ro},
		{name: "version", flag: ro},
		{name: "installation-size", flag: ro},
		{name: "key", flag: ro},
		{name: "vdi-uuid", flag: ro, path: "vdi"},
		{name: "hosts", flag: sro, more: commas},
		{name: "after-apply-guidance", flag: sro, more: commas},
		{name: "enforce-homogeneity", flag: ro},
		{name: "other-config", flag: mrw},
	}},
	{name: "vdi", api: xenapi.ClassOf[xenapi.VDI](), list: "uuid,name-label,name-description,virtual-size,read-only,sharable,sr-uuid", fields: []field{
		{name: "uuid", flag: ro},
		{name: "name-label", flag: rw},
		{name: "name-description", flag: rw},
		{name: "is-a-snapshot", flag: ro},
		{name: "snapshot-of", flag: ro},
		{name: "snapshots", flag: sro},
		{name: "snapshot-time", flag: ro},
		{name: "allowed-operations", flag: sro},
		{name: "current-operations", flag: sro},
		{name: "sr-uuid", flag: ro, path: "SR"},
		{name: "sr-name-label", flag: ro, path: "SR.name_label"},
		{name: "vbd-uuids", flag: sro, path: "VBDs"},
		{name: "crashdump-uuids", flag: sro, path: "crash_dumps"},
		{name: "virtual-size", flag: ro},
		{name: "physical-utilisation", flag: ro},
		{name: "location", flag: ro},
		{name: "type", flag: ro},
		{name: "sharable", flag: ro},
		{name: "read-only", flag: ro},
		{name: "storage-lock", flag: ro},
		{name: "managed", flag: ro},
		{name: "parent", flag: ro, more: deprecated},
		{name: "missing", flag: ro},
		{name: "is-tools-iso", flag: ro},
		{name: "other-config", flag: mrw},
		{name: "xenstore-data", flag: mro},
		{name: "sm-config", flag: mro},
		{name: "on-boot", flag: rw},
		{name: "allow-caching", flag: rw},
		{name: "metadata-latest", flag: ro},
		{name: "metadata-of-pool", flag: ro},
		{name: "tags", flag: srw},
		{name: "cbt-enabled", flag: ro},
	}},
	{name: "sr", api: xenapi.ClassOf[xenapi.SR](), list: "uuid,name-label,name-description,host,type,content-type", fields: []field{
		{name: "uuid", flag: ro},
		{name: "name-label", flag: rw},
		{name: "name-description", flag: rw},
		{name: "host", flag: ro, more: &special{value: hostOfSR}},
		{name: "allowed-operations", flag: sro},
		{name: "current-operations", flag: sro},
		{name: "VDIs", flag: sro},
		{name: "PBDs", flag: sro},
		{name: "virtual-allocation", flag: ro},
		{name: "physical-utilisation", flag: ro},
		{name: "physical-size", flag: ro},
		{name: "type", flag: ro},
		{name: "content-type", flag: ro},
		{name: "shared", flag: rw},
		{name: "introduced-by", flag: ro},
		{name: "is-tools-sr", flag: ro},
		{name: "other-config", flag: mrw},
		{name: "sm-config", flag: mro},
		{name: "blobs", flag: mro},
		{name: "local-cache-enabled", flag: ro},
		{name: "tags", flag: srw},
		{name: "clustered", flag: ro},
	}},
	{name: "sm", api: xenapi.ClassOf[xenapi.SM](), list: "uuid,type,name-label,name-description,vendor,copyright,configuration", fields: []field{
		{name: "uuid", flag: ro},
		{name: "type", flag: ro},
		{name: "name-label", flag: ro},
		{name: "name-description", flag: ro},
		{name: "vendor", flag: ro},
		{name: "copyright", flag: ro},
		{name: "required-api-version", flag: ro},
		{name: "capabilities", flag: sro, more: deprecated},
		{name: "features", flag: mro},
		{name: "configuration", flag: mro},
		{name: "driver-filename", flag: ro},
		{name: "required-cluster-stack", flag: sro},
	}},
	{name: "pbd", api: xenapi.ClassOf[xenapi.PBD](), list: "uuid,host-uuid,sr-uuid,device-config,currently-attached", fields: []field{
		{name: "uuid", flag: ro},
		{name: "host", flag: ro, more: deprecated},
		{name: "host-uuid", flag: ro, path: "host"},
		{name: "host-name-label", flag: ro, path: "host.name_label"},
		{name: "sr-uuid", flag: ro, path: "SR"},
		{name: "sr-name-label", flag: ro, path: "SR.name_label"},
		{name: "device-config", flag: mro},
		{name: "currently-attached", flag: ro},
		{name: "other-config", flag: mrw},
	}},
	{name: "vbd", api: xenapi.ClassOf[xenapi.VBD](), list: "uuid,vm-uuid,vm-name-label,vdi-uuid,device,empty", fields: []field{
		{name: "uuid", flag: ro},
		{name: "vm-uuid", flag: ro, path: "VM"},
		{name: "vm-name-label", flag: ro, path: "VM.name_label"},
		{name: "vdi-uuid", flag: ro, path: "VDI"},
		{name: "vdi-name-label", flag: ro, path: "VDI.name_label"},
		{name: "allowed-operations", flag: sro},
		{name: "current-operations", flag: sro},
		{name: "empty", flag: ro},
		{name: "device", flag: ro},
		{name: "userdevice", flag: rw},
		{name: "bootable", flag: rw},
		{name: "mode", flag: rw},
		{name: "type", flag: rw},
		{name: "unpluggable", flag: rw},
		{name: "currently-attached", flag: ro},
		{name: "attachable", flag: ro, more: &special{value: attachable}},
		{name: "storage-lock", flag: ro},
		{name: "status-code", flag: ro},
		{name: "status-detail", flag: ro},
		{name: "qos_algorithm_type", flag: rw},
		{name: "qos_algorithm_params", flag: mrw},
		{name: "qos_supported_algorithms", flag: sro},
		{name: "other-config", flag: mrw},
	}},
	{name: "task", api: xenapi.ClassOf[xenapi.Task](), list: "uuid,name-label,name-description,status,progress", fields: []field{
		{name: "uuid", flag: ro},
		{name: "name-label", flag: ro},
		{name: "name-description", flag: ro},
		{name: "subtask_of", flag: ro},
		{name: "subtasks", flag: sro},
		{name: "resident-on", flag: ro},
		{name: "status", flag: ro},
		{name: "progress", flag: ro},
		{name: "type", flag: ro},
		{name: "result", flag: ro},
		{name: "created", flag: ro},
		{name: "finished", flag: ro},
		{name: "error_info", flag: sro},
		{name: "allowed_operations", flag: sro},
		{name: "current_operations", flag: sro},
		{name: "other-config", flag: mrw},
	}},
	{name: "vm", api: xenapi.ClassOf[xenapi.VM](), list: "uuid,name-label,power-state", fields: []field{
		{name: "uuid", flag: ro},
		{name: "name-label", flag: rw},
		{name: "name-description", flag: rw},
		{name: "is-a-template", flag: ro},
		{name: "is-control-domain", flag: ro},
		{name: "power-state", flag: ro},
		{name: "resident-on", flag: ro},
		{name: "dom-id", flag: ro, path: "domid"},
		{name: "other-config", flag: mrw},
		{name: "tags", flag: srw},
	}},
	{name: "role", api: xenapi.ClassOf[xenapi.Role](), list: "uuid,name,description,subroles", fields: []field{
		{name: "uuid", flag: ro},
		{name: "name", flag: ro, path: "name_label"},
		{name: "description", flag: ro, path: "name_description"},
		{name: "subroles", flag: sro},
	}},
	{name: "subject", api: xenapi.ClassOf[xenapi.Subject](), list: "uuid,subject-identifier,other-config,roles", fields: []field{
		{name: "uuid", flag: ro},
		{name: "subject-identifier", flag: ro},
		{name: "other-config", flag: mro},
		{name: "roles", flag: sro, more: &special{value: roleNames}},
	}},
	{name: "repository", api: xenapi.ClassOf[xenapi.Repository](), list: "uuid,name-label,name-description,binary-url,source-url,update,hash,up-to-date", fields: []field{
		{name: "uuid", flag: ro},
		{name: "name-label", flag: rw},
		{name: "name-description", flag: rw},
		{name: "binary-url", flag: ro},
		{name: "source-url", flag: ro},
		{name: "update", flag: ro},
		{name: "hash", flag: ro},
		{name: "up-to-date", flag: ro},
		{name: "gpgkey-path", flag: rw},
		{name: "origin", flag: ro},
	}},
	{name: "message", api: xenapi.ClassOf[xenapi.Message](), list: "uuid,name,priority,class,obj-uuid,timestamp,body", fields: []field{
		{name: "uuid", flag: ro},
		{name: "name", flag: ro},
		{name: "priority", flag: ro},
		{name: "class", flag: ro, path: "cls"},
		{name: "obj-uuid", flag: ro},
		{name: "timestamp", flag: ro},
		{name: "body", flag: ro},
	}},
}

// known are the classes whose objects a reference may lead to.
var known = []*xenapi.Class{
	xenapi.ClassOf[xenapi.Pool](), xenapi.ClassOf[xenapi.Host](), xenapi.ClassOf[xenapi.HostMetrics](), xenapi.ClassOf[xenapi.HostPatch](),
	xenapi.ClassOf[xenapi.PoolPatch](), xenapi.ClassOf[xenapi.PoolUpdate](), xenapi.ClassOf[xenapi.VDI](), xenapi.ClassOf[xenapi.SR](), xenapi.ClassOf[xenapi.SM](),
	xenapi.ClassOf[xenapi.PBD](), xenapi.ClassOf[xenapi.VBD](), xenapi.ClassOf[xenapi.Task](), xenapi.ClassOf[xenapi.VM](), xenapi.ClassOf[xenapi.Role](), xenapi.ClassOf[xenapi.Subject](),
	xenapi.ClassOf[xenapi.Message](), xenapi.ClassOf[xenapi.Repository](),
}

// classOf finds a class by its name in commands.
func classOf(name string) *class {
	for _, c := range classes {
		if c.name == name {
			return c
		}
	}
	panic("xe: there is no class " + name)
}

func supportedTypes(ctx context.Context, r *run, _ rpc.Value) (rpc.Value, bool) {
	types, err := r.call(ctx, "SR.get_supported_types")
	return types, err == nil
}

// appliedHosts are the UUIDs of the hosts that have a patch; one that only begins to have it is none of them.
func appliedHosts(ctx context.Context, r *run, patch rpc.Value) (rpc.Value, bool) {
	return r.applied(ctx, patch, "host_patches", "host", "host"), true
}

func appliedPatches(ctx context.Context, r *run, host rpc.Value) (rpc.Value, bool) {
	return r.applied(ctx, host, "patches", "pool_patch", "pool_patch"), true
}

// applied follows an object's host_patch rows to what is at their other end, and gives the UUIDs.
func (r *run) applied(ctx context.Context, of rpc.Value, rows, end, class string) rpc.Value {
	uuids := rpc.Value{Kind: rpc.Array}
	links, _ := of.Member(rows)
	for _, link := range links.Items {
		rec, _ := r.record(ctx, "host_patch", link.Text)
		if is, _ := rec.Member("applied"); !is.Bool {
			continue
		}
		ref, _ := rec.Member(end)
		if other, ok := r.record(ctx, class, ref.Text); ok {
			uuid, _ := other.Member("uuid")
			uuids.Items = append(uuids.Items, uuid)
		}
	}
	return uuids
}

// hostOfSR is the name of the one host that has a PBD of an SR.
func hostOfSR(ctx context.Context, r *run, sr rpc.Value) (rpc.Value, bool) {
	text := notInDatabase
	pbds, _ := sr.Member("PBDs")
	switch len(pbds.Items) {
	case 0:
	case 1:
		pbd, _ := r.record(ctx, "PBD", pbds.Items[0].Text)
		ref, _ := pbd.Member("host")
		if host, ok := r.record(ctx, "host", ref.Text); ok {
			label, _ := host.Member("name_label")
			text = label.Text
		}
	default:
		text = "<shared>"
	}
	return rpc.Value{Kind: rpc.String, Text: text}, true
}
