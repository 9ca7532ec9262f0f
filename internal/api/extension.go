package api

import (
	"context"
	"reflect"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// Extensions are messages that programs of the host's answer.
type Extensions interface {
	Has(name string) bool
	Call(ctx context.Context, name string, params []rpc.Value) (rpc.Value, error)
}

// hostCallExtension takes the name of an extension, which then gets the caller's session, or a whole call in JSON-RPC, as XenServer does.
// What an extension gives that is no text becomes JSON.
func (a *API) hostCallExtension(ctx context.Context, c *call, _ hostRef, text string) (string, error) {
	name, params := text, []rpc.Value{{Kind: rpc.String, Text: c.session.String()}}
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		var err error
		if name, params, err = rpc.ParseJSONCall([]byte(text)); err != nil {
			return "", xenapi.ErrInvalidValue("call", err.Error())
		}
	}
	v, err := a.services.Extensions.Call(ctx, name, params)
	if err != nil || v.Kind == rpc.String {
		return v.Text, err
	}
	return string(rpc.MarshalJSONValue(v)), nil
}

func (a *API) hostHasExtension(_ context.Context, _ *call, _ hostRef, name string) (bool, error) {
	return a.services.Extensions.Has(name), nil
}

// poolHasExtension asks every host: a pool has what all of them have.
func (a *API) poolHasExtension(ctx context.Context, c *call, self xenapi.Ref[xenapi.Pool], name string) (bool, error) {
	var hosts []hostRef
	if err := a.view(func(tx *db.Tx) error {
		hosts = pool.InOrder(tx)
		_, err := db.Get(tx, self)
		return err
	}); err != nil {
		return false, err
	}
	for _, host := range hosts {
		has, err := a.hasExtension(ctx, c, host, name)
		if err != nil || !has {
			return false, err
		}
	}
	return true, nil
}

func (a *API) hasExtension(ctx context.Context, c *call, host hostRef, name string) (has bool, err error) {
	if host == a.services.Host {
		return a.services.Extensions.Has(name), nil
	}
	if err := a.reachable(host); err != nil {
		return false, err
	}
	return has, a.services.Others.CallFor(ctx, host, c.session, "", &has, "host.has_extension", host, name)
}

// reachable refuses another host that calls cannot be sent to.
func (a *API) reachable(host hostRef) error {
	return a.view(func(tx *db.Tx) error {
		if a.services.Others == nil || !pool.Alive(tx, host) {
			return xenapi.ErrHostOffline(host)
		}
		return nil
	})
}

// unknown makes a row of a message that no table has, and an extension of this host may (facts, section 1). Whoever sends something unknown hears
// first that its session is none.
func (d dispatcher) unknown(ctx context.Context, name string, params []rpc.Value) (*method, error) {
	var session xenapi.Ref[xenapi.Session]
	if len(params) == 0 || params[0].Decode(&session) != nil {
		return nil, xenapi.ErrMessageMethodUnknown(name)
	}
	if d.caller.Host == "" {
		if _, err := d.api.services.Auth.Session(ctx, session); err != nil {
			return nil, err
		}
	}
	program := strings.TrimPrefix(name, "Async.")
	class, message, ok := strings.Cut(program, ".")
	if !ok || d.api.services.Extensions == nil || !d.api.services.Extensions.Has(program) {
		return nil, xenapi.ErrMessageMethodUnknown(name)
	}
	sig := xenapi.Signature{Class: class, Name: message, Role: xenapi.RolePoolAdmin, Params: make([]xenapi.Param, len(params)-1)}
	return &method{sig: sig, params: anyParams(sig), result: reflect.TypeFor[rpc.Value](), handler: func(ctx context.Context, _ *call, _ []reflect.Value) (any, error) {
		return d.api.services.Extensions.Call(ctx, program, params)
	}}, nil
}
