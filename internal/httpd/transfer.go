package httpd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"poolpatch/internal/api"
	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

const (
	// bodyTimeout is how long a transfer waits for the next bytes of its client, or until that takes some.
	bodyTimeout = 5 * time.Minute
	// lingerTimeout is how long a refused client may go on sending before it is cut off: one that is cut
	// off at once may lose the answer.
	lingerTimeout = 10 * time.Second
	// bodyBuffer is how much of a body is read at once.
	bodyBuffer = 1 << 20
)

// transfer is a request to a handler that moves bytes, authenticated and allowed.
type transfer struct {
	params url.Values // query and cookies: they mean the same
	caller auth.Caller
	spec   task.Spec
	task   xenapi.Ref[xenapi.Task] // the client's; null for a throw-away one
}

// admit authenticates a transfer and checks its role. It answers the request itself when it refuses: a
// session that is not valid leaves the client's task pending, a role that does not allow it fails the
// task (facts, section 2). Who is admitted calls caller.Done at the end.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, local bool, name, permission string) (transfer, bool) {
	params := parameters(r)
	caller, err := s.authenticate(r, params, local)
	if err != nil {
		s.log.Info("transfer refused", "handler", name, "from", r.RemoteAddr, "error", err)
		notAdmitted(w, name, err)
		return transfer{}, false
	}
	t := transfer{
		params: params, caller: caller, task: xenapi.ParseRef[xenapi.Task](params.Get("task_id")),
		spec: task.Spec{
			Label: name, Session: caller.Ref, User: caller.Session.AuthUserSID,
			Parent: xenapi.ParseRef[xenapi.Task](params.Get("subtask_of")), OtherConfig: httpOtherConfig(r),
		},
	}
	if r.Method == http.MethodPut {
		t.spec.Audit = &task.Audit{Originator: caller.Session.Originator}
	}
	if err = s.ownsTask(caller, t.task); err != nil {
		t.task = "" // not the caller's to fail either
	} else {
		err = auth.Authorize(caller.Session, permission, api.HandlerRoles[permission])
	}
	if err != nil {
		s.refuse(w, r, t, err)
		caller.Done(r.Context())
		return transfer{}, false
	}
	return t, true
}

// notAdmitted says whether another password would help.
func notAdmitted(w http.ResponseWriter, realm string, err error) {
	domain, _ := errors.AsType[*xenapi.Error](err)
	switch xenapi.CodeOf(err) {
	case xenapi.CodeRBACPermissionDenied:
		forbidden(w, domain) // the password is right
	case xenapi.CodeAuthServiceError, xenapi.CodeTooBusy:
		errorPage(w, domain) // nobody knows
	default:
		unauthorised(w, realm)
	}
}

// authenticate finds out who asks. A host of the pool that shows no session asks for the pool itself.
func (s *Server) authenticate(r *http.Request, params url.Values, local bool) (auth.Caller, error) {
	if s.host(r) == "" {
		return s.Auth.Authenticate(r.Context(), s.credentials(r, params, local), originator(r))
	}
	if err := pool.CatchUp(r.Context(), s.DB, r.Header.Get(pool.RevisionHeader)); err != nil {
		return auth.Caller{}, err
	}
	if params.Get("session_id") != "" {
		return s.Auth.Authenticate(r.Context(), s.credentials(r, params, local), originator(r))
	}
	return auth.Caller{Session: auth.PoolSession(originator(r)), Done: func(context.Context) {}}, nil
}

// ownsTask refuses to run a transfer under another user's task, or under one that is not there.
func (s *Server) ownsTask(caller auth.Caller, ref xenapi.Ref[xenapi.Task]) error {
	if ref.IsNull() {
		return nil
	}
	var rec xenapi.Task
	if err := s.DB.View(func(tx *db.Tx) (err error) { rec, err = db.Get(tx, ref); return err }); err != nil {
		return err
	}
	if rec.AuthUser == caller.Session.AuthUserSID {
		return nil
	}
	return auth.Authorize(caller.Session, "task.destroy/any", xenapi.RolePoolOperator)
}

// refuse answers a request that has not begun its transfer, and tells the client's task why.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, t transfer, err error) {
	domain := s.failTask(r, t, err)
	if domain.Code == xenapi.CodeRBACPermissionDenied {
		forbidden(w, domain)
		return
	}
	errorPage(w, domain)
}

// reject answers a request that asks for what is not served with a status of its own, and fails the
// client's task as refuse does.
func (s *Server) reject(w http.ResponseWriter, r *http.Request, t transfer, status int, err *xenapi.Error) {
	page(w, status, http.StatusText(status), errorText(s.failTask(r, t, err)))
}

// failTask ends the client's task, if it has one, with an error.
func (s *Server) failTask(r *http.Request, t transfer, err error) *xenapi.Error {
	domain, _ := errors.AsType[*xenapi.Error](s.API.Domain(err))
	s.Tasks.Ended(r.Context(), t.spec, time.Now(), domain)
	if t.task.IsNull() {
		return domain
	}
	if err := s.Tasks.Fail(context.WithoutCancel(r.Context()), t.task, domain); err != nil {
		s.log.Info("task of a refused transfer not failed", "task", t.task, "error", err)
	}
	return domain
}

// run carries the transfer out under the client's task or a throw-away one.
func (s *Server) run(r *http.Request, t transfer, work task.Func) (err error) {
	ctx, done := s.whilePasserLives(r)
	defer done()
	if t.task.IsNull() {
		_, err = s.Tasks.Do(ctx, t.spec, work)
	} else {
		_, err = s.Tasks.Join(ctx, t.task, t.spec, work)
	}
	return err
}

// parameters joins query and cookies. Cookies may be separated by ; or &, and are percent-encoded; the
// query is asked first but for session_id, where the cookie counts.
func parameters(r *http.Request) url.Values {
	params := r.URL.Query()
	for _, line := range r.Header.Values("Cookie") {
		for pair := range strings.FieldsFuncSeq(line, func(c rune) bool { return c == ';' || c == '&' }) {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if decoded, err := url.QueryUnescape(value); err == nil {
				value = decoded
			}
			if name == "session_id" || !params.Has(name) {
				params.Set(name, value)
			}
		}
	}
	return params
}

func (s *Server) credentials(r *http.Request, params url.Values, local bool) auth.Credentials {
	user, password, basic := r.BasicAuth()
	return auth.Credentials{
		Local: local, SessionID: params.Get("session_id"), PoolSecret: params.Get("pool_secret"),
		Basic: basic, User: user, Password: password, Certificates: s.certificates(r),
	}
}

// stream is a connection that a handler has taken over to read a body from.
type stream struct {
	conn     net.Conn
	source   *patient
	arriving *arriving // reads source
	body     io.Reader // reads arriving, perhaps through a framing
	// length is what the request announced, -1 for nothing.
	length int64
}

// takeOver answers 200 with the given headers before a byte of the body is read, and gives the body:
// clients send nothing until they have seen the answer. A body without a length ends with the
// connection; net/http would take it for empty. A read of the body that fails gives what cutOff makes of a
// sentence about the upload or the image.
func (s *Server) takeOver(w http.ResponseWriter, r *http.Request, what string, cutOff func(reason string) *xenapi.Error, headers ...string) (*stream, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	in := &stream{conn: conn, source: &patient{conn: conn}, length: -1}
	if err := in.answer(r, headers); err != nil {
		conn.Close()
		return nil, cutOff("the client went away before its " + what).Because(err)
	}
	source := bufio.NewReaderSize(io.MultiReader(io.LimitReader(buffered, int64(buffered.Reader.Buffered())), in.source), bodyBuffer)
	in.arriving = &arriving{r: source, ctx: context.Background(), what: what, cutOff: cutOff, log: s.log}
	switch {
	case len(r.TransferEncoding) > 0:
		in.arriving.r = httputil.NewChunkedReader(source)
	case r.Header.Get("Content-Length") != "":
		in.length = r.ContentLength
		in.arriving.r = io.LimitReader(source, r.ContentLength)
	}
	in.body = in.arriving
	return in, nil
}

func (in *stream) answer(r *http.Request, headers []string) error {
	var b strings.Builder
	if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		b.WriteString("HTTP/1.1 100 Continue\r\n\r\n")
	}
	fmt.Fprintf(&b, "HTTP/1.%d 200 OK\r\nConnection: close\r\nCache-Control: no-cache, no-store\r\n", min(r.ProtoMinor, 1))
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	b.WriteString("\r\n")
	_, err := io.WriteString(in.conn, b.String())
	return err
}

// until makes reads of the body fail when ctx ends, with the reason why it did.
func (in *stream) until(ctx context.Context) (stop func() bool) {
	in.arriving.ctx = ctx
	return context.AfterFunc(ctx, in.source.interrupt)
}

// arriving is a body on its way in. Where a read of it fails, the client has gone away, or its network has, and the
// error says so in the API's words: neither the patch nor this host is at fault.
type arriving struct {
	r        io.Reader
	ctx      context.Context // of the transfer that the body belongs to, once that has begun
	what     string          // it is, in a sentence
	cutOff   func(reason string) *xenapi.Error
	log      *slog.Logger
	received int64
}

func (a *arriving) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	a.received += int64(n)
	if err == nil {
		return n, nil
	}
	if cause := context.Cause(a.ctx); cause != nil {
		return n, cause // the read was interrupted: what it says is only that
	}
	if err == io.EOF {
		return n, err
	}
	a.log.Info("transfer cut off by its client", "transfer", a.what, "received", a.received, "error", err)
	return n, a.cutOff(fmt.Sprintf("the %s was cut off after %d bytes", a.what, a.received)).Because(err)
}

// finish tells an error in the body of the answer, for clients that look nowhere else, lets the client
// end its sending, and closes.
func (in *stream) finish(err error) {
	defer in.conn.Close()
	if domain, ok := errors.AsType[*xenapi.Error](err); ok {
		in.conn.SetWriteDeadline(time.Now().Add(lingerTimeout))
		writePage(in.conn, "Internal Error", errorText(domain))
	}
	if half, ok := in.conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	if err != nil {
		in.conn.SetReadDeadline(time.Now().Add(lingerTimeout))
		io.Copy(io.Discard, in.conn)
	}
}

// patient reads from a connection and gives up only when nothing comes for a while.
type patient struct {
	conn net.Conn

	mu          sync.Mutex // around the deadline: a Read that begins must not undo an interrupt
	interrupted bool
}

func (p *patient) Read(b []byte) (int, error) {
	p.mu.Lock()
	if !p.interrupted {
		p.conn.SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	p.mu.Unlock()
	return p.conn.Read(b)
}

// interrupt makes Read fail from now on, also one that waits.
func (p *patient) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupted = true
	p.conn.SetReadDeadline(time.Unix(1, 0))
}

// outgoing is a body on its way out, until ctx ends. A client that takes nothing of it for a while is given up: what it is to
// have is held for it.
type outgoing struct {
	w           io.Writer
	setDeadline func(time.Time) error
	ctx         context.Context // of the transfer that the body belongs to
}

// giveOut is the body of an answer. stop lets go of ctx.
func giveOut(ctx context.Context, w http.ResponseWriter) (body io.Writer, stop func() bool) {
	set := http.NewResponseController(w).SetWriteDeadline
	return &outgoing{w, set, ctx}, context.AfterFunc(ctx, func() { _ = set(time.Unix(1, 0)) })
}

// Write implements io.Writer. When ctx ends it fails with the reason why.
func (o *outgoing) Write(b []byte) (int, error) {
	_ = o.setDeadline(time.Now().Add(bodyTimeout)) // a connection that has none is no network's
	if o.ctx.Err() != nil {                        // asked now: this deadline is later than that of an end which came before
		return 0, context.Cause(o.ctx)
	}
	n, err := o.w.Write(b)
	if err != nil && o.ctx.Err() != nil {
		err = context.Cause(o.ctx)
	}
	return n, err
}
