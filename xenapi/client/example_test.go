package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

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
	if refused, ok := errors.AsType[*xenapi.Error](err); ok {
		fmt.Println(refused.Code)
	}
	// Output: PATCH_IS_APPLIED
}
