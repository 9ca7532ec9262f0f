package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/rpc"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// API is the method table over the services of a host.
type API struct {
	services Services
	table    map[string]*method
	classes  []*xenapi.Class
	log      *slog.Logger

	permissions permissions
	reference   func() []byte
}

// New builds the table.
func New(s Services, log *slog.Logger) *API {
	a := &API{services: s, table: map[string]*method{}, classes: Classes(), log: log}
	a.addImplicit()
	a.addDeclared()
	a.permissions = newPermissions(a.table)
	a.reference = sync.OnceValue(a.marshalReference)
	return a
}

// Caller says what is known of a connection before its calls are read.
type Caller struct {
	Local  bool   // the unix socket: the caller is root
	Origin string // what the client calls itself
	// OtherConfig goes into the task of the call.
	OtherConfig map[string]string
	// Certificates are what the client has shown, its own first, and proved to hold the key of.
	Certificates []*x509.Certificate

	// Host is the UUID of the host of the pool at the other end, "" for everybody else. It sends a call here because
	// the call must run here. Without a session it calls for the pool itself.
	Host string
	// Task is what a host's call runs as; null where the message is no task.
	Task xenapi.Ref[xenapi.Task]
}

// For gives the dispatcher of one connection's calls.
func (a *API) For(c Caller) rpc.Dispatcher { return dispatcher{a, c} }

type dispatcher struct {
	api    *API
	caller Caller
}

// Dispatch runs one call. Errors come in the order of facts, section 1: arity, then unmarshalling, then
// the session, then (in the task) the role, then the message's own.
func (d dispatcher) Dispatch(ctx context.Context, name string, params []rpc.Value) (any, error) {
	result, err := d.dispatch(ctx, name, params)
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil, xenapi.ErrInternalError("the client went away") // nobody hears it, and nothing is wrong
	}
	return result, d.api.Domain(err)
}

// Domain makes a domain error of any error: what is none becomes INTERNAL_ERROR with an id, and its
// text goes to the log alone.
func (a *API) Domain(err error) error {
	if err == nil {
		return nil
	}
	if domain, ok := errors.AsType[*xenapi.Error](err); ok {
		return domain
	}
	return Internal(a.log, err)
}

// Internal logs an error under an id and makes the INTERNAL_ERROR that names it. An unreachable database has a code of its
// own.
func Internal(log *slog.Logger, err error) *xenapi.Error {
	switch {
	case errors.Is(err, db.ErrUnavailable):
		log.Warn("nothing was changed", "error", err)
		return xenapi.ErrPoolDatabaseUnavailable("nothing was changed").Because(err)
	case errors.Is(err, db.ErrUnknownOutcome):
		log.Warn("outcome not known", "error", err)
		return xenapi.ErrPoolDatabaseUnavailable("it is not known whether the change was made: look before you repeat it").Because(err)
	}
	id := xenapi.NewUUID()
	log.Error("internal error", "id", id, "error", err)
	return xenapi.ErrInternalError("see the log for " + id).Because(err)
}

func (d dispatcher) dispatch(ctx context.Context, name string, params []rpc.Value) (any, error) {
	if result, ok := d.system(name, params); ok {
		return result, nil
	}
	m, async := d.api.find(name)
	if m == nil {
		var err error
		if m, err = d.unknown(ctx, name, params); err != nil {
			return nil, err
		}
	}
	if async && (m.implicit || m.sig.NoAsync) {
		return nil, xenapi.NewError("Fault", fmt.Sprintf("No async mode for this operation (rpc: %s)", name))
	}
	session, given, err := m.split(params)
	if err != nil {
		return nil, err
	}
	args, err := m.decode(given)
	if err != nil {
		return nil, badParameter(err)
	}
	c := &call{session: session, local: d.caller.Local, origin: d.caller.Origin, certificates: d.caller.Certificates}
	switch {
	case m.sig.NoSession:
	case d.caller.Host != "" && session.IsNull():
		c.caller = auth.PoolSession(d.caller.Origin)
	default:
		if c.caller, c.opened, err = d.api.services.Auth.Database(ctx, session); err == nil && c.opened == nil {
			c.caller, err = d.api.services.Auth.Session(ctx, session)
		}
		if err != nil {
			return nil, err
		}
		d.catchUp(ctx, m, c.caller)
	}
	return d.run(ctx, m, name, async, c, args)
}

// catchUp makes what a client did on another host visible to its calls here: the client goes from host to host. Without
// a majority of the database it sees what this host knows. Who follows events brings a token, which says what the client has
// seen, and hears of all else sooner or later.
func (d dispatcher) catchUp(ctx context.Context, m *method, session xenapi.Session) {
	if d.caller.Host == "" && m.sig.Class != "event" && session.ThisHost != d.api.services.Host {
		_ = d.api.services.DB.Sync(ctx)
	}
}

// badParameter is what a parameter of the wrong form gives (facts, section 1).
func badParameter(err error) error {
	if _, ok := errors.AsType[*xenapi.Error](err); ok {
		return err
	}
	return xenapi.ErrInternalError(err.Error())
}

// system answers the two messages that stand outside every class.
func (d dispatcher) system(name string, params []rpc.Value) (any, bool) {
	if name == "system.listMethods" {
		return d.api.Methods(), true
	}
	if strings.HasPrefix(name, "system.isAlive:") {
		return strings.TrimPrefix(name, "system.isAlive:"), true
	}
	return nil, false
}

// find looks a message up by its name, with or without a prefix for Async, with a dot or an underscore
// between class and message.
func (a *API) find(name string) (m *method, async bool) {
	if rest, ok := strings.CutPrefix(name, "Async."); ok {
		name, async = rest, true
	}
	if m, ok := a.table[name]; ok {
		return m, async
	}
	if !strings.Contains(name, ".") {
		for i := range name {
			if name[i] == '_' {
				if m, ok := a.table[name[:i]+"."+name[i+1:]]; ok {
					return m, async
				}
			}
		}
	}
	return nil, async
}

// Methods lists the messages that are served, in order.
func (a *API) Methods() []string {
	var names []string
	for name, m := range a.table {
		if !m.sig.Hidden {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// split takes the session off the parameters and checks how many are left.
func (m *method) split(params []rpc.Value) (xenapi.Ref[xenapi.Session], []rpc.Value, error) {
	var session xenapi.Ref[xenapi.Session]
	received := len(params)
	if !m.sig.NoSession {
		received--
	}
	required := m.sig.Required()
	// Messages with optional parameters accept and ignore more of them; others do not.
	if received < required || received > required && required == len(m.sig.Params) {
		return "", nil, xenapi.ErrMessageParameterCountMismatch(m.sig.FullName(), required, max(received, 0))
	}
	if m.sig.NoSession {
		return "", params, nil
	}
	if err := params[0].Decode(&session); err != nil {
		return "", nil, badParameter(fmt.Errorf("session of %s: %w", m.sig.FullName(), err))
	}
	return session, params[1:], nil
}

// run carries the call out, as a task where the message may be one, on the host that it is for.
func (d dispatcher) run(ctx context.Context, m *method, name string, async bool, c *call, args []reflect.Value) (any, error) {
	spec := task.Spec{
		Label: name, Session: c.session, User: c.caller.AuthUserSID,
		OtherConfig: d.caller.OtherConfig, Encode: rpc.MarshalXMLValue, Audit: d.audit(m, c, args),
	}
	tasks := d.api.services.Tasks
	if m.implicit || m.sig.NoAsync {
		began := time.Now()
		result, err := d.carryOut(ctx, m, c, args)
		if !c.elsewhere {
			tasks.Ended(ctx, spec, began, err)
		}
		return result, err
	}
	work := func(ctx context.Context, t *task.Task) (any, error) {
		c.task = t
		result, err := d.carryOut(ctx, m, c, args)
		if object := d.api.objectOf(reflect.ValueOf(result)); object != "" {
			t.About(object)
		}
		return result, err
	}
	if async {
		return tasks.Go(ctx, spec, work)
	}
	// A caller that goes away gives up its answer, not the work that was accepted.
	ctx = context.WithoutCancel(ctx)
	if !d.caller.Task.IsNull() {
		return tasks.Join(ctx, d.caller.Task, spec, work)
	}
	return tasks.Do(ctx, spec, work)
}

// carryOut runs the message here, or has the host run it that must. What another host has sent here is not sent on.
func (d dispatcher) carryOut(ctx context.Context, m *method, c *call, args []reflect.Value) (any, error) {
	if err := errOr(m.authorize(c, args), m.readable(c)); err != nil {
		return nil, err
	}
	if m.sig.Lifecycle == "deprecated" && d.caller.Host == "" {
		d.api.warnDeprecated(m.sig, c.caller)
	}
	host, err := d.api.placeOf(m, args)
	if err != nil {
		return nil, err
	}
	if host == d.api.services.Host || d.caller.Host != "" {
		return m.handler(ctx, c, args)
	}
	return d.api.forward(ctx, m, host, c, args)
}

// warnDeprecated tells the administrator which user still sends a message that goes, and what to send instead where
// anything took its place.
func (a *API) warnDeprecated(sig xenapi.Signature, caller xenapi.Session) {
	if sig.FullName() == "event.next" {
		return // it is sent over and over; event.register has told
	}
	words := []any{"message", sig.FullName(), "user", caller.AuthUserName}
	if sig.Replacement != "" {
		words = append(words, "use", sig.Replacement)
	}
	a.log.Warn("deprecated message", words...)
}

func (m *method) authorize(c *call, args []reflect.Value) error {
	if m.sig.NoSession {
		return nil
	}
	permission, lowest := m.sig.FullName(), m.sig.Role
	if m.permission != nil {
		permission, lowest = m.permission(args)
	}
	return auth.Authorize(c.caller, strings.ToLower(permission), lowest)
}

func (a *API) addDeclared() {
	handlers := a.handlers()
	for _, sig := range xenapi.Signatures() {
		fn, ok := handlers[sig.FullName()]
		delete(handlers, sig.FullName())
		_, derived := a.table[sig.FullName()]
		switch {
		case ok:
			a.table[sig.FullName()] = bind(sig, fn)
		case derived: // declared for a class that has it of itself
		default:
			a.table[sig.FullName()] = a.refuse(sig)
		}
	}
	for name := range handlers {
		panic("api: a handler for the undeclared message " + name)
	}
}

// view runs fn on a snapshot.
func (a *API) view(fn func(*db.Tx) error) error { return a.services.DB.View(fn) }
