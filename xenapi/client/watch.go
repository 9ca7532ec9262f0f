package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

const (
	// watchWait is how long the pool keeps a question without an answer; then the next one is put.
	watchWait = 30 * time.Second
	// watchGrace is how much later the answer may come: a connection without a sign for longer has died.
	watchGrace = 15 * time.Second
	// watchPauseLeast lies before the first attempt to hear a pool that cannot be heard any more. It doubles up to
	// watchPauseMost.
	watchPauseLeast = 100 * time.Millisecond
	watchPauseMost  = 10 * time.Second
)

// Event tells of an object of the pool. [Snapshot] gives its record.
type Event struct {
	Class     string // of XenAPI, in lower case
	Ref       string
	Operation xenapi.EventOperation
	snapshot  rpc.Value
}

// Snapshot gives the record of an event's object, as it is now. It is an error to ask for that of an object that was
// deleted, or of another class.
func Snapshot[T xenapi.Object](e Event) (record T, err error) {
	switch {
	case e.Operation == xenapi.EventOperationDel:
		return record, fmt.Errorf("%s %s is deleted", e.Class, e.Ref)
	case !strings.EqualFold(e.Class, record.Class()):
		return record, fmt.Errorf("%s %s is no %s", e.Class, e.Ref, record.Class())
	}
	if err := known(e.snapshot, reflect.TypeFor[T]()).Decode(&record); err != nil {
		return record, fmt.Errorf("event of %s %s: %w", e.Class, e.Ref, err)
	}
	return record, nil
}

// Batch is what has changed since the batch before it: at most one event for each object, deletions last.
type Batch struct {
	Events []Event
	// Lost says that the pool could not tell what has happened since the batch before. The events are made from what
	// there is now, and are as good as the pool's own: what is gone is deleted, what is there is added or modified. Only
	// what came and went in between is not told.
	Lost bool
}

// Disconnected is told by Watch when the pool cannot be heard any more. It is not the end.
type Disconnected struct{ Err error }

func (e *Disconnected) Error() string { return "the pool cannot be heard: " + e.Err.Error() }
func (e *Disconnected) Unwrap() error { return e.Err }

// Watch follows the objects that the selectors select: those of a class (pool_patch), one of them (task/OpaqueRef:…), all (*).
// The first batch adds every object that there is, each later one tells what has changed. Who carries all of them out
// has the objects as they are. That stays so when a connection breaks, when the host starts again, when the session ends,
// when another host is asked and when the pool has forgotten what it had to tell: see Lost.
//
// The iteration ends after an error: that of ctx, or what the pool refuses. Only after a *Disconnected it goes on by itself,
// trying to be connected again for as long as ctx lasts; the next batch, which may be empty, says that it is.
func (c *Client) Watch(ctx context.Context, selectors ...string) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		w := watch{pause: watchPauseLeast, from: func(token string, wait time.Duration) (eventReply, error) {
			return c.eventFrom(ctx, selectors, token, wait)
		}}
		for w.next(ctx, yield) {
		}
	}
}

// eventReply is what event.from gives.
type eventReply struct {
	Events []struct {
		Class     string                `json:"class"`
		Ref       string                `json:"ref"`
		Operation xenapi.EventOperation `json:"operation"`
		Snapshot  rpc.Value             `json:"snapshot"`
	} `json:"events"`
	Counts map[string]int64 `json:"valid_ref_counts"` // of all objects of each class
	Token  string           `json:"token"`
}

// eventFrom asks once. It is a question, so it can be put again.
func (c *Client) eventFrom(ctx context.Context, selectors []string, token string, wait time.Duration) (eventReply, error) {
	wait = min(wait, c.options.CallTimeout/2)
	ctx, cancel := context.WithTimeout(ctx, wait+watchGrace)
	defer cancel()
	return Call[eventReply](ctx, c, "event.from", selectors, token, wait.Seconds())
}

// watch is where a Watch is.
type watch struct {
	from  func(token string, wait time.Duration) (eventReply, error)
	token string // "" to begin anew
	// known are the refs that the caller knows, by class; nil before the first batch.
	known map[string]map[string]bool
	// deaf says that the caller was told that the pool cannot be heard.
	deaf  bool
	pause time.Duration
}

// next asks the pool once, tells the caller what there is to tell, and reports whether the watch goes on.
func (w *watch) next(ctx context.Context, yield func(Batch, error) bool) bool {
	wait := watchWait
	if w.deaf {
		wait = 0 // the caller is to hear at once that the pool answers
	}
	reply, err := w.from(w.token, wait)
	switch {
	case ctx.Err() != nil:
		yield(Batch{}, context.Cause(ctx))
		return false
	case err != nil && w.token != "" && forgotten(err):
		w.token = ""
		return true
	case err != nil && passing(err):
		return w.waitFor(ctx, err, yield)
	case err != nil:
		yield(Batch{}, err)
		return false
	}
	first, heard := w.known == nil, w.deaf
	w.deaf, w.pause = false, watchPauseLeast
	batch := w.take(reply)
	if len(batch.Events) == 0 && !batch.Lost && !first && !heard {
		return true
	}
	return yield(batch, nil)
}

// forgotten reports whether a token is of no use any more.
func forgotten(err error) bool {
	code := xenapi.CodeOf(err)
	return code == xenapi.CodeEventsLost || code == xenapi.CodeEventFromTokenParseFailure
}

// passing reports whether an error may go away by itself. A session that has ended has been replaced already, by one that has
// ended too.
func passing(err error) bool {
	if _, broken := errors.AsType[*ConnectionError](err); broken {
		return true
	}
	if page, ok := errors.AsType[*StatusError](err); ok {
		return page.Code >= http.StatusInternalServerError
	}
	return slices.Contains([]string{
		xenapi.CodeSessionInvalid, xenapi.CodePoolDatabaseUnavailable, xenapi.CodeHostStillBooting, xenapi.CodeHostOffline,
	}, xenapi.CodeOf(err))
}

// waitFor tells the caller once that the pool cannot be heard, and lets some time pass, more each time.
func (w *watch) waitFor(ctx context.Context, err error, yield func(Batch, error) bool) bool {
	if !w.deaf && !yield(Batch{}, &Disconnected{err}) {
		return false
	}
	w.deaf = true
	_ = sleep(ctx, w.pause) // the next question sees that ctx has ended
	w.pause = min(2*w.pause, watchPauseMost)
	return true
}

// take makes a batch of an answer.
func (w *watch) take(reply eventReply) Batch {
	old, anew := w.known, w.token == ""
	if anew {
		w.known = map[string]map[string]bool{}
	}
	batch := Batch{Lost: anew && old != nil}
	for _, e := range reply.Events {
		event := Event{Class: e.Class, Ref: e.Ref, Operation: e.Operation, snapshot: e.Snapshot}
		if anew && old[e.Class][e.Ref] {
			event.Operation = xenapi.EventOperationMod
		}
		w.learn(event)
		batch.Events = append(batch.Events, event)
	}
	if anew {
		batch.Events = append(batch.Events, missing(old, w.known)...)
	}
	// A host that has not yet seen the token's state gives the token back, with the counts of an earlier state.
	if !anew && reply.Token != w.token && w.knowsTooMany(reply.Counts) {
		reply.Token = ""
	}
	w.token = reply.Token
	return batch
}

func (w *watch) learn(e Event) {
	if e.Operation == xenapi.EventOperationDel {
		delete(w.known[e.Class], e.Ref)
		return
	}
	if w.known[e.Class] == nil {
		w.known[e.Class] = map[string]bool{}
	}
	w.known[e.Class][e.Ref] = true
}

// missing are the deletions of what is in old and not in now.
func missing(old, now map[string]map[string]bool) (gone []Event) {
	for class, refs := range old {
		for ref := range refs {
			if !now[class][ref] {
				gone = append(gone, Event{Class: class, Ref: ref, Operation: xenapi.EventOperationDel})
			}
		}
	}
	slices.SortFunc(gone, func(a, b Event) int { return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Ref, b.Ref)) })
	return gone
}

// knowsTooMany reports whether there are fewer objects of a class than the caller knows: servers that remember a bounded number
// of deletions leave out the oldest and do not say so.
func (w *watch) knowsTooMany(counts map[string]int64) bool {
	for class, refs := range w.known {
		if n, counted := counts[class]; counted && int64(len(refs)) > n {
			return true
		}
	}
	return false
}
