package clients

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// golang drives the Go client.
func golang(t *testing.T, d *harness.Daemon) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	pool := d.Secure()
	defer pool.Close(ctx)
	p := &harness.Program{Tail: strings.Repeat("g", 3<<20), Apply: "echo applied; echo done"}
	file, err := os.Open(signed(t, p)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	patch, err := pool.UploadPatch(ctx, file, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	host := d.Host()
	if log, err := client.Run[string](ctx, pool, nil, "pool_patch.precheck", patch, host); err != nil || log != "prechecked\n" {
		t.Errorf("the precheck says %q, %v", log, err)
	}
	last := 0.0
	if log, err := client.Run[string](ctx, pool, func(f float64) { last = f }, "pool_patch.apply", patch, host); err != nil || !strings.HasSuffix(log, "applied\ndone\n") || last != 1 {
		t.Errorf("the apply says %q, %v, progress %v", log, err, last)
	}
	ran(t, d, p)
	var refused *xenapi.Error
	if err := pool.Do(ctx, "pool_patch.apply", patch, host); !errors.As(err, &refused) || refused.Code != xenapi.CodePatchAlreadyApplied {
		t.Errorf("the second apply: %v", err)
	}
	if _, err := pool.UploadPatch(ctx, strings.NewReader("no patch"), 8, nil); !errors.Is(err, &xenapi.Error{Code: xenapi.CodeInvalidPatch}) {
		t.Errorf("an upload of something else: %v", err)
	}
	var back bytes.Buffer
	if n, err := pool.DownloadPatch(ctx, p.UUID, &back, nil); err != nil || !bytes.Equal(back.Bytes(), read(t, file.Name())) {
		t.Errorf("%d bytes came back, %v; not what was uploaded", n, err)
	}
	vdi := harness.Record(d, patch).VDI
	if _, err := client.Run[string](ctx, pool, nil, "VDI.destroy", vdi); err != nil {
		t.Error(err)
	}
}
