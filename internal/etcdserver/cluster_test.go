package etcdserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"poolpatch/internal/db"
	"poolpatch/internal/db/etcdkv"
	"poolpatch/internal/etcdserver"
)

const (
	// serverName is what every host's certificate is for; none is for an address.
	serverName = "pool.test"
	// patience bounds what happens soon, also on a busy machine.
	patience = 40 * time.Second
)

// host is one machine of a pool in a test: one port with TLS, behind which an etcd comes and goes.
type host struct {
	t           *testing.T
	name, certs string // certs has ca.crt, and <name>.crt and <name>.key
	dir, url    string
	etcd        *etcdserver.Server // nil while it is down
	handler     atomic.Pointer[http.Handler]
	shown       sync.Map     // by name, the certificate that each has shown last
	streams     atomic.Int32 // requests that last as long as their member

	others *[]*host    // the pool, this host too
	lost   atomic.Bool // it runs, but nothing of it reaches another host, nor the other way round

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newHost(t *testing.T, authority authority, certs, name string) *host {
	t.Helper()
	h := &host{t: t, name: name, certs: certs, dir: filepath.Join(t.TempDir(), name), conns: map[net.Conn]bool{}, others: new([]*host)}
	authority.issueFor(t, certs, name, serverName)
	h.url = h.listen()
	t.Cleanup(h.down)
	return h
}

// listen opens the host's port, for as long as the test runs, and gives its URL.
func (h *host) listen() string {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	server := &http.Server{
		Handler:      http.HandlerFunc(h.serve),
		ReadTimeout:  2 * time.Second, // shorter than the members' requests, which must outlive it
		WriteTimeout: 2 * time.Second,
		TLSConfig:    h.tls(),
		ErrorLog:     log.New(io.Discard, "", 0),
		ConnState:    h.track,
	}
	go func() { _ = server.ServeTLS(l, "", "") }()
	h.t.Cleanup(func() { _ = server.Close() })
	return "https://" + l.Addr().String()
}

func (h *host) tls() *tls.Config {
	return &tls.Config{
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool(h.t, filepath.Join(h.certs, "ca.crt")),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(h.file(".crt"), h.file(".key"))
			return &pair, err
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) > 0 {
				h.shown.Store(state.PeerCertificates[0].Subject.CommonName, state.PeerCertificates[0])
			}
			return nil
		},
	}
}

func (h *host) file(suffix string) string { return filepath.Join(h.certs, h.name+suffix) }

func (h *host) serve(w http.ResponseWriter, r *http.Request) {
	next := h.handler.Load()
	if next == nil || h.lost.Load() || h.lostPeer(r) {
		panic(http.ErrAbortHandler) // a host that is down answers nothing
	}
	if strings.HasPrefix(r.URL.Path, "/raft/stream/") {
		h.streams.Add(1)
	}
	(*next).ServeHTTP(w, r)
}

// lostPeer tells whether a request comes from a lost host.
func (h *host) lostPeer(r *http.Request) bool {
	return slices.ContainsFunc(*h.others, func(o *host) bool {
		return o.lost.Load() && o.name == r.TLS.PeerCertificates[0].Subject.CommonName
	})
}

// lose cuts the host off from the network, or connects it again.
func (h *host) lose(lost bool) {
	h.lost.Store(lost)
	for _, o := range *h.others {
		o.cut()
	}
}

func (h *host) track(c net.Conn, state http.ConnState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(h.conns, c)
	} else {
		h.conns[c] = true
	}
}

// cut ends every connection to the host.
func (h *host) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		_ = c.Close()
	}
}

func (h *host) config(join ...etcdserver.Member) etcdserver.Config {
	return etcdserver.Config{
		Dir: h.dir, Name: "poolpatch", Join: join, Logger: slog.New(slog.DiscardHandler), // all have one name
		Peer: &etcdserver.Peer{
			URL: h.url, CertFile: h.file(".crt"), KeyFile: h.file(".key"),
			CAFile: filepath.Join(h.certs, "ca.crt"), ServerName: serverName,
		},
	}
}

// boot starts the etcd and serves it, without waiting for the others.
func (h *host) boot(join ...etcdserver.Member) {
	h.t.Helper()
	s, err := etcdserver.Start(h.t.Context(), h.config(join...))
	if err != nil {
		h.t.Fatalf("%s: %v", h.name, err)
	}
	h.etcd = s
	peers, clients := s.PeerHandler(), s.ClientHandler()
	var route http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case etcdserver.IsPeerPath(r.URL.Path):
			peers.ServeHTTP(w, r)
		case etcdserver.IsClientPath(r.URL.Path):
			clients.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
	h.handler.Store(&route)
}

func (h *host) ready() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	if err := h.etcd.Ready(ctx); err != nil {
		h.t.Fatalf("%s: %v", h.name, err)
	}
}

func (h *host) up(join ...etcdserver.Member) {
	h.t.Helper()
	h.boot(join...)
	h.ready()
}

// down stops the host in good order.
func (h *host) down() {
	if h.etcd == nil {
		return
	}
	if err := h.etcd.Close(); err != nil {
		h.t.Errorf("%s: %v", h.name, err)
	}
	h.handler.Store(nil)
	h.cut()
	h.etcd = nil
}

// admit makes a host a member, or a learner.
func (h *host) admit(joiner *host) etcdserver.Member {
	h.t.Helper()
	ctx := h.t.Context()
	if err := h.etcd.Advertise(ctx, h.url); err != nil {
		h.t.Fatal(err)
	}
	added, err := h.etcd.AddLearner(ctx, joiner.url)
	if err != nil {
		h.t.Fatal(err)
	}
	joiner.up(h.members()...)
	return added
}

func (h *host) admitVoter(joiner *host) etcdserver.Member {
	h.t.Helper()
	added := h.admit(joiner)
	if err := h.etcd.Promote(h.t.Context(), added.ID); err != nil {
		h.t.Fatal(err)
	}
	return added
}

func (h *host) members() []etcdserver.Member {
	h.t.Helper()
	all, err := h.etcd.Members(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// leads tells whether the host is its cluster's leader.
func (h *host) leads() bool {
	status, err := h.etcd.Client().Status(h.t.Context(), "")
	return err == nil && status.Leader == uint64(h.etcd.Self())
}

func newPool(t *testing.T, names ...string) []*host {
	t.Helper()
	certs := t.TempDir()
	ca := newAuthority(t, certs, "ca")
	var hosts []*host
	for _, name := range names {
		h := newHost(t, ca, certs, name)
		h.others = &hosts
		hosts = append(hosts, h)
	}
	return hosts
}

func pool(t *testing.T, caFile string) *x509.CertPool {
	t.Helper()
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(read(t, caFile)) {
		t.Fatal("no certificate in " + caFile)
	}
	return authorities
}

// issueFor makes a certificate that is for a name and for no address.
func (a authority) issueFor(t *testing.T, dir, name, dnsName string) *ecdsa.PrivateKey {
	t.Helper()
	cert := template(name)
	cert.IPAddresses, cert.DNSNames = nil, []string{dnsName}
	return write(t, dir, name, cert, a)
}

// eventually tries until there is no error.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.After(patience)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func commit(ctx context.Context, client *clientv3.Client, key string) error {
	_, err := etcdkv.New(client).Commit(ctx, nil, []db.Op{{Key: key, Value: []byte("x")}})
	return err
}

func has(client *clientv3.Client, key string) error {
	reply, err := client.Get(context.Background(), key, clientv3.WithSerializable())
	if err == nil && len(reply.Kvs) == 0 {
		err = errors.New(key + " is not there")
	}
	return err
}

func awaitRemoved(t *testing.T, s *etcdserver.Server) {
	t.Helper()
	select {
	case <-s.Failed():
		if err := s.Err(); !errors.Is(err, etcdserver.ErrRemoved) {
			t.Errorf("the removed member died of %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the removed member lives on")
	}
}

// The life of a pool of three, and of a host beside them that is no member. The steps build on one another.
func TestCluster(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, "a", "b", "c", "guest")
	guest, hosts := hosts[3], hosts[:3]
	a, b, c := hosts[0], hosts[1], hosts[2]
	a.up()
	a.admitVoter(b)
	b.admitVoter(c) // any member may do it
	if err := a.etcd.Promote(t.Context(), c.etcd.Self()); err != nil {
		t.Errorf("promoting who is no learner: %v", err)
	}
	for _, m := range a.members() {
		i := slices.IndexFunc(hosts, func(h *host) bool { return h.etcd.Self() == m.ID })
		if i < 0 || m.URL != hosts[i].url || m.Learner || m.Name != "poolpatch" {
			t.Errorf("member %+v", m)
		}
	}
	others := b.etcd.Others()
	slices.Sort(others)
	if want := slices.Sorted(slices.Values([]string{a.url, c.url})); !slices.Equal(others, want) {
		t.Errorf("b knows the others %v, want %v", others, want)
	}
	client, err := etcdserver.Connect(t.Context(), []string{b.url}, etcdserver.TLSConfig{
		CAFile: filepath.Join(guest.certs, "ca.crt"), CertFile: guest.file(".crt"), KeyFile: guest.file(".key"), ServerName: serverName,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	t.Run("everybody writes", func(t *testing.T) {
		for _, h := range hosts {
			put(t, h.etcd, "/from/"+h.name, "x")
		}
		if err := commit(t.Context(), client, "/from/guest"); err != nil {
			t.Fatal(err)
		}
		for _, h := range hosts {
			if got := load(t, h.etcd); len(got) != 4 {
				t.Errorf("%s has %v", h.name, got)
			}
		}
	})
	t.Run("everybody has leases", func(t *testing.T) {
		for _, client := range []*clientv3.Client{a.etcd.Client(), b.etcd.Client(), c.etcd.Client(), client} {
			lease, err := client.Grant(t.Context(), 60)
			if err != nil {
				t.Fatal(err)
			}
			// A member that does not lead asks the leader, at a path of its own.
			if _, err := client.KeepAliveOnce(t.Context(), lease.ID); err != nil {
				t.Error(err)
			}
			if _, err := client.TimeToLive(t.Context(), lease.ID); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a client follows the members", func(t *testing.T) {
		if err := etcdserver.Sync(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		got, want := client.Endpoints(), []string{a.url, b.url, c.url}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("watches and members outlive the listener's deadlines", func(t *testing.T) {
		streams := func() int32 { return a.streams.Load() + b.streams.Load() + c.streams.Load() }
		watch := client.Watch(t.Context(), "/late")
		eventually(t, "quiet", func() error {
			before := streams()
			select {
			case reply := <-watch:
				return fmt.Errorf("the watch gave %+v", reply)
			case <-time.After(3 * time.Second): // longer than the listener's deadlines
			}
			if after := streams(); after != before {
				return fmt.Errorf("members connected %d times while nothing happened", after-before)
			}
			return nil
		})
		put(t, a.etcd, "/late", "x")
		select {
		case reply := <-watch:
			if err := reply.Err(); err != nil || len(reply.Events) != 1 {
				t.Fatalf("the watch gave %+v, %v", reply, err)
			}
		case <-time.After(patience):
			t.Fatal("the watch tells nothing")
		}
	})
	t.Run("the leader stops", func(t *testing.T) {
		i := slices.IndexFunc(hosts, (*host).leads)
		dead, alive := hosts[i], hosts[(i+1)%3]
		dead.down()
		began := time.Now()
		eventually(t, "write at a survivor", func() error { return commit(t.Context(), alive.etcd.Client(), "/survivor") })
		t.Logf("writes went on after %v", time.Since(began))
		eventually(t, "write at the guest", func() error { return commit(t.Context(), client, "/guest") })
		dead.up()
		eventually(t, "catch up", func() error { return has(dead.etcd.Client(), "/guest") })
	})
	t.Run("the leader is cut off", func(t *testing.T) {
		i := slices.IndexFunc(hosts, (*host).leads)
		cut, other := hosts[i], hosts[(i+1)%3]
		cut.lose(true)
		began := time.Now()
		eventually(t, "write without it", func() error {
			began := time.Now()
			err := commit(t.Context(), other.etcd.Client(), "/other")
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("a commit took %v to give %v", took, err)
			}
			return err
		})
		t.Logf("writes went on after %v", time.Since(began))
		eventually(t, "the loss of its office", func() error {
			if cut.etcd.HasLeader() {
				return errors.New("it has a leader")
			}
			return nil
		})
		if err := commit(t.Context(), cut.etcd.Client(), "/cut"); !errors.Is(err, rpctypes.ErrNoLeader) {
			t.Errorf("its commit gave %v", err)
		}
		cut.lose(false)
		eventually(t, "write at it", func() error { return commit(t.Context(), cut.etcd.Client(), "/back") })
		if err := has(cut.etcd.Client(), "/other"); err != nil {
			t.Error(err)
		}
	})
	t.Run("no majority", func(t *testing.T) {
		b.down()
		c.down()
		began := time.Now()
		eventually(t, "the loss of the leader", func() error {
			if a.etcd.HasLeader() {
				return errors.New("there still is one")
			}
			return nil
		})
		t.Logf("the loss was known after %v", time.Since(began))
		var tries sync.WaitGroup
		within := func(deadline time.Duration, what string, want error, try func() error) {
			tries.Go(func() {
				began := time.Now()
				if err := try(); !errors.Is(err, want) {
					t.Errorf("%s gave %v", what, err)
				}
				if took := time.Since(began); took > deadline {
					t.Errorf("%s took %v", what, took)
				}
			})
		}
		within(5*time.Second, "a commit", rpctypes.ErrNoLeader, func() error { return commit(t.Context(), a.etcd.Client(), "/lost") })
		within(5*time.Second, "the question for a majority", etcdserver.ErrNoQuorum, func() error { return a.etcd.Quorum(t.Context()) })
		within(5*time.Second, "the list of members", etcdserver.ErrNoQuorum, func() error {
			_, err := a.etcd.Members(t.Context())
			return err
		})
		within(5*time.Second, "a guest's commit", rpctypes.ErrNoLeader, func() error {
			client.SetEndpoints(a.url)
			return commit(t.Context(), client, "/lost")
		})
		tries.Wait()
		// Whoever comes later does not wait for the same election once more.
		for range 3 {
			within(time.Second, "a later commit", rpctypes.ErrNoLeader, func() error { return commit(t.Context(), a.etcd.Client(), "/lost") })
		}
		tries.Wait()
		if err := has(a.etcd.Client(), "/survivor"); err != nil {
			t.Errorf("a read of the member's own copy: %v", err)
		}
	})
	t.Run("all start again", func(t *testing.T) {
		a.down()
		for _, h := range hosts {
			h.boot() // none is ready before a second one runs
		}
		for _, h := range hosts {
			h.ready()
			if err := h.etcd.Quorum(t.Context()); err != nil {
				t.Error(err)
			}
			put(t, h.etcd, "/again/"+h.name, "x")
			if _, ok := load(t, h.etcd)["/lost"]; ok {
				t.Error("a commit that was refused is there")
			}
		}
	})
	t.Run("removed while it is away", func(t *testing.T) {
		id := c.etcd.Self()
		c.down()
		eventually(t, "write without it", func() error { return commit(t.Context(), a.etcd.Client(), "/without") })
		if err := a.etcd.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := a.etcd.Remove(t.Context(), id); err != nil {
			t.Errorf("removing who is not there: %v", err)
		}
		c.boot()
		awaitRemoved(t, c.etcd)
		if err := c.etcd.Ready(t.Context()); !errors.Is(err, etcdserver.ErrRemoved) {
			t.Errorf("the removed member is ready: %v", err)
		}
		if err := etcdserver.Sync(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		if got := client.Endpoints(); len(got) != 2 || slices.Contains(got, c.url) {
			t.Errorf("the client uses %q", got)
		}
	})
	t.Run("a member leaves", func(t *testing.T) {
		leader, other := a, b
		if b.leads() {
			leader, other = b, a
		}
		eventually(t, "removing the leader", func() error { return leader.etcd.Remove(t.Context(), leader.etcd.Self()) })
		awaitRemoved(t, leader.etcd)
		leader.down()
		if _, err := etcdserver.Start(t.Context(), leader.config()); !errors.Is(err, etcdserver.ErrRemoved) {
			t.Errorf("the removed member started again: %v", err)
		}
		eventually(t, "write at the last one", func() error { return commit(t.Context(), other.etcd.Client(), "/last") })
		if got := other.members(); len(got) != 1 || got[0].ID != other.etcd.Self() {
			t.Errorf("members %+v", got)
		}
	})
}

// A host that has been alone, and reachable for nobody, takes in another, which has moved when it comes back.
func TestAddressesChange(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, "a", "b")
	a, b := hosts[0], hosts[1]
	alone := start(t, a.dir)
	put(t, alone, "/alone", "x")
	if err := alone.Close(); err != nil {
		t.Fatal(err)
	}
	a.up()
	a.admitVoter(b)
	if err := has(b.etcd.Client(), "/alone"); err != nil {
		t.Error(err)
	}

	b.down()
	b.url = b.listen()
	b.up() // it still reaches a, where it is known, and so they are two
	if err := b.etcd.Advertise(t.Context(), b.url); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(a.members(), func(m etcdserver.Member) bool { return m.URL == b.url }) {
		t.Errorf("members %+v", a.members())
	}
	a.down()
	a.up() // takes b at its new address
	put(t, a.etcd, "/together", "x")
	eventually(t, "the other's write", func() error { return has(b.etcd.Client(), "/together") })
}

// A member that was away for long is sent what the log no longer holds, and has no vote before it has it.
func TestLearnerCatchesUp(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, "a", "b")
	a, b := hosts[0], hosts[1]
	a.up()
	put(t, a.etcd, "/before", "x")
	added := a.admit(b)
	if err := has(b.etcd.Client(), "/before"); err != nil {
		t.Error(err)
	}
	if again, err := a.etcd.AddLearner(t.Context(), b.url); err == nil {
		t.Errorf("a learner that has started was added again: %+v", again)
	}
	b.down()
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := range 320 { // 2560 in all, more than lie between two snapshots
				if err := commit(t.Context(), a.etcd.Client(), fmt.Sprintf("/away/%d/%d", w, i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	again, err := a.etcd.AddLearner(t.Context(), "https://127.0.0.1:1")
	if !errors.Is(err, rpctypes.ErrTooManyLearners) {
		t.Errorf("a second learner: %+v, %v", again, err)
	}
	promoted := make(chan error, 1)
	go func() { promoted <- a.etcd.Promote(t.Context(), added.ID) }()
	select {
	case err := <-promoted:
		t.Fatalf("promoting who is away gave %v", err)
	case <-time.After(time.Second):
	}
	b.up()
	if err := <-promoted; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last write", func() error { return has(b.etcd.Client(), "/away/7/319") })
}

func TestJoinIsRefused(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, "a", "b")
	a, b := hosts[0], hosts[1]
	a.up()
	alone := a.members()
	added, err := a.etcd.AddLearner(t.Context(), b.url)
	if err != nil {
		t.Fatal(err)
	}
	again, err := a.etcd.AddLearner(t.Context(), b.url)
	if err != nil || again.ID != added.ID {
		t.Errorf("adding it again gave %+v, %v", again, err)
	}
	right := a.members()
	unreachable := []etcdserver.Member{{ID: 1, URL: "https://127.0.0.1:1"}, {ID: 2, URL: b.url}}
	stranger := b.config(right...)
	stranger.Peer.ServerName = "other.test"
	http := b.config(right...)
	http.Peer.URL = strings.Replace(b.url, "https", "http", 1)
	nobody := b.config(right...)
	nobody.Peer = nil
	tests := []struct {
		name   string
		config etcdserver.Config
	}{
		{"itself not among the members", b.config(alone...)},
		{"nobody answers", b.config(unreachable...)},
		{"a member of whom the cluster does not know", b.config(append(unreachable, right...)...)},
		{"the others' certificates are for another name", stranger},
		{"without TLS", http},
		{"without an address", nobody},
	}
	for _, test := range tests {
		s, err := etcdserver.Start(t.Context(), test.config)
		if err == nil {
			t.Errorf("%s: started", test.name)
			_ = s.Close()
		}
	}
	b.up(right...) // the attempts have left nothing that hinders
	if err := a.etcd.Promote(t.Context(), added.ID); err != nil {
		t.Error(err)
	}
}

// Certificates that replace others on disk are shown on the next connection.
func TestCertificateIsReplaced(t *testing.T) {
	t.Parallel()
	certs := t.TempDir()
	ca := newAuthority(t, certs, "ca")
	a, b, guest := newHost(t, ca, certs, "a"), newHost(t, ca, certs, "b"), newHost(t, ca, certs, "guest")
	a.up()
	a.admitVoter(b)
	client, err := etcdserver.Connect(t.Context(), []string{b.url}, etcdserver.TLSConfig{
		CAFile: filepath.Join(certs, "ca.crt"), CertFile: guest.file(".crt"), KeyFile: guest.file(".key"), ServerName: serverName,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, test := range []struct {
		at, who *host
		use     func() error
	}{
		{a, b, func() error { return nil }}, // members connect again by themselves
		{b, guest, func() error { return commit(t.Context(), client, "/x") }},
	} {
		key := ca.issueFor(t, certs, test.who.name, serverName)
		test.at.cut()
		eventually(t, "the new certificate of "+test.who.name, func() error {
			if shown, ok := test.at.shown.Load(test.who.name); !ok || !key.PublicKey.Equal(shown.(*x509.Certificate).PublicKey) {
				return errors.Join(errors.New("not shown"), test.use())
			}
			return nil
		})
	}
	eventually(t, "write", func() error { return commit(t.Context(), b.etcd.Client(), "/y") })
}

// A client that comes to a host without a member, which may be about to have one, is served by the next one, whatever it wants.
func TestAbsentMember(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, "member", "absent")
	member, absent := hosts[0], hosts[1]
	member.up()
	var nobody http.Handler = http.HandlerFunc(etcdserver.Absent)
	absent.handler.Store(&nobody)
	client, err := etcdserver.Connect(t.Context(), []string{absent.url, member.url}, etcdserver.TLSConfig{
		CAFile: filepath.Join(absent.certs, "ca.crt"), CertFile: absent.file(".crt"), KeyFile: absent.file(".key"), ServerName: serverName,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 20 { // the client takes one after the other
		key := fmt.Sprint("key", i)
		if err := commit(t.Context(), client, key); err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
		if err := has(client, key); err != nil {
			t.Errorf("read %d: %v", i, err)
		}
	}
	if got := get(t, httpClient(t, absent, "absent"), absent.url+"/version"); got != http.StatusServiceUnavailable {
		t.Errorf("a member is answered %d where there is none", got)
	}
}

// Who has no certificate of the pool gets nothing, and the paths are those that etcd serves.
func TestHandlersAndPaths(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, "a")
	a := hosts[0]
	a.up()
	newAuthority(t, a.certs, "other").issueFor(t, a.certs, "stranger", serverName)
	member := httpClient(t, a, "a")
	nobody := httpClient(t, a, "")
	for _, path := range []string{
		"/raft", "/raft/probing", "/raft/stream/message/1", "/raft/snapshot", "/members", "/members/promote/1", "/members/hashkv",
		"/leases", "/leases/internal", "/downgrade/enabled", "/version",
	} {
		if !etcdserver.IsPeerPath(path) || etcdserver.IsClientPath(path) {
			t.Errorf("%s is not a peer's path", path)
		}
		if got := get(t, member, a.url+path); got == http.StatusForbidden {
			t.Errorf("%s refuses a member", path)
		}
		if got := get(t, nobody, a.url+path); got != http.StatusForbidden {
			t.Errorf("%s gave %d to nobody", path, got)
		}
	}
	for path, want := range map[string]int{"/version": 200, "/members": 200, "/downgrade/enabled": 200, "/raft/probing": 200} {
		if got := get(t, member, a.url+path); got != want {
			t.Errorf("%s gave %d", path, got)
		}
	}
	if got := get(t, nobody, a.url+"/etcdserverpb.KV/Range"); got != http.StatusForbidden {
		t.Errorf("the clients' path gave %d to nobody", got)
	}
	for _, path := range []string{"/", "/RPC2", "/rafts", "/members/", "/versions", "/pool_patch_upload"} {
		if etcdserver.IsPeerPath(path) || etcdserver.IsClientPath(path) {
			t.Errorf("%s is etcd's", path)
		}
	}
	if _, err := httpClient(t, a, "stranger").Get(a.url + "/members"); err == nil {
		t.Error("a certificate of another authority is taken")
	}
}

func httpClient(t *testing.T, h *host, name string) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: pool(t, filepath.Join(h.certs, "ca.crt")), ServerName: serverName}
	if name != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(h.certs, name+".crt"), filepath.Join(h.certs, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func get(t *testing.T, client *http.Client, url string) int {
	t.Helper()
	reply, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	return reply.StatusCode
}

// A member that never had a Peer has no handlers.
func TestNoHandlersWithoutPeer(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	defer s.Close()
	if s.PeerHandler() != nil || s.ClientHandler() != nil {
		t.Error("there are handlers")
	}
	if !s.HasLeader() {
		t.Error("there is no leader")
	}
	if err := s.Quorum(t.Context()); err != nil {
		t.Error(err)
	}
}

// Two pools are never taken for one.
func TestClustersDiffer(t *testing.T) {
	t.Parallel()
	one, other := start(t, t.TempDir()), start(t, t.TempDir())
	defer one.Close()
	defer other.Close()
	if one.Self() == other.Self() {
		t.Error("members of two clusters have one id")
	}
}

// Close is no failure.
func TestCloseIsNoFailure(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Failed():
		t.Errorf("a closed server failed of %v", s.Err())
	case <-time.After(100 * time.Millisecond):
	}
}

func TestIDAsText(t *testing.T) {
	t.Parallel()
	want := etcdserver.ID(0xfedcba9876543210) // a JSON number would lose its end
	text, err := json.Marshal(want)
	if err != nil || string(text) != `"fedcba9876543210"` {
		t.Errorf("%s, %v", text, err)
	}
	var got etcdserver.ID
	if err := json.Unmarshal(text, &got); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	if err := got.UnmarshalText([]byte("no number")); err == nil {
		t.Error("no number is an id")
	}
}
