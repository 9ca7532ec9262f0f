package xe

import (
	"context"

	"poolpatch/internal/rpc"
	"poolpatch/internal/thincli"
	"poolpatch/xenapi"
)

// updateUpload has the client send an update into a VDI of its own, introduces it, and prints the update's UUID. What cannot be
// introduced does not stay. A crash of the daemon between the two leaves a VDI, for update-introduce or vdi-destroy.
func updateUpload(ctx context.Context, r *run) error {
	sr, err := r.updateSR(ctx)
	if err != nil {
		return err
	}
	result, err := r.transfer(ctx, "Update upload", thincli.Message{Tag: thincli.HTTPPut, Text: r.text("file-name", ""), Path: "/import_raw_vdi"}, []pair{{"sr_id", sr}})
	if err != nil {
		return err
	}
	vdi, err := rpc.ParseXMLValue(result)
	if err != nil {
		return err
	}
	if _, err := r.made(ctx, "pool_update", "introduce", vdi.Text); err != nil {
		r.drop(ctx, vdi.Text)
		return err
	}
	return nil
}

// updateSR is the SR that sr-uuid= names, or else the pool's default SR.
func (r *run) updateSR(ctx context.Context) (string, error) {
	if _, ok := r.lookup("sr-uuid"); ok {
		return r.refOf(ctx, "SR", "sr-uuid")
	}
	pools, err := r.rows(ctx, classOf("pool"))
	if err != nil {
		return "", err
	}
	for _, pool := range pools {
		if sr, _ := pool.record.Member("default_SR"); sr.Text != "" && sr.Text != xenapi.NullRef {
			return sr.Text, nil
		}
	}
	return "", failure("The pool has no default SR. Please specify one: sr-uuid")
}

// drop destroys a VDI that a command has made for nothing, also where its client has gone.
func (r *run) drop(ctx context.Context, vdi string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	_, _ = r.call(ctx, "VDI.destroy", vdi) // one that is used by now stays with its user
}

func updateIntroduce(ctx context.Context, r *run) error {
	vdi, err := r.refOf(ctx, "VDI", "vdi-uuid")
	if err != nil {
		return err
	}
	_, err = r.made(ctx, "pool_update", "introduce", vdi)
	return err
}

// updateOnHosts runs a message of an update on the host that host-uuid= names, or on those that are selected, and prints what it
// gives, if that is anything.
func updateOnHosts(message string) action {
	return func(ctx context.Context, r *run) error {
		update, err := r.refOf(ctx, "pool_update", "uuid")
		if err != nil {
			return err
		}
		on := func(host string) error {
			said, err := r.ask(ctx, "pool_update."+message, update, host)
			if err != nil || said == "" {
				return err
			}
			return r.out.line(said)
		}
		if _, ok := r.lookup("host-uuid"); !ok {
			return r.eachHost(ctx, on, "uuid")
		}
		host, err := r.refOf(ctx, "host", "host-uuid")
		if err != nil {
			return err
		}
		return on(host)
	}
}
