package client_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"

	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// pool is a server with the real codec and just so much behind it as a client can tell: sessions that end,
// tasks, and the handlers for bytes with their manners (a 200 before the body, the error in the task).
type pool struct {
	*httptest.Server

	mu       sync.Mutex
	sessions map[string]bool
	logins   int
	calls    []string
	tasks    map[xenapi.Ref[xenapi.Task]]*xenapi.Task
	stored   []byte // what was uploaded last
	length   string // its Content-Length
	refusal  *xenapi.Error
	// message answers what the pool itself does not know.
	message func(method string, params []rpc.Value) (any, error)
	// shielded refuses every task.cancel.
	shielded bool
	// breaks cuts that many connections before it answers.
	breaks int
	// reading runs in the upload handler before it reads the body.
	reading func(task xenapi.Ref[xenapi.Task])
}

func newPool() *pool {
	p := &pool{sessions: map[string]bool{}, tasks: map[xenapi.Ref[xenapi.Task]]*xenapi.Task{}}
	p.Server = httptest.NewServer(p)
	return p
}

func (p *pool) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "POST /jsonrpc":
		p.call(w, r)
	case "PUT /pool_patch_upload", "PUT /import_raw_vdi":
		p.put(w, r)
	case "GET /pool_patch_download", "GET /export_raw_vdi":
		p.get(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (p *pool) call(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if p.cut() {
		panic(http.ErrAbortHandler)
	}
	reply, err := rpc.JSON(r.Context(), p, body)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "<html><head><title>x</title></head><body><h1>Internal Error</h1><p>%v</p></body></html>", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(reply)
}

func (p *pool) cut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.breaks--
	return p.breaks >= 0
}

// Dispatch is the method table.
func (p *pool) Dispatch(_ context.Context, method string, params []rpc.Value) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, method)
	if method == "session.login_with_password" {
		return p.login(params)
	}
	if len(params) == 0 || !p.sessions[params[0].Text] {
		return nil, xenapi.ErrSessionInvalid("OpaqueRef:ended")
	}
	params = params[1:]
	class, _, _ := strings.Cut(method, ".")
	if class == "task" {
		return p.task(method, params)
	}
	if method == "session.logout" {
		clear(p.sessions)
		return nil, nil
	}
	return p.message(method, params)
}

func (p *pool) login(params []rpc.Value) (any, error) {
	if params[0].Text != "root" || params[1].Text != "secret" {
		return nil, xenapi.ErrSessionAuthenticationFailed(params[0].Text, "Authentication failure")
	}
	p.logins++
	session := "OpaqueRef:session-" + strconv.Itoa(p.logins)
	p.sessions[session] = true
	return session, nil
}

func (p *pool) task(method string, params []rpc.Value) (any, error) {
	if method == "task.create" {
		return p.newTask(), nil
	}
	ref := xenapi.Ref[xenapi.Task](params[0].Text)
	rec := p.tasks[ref]
	if rec == nil {
		return nil, xenapi.ErrHandleInvalid("task", string(ref))
	}
	switch method {
	case "task.get_record":
		return *rec, nil
	case "task.cancel":
		if p.shielded || rec.Status != xenapi.TaskStatusPending {
			return nil, xenapi.ErrOperationNotAllowed("the task has ended")
		}
		if len(rec.AllowedOperations) > 0 {
			p.end(rec, "", xenapi.ErrTaskCancelled(ref))
		}
	case "task.destroy":
		delete(p.tasks, ref)
	}
	return nil, nil
}

// newTask makes a pending task that nobody works on.
func (p *pool) newTask() xenapi.Ref[xenapi.Task] {
	ref := xenapi.Ref[xenapi.Task]("OpaqueRef:task-" + strconv.Itoa(len(p.calls)))
	p.tasks[ref] = &xenapi.Task{Status: xenapi.TaskStatusPending}
	return ref
}

// end ends a pending task.
func (p *pool) end(rec *xenapi.Task, result string, err *xenapi.Error) {
	if rec.Status != xenapi.TaskStatusPending {
		return
	}
	rec.Progress, rec.AllowedOperations = 1, nil
	rec.Status, rec.Result = xenapi.TaskStatusSuccess, result
	if err != nil {
		rec.Status, rec.Result, rec.ErrorInfo = xenapi.TaskStatusFailure, "", err.Description()
		if err.Code == xenapi.CodeTaskCancelled {
			rec.Status = xenapi.TaskStatusCancelled
		}
	}
}

// finish ends the task of a transfer.
func (p *pool) finish(ref xenapi.Ref[xenapi.Task], result string, err *xenapi.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rec := p.tasks[ref]; rec != nil {
		p.end(rec, result, err)
	}
}

// admitted checks the session and makes the task one that somebody works on.
func (p *pool) admitted(w http.ResponseWriter, r *http.Request) (xenapi.Ref[xenapi.Task], bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cookie, err := r.Cookie("session_id")
	if err != nil || !p.sessions[strings.ReplaceAll(cookie.Value, "%3A", ":")] {
		w.WriteHeader(http.StatusUnauthorized)
		return "", false
	}
	ref := xenapi.Ref[xenapi.Task](r.URL.Query().Get("task_id"))
	p.tasks[ref].AllowedOperations = []xenapi.TaskAllowedOperation{xenapi.TaskAllowedOperationCancel}
	return ref, true
}

// put answers 200, then reads, as servers of XenAPI do.
func (p *pool) put(w http.ResponseWriter, r *http.Request) {
	task, ok := p.admitted(w, r)
	if !ok {
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
	if p.reading != nil {
		p.reading(task)
	}
	body := io.Reader(bufio.NewReader(buffered))
	if r.ContentLength > 0 {
		body = io.LimitReader(body, r.ContentLength)
	}
	if p.refusal != nil {
		p.finish(task, "", p.refusal) // without reading: the client is still sending
		return
	}
	text, err := io.ReadAll(body)
	p.mu.Lock()
	p.stored, p.length = text, r.Header.Get("Content-Length")
	p.mu.Unlock()
	if err != nil || int64(len(text)) < r.ContentLength {
		p.finish(task, "", xenapi.ErrInvalidPatch("the upload ended early"))
		return
	}
	p.finish(task, "OpaqueRef:made", nil)
}

func (p *pool) get(w http.ResponseWriter, r *http.Request) {
	task, ok := p.admitted(w, r)
	if !ok {
		return
	}
	if p.refusal != nil {
		p.finish(task, "", p.refusal)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	offset := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &offset); err == nil {
		w.Header().Set("Content-Length", strconv.Itoa(len(p.stored)-offset))
		w.WriteHeader(http.StatusPartialContent)
	}
	w.Write(p.stored[offset:])
	p.finish(task, "", nil)
}

// breakNext sets how many connections are cut from now on, and gives how many were left to be.
func (p *pool) breakNext(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.breaks
	p.breaks = n
	return left
}

// left counts the tasks that the client has not destroyed.
func (p *pool) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.tasks)
}

func (p *pool) count(method string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, call := range p.calls {
		if call == method {
			n++
		}
	}
	return n
}
