package event_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"poolpatch/internal/db/memkv"
	"poolpatch/internal/event"
	"poolpatch/xenapi"
)

// BenchmarkEvents measures how long it takes from the beginning of a commit, in memory, until a client that waits for it has its event, when so many wait
// and all are told (told), or one of them alone (quiet); and what a waiting client takes besides its connection.
func BenchmarkEvents(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("told/%d", n), func(b *testing.B) { measure(b, n, n) })
		b.Run(fmt.Sprintf("quiet/%d", n), func(b *testing.B) { measure(b, n, 1) })
	}
}

func measure(b *testing.B, waiting, told int) {
	h := start(b, memkv.New())
	put(b, h, "OpaqueRef:t", xenapi.Task{})
	put(b, h, "OpaqueRef:other", xenapi.Task{})
	ctx, cancel := context.WithCancel(b.Context())
	before := heap()
	var clients sync.WaitGroup
	arrived := make(chan time.Time, waiting)
	for i := range waiting {
		selector := "task/OpaqueRef:other"
		if i < told {
			selector = "task/OpaqueRef:t"
		}
		token := h.from(b, "", 0).Token
		clients.Go(func() { listen(ctx, h, token, selector, arrived) })
	}
	ready := func() {
		for h.Waiting() < waiting {
			runtime.Gosched()
		}
	}
	ready()
	memory := float64(int64(heap())-int64(before)) / float64(waiting)
	var took []time.Duration
	for b.Loop() {
		begun := time.Now()
		put(b, h, "OpaqueRef:t", xenapi.Task{})
		for range told {
			took = append(took, (<-arrived).Sub(begun))
		}
		ready()
	}
	slices.Sort(took)
	b.ReportMetric(memory, "B/client")
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	cancel()
	clients.Wait()
}

// listen follows events as a client does.
func listen(ctx context.Context, h *host, token, selector string, arrived chan<- time.Time) {
	for {
		batch, err := h.From(ctx, event.Query{Session: session, Classes: []string{selector}, Token: token, Timeout: time.Minute}, show)
		if err != nil {
			return
		}
		token = batch.Token
		for range batch.Events {
			arrived <- time.Now()
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
