package xe

import (
	"context"
	"slices"

	"poolpatch/internal/thincli"
)

// vdiTypes are those that a VDI may be made with.
var vdiTypes = []string{"system", "user", "suspend", "crashdump"}

func vdiCreate(ctx context.Context, r *run) error {
	kind := r.text("type", "user")
	if !slices.Contains(vdiTypes, kind) {
		return failure("Unknown VDI type '" + kind + "': it is 'system', 'user', 'suspend' or 'crashdump'")
	}
	size, err := parseSize("virtual-size", r.text("virtual-size", ""))
	if err != nil {
		return err
	}
	sharable, err := r.is("sharable")
	if err != nil {
		return err
	}
	sr, err := r.refOf(ctx, "SR", "sr-uuid")
	if err != nil {
		return err
	}
	_, err = r.made(ctx, "VDI", "create", map[string]any{
		"name_label": r.text("name-label", ""), "name_description": r.text("name-description", ""), "SR": sr, "virtual_size": size, "type": kind,
		"sharable": sharable, "read_only": false, "other_config": r.entries("other-config"), "xenstore_data": r.entries("xenstore-data"),
		"sm_config": r.entries("sm-config"), "tags": r.set("tags"),
	})
	return err
}

func vdiIntroduce(ctx context.Context, r *run) error {
	sharable, err := r.is("sharable")
	if err != nil {
		return err
	}
	readOnly, err := r.is("read-only")
	if err != nil {
		return err
	}
	sr, err := r.refOf(ctx, "SR", "sr-uuid")
	if err != nil {
		return err
	}
	_, err = r.made(ctx, "VDI", "introduce", r.text("uuid", ""), r.text("name-label", ""), r.text("name-description", ""), sr, r.text("type", ""),
		sharable, readOnly, r.entries("other-config"), r.text("location", ""), r.entries("xenstore-data"), r.entries("sm-config"))
	return err
}

// vdiUnlock takes a lock that somebody may hold with right.
func vdiUnlock(ctx context.Context, r *run) error {
	if !r.has("force") {
		return failure("WARNING: forcibly unlocking a VDI is very dangerous and may cause data loss. If you really want to do this then rerun this command with the --force flag.")
	}
	return on("VDI", "force_unlock")(ctx, r)
}

func vdiSnapshot(ctx context.Context, r *run) error {
	vdi, err := r.refOf(ctx, "VDI", "uuid")
	if err != nil {
		return err
	}
	_, err = r.made(ctx, "VDI", "snapshot", vdi, r.entries("driver-params"))
	return err
}

// vdiClone names the clone before it prints its UUID.
func vdiClone(ctx context.Context, r *run) error {
	vdi, err := r.refOf(ctx, "VDI", "uuid")
	if err != nil {
		return err
	}
	clone, err := r.ask(ctx, "VDI.clone", vdi, r.entries("driver-params"))
	if err != nil {
		return err
	}
	for param, setter := range map[string]string{"new-name-label": "VDI.set_name_label", "new-name-description": "VDI.set_name_description"} {
		if name, ok := r.lookup(param); ok {
			if _, err := r.call(ctx, setter, clone, name); err != nil {
				return err
			}
		}
	}
	return r.printUUID(ctx, "VDI", clone)
}

func vdiCopy(ctx context.Context, r *run) error {
	_, toSR := r.lookup("sr-uuid")
	_, into := r.lookup("into-vdi-uuid")
	if toSR == into {
		return failure("Please specify one of: a destination sr-uuid; or a destination into-vdi-uuid")
	}
	refs := make([]string, 4)
	for i, p := range []struct{ class, param string }{{"VDI", "uuid"}, {"SR", "sr-uuid"}, {"VDI", "base-vdi-uuid"}, {"VDI", "into-vdi-uuid"}} {
		var err error
		if refs[i], err = r.refIfGiven(ctx, p.class, p.param); err != nil {
			return err
		}
	}
	_, err := r.made(ctx, "VDI", "copy", refs[0], refs[1], refs[2], refs[3])
	return err
}

func vdiListChangedBlocks(ctx context.Context, r *run) error {
	from, err := r.refOf(ctx, "VDI", "vdi-from-uuid")
	if err != nil {
		return err
	}
	to, err := r.refOf(ctx, "VDI", "vdi-to-uuid")
	if err != nil {
		return err
	}
	bits, err := r.ask(ctx, "VDI.list_changed_blocks", from, to)
	if err != nil {
		return err
	}
	return r.out.print(bits)
}

func vdiPoolMigrate(ctx context.Context, r *run) error {
	vdi, err := r.refOf(ctx, "VDI", "uuid")
	if err != nil {
		return err
	}
	sr, err := r.refOf(ctx, "SR", "sr-uuid")
	if err != nil {
		return err
	}
	_, err = r.made(ctx, "VDI", "pool_migrate", vdi, sr, map[string]string{})
	return err
}

func vdiResize(ctx context.Context, r *run) error {
	size, err := parseSize("disk-size", r.text("disk-size", ""))
	if err != nil {
		return err
	}
	vdi, err := r.refOf(ctx, "VDI", "uuid")
	if err != nil {
		return err
	}
	message := "VDI.resize"
	if r.has("online") {
		message = "VDI.resize_online"
	}
	_, err = r.call(ctx, message, vdi, size)
	return err
}

func vdiImport(ctx context.Context, r *run) error {
	return r.moveVDI(ctx, "VDI import", thincli.Message{Tag: thincli.HTTPPut, Path: "/import_raw_vdi"})
}

func vdiExport(ctx context.Context, r *run) error {
	return r.moveVDI(ctx, "VDI export", thincli.Message{Tag: thincli.HTTPGet, Path: "/export_raw_vdi"})
}

func (r *run) moveVDI(ctx context.Context, label string, m thincli.Message) error {
	vdi, err := r.refOf(ctx, "VDI", "uuid")
	if err != nil {
		return err
	}
	base, err := r.refIfGiven(ctx, "VDI", "base")
	if err != nil {
		return err
	}
	query := []pair{{"vdi", vdi}, {"format", r.text("format", "raw")}}
	if _, ok := r.lookup("base"); ok {
		query = append(query, pair{"base", base})
	}
	m.Text = r.text("filename", "")
	_, err = r.transfer(ctx, label, m, query)
	return err
}
