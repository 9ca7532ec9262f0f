package pool_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/pool"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// called is what one host asked of another.
type called struct {
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
	task   xenapi.Ref[xenapi.Task]
}

// neighbours are two hosts of a pool: one calls, and the other answers as a test says.
type neighbours struct {
	t        *testing.T
	store    *memkv.Store
	one, two known
	hosts    *pool.Hosts // of one
	tasks    *task.Service
	sub      xenapi.Ref[xenapi.Task] // made by one for two
}

func newNeighbours(t *testing.T, answer func(n *neighbours, w http.ResponseWriter, c called)) *neighbours {
	t.Helper()
	var n *neighbours
	n = newServing(t, func(w http.ResponseWriter, r *http.Request) {
		if host, ok := n.two.keys.Peer(*r.TLS); !ok || host != uuidOne {
			t.Errorf("called by %q", host)
		}
		if err := pool.CatchUp(r.Context(), n.two.d, r.Header.Get(pool.RevisionHeader)); err != nil {
			t.Error(err)
		}
		body, _ := io.ReadAll(r.Body)
		c := called{task: xenapi.Ref[xenapi.Task](r.Header.Get(pool.TaskHeader))}
		if err := json.Unmarshal(body, &c); err != nil {
			t.Error(err)
		}
		answer(n, w, c)
	})
	return n
}

// newServing is newNeighbours where the other host answers whatever is asked.
func newServing(t *testing.T, handler http.HandlerFunc) *neighbours {
	t.Helper()
	n := &neighbours{t: t, store: memkv.New()}
	n.one, n.two = newKnown(t, n.store, uuidOne), newKnown(t, n.store, uuidTwo)
	var handling sync.WaitGroup // also of connections that were cut off, which the server does not wait for
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handling.Add(1)
		defer handling.Done()
		handler(w, r)
	}))
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connection{}, c) }
	server.Listener = tls.NewListener(server.Listener, n.two.keys.ServerConfig(&tls.Config{}))
	server.Start()
	t.Cleanup(func() { server.Close(); handling.Wait() })
	change(t, n.two.d, n.two.host, func(rec *xenapi.Host) { rec.Address = server.Listener.Addr().String() })
	n.live()
	n.hosts = pool.NewHosts(n.one.d, n.one.keys)
	n.tasks = task.New(n.one.d, n.one.host, slog.New(slog.DiscardHandler), nil)
	n.sub = xenapi.NewRef[xenapi.Task]()
	n.put(func(rec *xenapi.Task) { rec.Status, rec.ResidentOn = xenapi.TaskStatusPending, n.one.host })
	if err := n.one.d.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// connection is the key under which a request's context has its connection.
type connection struct{}

// live shows that two lives, for as long as the store's leases do.
func (n *neighbours) live() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = pool.Stay(ctx, n.two.d, n.two.host, slog.New(slog.DiscardHandler))
	}()
	n.t.Cleanup(func() { cancel(); <-done })
	if err := n.one.d.Wait(n.t.Context(), func(tx *db.Tx) (bool, error) { return pool.Alive(tx, n.two.host), nil }); err != nil {
		n.t.Fatal(err)
	}
}

// put changes the task as host two does.
func (n *neighbours) put(edit func(*xenapi.Task)) {
	n.t.Helper()
	err := n.two.d.Update(context.Background(), func(tx *db.Tx) error {
		rec, _ := db.Lookup(tx, n.sub)
		edit(&rec)
		return db.Put(tx, n.sub, rec)
	})
	if err != nil {
		n.t.Error(err)
	}
}

func (n *neighbours) task() xenapi.Task { n.t.Helper(); return get(n.t, n.one.d, n.sub) }

// cutOff ends the connection without an answer.
func cutOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close()
	}
}

func reply(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

func TestCall(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, func(n *neighbours, w http.ResponseWriter, c called) {
		if c.Method != "class.message" || len(c.Params) != 3 || string(c.Params[0]) != `"OpaqueRef:NULL"` ||
			string(c.Params[1]) != `"text"` || string(c.Params[2]) != "7" || c.task != n.sub {
			t.Errorf("the call is %+v", c)
		}
		reply(w, `{"jsonrpc":"2.0","result":"done","id":0}`)
	})
	var result string
	if err := n.hosts.Call(t.Context(), n.two.host, n.sub, &result, "class.message", "text", int64(7)); err != nil || result != "done" {
		t.Errorf("%q, %v", result, err)
	}
	if err := n.hosts.Call(t.Context(), "OpaqueRef:nobody", "", nil, "class.message"); xenapi.CodeOf(err) != xenapi.CodeHandleInvalid {
		t.Errorf("no such host: %v", err)
	}
	if err := n.hosts.Call(t.Context(), n.one.host, "", nil, "class.message"); xenapi.CodeOf(err) != xenapi.CodeHostOffline {
		t.Errorf("a host that does not live: %v", err)
	}
}

// What one host wrote is there when the other works, and what that wrote is there when the call returns.
func TestHostsSeeWhatTheOtherWrote(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, func(n *neighbours, w http.ResponseWriter, _ called) {
		if label := get(n.t, n.two.d, n.one.host).NameLabel; label != "asked" {
			t.Errorf("the host that is asked sees %q", label)
		}
		change(n.t, n.two.d, n.one.host, func(rec *xenapi.Host) { rec.NameLabel = "answered" })
		w.Header().Set(pool.RevisionHeader, strconv.FormatInt(n.two.d.Revision(), 10))
		reply(w, `{"jsonrpc":"2.0","result":"","id":0}`)
	})
	change(t, n.one.d, n.one.host, func(rec *xenapi.Host) { rec.NameLabel = "asked" })
	if err := n.hosts.Call(t.Context(), n.two.host, "", nil, "class.message"); err != nil {
		t.Fatal(err)
	}
	if label := get(t, n.one.d, n.one.host).NameLabel; label != "answered" {
		t.Errorf("the host that asked sees %q", label)
	}
}

// TestAnswerLost: the task says how the work ended when the answer does not.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	taken := func(rec *xenapi.Task, n *neighbours) { rec.ResidentOn = n.two.host }
	for _, c := range []struct {
		name   string
		answer func(n *neighbours, w http.ResponseWriter)
		result string
		err    error
		status xenapi.TaskStatus // of the task afterwards
	}{
		{"the work had ended", func(n *neighbours, w http.ResponseWriter) {
			n.put(func(rec *xenapi.Task) {
				taken(rec, n)
				rec.Status, rec.Result = xenapi.TaskStatusSuccess, "<value>output</value>"
			})
			cutOff(w)
		}, "output", nil, xenapi.TaskStatusSuccess},
		{"the work had failed", func(n *neighbours, w http.ResponseWriter) {
			n.put(func(rec *xenapi.Task) {
				taken(rec, n)
				rec.Status, rec.ErrorInfo = xenapi.TaskStatusFailure, []string{xenapi.CodePatchApplyFailed, "log"}
			})
			cutOff(w)
		}, "", xenapi.ErrPatchApplyFailed("log"), xenapi.TaskStatusFailure},
		{"the work ends later", func(n *neighbours, w http.ResponseWriter) {
			n.put(func(rec *xenapi.Task) { taken(rec, n) })
			cutOff(w)
			n.put(func(rec *xenapi.Task) { rec.Status, rec.Result = xenapi.TaskStatusSuccess, "<value>late</value>" })
		}, "late", nil, xenapi.TaskStatusSuccess},
		{"nobody has taken the task", func(_ *neighbours, w http.ResponseWriter) { cutOff(w) },
			"", xenapi.NewError(xenapi.CodeHostOffline), xenapi.TaskStatusFailure},
		{"the host died while it worked", func(n *neighbours, w http.ResponseWriter) {
			n.put(func(rec *xenapi.Task) { taken(rec, n) })
			cutOff(w)
			n.store.EndLeases()
		}, "", xenapi.NewError(xenapi.CodeHostOffline), xenapi.TaskStatusPending}, // its claims are the coordinator's to release
		{"the network is silent and the work ends", func(n *neighbours, w http.ResponseWriter) {
			n.put(func(rec *xenapi.Task) {
				taken(rec, n)
				rec.Status, rec.Result = xenapi.TaskStatusSuccess, "<value>silent</value>"
			})
			<-n.t.Context().Done()
		}, "silent", nil, xenapi.TaskStatusSuccess},
		{"the network is silent and the host dies", func(n *neighbours, w http.ResponseWriter) {
			n.put(func(rec *xenapi.Task) { taken(rec, n) })
			n.store.EndLeases()
			<-n.t.Context().Done()
		}, "", xenapi.NewError(xenapi.CodeHostOffline), xenapi.TaskStatusPending},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNeighbours(t, func(n *neighbours, w http.ResponseWriter, _ called) { c.answer(n, w) })
			var result string
			err := n.hosts.Call(t.Context(), n.two.host, n.sub, &result, "class.message")
			if result != c.result || xenapi.CodeOf(err) != xenapi.CodeOf(c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("%q, %v", result, err)
			}
			if got := n.task().Status; got != c.status {
				t.Errorf("the task is %s", got)
			}
		})
	}
}

// A host that cannot be reached has not begun: the task fails, and nobody can take it any more.
func TestUnreachableHost(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, func(*neighbours, http.ResponseWriter, called) {})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	change(t, n.one.d, n.two.host, func(rec *xenapi.Host) { rec.Address = l.Addr().String() })
	if err := n.hosts.Call(t.Context(), n.two.host, n.sub, nil, "class.message"); xenapi.CodeOf(err) != xenapi.CodeHostOffline {
		t.Errorf("%v", err)
	}
	there := task.New(n.two.d, n.two.host, slog.New(slog.DiscardHandler), nil)
	_, err = there.Join(t.Context(), n.sub, task.Spec{}, func(context.Context, *task.Task) (any, error) {
		t.Error("the host does what was given up")
		return "", nil
	})
	if xenapi.CodeOf(err) != xenapi.CodeOperationNotAllowed {
		t.Errorf("taking it gives %v", err)
	}
	if err := n.hosts.Call(t.Context(), n.two.host, "", nil, "class.message"); xenapi.CodeOf(err) != xenapi.CodeHostOffline {
		t.Errorf("without a task: %v", err)
	}
}

// A host that answers in the place of another, at its address, is told nothing.
func TestWrongHostAtTheAddress(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t, func(*neighbours, http.ResponseWriter, called) { t.Error("the wrong host got the call") })
	three := newKnown(t, n.store, uuidThree)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the wrong host got the call") })}
	go server.Serve(tls.NewListener(l, three.keys.ServerConfig(&tls.Config{})))
	defer server.Close()
	change(t, n.one.d, n.two.host, func(rec *xenapi.Host) { rec.Address = l.Addr().String() })
	if err := n.hosts.Call(t.Context(), n.two.host, n.sub, nil, "class.message"); xenapi.CodeOf(err) != xenapi.CodeHostOffline {
		t.Errorf("%v", err)
	}
}

func TestGivenUp(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	n := newNeighbours(t, func(n *neighbours, _ http.ResponseWriter, _ called) { close(arrived); <-n.t.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if err := n.hosts.Call(ctx, n.two.host, "", nil, "class.message"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
