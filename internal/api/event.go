package api

import (
	"context"
	"slices"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/event"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// maxWait bounds the seconds that a client says, before they are a duration.
const maxWait = 24 * 60 * 60

// eventRecord is an event as the wire has it.
type eventRecord struct {
	ID        string                `json:"id"`
	Timestamp string                `json:"timestamp"`
	Kind      string                `json:"class"` // in lower case
	Operation xenapi.EventOperation `json:"operation"`
	Ref       string                `json:"ref"`
	Snapshot  any                   `json:"snapshot,omitempty"` // the whole record; absent when the object is gone
}

// Class names the XenAPI class.
func (eventRecord) Class() string { return "event" }

// eventBatch is what event.from gives.
type eventBatch struct {
	Events         []eventRecord     `json:"events"`
	ValidRefCounts map[string]rpc.I4 `json:"valid_ref_counts"` // by class in lower case
	Token          string            `json:"token"`
}

func (a *API) eventFrom(ctx context.Context, c *call, classes []string, token string, timeout float64) (eventBatch, error) {
	b, err := a.services.Events.From(ctx, event.Query{
		Session: c.session, Classes: classes, Token: token, Timeout: time.Duration(min(timeout, maxWait) * float64(time.Second)),
	}, a.show)
	if err != nil {
		return eventBatch{}, err
	}
	batch := eventBatch{Token: b.Token, ValidRefCounts: map[string]rpc.I4{}}
	for class, n := range b.Counts {
		batch.ValidRefCounts[class] = rpc.I4(n)
	}
	for _, e := range b.Events {
		batch.Events = append(batch.Events, onWire(e, "0.0"))
	}
	return batch, nil
}

func (a *API) eventNext(ctx context.Context, c *call) ([]eventRecord, error) {
	events, err := a.services.Events.Next(ctx, c.session, a.show)
	var records []eventRecord
	for _, e := range events {
		records = append(records, onWire(e, event.Stamp(e.At)))
	}
	return records, err
}

func onWire(e event.Event, stamp string) eventRecord {
	return eventRecord{ID: e.ID, Timestamp: stamp, Kind: e.Class, Operation: e.Operation, Ref: e.Ref, Snapshot: e.Snapshot}
}

// show is get_record for events.
func (a *API) show(tx *db.Tx, class, ref string) (any, error) {
	i := slices.IndexFunc(a.classes, func(c *xenapi.Class) bool { return c.Name == class })
	return a.record(tx, a.classes[i], ref)
}

func (a *API) eventInject(ctx context.Context, _ *call, class, ref string) (string, error) {
	return a.services.Events.Inject(ctx, class, ref)
}

func (a *API) eventRegister(ctx context.Context, c *call, classes []string) error {
	return a.services.Events.Register(ctx, c.session, classes)
}

func (a *API) eventUnregister(_ context.Context, c *call, classes []string) error {
	a.services.Events.Unregister(c.session, classes)
	return nil
}

func (a *API) eventCurrentID(context.Context, *call) (int64, error) {
	return a.services.Events.CurrentID(), nil
}
