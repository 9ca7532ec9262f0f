package pool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/internal/rpc"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Headers of the calls between hosts. They count only on a connection whose other end is a host of the pool.
const (
	// TaskHeader names the task that the call runs as; it exists already.
	TaskHeader = "Task-Id"
	// RevisionHeader says how much of the database the sender has seen: with it the other end waits until it has seen
	// as much, so neither misses what the other has just written.
	RevisionHeader = "Poolpatch-Revision"
	// ErrorHeader is an error's code and parameters, a JSON array, in an answer that is no body.
	ErrorHeader = "Poolpatch-Error"
)

const (
	// dialTimeout bounds the making of a connection to another host.
	dialTimeout = 5 * time.Second
	// silence is how long the other end of a kept connection may owe a sign of life. A network that falls silent breaks no
	// connection by itself, for a quarter of an hour.
	silence = 8 * time.Second
	// answerTimeout is how long the answer to a call may take once its task has ended. A network that falls silent breaks
	// no connection, for minutes.
	answerTimeout = 5 * time.Second
	// catchUpTimeout bounds the wait for what another host has seen of the database.
	catchUpTimeout = 10 * time.Second
	// maxReply bounds the answer of a call, in bytes: the output of a patch's program is the longest.
	maxReply = 64 << 20
)

// Hosts sends messages to the other hosts of the pool.
type Hosts struct {
	db   *db.DB
	keys *authority.Keyholder

	mu      sync.Mutex
	readers map[xenapi.Ref[xenapi.Host]]*http.Client
}

// NewHosts makes the calling side of a host.
func NewHosts(d *db.DB, keys *authority.Keyholder) *Hosts {
	return &Hosts{db: d, keys: keys, readers: map[xenapi.Ref[xenapi.Host]]*http.Client{}}
}

// Call has another host run a message for the pool itself, which may do everything, as the task t; that may be null for
// messages that are no tasks. params are without the session; result is a pointer, or nil.
//
// The other host ends the task. It runs the message at most once: it takes only a pending task that no host runs, and
// whoever gives the call up ends the task first. Errors: the message's own, HOST_OFFLINE.
func (h *Hosts) Call(ctx context.Context, host xenapi.Ref[xenapi.Host], t xenapi.Ref[xenapi.Task], result any, message string, params ...any) error {
	return h.CallFor(ctx, host, "", t, result, message, params...)
}

// CallFor is Call for a session, with its rights.
func (h *Hosts) CallFor(ctx context.Context, host xenapi.Ref[xenapi.Host], session xenapi.Ref[xenapi.Session],
	t xenapi.Ref[xenapi.Task], result any, message string, params ...any) error {

	body := rpc.EncodeRequest(message, append([]any{session}, params...))
	reply, sent, err := h.post(ctx, host, t, body)
	switch {
	case err == nil:
		return decodeReply(reply, result)
	case t.IsNull() && sent && ctx.Err() != nil:
		return context.Cause(ctx)
	case t.IsNull():
		return offline(host, err)
	}
	return h.outcome(ctx, host, t, result, err)
}

// post sends a call and reads the answer. It ends early when the pool takes the host for dead, however long the
// network is silent about it, or when the task t has ended and its answer is lost. sent says that the host may have got the call.
func (h *Hosts) post(ctx context.Context, host xenapi.Ref[xenapi.Host], t xenapi.Ref[xenapi.Task], body []byte) (reply []byte, sent bool, err error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	client, address, err := h.reach(host)
	if err != nil {
		return nil, false, err
	}
	go h.watch(ctx, host, giveUp)
	if !t.IsNull() {
		go h.watchTask(ctx, t, giveUp)
	}
	var wrote atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})
	request, err := http.NewRequestWithContext(traced, http.MethodPost, "https://"+address+"/jsonrpc", bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(RevisionHeader, strconv.FormatInt(h.db.Revision(), 10))
	if !t.IsNull() {
		request.Header.Set(TaskHeader, t.String())
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, wrote.Load(), err
	}
	defer answer.Body.Close()
	if reply, err = io.ReadAll(io.LimitReader(answer.Body, maxReply)); err != nil {
		return nil, true, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, true, fmt.Errorf("%s answered %s", address, answer.Status)
	}
	return reply, true, CatchUp(ctx, h.db, answer.Header.Get(RevisionHeader))
}

// watch gives up on a host when the pool takes it for dead. It returns when ctx ends.
func (h *Hosts) watch(ctx context.Context, host xenapi.Ref[xenapi.Host], giveUp context.CancelCauseFunc) {
	if h.db.Wait(ctx, func(tx *db.Tx) (bool, error) { return !Alive(tx, host), nil }) == nil {
		giveUp(xenapi.ErrHostOffline(host))
	}
}

// watchTask gives up on an answer that has not come a while after the task ended: the row says what the answer would. It
// returns when ctx ends.
func (h *Hosts) watchTask(ctx context.Context, t xenapi.Ref[xenapi.Task], giveUp context.CancelCauseFunc) {
	ended := func(tx *db.Tx) (bool, error) {
		rec, found := db.Lookup(tx, t)
		return !found || rec.Status != xenapi.TaskStatusPending, nil
	}
	if h.db.Wait(ctx, ended) == nil && pause(ctx, answerTimeout) == nil {
		giveUp(errors.New("the task has ended, and its answer does not come"))
	}
}

// reach gives the way to a host that lives. One connection carries one call: a call that was sent twice, on a connection
// that had ended, would be two.
func (h *Hosts) reach(host xenapi.Ref[xenapi.Host]) (*http.Client, string, error) {
	address, config, err := h.locate(host)
	if err != nil {
		return nil, "", err
	}
	return &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig: config, DisableKeepAlives: true,
	}}, address, nil
}

// outcome finds how a task ended whose answer did not come. Errors: the task's, HOST_OFFLINE.
func (h *Hosts) outcome(ctx context.Context, host xenapi.Ref[xenapi.Host], t xenapi.Ref[xenapi.Task], result any, cause error) error {
	lost := offline(host, cause)
	// A task that the host has not taken it can take no more after this. It fails with lost either way.
	if err := h.db.Update(context.WithoutCancel(ctx), func(tx *db.Tx) error { return task.FailUntaken(tx, t, host, lost) }); err != nil {
		return err
	}
	var rec xenapi.Task
	found := false
	err := h.db.Wait(ctx, func(tx *db.Tx) (bool, error) {
		rec, found = db.Lookup(tx, t)
		return !found || rec.Status != xenapi.TaskStatusPending || !Alive(tx, host), nil
	})
	switch {
	case err != nil:
		return err
	case !found || rec.Status == xenapi.TaskStatusPending:
		return lost
	case rec.Status != xenapi.TaskStatusSuccess && len(rec.ErrorInfo) > 0:
		return xenapi.NewError(rec.ErrorInfo[0], rec.ErrorInfo[1:]...)
	case result == nil:
		return nil
	}
	value, err := rpc.ParseXMLValue(rec.Result)
	if err != nil {
		return err
	}
	return value.Decode(result)
}

func offline(host xenapi.Ref[xenapi.Host], cause error) *xenapi.Error {
	if domain, ok := errors.AsType[*xenapi.Error](cause); ok {
		return domain // HANDLE_INVALID, or HOST_OFFLINE already
	}
	return xenapi.ErrHostOffline(host).Because(cause)
}

func decodeReply(reply []byte, result any) error {
	value, refused, err := rpc.DecodeReply(reply)
	switch {
	case err != nil:
		return err
	case refused != nil:
		return refused
	case result == nil:
		return nil
	}
	return value.Decode(result)
}

// CatchUp waits until this host has seen the database up to a revision that another host has seen; "" is none.
func CatchUp(ctx context.Context, d *db.DB, revision string) error {
	n, err := strconv.ParseInt(revision, 10, 64)
	if err != nil || d.Revision() >= n {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	return d.Wait(ctx, func(*db.Tx) (bool, error) { return d.Revision() >= n, nil })
}
