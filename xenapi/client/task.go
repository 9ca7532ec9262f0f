package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

const (
	// pollLeast and pollMost bound the time between two looks at a task. A look comes after a fifth of
	// the time that the task has run: what is short is noticed soon, what is long costs few calls.
	pollLeast = 20 * time.Millisecond
	pollMost  = time.Second
	// cleanupTimeout bounds what is done for a caller whose context has ended: cancel, wait, destroy.
	cleanupTimeout = 30 * time.Second
)

// StillRunning is the error of a wait that ended before its task did: the task could not be cancelled.
type StillRunning struct {
	Task  xenapi.Ref[xenapi.Task]
	UUID  string // of the task
	Cause error
}

func (e *StillRunning) Error() string { return fmt.Sprintf("task %s still runs: %v", e.UUID, e.Cause) }
func (e *StillRunning) Unwrap() error { return e.Cause }

// Run sends a message as a task, waits for its end, showing its progress from 0 to 1 to progress unless that
// is nil, and decodes the result. When ctx ends, the task is cancelled and Run returns once the pool has
// cleaned up; a task that cannot be cancelled goes on, and the error is a *StillRunning. Errors: those of
// the message.
func Run[T any](ctx context.Context, c *Client, progress func(float64), message string, args ...any) (T, error) {
	task, err := c.Async(ctx, message, args...)
	if err != nil {
		var none T
		return none, err
	}
	text, err := c.FinishTask(ctx, task, fractionOf(progress))
	if err != nil {
		var none T
		return none, err
	}
	return Result[T](text)
}

// Result decodes what WaitTask and FinishTask give: a task's result as the pool wrote it.
func Result[T any](text string) (T, error) {
	var result T
	if err := decodeResult(text, &result); err != nil {
		return result, fmt.Errorf("result of the task: %w", err)
	}
	return result, nil
}

// fractionOf shows the progress of a task that has not failed: one that has is not done.
func fractionOf(progress func(float64)) func(xenapi.Task) {
	if progress == nil {
		return nil
	}
	return func(rec xenapi.Task) {
		if rec.Status == xenapi.TaskStatusPending || rec.Status == xenapi.TaskStatusSuccess {
			progress(rec.Progress)
		}
	}
}

// Async sends a message as a task and does not wait for it. WaitTask does.
func (c *Client) Async(ctx context.Context, message string, args ...any) (xenapi.Ref[xenapi.Task], error) {
	return Call[xenapi.Ref[xenapi.Task]](ctx, c, "Async."+message, args...)
}

// WaitTask waits for the end of a task, showing its progress to progress unless that is nil, then destroys
// it and gives its result as the pool wrote it. A task that failed is the error that it failed with. When ctx
// ends the task goes on.
func (c *Client) WaitTask(ctx context.Context, task xenapi.Ref[xenapi.Task], progress func(float64)) (result string, err error) {
	return c.waitTask(ctx, task, fractionOf(progress))
}

func (c *Client) waitTask(ctx context.Context, task xenapi.Ref[xenapi.Task], look func(xenapi.Task)) (result string, err error) {
	rec, err := c.watch(ctx, task, look)
	if err != nil {
		return "", err
	}
	c.destroyTask(ctx, task)
	return outcome(rec)
}

// FinishTask is WaitTask for a task that this client began, whose record is shown to look, unless that is nil, each time
// that it is read. When ctx ends, the task is cancelled as Run does.
func (c *Client) FinishTask(ctx context.Context, task xenapi.Ref[xenapi.Task], look func(xenapi.Task)) (string, error) {
	result, err := c.waitTask(ctx, task, look)
	if err == nil || ctx.Err() == nil {
		return result, err
	}
	return c.giveUp(ctx, task)
}

// giveUp cancels a task whose work is not wanted any more, and waits for the cleaning up. A task that ended
// before it noticed has its own result.
func (c *Client) giveUp(ctx context.Context, task xenapi.Ref[xenapi.Task]) (string, error) {
	cause := context.Cause(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	cerr := c.Do(ctx, "task.cancel", task)
	rec, err := c.task(ctx, task)
	switch {
	case err != nil:
		return "", err
	case rec.Status != xenapi.TaskStatusPending:
	case cerr != nil:
		return "", &StillRunning{task, rec.UUID, fmt.Errorf("%w (%w)", cause, cerr)}
	case len(rec.AllowedOperations) == 0:
		// It allows nothing, and yet it could be cancelled: the request that was to work on it never
		// reached a handler, so nobody will end it.
		c.destroyTask(ctx, task)
		return "", cause
	}
	result, err := c.WaitTask(ctx, task, nil)
	switch {
	case xenapi.CodeOf(err) == xenapi.CodeTaskCancelled && cause != nil:
		return "", cause
	case err != nil && ctx.Err() != nil:
		return "", &StillRunning{task, rec.UUID, cause}
	}
	return result, err
}

// watch looks at a task until it has ended.
func (c *Client) watch(ctx context.Context, task xenapi.Ref[xenapi.Task], look func(xenapi.Task)) (xenapi.Task, error) {
	for begun := time.Now(); ; {
		rec, err := c.task(ctx, task)
		if err != nil {
			return rec, err
		}
		if look != nil {
			look(rec)
		}
		if rec.Status != xenapi.TaskStatusPending && rec.Status != xenapi.TaskStatusCancelling {
			return rec, nil
		}
		if err := sleep(ctx, max(pollLeast, min(pollMost, time.Since(begun)/5))); err != nil {
			return rec, err
		}
	}
}

func (c *Client) task(ctx context.Context, task xenapi.Ref[xenapi.Task]) (xenapi.Task, error) {
	return Call[xenapi.Task](ctx, c, "task.get_record", task)
}

// destroyTask removes a task. The pool collects ended ones, so an error changes nothing.
func (c *Client) destroyTask(ctx context.Context, task xenapi.Ref[xenapi.Task]) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	_ = c.Do(ctx, "task.destroy", task)
}

// outcome is the result of an ended task, or its error.
func outcome(rec xenapi.Task) (string, error) {
	switch {
	case rec.Status == xenapi.TaskStatusSuccess:
		return rec.Result, nil
	case len(rec.ErrorInfo) > 0:
		return "", xenapi.NewError(rec.ErrorInfo[0], rec.ErrorInfo[1:]...)
	}
	return "", fmt.Errorf("the task ended as %s and says no reason", rec.Status)
}

// decodeResult reads task.result: the text of an XML-RPC value; of a patch upload a bare reference.
func decodeResult[T any](text string, into *T) error {
	v := rpc.Value{Kind: rpc.String, Text: text}
	if strings.HasPrefix(strings.TrimSpace(text), "<value") {
		var err error
		if v, err = rpc.ParseXMLValue(text); err != nil {
			return err
		}
	}
	if v.Kind == rpc.String && v.Text == "" {
		return nil // void
	}
	return v.Decode(into)
}

// localError is an error of the caller's own reader or writer: the pool's complaint about the stream that
// ended early is not what went wrong.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// transfer does work under a task that it makes, and ends with that task. What the task says counts more
// than what the connection showed; the caller's own errors count most.
func (c *Client) transfer(ctx context.Context, label string, work func(context.Context, xenapi.Ref[xenapi.Task]) error) (string, error) {
	task, err := Call[xenapi.Ref[xenapi.Task]](ctx, c, "task.create", label, "")
	if err != nil {
		return "", err
	}
	werr := work(ctx, task)
	switch {
	case werr == nil:
		return c.FinishTask(ctx, task, nil)
	case ctx.Err() != nil:
		result, err := c.giveUp(ctx, task)
		if xenapi.CodeOf(err) != "" {
			// The server noticed that the body had ended before it was told why.
			err = context.Cause(ctx)
		}
		return result, err
	}
	return c.reason(ctx, task, werr)
}

// errEnded is a server that ended its answer before it had the whole body: the task says whether that is
// well.
var errEnded = errors.New("the server ended it")

// reason finds out why a transfer broke, and cancels what may be left of it.
func (c *Client) reason(ctx context.Context, task xenapi.Ref[xenapi.Task], werr error) (string, error) {
	result, err := c.giveUp(ctx, task)
	if _, local := errors.AsType[*localError](werr); local {
		return "", werr
	}
	e, ok := errors.AsType[*xenapi.Error](err)
	switch {
	case ok && e.Code != xenapi.CodeHandleInvalid && e.Code != xenapi.CodeTaskCancelled:
		return "", e
	case err == nil && result != "" && errors.Is(werr, errEnded):
		return result, nil
	}
	return "", werr
}

// BrokenTransfer is a transfer that the connection or the server ended before its time, and the pool does not say why.
type BrokenTransfer struct{ Err error }

func (e *BrokenTransfer) Error() string { return "the transfer was cut off: " + e.Err.Error() }
func (e *BrokenTransfer) Unwrap() error { return e.Err }
