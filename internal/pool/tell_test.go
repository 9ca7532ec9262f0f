package pool_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/message"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

// messages names the messages about a host, oldest first.
func messages(d *db.DB, uuid string) []string {
	var found []xenapi.Message
	for _, m := range all[xenapi.Message](d) {
		if m.ObjUUID == uuid {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(a, b xenapi.Message) int { return a.Timestamp.Compare(b.Timestamp) })
	var names []string
	for _, m := range found {
		names = append(names, m.Name)
	}
	return names
}

// A host that is lost has one message, whoever is the coordinator, and one when it is back; one that only starts again none.
func TestLostHostsAreTold(t *testing.T) {
	t.Parallel()
	inCluster(t, 3, func(c *cluster) {
		told := func(host int, want ...string) {
			t.Helper()
			c.master()
			uuid := get(c.t, c.hosts[host].d, c.hosts[host].ref).UUID
			if got := messages(c.hosts[1].d, uuid); !slices.Equal(got, want) {
				t.Errorf("messages of host %d: %v, want %v", host, got, want)
			}
		}
		time.Sleep(time.Hour)
		for i := range c.hosts {
			told(i)
		}
		c.hosts[2].disconnect()
		time.Sleep(time.Second)
		c.hosts[2].reconnect()
		time.Sleep(time.Minute)
		told(2)

		c.hosts[0].disconnect() // the coordinator itself
		time.Sleep(time.Minute)
		told(0, message.HostLost)
		next := c.hosts[c.master()]
		next.disconnect()
		time.Sleep(time.Minute)
		told(0, message.HostLost) // also for the next coordinator
		c.hosts[0].reconnect()
		next.reconnect()
		time.Sleep(time.Minute)
		told(0, message.HostLost, message.HostBack)
		c.hosts[0].disconnect()
		time.Sleep(time.Minute)
		told(0, message.HostLost, message.HostBack, message.HostLost)
		c.hosts[0].reconnect()
		time.Sleep(time.Minute)
	})
}

// A CA certificate that is installed has messages of its own, and those of hosts have none here.
func TestExpiringCACertificatesAreTold(t *testing.T) {
	t.Parallel()
	k := newKnown(t, memkv.New(), uuidOne)
	end := time.Now().Add(20 * 24 * time.Hour)
	if err := k.d.Update(t.Context(), func(tx *db.Tx) error {
		return errors.Join(
			db.Insert(tx, "OpaqueRef:ca", xenapi.Certificate{UUID: "u-ca", Name: "corp", Type: xenapi.CertificateTypeCA, NotAfter: end}),
			db.Insert(tx, "OpaqueRef:host", xenapi.Certificate{UUID: "u-host", Type: xenapi.CertificateTypeHost, NotAfter: end}))
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		want  []string
	}{
		{0, []string{"POOL_CA_CERTIFICATE_EXPIRING_30"}},
		{0, []string{"POOL_CA_CERTIFICATE_EXPIRING_30"}},
		{21 * 24 * time.Hour, []string{"POOL_CA_CERTIFICATE_EXPIRING_30", "POOL_CA_CERTIFICATE_EXPIRED"}},
	} {
		if err := k.d.Update(t.Context(), func(tx *db.Tx) error { return pool.TellExpiring(tx, time.Now().Add(c.after)) }); err != nil {
			t.Fatal(err)
		}
		if got := messages(k.d, "u-ca"); !slices.Equal(got, c.want) {
			t.Errorf("messages %v, want %v", got, c.want)
		}
	}
	for _, m := range all[xenapi.Message](k.d) {
		if m.Cls != xenapi.MessageClassCertificate || m.ObjUUID != "u-ca" || !strings.Contains(m.Body, "corp") {
			t.Errorf("message %+v", m)
		}
	}
}

func TestExpiringCertificatesAreTold(t *testing.T) {
	t.Parallel()
	k := newKnown(t, memkv.New(), uuidOne)
	d := k.d
	tell := func(after time.Duration) map[string]int {
		t.Helper()
		if err := d.Update(t.Context(), func(tx *db.Tx) error {
			now := time.Now().Add(after)
			return errors.Join(pool.TellExpiring(tx, now), pool.TellHostExpiring(tx, k.host, time.Now().Add(40*24*time.Hour), now))
		}); err != nil {
			t.Fatal(err)
		}
		names := map[string]int{}
		for _, m := range all[xenapi.Message](d) {
			names[m.Name]++
		}
		return names
	}
	const day = 24 * time.Hour
	if got := tell(0); len(got) != 0 {
		t.Errorf("messages at once: %v", got)
	}
	for range 2 {
		if got := tell(15 * day); !maps.Equal(got, map[string]int{"HOST_SERVER_CERTIFICATE_EXPIRING_30": 1}) {
			t.Errorf("after half a month: %v", got)
		}
	}
	want := map[string]int{"HOST_SERVER_CERTIFICATE_EXPIRING_30": 1, "HOST_SERVER_CERTIFICATE_EXPIRED": 1, "POOL_CA_CERTIFICATE_EXPIRING_07": 1}
	if got := tell(10*365*day - 5*day); !maps.Equal(got, want) {
		t.Errorf("after ten years: %v", got)
	}
}
