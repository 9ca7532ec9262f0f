package xe

import (
	"context"

	"poolpatch/internal/rpc"
)

func vbdCreate(ctx context.Context, r *run) error {
	bootable, err := r.is("bootable")
	if err != nil {
		return err
	}
	unpluggable, err := parseBool("unpluggable", r.text("unpluggable", "true"))
	if err != nil {
		return err
	}
	vm, err := r.refOf(ctx, "VM", "vm-uuid")
	if err != nil {
		return err
	}
	vdi, err := r.refIfGiven(ctx, "VDI", "vdi-uuid")
	if err != nil {
		return err
	}
	_, filled := r.lookup("vdi-uuid")
	_, err = r.made(ctx, "VBD", "create", map[string]any{
		"VM": vm, "VDI": vdi, "userdevice": r.text("device", ""), "bootable": bootable, "mode": r.text("mode", "RW"), "type": r.text("type", "Disk"),
		"unpluggable": unpluggable, "empty": !filled, "other_config": map[string]string{}, "qos_algorithm_type": "", "qos_algorithm_params": map[string]string{},
	})
	return err
}

func vbdUnplug(ctx context.Context, r *run) error {
	if r.has("force") {
		return on("VBD", "unplug_force")(ctx, r)
	}
	return on("VBD", "unplug")(ctx, r)
}

func vbdInsert(ctx context.Context, r *run) error {
	vbd, err := r.refOf(ctx, "VBD", "uuid")
	if err != nil {
		return err
	}
	vdi, err := r.refOf(ctx, "VDI", "vdi-uuid")
	if err != nil {
		return err
	}
	_, err = r.call(ctx, "VBD.insert", vbd, vdi)
	return err
}

// attachable says whether a plug of the VBD would succeed now.
func attachable(ctx context.Context, r *run, vbd rpc.Value) (rpc.Value, bool) {
	uuid, _ := vbd.Member("uuid")
	ref, err := r.ask(ctx, "VBD.get_by_uuid", uuid.Text)
	if err != nil {
		return rpc.Value{}, false
	}
	_, err = r.call(ctx, "VBD.assert_attachable", ref)
	return rpc.Value{Kind: rpc.Bool, Bool: err == nil}, true
}
