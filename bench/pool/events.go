package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"poolpatch/internal/api"
	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/event"
	"poolpatch/internal/httpd"
	"poolpatch/internal/rpc"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

const (
	// events is how many commits are timed until every client has heard of them.
	events = 100
	// hearTimeout bounds the wait for one of them.
	hearTimeout = 10 * time.Second
	session     = xenapi.Ref[xenapi.Session]("OpaqueRef:bench")
)

// serving runs fn while all hosts answer XenAPI.
func (f *farm) serving(ctx context.Context, log *slog.Logger, fn func() error) (err error) {
	ctx, stop := context.WithCancel(ctx)
	var running errgroup.Group
	defer func() { stop(); _ = running.Wait() }() // how they ended says nothing
	for _, h := range f.hosts {
		if err := h.serve(ctx, &running, log); err != nil {
			return err
		}
	}
	return fn()
}

// serve has a host answer XenAPI, as its daemon does but without TLS, until ctx ends.
func (h *host) serve(ctx context.Context, running *errgroup.Group, log *slog.Logger) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	h.address = l.Addr().String()
	sessions := auth.New(h.db, h.ref, log, auth.Options{})
	happens := event.New(h.db, event.Options{Classes: api.Classes(), Open: sessions.Open})
	site := httpd.New(httpd.Services{
		DB: h.db, Auth: sessions, Tasks: h.tasks, Host: h.ref,
		API: api.New(api.Services{DB: h.db, Auth: sessions, Tasks: h.tasks, Events: happens, Host: h.ref}, log),
	}, log)
	running.Go(func() error { return happens.Run(ctx) })
	running.Go(func() error { return site.Serve(ctx, []httpd.Listener{{Listener: l}}) })
	return nil
}

// listeners are clients, one of each host, that wait for the steps of a task.
type listeners struct {
	heard chan time.Time
	group *errgroup.Group
	stop  context.CancelFunc
}

func (f *farm) listen(ctx context.Context, ref xenapi.Ref[xenapi.Task]) (*listeners, error) {
	ctx, stop := context.WithCancel(ctx)
	l := &listeners{heard: make(chan time.Time, len(f.hosts)), stop: stop}
	l.group, ctx = errgroup.WithContext(ctx)
	for _, h := range f.hosts {
		c := &client{h.address, http.Client{Transport: &http.Transport{}}}
		batch, err := c.events(ctx, ref, "", 0)
		if err != nil {
			stop()
			return nil, errors.Join(err, l.end())
		}
		l.group.Go(func() error {
			defer c.http.CloseIdleConnections()
			for token := batch.Token; ctx.Err() == nil; {
				next, err := c.events(ctx, ref, token, 60)
				if err != nil {
					return err
				}
				if token = next.Token; len(next.Events) > 0 {
					l.heard <- time.Now()
				}
			}
			return nil
		})
	}
	return l, nil
}

// end gives the first error of a client that is not the end.
func (l *listeners) end() error {
	l.stop()
	if err := l.group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// hear times how long it takes from the beginning of a commit until the clients of all hosts have read its event: each client's
// time counts for itself.
func (f *farm) hear(ctx context.Context) (p50, p99 time.Duration, err error) {
	tasks := f.leader.tasks
	ref, err := tasks.Create(ctx, task.Spec{Label: "a step"})
	if err != nil {
		return 0, 0, err
	}
	for _, h := range f.hosts {
		if err := h.db.Sync(ctx); err != nil {
			return 0, 0, err
		}
	}
	l, err := f.listen(ctx, ref)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, l.end()) }()
	var took []time.Duration
	for i := range events {
		began := time.Now()
		if err := tasks.SetProgress(ctx, ref, float64(i+1)/events); err != nil {
			return 0, 0, err
		}
		for range f.hosts {
			select {
			case at := <-l.heard:
				took = append(took, at.Sub(began))
			case <-time.After(hearTimeout):
				return 0, 0, errors.New("a client has not heard of a commit")
			}
		}
	}
	slices.SortFunc(took, func(a, b time.Duration) int { return cmp.Compare(a, b) })
	return took[len(took)/2], took[len(took)*99/100], nil
}

// client is one of a host, over HTTP.
type client struct {
	address string
	http    http.Client
}

// batch is what it needs of an answer of event.from.
type batch struct {
	Events []struct{} `json:"events"`
	Token  string     `json:"token"`
}

func (c *client) events(ctx context.Context, ref xenapi.Ref[xenapi.Task], token string, seconds int) (b batch, err error) {
	body := rpc.EncodeRequest("event.from", []any{session, []string{"task/" + ref.String()}, token, seconds})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.address+"/jsonrpc", bytes.NewReader(body))
	if err != nil {
		return b, err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return b, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return b, err
	}
	value, failure, err := rpc.DecodeReply(text)
	if failure != nil {
		return b, failure
	}
	if err != nil {
		return b, fmt.Errorf("%w: %s", err, text)
	}
	return b, value.Decode(&b)
}

// admit opens the session of all clients.
func admit(tx *db.Tx) error {
	return db.Insert(tx, session, xenapi.Session{UUID: xenapi.NewUUID(), AuthUserSID: auth.Root, IsLocalSuperuser: true, LastActive: time.Now()})
}
