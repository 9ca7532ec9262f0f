package api

import (
	"context"
	"reflect"

	"poolpatch/internal/db"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// refusal is how a message is refused that a pool without virtual machines, or a driver of its SRs, cannot serve.
type refusal struct {
	code string
	// why makes the error of the parameters, as texts.
	why func(a *API, params []string) error
}

// refusals have the messages that are refused with something else than NOT_IMPLEMENTED, or MESSAGE_REMOVED for those
// that XenAPI has taken away.
var refusals = map[string]refusal{
	// pool_patch.apply and SR.create took their places.
	"host_patch.apply": deprecated,
	"SR.make":          deprecated,

	"host.call_plugin": {xenapi.CodeXenAPIMissingPlugin, func(_ *API, params []string) error { return xenapi.ErrXenAPIMissingPlugin(params[1]) }},

	// No driver can.
	"SR.assert_can_host_ha_statefile": notOfThisSR,
}

var (
	deprecated  = refusal{xenapi.CodeMessageDeprecated, func(*API, []string) error { return xenapi.ErrMessageDeprecated() }}
	notOfThisSR = refusal{xenapi.CodeSROperationNotSupported, func(a *API, params []string) error { return a.unable(srRef(params[0])) }}
)

// unable says that an SR's driver cannot do what was asked.
func (a *API) unable(sr srRef) error {
	return a.view(func(tx *db.Tx) error {
		if _, err := db.Get(tx, sr); err != nil {
			return err
		}
		return xenapi.ErrSROperationNotSupported(sr)
	})
}

func refusalOf(sig xenapi.Signature) refusal {
	if r, ok := refusals[sig.FullName()]; ok {
		return r
	}
	if sig.Lifecycle == "removed" {
		return refusal{xenapi.CodeMessageRemoved, func(*API, []string) error { return xenapi.ErrMessageRemoved() }}
	}
	return refusal{xenapi.CodeNotImplemented, func(*API, []string) error { return xenapi.ErrNotImplemented(sig.FullName()) }}
}

// refuse is the row of a message that is not served.
func (a *API) refuse(sig xenapi.Signature) *method {
	r := refusalOf(sig)
	return &method{sig: sig, params: anyParams(sig), refusal: r.code, handler: func(_ context.Context, _ *call, args []reflect.Value) (any, error) {
		params := make([]string, len(args))
		for i, arg := range args {
			params[i] = arg.Interface().(rpc.Value).Text
		}
		return nil, r.why(a, params)
	}}
}

func anyParams(sig xenapi.Signature) []reflect.Type {
	types := make([]reflect.Type, len(sig.Params))
	for i := range types {
		types[i] = reflect.TypeFor[rpc.Value]()
	}
	return types
}
