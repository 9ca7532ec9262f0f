package xe

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"poolpatch/internal/rpc"
	"poolpatch/internal/thincli"
	"poolpatch/xenapi"
)

const (
	// refusedPatience is how long the task of a transfer may take to say why the client could not do it.
	refusedPatience = time.Second
	// endedPatience is how long the client may take to notice that a transfer has ended.
	endedPatience = 5 * time.Minute
	// pollLeast and pollMost bound the time between two looks at a task; it doubles from one to the other.
	pollLeast = 10 * time.Millisecond
	pollMost  = time.Second
)

// transfer has the client move a file, under a task, and gives the task's result once both have ended.
//
// A crash of the daemon here leaves the task, whose work ends with the daemon too; collection removes it.
func (r *run) transfer(ctx context.Context, label string, m thincli.Message, query []pair) (string, error) {
	task, err := r.ask(ctx, "task.create", label, "")
	if err != nil {
		return "", err
	}
	defer r.endTask(ctx, task)
	m.Path += "?session_id=" + plain(r.session) + "&task_id=" + plain(task)
	for _, p := range query {
		m.Path += "&" + p.key + "=" + plain(p.value)
	}
	if err := r.peer.Send(m); err != nil {
		return "", err
	}
	if err := r.peer.Flush(); err != nil {
		return "", err
	}
	answered := make(chan error, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		err := r.peer.Answer()
		answered <- err
		if err == nil {
			r.peer.Gone() // a client that hangs up now wants no result
		}
	}()
	defer func() { r.peer.Interrupt(); <-gone }()
	return r.both(ctx, task, answered, gone)
}

// plain is a value of a query. References go as they are: old clients pass the path on byte for byte.
func plain(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "%3A", ":") }

// both waits for the end of the task and for the client's answer.
func (r *run) both(ctx context.Context, task string, answered <-chan error, gone <-chan struct{}) (string, error) {
	watch := &watch{r: r, task: task, pause: pollLeast}
	for {
		ended, err := watch.look(ctx)
		if err != nil {
			return "", err
		}
		if ended {
			return r.afterTask(ctx, watch, answered)
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case err := <-answered:
			if err != nil {
				return r.afterRefusal(ctx, watch)
			}
			answered = nil
			watch.answered = true
		case <-goneAfter(watch.answered, gone):
			return "", xenapi.ErrClientError()
		case <-watch.timer():
		}
	}
}

// goneAfter is gone once the client has answered: before that, the answer tells.
func goneAfter(answered bool, gone <-chan struct{}) <-chan struct{} {
	if answered {
		return gone
	}
	return nil
}

// afterTask gives the result of an ended task, once the client has noticed the end too.
func (r *run) afterTask(ctx context.Context, w *watch, answered <-chan error) (string, error) {
	if w.answered {
		return w.outcome()
	}
	limit := time.NewTimer(endedPatience)
	defer limit.Stop()
	var refused error
	select {
	case refused = <-answered:
	case <-limit.C:
		refused = xenapi.ErrClientError()
	case <-ctx.Done():
		refused = context.Cause(ctx)
	}
	result, err := w.outcome()
	if err == nil && refused != nil {
		return "", xenapi.ErrClientError()
	}
	return result, err
}

// afterRefusal finds out why the client could not move the file: the task may know.
func (r *run) afterRefusal(ctx context.Context, w *watch) (string, error) {
	limit := time.NewTimer(refusedPatience)
	defer limit.Stop()
	for {
		ended, err := w.look(ctx)
		switch {
		case err != nil:
			return "", err
		case ended:
			if _, err := w.outcome(); err != nil {
				return "", err
			}
			return "", xenapi.ErrClientError()
		}
		select {
		case <-limit.C:
			return "", xenapi.ErrClientError()
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-w.timer():
		}
	}
}

// endTask removes the task of a transfer, and stops what may still work on it.
func (r *run) endTask(ctx context.Context, task string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	_, _ = r.call(ctx, "task.cancel", task) // an ended one refuses
	_, _ = r.call(ctx, "task.destroy", task)
}

// watch looks at a task until it has ended.
type watch struct {
	r        *run
	task     string
	pause    time.Duration
	answered bool // the client has said that it is done
	last     rpc.Value
	percent  int64 // that was shown
}

func (w *watch) look(ctx context.Context) (ended bool, err error) {
	if w.last, err = w.r.call(ctx, "task.get_record", w.task); err != nil {
		return false, err
	}
	status, _ := w.last.Member("status")
	ended = status.Text != string(xenapi.TaskStatusPending) && status.Text != string(xenapi.TaskStatusCancelling)
	return ended, w.showProgress(ended)
}

// showProgress writes, over and over in one line, how far a transfer is, when --progress asks for it.
func (w *watch) showProgress(ended bool) error {
	if !w.r.has("progress") {
		return nil
	}
	progress, _ := w.last.Member("progress")
	percent := int64(progress.Double * 100)
	if percent == w.percent && !ended {
		return nil
	}
	w.percent = percent
	text := fmt.Sprintf("\r%3d%%", percent)
	if ended {
		text += "\n"
	}
	if err := w.r.peer.Send(thincli.Message{Tag: thincli.PrintStderr, Text: text}); err != nil {
		return err
	}
	return w.r.peer.Flush()
}

func (w *watch) timer() <-chan time.Time {
	pause := w.pause
	w.pause = min(2*w.pause, pollMost)
	return time.After(pause)
}

// outcome is the result of the task, which has ended, or its error.
func (w *watch) outcome() (string, error) {
	status, _ := w.last.Member("status")
	if status.Text == string(xenapi.TaskStatusSuccess) {
		result, _ := w.last.Member("result")
		return result.Text, nil
	}
	info, _ := w.last.Member("error_info")
	var texts []string
	for _, item := range info.Items {
		texts = append(texts, item.Text)
	}
	if len(texts) == 0 {
		return "", failure("The task ended as " + status.Text + " and says no reason")
	}
	return "", xenapi.NewError(texts[0], texts[1:]...)
}
