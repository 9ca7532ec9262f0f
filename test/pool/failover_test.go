package pool

import (
	"slices"
	"testing"
	"time"

	"poolpatch/xenapi"
)

// failovers is how often the coordinator is killed.
const failovers = 8

// BenchmarkFailover measures how long three hosts are without a coordinator when theirs loses its power: until the two that are left
// name another one, and a change that only the coordinator may make is made. It is asked of the one that does not become it as well.
func BenchmarkFailover(b *testing.B) {
	for b.Loop() {
		bed := makeBedBy(b, 3, "", (*bed).form)
		var took []time.Duration
		for range failovers {
			former := bed.coordinator(bed.hosts[0])
			left := slices.DeleteFunc(slices.Clone(bed.hosts), func(h *host) bool { return h == former })
			began := time.Now()
			bed.kill(former)
			next := bed.succeeded(former, left[0])
			if second := bed.succeeded(former, left[1]); second != next {
				b.Errorf("%s and %s are coordinators", next.name, second.name)
			}
			for _, h := range left {
				bed.writes(h)
			}
			took = append(took, time.Since(began))
			bed.start(former)
			bed.allLive()
		}
		slices.Sort(took)
		b.Logf("%d failovers: %.1f to %.1f s, half of them within %.1f s", failovers, took[0].Seconds(), took[len(took)-1].Seconds(), took[len(took)/2].Seconds())
		if worst := took[len(took)-1]; worst > failoverLimit {
			b.Errorf("the pool was without coordinator for %v", worst)
		}
		b.ReportMetric(took[len(took)-1].Seconds(), "s-at-most")
	}
}

// writes makes a change to the pool through a host.
func (b *bed) writes(h *host) {
	b.t.Helper()
	pools, err := ask[map[xenapi.Ref[xenapi.Pool]]xenapi.Pool](h, "pool.get_all_records")
	for ref := range pools {
		_, err = ask[any](h, "pool.set_name_description", ref, "written through "+h.name)
	}
	if err != nil {
		b.t.Errorf("a change through %s: %v", h.name, err)
	}
}
