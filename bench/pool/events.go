package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"poolpatch/internal/api"
	"poolpatch/internal/auth"
	"poolpatch/internal/event"
	"poolpatch/internal/httpd"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

const (
	// events is how many commits are timed until every client has heard of them.
	events = 100
	// hearTimeout bounds the wait for one of them.
	hearTimeout = 10 * time.Second
	// waitSeconds is how long a client lets one event.from wait.
	waitSeconds = 30
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

// serve has a host answer XenAPI at its socket, as its daemon does, until ctx ends.
func (h *host) serve(ctx context.Context, running *errgroup.Group, log *slog.Logger) error {
	l, err := net.Listen("unix", h.socket)
	if err != nil {
		return err
	}
	sessions := auth.New(h.db, h.ref, log, auth.Options{})
	happens := event.New(h.db, event.Options{Classes: api.Classes(), Open: sessions.Open})
	site := httpd.New(httpd.Services{
		DB: h.db, Auth: sessions, Tasks: h.tasks, Host: h.ref,
		API: api.New(api.Services{DB: h.db, Auth: sessions, Tasks: h.tasks, Events: happens, Host: h.ref}, log),
	}, log)
	running.Go(func() error { return happens.Run(ctx) })
	running.Go(func() error { return site.Serve(ctx, []httpd.Listener{{Listener: l, Local: true}}) })
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
		c, err := client.Dial(ctx, client.Options{Socket: h.socket, Originator: "bench"})
		if err != nil {
			stop()
			return nil, errors.Join(err, l.end())
		}
		first, err := wait(ctx, c, ref, "", 0)
		if err != nil {
			stop()
			return nil, errors.Join(err, l.end())
		}
		l.group.Go(func() error {
			for token := first.Token; ctx.Err() == nil; {
				next, err := wait(ctx, c, ref, token, waitSeconds)
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

// batch is what a client needs of an answer of event.from.
type batch struct {
	Events []struct{} `json:"events"`
	Token  string     `json:"token"`
}

func wait(ctx context.Context, c *client.Client, ref xenapi.Ref[xenapi.Task], token string, seconds int64) (batch, error) {
	return client.Call[batch](ctx, c, "event.from", []string{"task/" + ref.String()}, token, float64(seconds))
}
