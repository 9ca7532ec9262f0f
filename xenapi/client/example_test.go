package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// A server that has one patch, for the examples.
func exampleServer() *pool {
	p := newPool()
	p.message = func(method string, _ []rpc.Value) (any, error) {
		switch method {
		case "pool_patch.get_all_records":
			return map[xenapi.Ref[xenapi.PoolPatch]]xenapi.PoolPatch{"OpaqueRef:1": {UUID: "9a60d1d3", NameLabel: "cookie-fix", Version: "1.2"}}, nil
		case "pool_patch.get_name_label":
			return "cookie-fix", nil
		case "pool_patch.get_VDI":
			return "OpaqueRef:vdi", nil
		case "Async.pool_patch.apply", "Async.VDI.destroy":
			task := p.newTask()
			p.end(p.tasks[task], "<value>applied</value>", nil)
			return task, nil
		case "event.from":
			patch := map[string]any{"class": "pool_patch", "ref": "OpaqueRef:1", "operation": "add", "snapshot": xenapi.PoolPatch{NameLabel: "cookie-fix"}}
			return map[string]any{"events": []any{patch}, "valid_ref_counts": map[string]int64{"pool_patch": 1}, "token": "1"}, nil
		}
		return nil, xenapi.ErrPatchIsApplied()
	}
	return p
}

func ExampleDial() {
	server := exampleServer()
	defer server.Close()
	ctx := context.Background()

	pool, err := client.Dial(ctx, client.Options{URL: server.URL, User: "root", Password: "secret", Originator: "example"})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(ctx)
	patches, err := client.Call[map[xenapi.Ref[xenapi.PoolPatch]]xenapi.PoolPatch](ctx, pool, "pool_patch.get_all_records")
	if err != nil {
		log.Fatal(err)
	}
	for _, patch := range patches {
		fmt.Println(patch.NameLabel, patch.Version)
	}
	// Output: cookie-fix 1.2
}

func ExampleClient_UploadPatch() {
	server := exampleServer()
	defer server.Close()
	ctx := context.Background()
	pool, err := client.Dial(ctx, client.Options{URL: server.URL, User: "root", Password: "secret"})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(ctx)

	file := strings.NewReader("a signed patch")
	patch, err := pool.UploadPatch(ctx, file, file.Size(), func(done, total int64) { fmt.Println(done, "of", total, "bytes") })
	if err != nil {
		log.Fatal(err)
	}
	name, err := client.Call[string](ctx, pool, "pool_patch.get_name_label", patch)
	fmt.Println(name, err)
	// Output:
	// 14 of 14 bytes
	// cookie-fix <nil>
}

// A message that takes long runs as a task, which is cancelled when ctx ends.
func ExampleRun() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	pool, err := client.Dial(ctx, client.Options{URL: server.URL, User: "root", Password: "secret"})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(ctx)

	patch, host := xenapi.Ref[xenapi.PoolPatch]("OpaqueRef:1"), xenapi.Ref[xenapi.Host]("OpaqueRef:2")
	output, err := client.Run[string](ctx, pool, func(fraction float64) { fmt.Println(100*fraction, "%") }, "pool_patch.apply", patch, host)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(output)
	// The patch is on the host: its disk image may go.
	vdi, err := client.Call[xenapi.Ref[xenapi.VDI]](ctx, pool, "pool_patch.get_VDI", patch)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Run[string](ctx, pool, nil, "VDI.destroy", vdi); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 100 %
	// applied
}

func ExampleClient_Watch() {
	server := exampleServer()
	defer server.Close()
	ctx := context.Background()
	pool, err := client.Dial(ctx, client.Options{URL: server.URL, User: "root", Password: "secret"})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(ctx)

	patches := map[string]xenapi.PoolPatch{} // as they are, whatever happens to the connection
	for batch, err := range pool.Watch(ctx, "pool_patch") {
		if gone, ok := errors.AsType[*client.Disconnected](err); ok {
			log.Print(gone) // the watch goes on by itself
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		for _, event := range batch.Events {
			if event.Operation == xenapi.EventOperationDel {
				delete(patches, event.Ref)
				continue
			}
			patch, err := client.Snapshot[xenapi.PoolPatch](event)
			if err != nil {
				log.Fatal(err)
			}
			patches[event.Ref] = patch
		}
		if patches["OpaqueRef:1"].NameLabel != "" {
			break
		}
	}
	fmt.Println(patches["OpaqueRef:1"].NameLabel)
	// Output: cookie-fix
}

func ExampleCall_errors() {
	server := exampleServer()
	defer server.Close()
	ctx := context.Background()
	pool, err := client.Dial(ctx, client.Options{URL: server.URL, User: "root", Password: "secret"})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(ctx)

	err = pool.Do(ctx, "pool_patch.destroy", xenapi.Ref[xenapi.PoolPatch]("OpaqueRef:1"))
	var refused *xenapi.Error
	if errors.As(err, &refused) {
		fmt.Println(refused.Code, refused.Params)
	}
	if errors.Is(err, &xenapi.Error{Code: xenapi.CodePatchIsApplied}) {
		fmt.Println("a host has it")
	}
	// Output:
	// PATCH_IS_APPLIED []
	// a host has it
}
