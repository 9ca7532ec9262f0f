package pool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

const (
	// failoverLimit is how long a pool may be without a coordinator that lives.
	failoverLimit = 15 * time.Second
	// callTimeout bounds a call of a test.
	callTimeout = 2 * time.Minute
)

// bed is a pool of several hosts.
type bed struct {
	t      testing.TB
	net    *network
	dir    string // of what hosts share: the SR, and the record of what ran
	build  harness.Build
	hosts  []*host
	shared xenapi.Ref[xenapi.SR] // that all of them see; "" when there is none
}

// host is a daemon and its cable.
type host struct {
	*harness.Daemon
	port port
	name string // short: a unix socket has a path of at most 107 bytes
	ref  xenapi.Ref[xenapi.Host]
}

// makeBed makes a pool of n hosts, all alive, whose default SR is shared and lies below storage, a directory; "" is one of
// the bed's own. The first host is the coordinator.
func makeBed(t testing.TB, n int, storage string) *bed {
	t.Helper()
	return makeBedBy(t, n, storage, (*bed).form)
}

func makeBedBy(t testing.TB, n int, storage string, form func(*bed, int)) *bed {
	t.Helper()
	b := makeBare(t, n, form)
	if storage == "" {
		storage = b.dir
	}
	b.share(filepath.Join(storage, "sr"))
	return b
}

// makeBare makes a pool of n hosts, each of which has an SR of its own and no other.
func makeBare(t testing.TB, n int, form func(*bed, int)) *bed {
	t.Helper()
	b := &bed{t: t, dir: harness.Dir(t), net: newNetwork(t)}
	if err := os.Mkdir(filepath.Join(b.dir, "ran"), 0o700); err != nil {
		t.Fatal(err)
	}
	form(b, n)
	b.allLive()
	return b
}

// form starts the hosts and joins them to the first one's pool, as an administrator does.
func (b *bed) form(n int) {
	b.t.Helper()
	for range n {
		h := b.newHost("")
		if len(b.hosts) > 1 {
			b.join(h)
		}
	}
	for _, h := range b.hosts {
		h.ref = ownHost(h.Daemon)
	}
}

// formOnEtcd starts the hosts on one etcd of the administrator's, which stands in a namespace of its own.
func (b *bed) formOnEtcd(n int) {
	b.t.Helper()
	etcd := startEtcd(b.t, b.net.port())
	for range n {
		h := b.newHost(etcd)
		h.ref = ownHost(h.Daemon)
	}
}

// formCrashing is formOnEtcd with hosts that can be made to die or to stop at a named point.
func (b *bed) formCrashing(n int) {
	b.t.Helper()
	b.build = harness.Build{Raceless: true, Crash: true}
	b.formOnEtcd(n)
}

// newHost starts a host, a pool of its own unless etcd is one of the administrator's.
func (b *bed) newHost(etcd string) *host {
	b.t.Helper()
	h := &host{name: fmt.Sprintf("h%d", len(b.hosts)+1), port: b.net.port()}
	root := filepath.Join(b.dir, h.name)
	if err := os.Mkdir(root, 0o755); err != nil {
		b.t.Fatal(err)
	}
	h.Daemon = harness.Start(b.t, harness.Options{
		Build: b.build, Root: root, Etcd: etcd, HTTPS: h.port.address + ":443", Within: h.port.within(), Trusted: []*harness.Key{harness.TheKey(b.t)},
	})
	b.hosts = append(b.hosts, h)
	return h
}

// join brings a host into the first one's pool.
func (b *bed) join(h *host, more ...string) {
	b.t.Helper()
	binary := harness.Binary(b.t, harness.Build{})
	token, err := harness.Output("", binary, "pool", "token", "--root", b.hosts[0].Root)
	if err == nil {
		argv := []string{binary, "pool", "join", b.hosts[0].port.address, "--token", strings.TrimSpace(token), "--root", h.Root}
		err = harness.Run("", append(argv, more...)...)
	}
	if err != nil {
		b.t.Fatalf("%s joins: %v", h.name, err)
	}
}

// ownHost is the host that a daemon is.
func ownHost(d *harness.Daemon) xenapi.Ref[xenapi.Host] {
	uuid := strings.TrimSpace(d.Read("var/lib/poolpatch/host-uuid"))
	for ref, rec := range harness.Records[xenapi.Host](d) {
		if rec.UUID == uuid {
			return ref
		}
	}
	return ""
}

// share makes the SR that every host sees, and makes it the pool's default.
func (b *bed) share(dir string) {
	b.t.Helper()
	first := b.hosts[0]
	b.shared = harness.Call[xenapi.Ref[xenapi.SR]](first.Daemon, "SR.create", first.ref, map[string]string{"location": dir},
		int64(0), "Shared storage", "", "file", "user", true, map[string]string{})
	pool, _ := harness.Only[xenapi.Pool](first.Daemon)
	first.Do("pool.set_default_SR", pool, b.shared)
}

// localSR is the SR of a host's own, null when it has none.
func (b *bed) localSR(h *host) xenapi.Ref[xenapi.SR] {
	for _, pbd := range harness.Records[xenapi.PBD](h.Daemon) {
		if pbd.Host == h.ref && pbd.SR != b.shared {
			return pbd.SR
		}
	}
	return ""
}

// client is a client of a host as administrators have it, across the network.
func (b *bed) client(h *host) *client.Client {
	b.t.Helper()
	c, err := client.Dial(b.t.Context(), client.Options{
		URL: "https://" + h.port.address, User: "root", Password: harness.Password, InsecureSkipVerify: true, CallTimeout: callTimeout,
	})
	if err != nil {
		b.t.Fatalf("log in to %s: %v", h.name, err)
	}
	return c
}

// kill ends daemons as a loss of power does, all of them at once.
func (b *bed) kill(hosts ...*host) {
	b.t.Helper()
	each(hosts, func(h *host) { h.Kill() })
}

// start starts daemons that were killed, and returns when they are ready.
func (b *bed) start(hosts ...*host) {
	b.t.Helper()
	each(hosts, func(h *host) {
		if err := h.Launch(); err != nil {
			b.t.Errorf("%s: %v", h.name, err)
		}
	})
}

// again starts a host again, in good order; it dies or stops at a point if it is told to.
func (b *bed) again(h *host, set func(point string), point string) {
	b.t.Helper()
	h.Stop()
	set(point)
	b.start(h)
	b.allLive()
}

// each does something with several hosts at once.
func each(hosts []*host, do func(*host)) {
	var done sync.WaitGroup
	for _, h := range hosts {
		done.Go(func() { do(h) })
	}
	done.Wait()
}

// pause stops a daemon's time; resume lets it go on as if nothing had been.
func (b *bed) pause(h *host)  { b.signal(h, syscall.SIGSTOP) }
func (b *bed) resume(h *host) { b.signal(h, syscall.SIGCONT) }

// stopped waits until a host has stopped at its point.
func (b *bed) stopped(h *host) {
	b.t.Helper()
	harness.Eventually(b.t, h.name+" has stopped at its point", func() bool {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.PID()))
		_, state, _ := strings.Cut(string(text), ") ") // the name before may hold anything
		return strings.HasPrefix(state, "T")
	})
}

func (b *bed) signal(h *host, s syscall.Signal) {
	b.t.Helper()
	if err := syscall.Kill(h.PID(), s); err != nil {
		b.t.Errorf("%s to %s: %v", s, h.name, err)
	}
}

// isolate lets a host reach nobody, the database included; rejoin undoes it.
func (b *bed) isolate(h *host) { h.port.unplug() }
func (b *bed) rejoin(h *host)  { h.port.plug() }

// partition keeps one host from reaching others, and those from it; all reach the database. heal undoes it.
func (b *bed) partition(one *host, others ...*host) {
	for _, other := range others {
		sever(one.port, other.port)
	}
}

func (b *bed) heal(one *host, others ...*host) {
	for _, other := range others {
		mend(one.port, other.port)
	}
}

// ask is a call whose error the test judges: it may not be possible.
func ask[T any](h *host, method string, args ...any) (T, error) {
	return harness.Try[T](h.Daemon, method, args...)
}

// coordinator is who a host takes for it, nil when that is not known.
func (b *bed) coordinator(asked *host) *host {
	pools, err := ask[map[xenapi.Ref[xenapi.Pool]]xenapi.Pool](asked, "pool.get_all_records")
	if err != nil {
		return nil
	}
	for _, pool := range pools {
		for _, h := range b.hosts {
			if h.ref == pool.Master {
				return h
			}
		}
	}
	return nil
}

// succeeded waits until a host knows another coordinator than the former one, and gives it. It must not take longer
// than a failover may.
func (b *bed) succeeded(former, asked *host) (next *host) {
	b.t.Helper()
	since := time.Now()
	harness.Eventually(b.t, "another host is coordinator", func() bool {
		next = b.coordinator(asked)
		return next != nil && next != former
	})
	if took := time.Since(since); took > failoverLimit {
		b.t.Errorf("the pool was without coordinator for %v", took)
	}
	return next
}

// live reports whether a host takes another for alive.
func live(asked, h *host) bool {
	rec, err := ask[xenapi.Host](asked, "host.get_record", h.ref)
	if err != nil {
		return false
	}
	metrics, err := ask[xenapi.HostMetrics](asked, "host_metrics.get_record", rec.Metrics)
	return err == nil && metrics.Live
}

// allLive waits until every host takes every host for alive, and all agree on the coordinator.
func (b *bed) allLive() {
	b.t.Helper()
	harness.Eventually(b.t, "all hosts take one another for alive", func() bool {
		for _, asked := range b.hosts {
			if c := b.coordinator(asked); c == nil || c != b.coordinator(b.hosts[0]) {
				return false
			}
			for _, h := range b.hosts {
				if !live(asked, h) {
					return false
				}
			}
		}
		return true
	})
}

// allClean fails the test when a host, once it has nothing to do, finds a promise broken, or something is left: a task, a
// private copy, an image without VDI, a mount. VDIs that the test itself made are expected.
func (b *bed) allClean(expected ...xenapi.Ref[xenapi.VDI]) {
	b.t.Helper()
	for _, h := range b.hosts {
		h.Clean(expected...)
	}
}

// program is a patch's program that writes each run of apply down, outside of what belongs to the host, where no
// recovery of the host reaches.
func (b *bed) program(p harness.Program) harness.Program {
	p.UUID = xenapi.NewUUID()
	p.Apply = fmt.Sprintf("echo %s >> %s/ran/${POOLPATCH_ROOT##*/}\n%s", p.UUID, b.dir, p.Apply)
	return p
}

// runs is how often a patch ran on a host.
func (b *bed) runs(h *host, uuid string) int {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "ran", h.name))
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	return strings.Count(string(text), uuid+"\n")
}

// ranOnce checks that a patch ran once on some hosts, and on no other.
func (b *bed) ranOnce(uuid string, on ...*host) {
	b.t.Helper()
	want := map[*host]int{}
	for _, h := range on {
		want[h] = 1
	}
	for _, h := range b.hosts {
		if got := b.runs(h, uuid); got != want[h] {
			b.t.Errorf("on %s the patch %s ran %d times, not %d", h.name, uuid, got, want[h])
		}
	}
}

// uploaded uploads a patch to a host, across the network.
func (b *bed) uploaded(h *host, p harness.Program) xenapi.Ref[xenapi.PoolPatch] {
	b.t.Helper()
	patch := p.Signed(b.t)
	ref, err := b.client(h).UploadPatch(b.t.Context(), strings.NewReader(string(patch)), int64(len(patch)), nil)
	if err != nil {
		b.t.Fatalf("upload to %s: %v", h.name, err)
	}
	return ref
}

// goesOn checks that a patch sent to one host is applied by all of some hosts, whoever is asked, and gives its UUID.
func (b *bed) goesOn(hosts ...*host) (uuid string) {
	b.t.Helper()
	p := b.program(harness.Program{})
	ref := b.uploaded(hosts[len(hosts)-1], p)
	for i, h := range hosts {
		asked := hosts[(i+1)%len(hosts)]
		if _, err := client.Call[string](context.Background(), b.client(asked), "pool_patch.apply", ref, h.ref); err != nil {
			b.t.Errorf("apply on %s, asked of %s: %v", h.name, asked.name, err)
		}
	}
	b.ranOnce(p.UUID, hosts...)
	return p.UUID
}
