package api

import (
	"context"
	"reflect"

	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

// place says which host must run a message with these parameters. Null is: whichever was asked.
type place func(tx *db.Tx, me hostRef, args []reflect.Value) (hostRef, error)

// places names the messages that must run on a certain host. All others need only the database.
var places = map[string]place{
	"host.get_servertime":       atHost(0),
	"host.get_server_localtime": atHost(0),
	"host.reboot":               atHost(0),
	"host.shutdown":             atHost(0),
	"host.restart_agent":        atHost(0),
	"host.set_hostname_live":    atHost(0),
	"host.dmesg":                atHost(0),
	"host.dmesg_clear":          atHost(0),
	"host.compute_free_memory":  atHost(0),
	"host.get_data_sources":     atHost(0),
	"host.query_data_source":    atHost(0),
	"host.record_data_source":   atHost(0),
	"host.backup_rrds":          atHost(0),

	"host.forget_data_source_archives": atHost(0),
	"SR.forget_data_source_archives":   atSR(0),

	"host.sync_data":                      atHost(0),
	"host.get_server_certificate":         atHost(0),
	"host.install_server_certificate":     atHost(0),
	"host.reset_server_certificate":       atHost(0),
	"host.refresh_server_certificate":     atHost(0),
	"host.check_external_auth":            atHost(0),
	"host.enable_external_auth":           atHost(0),
	"host.declare_dead":                   atCoordinator,
	"host.get_log":                        atHost(0),
	"host.syslog_reconfigure":             atHost(0),
	"host.get_system_status_capabilities": atHost(0),
	"host.bugreport_upload":               atHost(0),
	"host.call_extension":                 atHost(0),
	"host.has_extension":                  atHost(0),
	"host.set_iscsi_iqn":                  atHost(0),
	"host.power_on":                       atCoordinator,
	"host.refresh_pack_info":              atHost(0),
	"host.apply_updates":                  atHost(0),
	"pool.sync_updates":                   atCoordinator,
	"pool_patch.precheck":                 atHost(1),
	"pool_patch.apply":                    atHost(1),
	"pool_patch.clean_on_host":            atHost(1),
	"pool_patch.clean":                    atCoordinator,
	"pool_patch.pool_clean":               atCoordinator,
	"pool_patch.destroy":                  atCoordinator,
	"pool_patch.pool_apply":               atCoordinator,
	"pool_update.introduce":               atUpdateVDI,
	"pool_update.precheck":                atHost(1),
	"pool_update.apply":                   atHost(1),
	"pool_update.pool_apply":              atCoordinator,
	"pool_update.pool_clean":              atCoordinator,
	"pool_update.destroy":                 atCoordinator,

	"pool.eject": atCoordinator,
	"pool.level": atCoordinator,

	"pool.rotate_authority": atCoordinator,
	"host.destroy":          atCoordinator,

	"PBD.plug":   atPBD,
	"PBD.unplug": atPBD,

	"VBD.plug":         atVBD,
	"VBD.unplug":       atVBD,
	"VBD.unplug_force": atVBD,

	"SR.create":    atNewSR,
	"SR.probe":     atHost(0),
	"SR.probe_ext": atHost(0),
	"SR.destroy":   atUnpluggedSR,
	"SR.scan":      atSR(0),
	"SR.update":    atSR(0),

	"SR.enable_database_replication":  atCoordinator,
	"SR.disable_database_replication": atSR(0),
	"pool.enable_redo_log":            atCoordinator,
	"pool.disable_redo_log":           atRedoLog,
	"VDI.read_database_pool_uuid":     atVDI,

	"VDI.create": func(tx *db.Tx, me hostRef, args []reflect.Value) (hostRef, error) {
		return pool.Nearest(tx, me, arg[xenapi.VDI](args, 0).SR), nil
	},
	"VDI.introduce": atSR(3),
	"VDI.copy": func(tx *db.Tx, me hostRef, args []reflect.Value) (hostRef, error) {
		return atCopy(tx, me, arg[vdiRef](args, 0), arg[srRef](args, 1), arg[vdiRef](args, 3))
	},
	"VDI.pool_migrate": func(tx *db.Tx, me hostRef, args []reflect.Value) (hostRef, error) {
		return atCopy(tx, me, arg[vdiRef](args, 0), arg[srRef](args, 1), "")
	},

	"VDI.destroy":      atVDI,
	"VDI.clone":        atVDI,
	"VDI.snapshot":     atVDI,
	"VDI.resize":       atVDI,
	"VDI.update":       atVDI,
	"VDI.enable_cbt":   atVDI,
	"VDI.disable_cbt":  atVDI,
	"VDI.data_destroy": atVDI,
	"VDI.list_changed_blocks": func(tx *db.Tx, me hostRef, args []reflect.Value) (hostRef, error) {
		return atVDI(tx, me, args[1:]) // the one that is newer, and has its data
	},
	"VDI.set_name_label":       atVDI,
	"VDI.set_name_description": atVDI,
	"VDI.set_read_only":        atVDI,
	"VDI.set_sharable":         atVDI,
}

func arg[T any](args []reflect.Value, i int) T { return args[i].Interface().(T) }

func atHost(i int) place {
	return func(_ *db.Tx, _ hostRef, args []reflect.Value) (hostRef, error) { return arg[hostRef](args, i), nil }
}

func atCoordinator(tx *db.Tx, _ hostRef, _ []reflect.Value) (hostRef, error) {
	return pool.Coordinator(tx), nil
}

func atPBD(tx *db.Tx, _ hostRef, args []reflect.Value) (hostRef, error) {
	pbd, err := db.Get(tx, arg[pbdRef](args, 0))
	return pbd.Host, err
}

// atVBD is the host whose control domain the VBD is of.
func atVBD(tx *db.Tx, _ hostRef, args []reflect.Value) (hostRef, error) {
	vbd, err := db.Get(tx, arg[vbdRef](args, 0))
	if err != nil {
		return "", err
	}
	vm, err := db.Get(tx, vbd.VM)
	return vm.ResidentOn, err
}

// atNewSR makes a shared SR on the coordinator, which has the other hosts plug it.
func atNewSR(tx *db.Tx, me hostRef, args []reflect.Value) (hostRef, error) {
	if shared := arg[bool](args, 7); shared {
		return atCoordinator(tx, me, args)
	}
	return arg[hostRef](args, 0), nil
}

func atSR(i int) place {
	return func(tx *db.Tx, me hostRef, args []reflect.Value) (hostRef, error) {
		return pool.Nearest(tx, me, arg[srRef](args, i)), nil
	}
}

func atVDI(tx *db.Tx, me hostRef, args []reflect.Value) (hostRef, error) {
	vdi, err := db.Get(tx, arg[vdiRef](args, 0))
	if err != nil {
		return "", err
	}
	return pool.Nearest(tx, me, vdi.SR), nil
}

// atUpdateVDI is a host that sees the VDI: one that sees the pool's default SR too, where a patch goes (M3), if there is one; the
// coordinator if it is among them.
func atUpdateVDI(tx *db.Tx, me hostRef, args []reflect.Value) (hostRef, error) {
	vdi, err := db.Get(tx, arg[vdiRef](args, 0))
	if err != nil {
		return "", err
	}
	seeing := pool.Seeing(tx, vdi.SR)
	for _, rec := range db.All[xenapi.Pool](tx) {
		for _, host := range seeing {
			if pool.Sees(tx, host, rec.DefaultSR) {
				return host, nil
			}
		}
	}
	if len(seeing) > 0 {
		return seeing[0], nil
	}
	return pool.Nearest(tx, me, vdi.SR), nil
}

// atCopy prefers a host that sees both SRs. Where there is none, one that sees the destination pulls.
func atCopy(tx *db.Tx, me hostRef, original vdiRef, to srRef, into vdiRef) (hostRef, error) {
	from, err := db.Get(tx, original)
	if err != nil {
		return "", err
	}
	if !into.IsNull() {
		vdi, err := db.Get(tx, into)
		if err != nil {
			return "", err
		}
		to = vdi.SR
	}
	host := pool.Nearest(tx, me, to)
	if pool.Sees(tx, host, from.SR) {
		return host, nil
	}
	for _, other := range pool.Seeing(tx, to) {
		if pool.Sees(tx, other, from.SR) {
			return other, nil
		}
	}
	return host, nil
}

// atUnpluggedSR is a host that has a PBD of the SR, which may be unplugged.
func atUnpluggedSR(tx *db.Tx, me hostRef, args []reflect.Value) (hostRef, error) {
	var dead hostRef
	found := map[hostRef]bool{}
	for _, ref := range db.Referrers[xenapi.PBD](tx, "SR", arg[srRef](args, 0)) {
		pbd, _ := db.Lookup(tx, ref)
		found[pbd.Host] = pool.Alive(tx, pbd.Host)
		if !found[pbd.Host] {
			dead = pbd.Host
		}
	}
	for _, host := range append([]hostRef{me, pool.Coordinator(tx)}, pool.InOrder(tx)...) {
		if found[host] {
			return host, nil
		}
	}
	return dead, nil // none has one, or none that lives has
}

// placeOf says where a call must run.
func (a *API) placeOf(m *method, args []reflect.Value) (host hostRef, err error) {
	at := places[m.sig.FullName()]
	if at == nil || m.implicit {
		return a.services.Host, nil
	}
	err = a.view(func(tx *db.Tx) error {
		if host, err = at(tx, a.services.Host, args); err != nil || host == a.services.Host {
			return err
		}
		if host.IsNull() {
			host = a.services.Host
			return nil
		}
		if _, err := db.Get(tx, host); err != nil {
			return err
		}
		if a.services.Others == nil || !pool.Alive(tx, host) {
			return xenapi.ErrHostOffline(host)
		}
		return nil
	})
	return host, err
}

// forward has another host run a call, under the same task and for the same session.
func (a *API) forward(ctx context.Context, m *method, host hostRef, c *call, args []reflect.Value) (any, error) {
	params := make([]any, len(args))
	for i, arg := range args {
		params[i] = arg.Interface()
	}
	c.elsewhere = true
	var t xenapi.Ref[xenapi.Task]
	if c.task != nil {
		c.task.Elsewhere()
		t = c.task.Ref()
	}
	var result any
	if m.result != nil {
		result = reflect.New(m.result).Interface()
	}
	if err := a.services.Others.CallFor(ctx, host, c.session, t, result, m.sig.FullName(), params...); err != nil || m.result == nil {
		return nil, err
	}
	return reflect.ValueOf(result).Elem().Interface(), nil
}
