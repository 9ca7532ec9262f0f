package api

import (
	"context"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/message"
	"poolpatch/xenapi"
)

type messageRef = xenapi.Ref[xenapi.Message]

func (a *API) messageCreate(ctx context.Context, _ *call, name string, priority int64, cls xenapi.MessageClass, object, body string) (messageRef, error) {
	var ref messageRef
	err := a.services.DB.Update(ctx, func(tx *db.Tx) (err error) {
		ref, err = message.Post(tx, xenapi.Message{Name: name, Priority: priority, Cls: cls, ObjUUID: object, Body: body})
		return err
	})
	return ref, err
}

func (a *API) messageDestroy(ctx context.Context, c *call, self messageRef) error {
	return a.messageDestroyMany(ctx, c, []messageRef{self})
}

func (a *API) messageDestroyMany(ctx context.Context, _ *call, messages []messageRef) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		for _, ref := range messages {
			if _, err := db.Get(tx, ref); err != nil {
				return err
			}
			if err := db.Delete(tx, ref); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *API) messageGet(_ context.Context, _ *call, cls xenapi.MessageClass, object string, since time.Time) (map[messageRef]xenapi.Message, error) {
	return a.messages(func(m xenapi.Message) bool {
		return m.Cls == cls && m.ObjUUID == object && m.Timestamp.After(since)
	})
}

func (a *API) messageGetSince(_ context.Context, _ *call, since time.Time) (map[messageRef]xenapi.Message, error) {
	return a.messages(func(m xenapi.Message) bool { return m.Timestamp.After(since) })
}

func (a *API) messages(match func(xenapi.Message) bool) (map[messageRef]xenapi.Message, error) {
	found := map[messageRef]xenapi.Message{}
	return found, a.view(func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.Message](tx) {
			if match(rec) {
				found[ref] = rec
			}
		}
		return nil
	})
}
