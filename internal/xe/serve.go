package xe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"poolpatch/internal/rpc"
	"poolpatch/internal/thincli"
	"poolpatch/xenapi"
)

const (
	// originator is what sessions of xe are called.
	originator = "cli"
	// apiVersion is what a login says; servers do not look at it.
	apiVersion = "1.0"
	// tidyTimeout bounds what is done after a command whose context may have ended: log out, destroy a task.
	tidyTimeout = 30 * time.Second
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
)

// failure is an error that is told as it stands.
type failure string

func (f failure) Error() string { return string(f) }

// usage is a command line that cannot be meant.
type usage string

func (u usage) Error() string { return string(u) }

// errNotAuthenticated says that a login was refused.
var errNotAuthenticated = errors.New("Authentication failed") //lint:ignore ST1005 it is told as it stands

// run is one command that is carried out.
type run struct {
	pool    rpc.Dispatcher
	session string // ref; "" before the login
	peer    *thincli.Server
	out     printer
	words
	records map[string]rpc.Value // those that were read, by class and ref
}

// Serve carries out the command line that a client sent, one word a line, and tells the client how to exit. The error says
// that the client is gone.
func Serve(ctx context.Context, pool rpc.Dispatcher, peer *thincli.Server, lines []string) error {
	w := parse(lines)
	r := &run{pool: pool, peer: peer, words: w, out: newPrinter(peer, w.has("minimal")), records: map[string]rpc.Value{}}
	err := r.execute(ctx)
	code := exitOK
	if err != nil {
		code, err = exitFailed, r.report(ctx, err)
	} else {
		err = r.out.flush()
	}
	r.logout(ctx)
	return errors.Join(err, peer.Exit(code))
}

func (r *run) execute(ctx context.Context) error {
	if r.command == "" {
		r.command = "help"
	}
	c, ok := commands()[r.command]
	if !ok {
		return usage("Unknown command: " + r.command)
	}
	for _, name := range c.required {
		if _, ok := r.lookup(name); !ok {
			return usage("Required parameter not found: " + name)
		}
	}
	if c.anybody {
		return c.do(ctx, r)
	}
	if err := r.login(ctx); err != nil {
		return err
	}
	return c.do(ctx, r)
}

// login opens a session of the command's own, unless the client has shown one.
func (r *run) login(ctx context.Context) error {
	if shown, ok := r.lookup("session_id"); ok {
		r.session = shown
		return nil
	}
	session, err := r.pool.Dispatch(ctx, "session.login_with_password",
		values(r.text("username", ""), r.text("password", ""), apiVersion, originator))
	if xenapi.CodeOf(err) == xenapi.CodeSessionAuthenticationFailed {
		return errNotAuthenticated
	}
	r.session = rpc.ValueOf(session).Text
	return err
}

// logout ends the session. The pool collects those that nobody ended, so its error changes nothing.
func (r *run) logout(ctx context.Context) {
	if _, shown := r.lookup("session_id"); shown || r.session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	_, _ = r.pool.Dispatch(ctx, "session.logout", values(r.session))
}

// call sends a message in the session.
func (r *run) call(ctx context.Context, message string, params ...any) (rpc.Value, error) {
	result, err := r.pool.Dispatch(ctx, message, append(values(r.session), values(params...)...))
	if err != nil {
		return rpc.Value{}, err
	}
	return rpc.ValueOf(result), nil
}

// text of the result of a message.
func (r *run) ask(ctx context.Context, message string, params ...any) (string, error) {
	v, err := r.call(ctx, message, params...)
	return v.Text, err
}

func values(params ...any) []rpc.Value {
	wire := make([]rpc.Value, len(params))
	for i, p := range params {
		wire[i] = rpc.ValueOf(p)
	}
	return wire
}

// report tells the client what went wrong.
func (r *run) report(ctx context.Context, err error) error {
	var asUsage usage
	domain, isDomain := errors.AsType[*xenapi.Error](err)
	switch {
	case isDomain:
		return r.reportError(ctx, domain)
	case errors.As(err, &asUsage):
		return errors.Join(r.complain(err.Error()), r.complain("For usage run: 'xe help'"))
	case errors.Is(err, errNotAuthenticated):
		return r.complain(err.Error())
	case ctx.Err() != nil:
		return r.complain("Error: The host is stopping")
	}
	return r.complain("Error: " + err.Error())
}

func (r *run) complain(line string) error {
	return r.peer.Send(thincli.Message{Tag: thincli.PrintStderr, Text: line + "\n"})
}

// reportError tells an error of the API: its sentence and its parameters where it is known, else the bare code.
func (r *run) reportError(ctx context.Context, e *xenapi.Error) error {
	if e.Sentence() == "" {
		return r.peer.Send(thincli.Message{Tag: thincli.Error, Text: e.Code, Params: e.Params})
	}
	errs := []error{r.complain(e.Sentence())}
	names := e.ParameterNames()
	for i := range max(len(names), len(e.Params)) {
		name, value := "<extra>", "<unknown>"
		if i < len(names) {
			name = names[i]
		}
		if i < len(e.Params) {
			value = r.readable(ctx, e.Params[i])
		}
		errs = append(errs, r.complain(name+": "+value))
	}
	return errors.Join(errs...)
}

// readable is a parameter of an error with UUID and name in the place of a reference.
func (r *run) readable(ctx context.Context, param string) string {
	if !strings.HasPrefix(param, "OpaqueRef:") || param == xenapi.NullRef || r.session == "" {
		return param
	}
	for _, c := range classes {
		rec, ok := r.record(ctx, c.api.Name, param)
		if !ok {
			continue
		}
		uuid, _ := rec.Member("uuid")
		if label, named := rec.Member("name_label"); named {
			return fmt.Sprintf("%s (%s)", uuid.Text, label.Text)
		}
		return uuid.Text
	}
	return param
}
