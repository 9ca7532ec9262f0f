package pool

import (
	"fmt"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestFiveHosts: three of five hosts have the database. A minority of those three is cut off, together with a host that has
// none; then two hosts leave the pool, and come back.
func TestFiveHosts(t *testing.T) {
	t.Parallel()
	b := makeBed(t, 5, "")
	b.threeHaveTheDatabase()
	b.minorityCutOff()
	b.goesOn(b.hosts...)
	b.allClean()
	b.leaveAndComeBack(b.hosts[1], b.hosts[4])
	b.threeHaveTheDatabase()
	b.goesOn(b.hosts...)
	b.allClean()
}

func (b *bed) threeHaveTheDatabase() {
	b.t.Helper()
	for _, asked := range b.hosts {
		harness.Eventually(b.t, asked.name+" sees that three of five hosts have the database", func() bool {
			kinds := map[string]int{}
			for _, rec := range harness.Records[xenapi.Host](asked.Daemon) {
				kinds[rec.OtherConfig["poolpatch:database"]]++
			}
			return fmt.Sprint(kinds) == "map[client:2 member:3]"
		})
	}
}

// minorityCutOff splits the pool. The greater part goes on; the smaller one answers what it knows and changes nothing.
func (b *bed) minorityCutOff() {
	b.t.Helper()
	minority := []*host{b.hosts[1], b.hosts[3]} // the second host has the database, the fourth has not
	majority := b.without(minority...)
	for _, h := range minority {
		b.partition(h, majority...)
	}
	harness.Eventually(b.t, "the cut off hosts are taken for dead", func() bool {
		return !live(majority[0], minority[0]) && !live(majority[0], minority[1])
	})
	for _, h := range majority {
		if !live(majority[0], h) {
			b.t.Errorf("%s belongs to the majority and is taken for dead", h.name)
		}
		b.findsTheMajority(h)
	}
	b.goesOn(majority...)
	each(minority, func(h *host) {
		_, err := ask[any](h, "host.set_name_description", h.ref, "changed in the minority")
		if err == nil || xenapi.CodeOf(err) != xenapi.CodePoolDatabaseUnavailable {
			b.t.Errorf("%s has no majority and was asked to change something: %v", h.name, err)
		}
		if records, err := ask[map[xenapi.Ref[xenapi.Host]]xenapi.Host](h, "host.get_all_records"); err != nil || len(records) != len(b.hosts) {
			b.t.Errorf("%s has no majority and knows %d hosts: %v", h.name, len(records), err)
		}
	})
	for _, h := range minority {
		b.heal(h, majority...)
	}
	b.allLive()
	for _, h := range minority {
		if text := harness.Record(majority[0].Daemon, h.ref).NameDescription; text != "" {
			b.t.Errorf("%s had no majority, and its description is %q", h.name, text)
		}
	}
}

// findsTheMajority waits until a host has noticed with which others it has the database no more: it goes round them.
func (b *bed) findsTheMajority(h *host) {
	b.t.Helper()
	harness.Eventually(b.t, h.name+" finds the majority", func() bool {
		for range 2 * len(b.hosts) {
			if _, err := ask[any](h, "host.set_name_description", h.ref, "changed in the majority"); err != nil {
				return false
			}
		}
		return true
	})
}

// leaveAndComeBack ejects hosts, and joins them again when the pool has gone on without them.
func (b *bed) leaveAndComeBack(leaving ...*host) {
	b.t.Helper()
	staying := b.without(leaving...)
	for _, h := range leaving {
		staying[1].Do("pool.eject", h.ref)
	}
	for _, h := range leaving {
		harness.Eventually(b.t, h.name+" is a pool of its own", func() bool {
			records, err := ask[map[xenapi.Ref[xenapi.Host]]xenapi.Host](h, "host.get_all_records")
			return err == nil && len(records) == 1
		})
	}
	without := b.goesOn(staying...)
	for i := len(leaving) - 1; i >= 0; i-- { // who left last has the database now
		h := leaving[i]
		b.join(h, "--force")
		h.ref = ownHost(h.Daemon)
		staying[0].Do("pool.level", h.ref) // what the pool has got meanwhile
	}
	b.ranOnce(without, b.hosts...)
	b.allLive()
}
