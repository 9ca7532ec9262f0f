package pool

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

const (
	// spreadSize is that of the image that hosts pull, in bytes.
	spreadSize = 64 << 20
	// spreadRate is what a host may send, and receive, in Mbit/s.
	spreadRate = 240
	// serial is how many copies are made one after another, for the comparison.
	serial = 3
)

// BenchmarkSpread measures how long it takes until an image that one host has on storage of its own is on that of 1, 2, 4, 8
// and 16 others, which pull it at the same time over network cards of limited rate. Copies one after another take as many
// times as long as one. Everything is real: daemons, TLS, disks.
func BenchmarkSpread(b *testing.B) {
	const most = 16
	for b.Loop() {
		bed := makeBedBy(b, most+1, "", func(bed *bed, n int) {
			bed.build = harness.Build{Raceless: true} // the race detector looks at every byte
			bed.formOnEtcd(n)
		})
		image := bed.randomImage(bed.hosts[0])
		for _, h := range bed.hosts {
			h.port.limit(spreadRate)
		}
		began := time.Now()
		for _, h := range bed.hosts[1 : 1+serial] {
			bed.spread(image, h)
		}
		one := time.Since(began) / serial
		b.Logf("an image of %d MiB, hosts that send and receive %d Mbit/s each; one copy takes %.1f s", spreadSize>>20, spreadRate, one.Seconds())
		for n := 2; n <= most; n *= 2 {
			began, before := time.Now(), bed.hosts[0].port.sent()
			bed.spread(image, bed.hosts[1:1+n]...)
			took, sent := time.Since(began), bed.hosts[0].port.sent()-before
			b.Logf("%2d hosts at once: %5.1f s, %.2f of %d copies one after another; the first host sent %.1f images",
				n, took.Seconds(), took.Seconds()/one.Seconds()/float64(n), n, float64(sent)/spreadSize)
			b.ReportMetric(took.Seconds()/one.Seconds()/float64(n), fmt.Sprintf("of-serial-%d", n))
		}
	}
}

// randomImage makes a VDI without holes on a host's own SR.
func (b *bed) randomImage(h *host) xenapi.Ref[xenapi.VDI] {
	b.t.Helper()
	fields := xenapi.New[xenapi.VDI]()
	fields.NameLabel, fields.SR, fields.VirtualSize, fields.Type = "an image", b.localSR(h), spreadSize, xenapi.VDITypeUser
	vdi := harness.Call[xenapi.Ref[xenapi.VDI]](h.Daemon, "VDI.create", fields)
	content := io.LimitReader(rand.NewChaCha8([32]byte([]byte(strings.Repeat("poolpatch ", 4)[:32]))), spreadSize)
	if err := h.Client().ImportVDI(context.Background(), vdi, content, spreadSize, nil); err != nil {
		b.t.Fatal(err)
	}
	return vdi
}

// spread copies an image onto the own SRs of hosts at once, and removes the copies.
func (b *bed) spread(image xenapi.Ref[xenapi.VDI], hosts ...*host) {
	b.t.Helper()
	var copies sync.WaitGroup
	var mu sync.Mutex
	var made []xenapi.Ref[xenapi.VDI]
	for _, h := range hosts {
		copies.Go(func() {
			vdi, err := client.Run[xenapi.Ref[xenapi.VDI]](context.Background(), h.Client(), nil, "VDI.copy", image, b.localSR(h))
			if err != nil {
				b.t.Errorf("copy onto %s: %v", h.name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			made = append(made, vdi)
		})
	}
	copies.Wait()
	for _, vdi := range made {
		b.hosts[0].Do("VDI.destroy", vdi)
	}
}
