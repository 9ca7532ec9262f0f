package xe

import (
	"context"

	"poolpatch/internal/thincli"
)

// patchUpload has the client send a patch, and prints the UUID of its record. The task's result is the bare reference.
func patchUpload(ctx context.Context, r *run) error {
	ref, err := r.transfer(ctx, "Patch upload", thincli.Message{Tag: thincli.HTTPPut, Text: r.text("file-name", ""), Path: "/pool_patch_upload"}, nil)
	if err != nil {
		return err
	}
	return r.printUUID(ctx, "pool_patch", ref)
}

// patchRun runs a patch's program on a host and prints what it printed.
func patchRun(message string) action {
	return func(ctx context.Context, r *run) error {
		patch, err := r.refOf(ctx, "pool_patch", "uuid")
		if err != nil {
			return err
		}
		host, err := r.refOf(ctx, "host", "host-uuid")
		if err != nil {
			return err
		}
		log, err := r.ask(ctx, "pool_patch."+message, patch, host)
		if err != nil {
			return err
		}
		return r.out.line(log)
	}
}
