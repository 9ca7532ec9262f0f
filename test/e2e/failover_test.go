package e2e

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// failoverLimit is how long a pool may be without a coordinator that lives.
const failoverLimit = 15 * time.Second

// TestFailover: two hosts on an etcd of the administrator's own are one pool. When the coordinator is killed the other
// takes its place, and keeps it when the first is back.
func TestFailover(t *testing.T) {
	t.Parallel()
	options := harness.Options{Etcd: ownEtcd(t), Trusted: []*harness.Key{harness.TheKey(t)}}
	one, two := harness.Start(t, options), harness.Start(t, options)
	first, second := ownHost(one), ownHost(two)
	if got := coordinator(two); got != first {
		t.Fatalf("the coordinator is %s, not the first host, %s", got, first)
	}
	live := func(host xenapi.Ref[xenapi.Host]) bool {
		return harness.Record(two, harness.Record(two, host).Metrics).Live
	}
	harness.Eventually(t, "both hosts live", func() bool { return live(first) && live(second) })

	one.Kill()
	killed := time.Now()
	harness.Eventually(t, "the other host is coordinator", func() bool { return coordinator(two) == second })
	if took := time.Since(killed); took > failoverLimit {
		t.Errorf("the pool was without coordinator for %v", took)
	}
	harness.Eventually(t, "the killed host is known to be dead", func() bool { return !live(first) })
	two.Refused(xenapi.CodeHostOffline, "pool.designate_new_master", first)

	if err := one.Launch(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the host is known to be back", func() bool { return live(first) })
	if got := coordinator(one); got != second {
		t.Errorf("who came back is coordinator again: %s", got)
	}
	two.Do("pool.designate_new_master", first)
	if got := coordinator(two); got != first {
		t.Errorf("the coordinator is %s, not the designated one", got)
	}
}

func coordinator(d *harness.Daemon) xenapi.Ref[xenapi.Host] {
	for _, rec := range harness.Records[xenapi.Pool](d) {
		return rec.Master
	}
	return ""
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

// ownEtcd runs an etcd as an administrator would, and gives its endpoint.
func ownEtcd(t *testing.T) string {
	t.Helper()
	c := embed.NewConfig()
	c.Dir, c.Name = harness.Dir(t), "own"
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{{Scheme: "unix", Host: "localhost:0"}}
	c.ListenClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.AdvertiseClientUrls = c.ListenClientUrls
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return "http://" + e.Clients[0].Addr().String()
}
