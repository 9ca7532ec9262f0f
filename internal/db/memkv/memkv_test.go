package memkv_test

import (
	"context"
	"errors"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/db/kvtest"
	"poolpatch/internal/db/memkv"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(*testing.T) db.Store { return memkv.New() })
}

func TestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		fault memkv.Fault
		err   error
		items int
	}{
		{memkv.None, nil, 1},
		{memkv.FailNotPersisted, memkv.ErrInjected, 0},
		{memkv.FailButPersisted, memkv.ErrInjected, 1},
	}
	for _, test := range tests {
		var asked int
		s := memkv.New(memkv.WithFaults(func(n int, _ []db.Guard, ops []db.Op) memkv.Fault {
			asked = n
			return test.fault
		}))
		ops := []db.Op{{Key: "a", Value: []byte("1")}}
		if _, err := s.Commit(context.Background(), nil, ops); !errors.Is(err, test.err) {
			t.Errorf("fault %d: commit gave %v", test.fault, err)
		}
		if items, _, _ := s.Load(context.Background(), ""); len(items) != test.items || asked != 1 {
			t.Errorf("fault %d left %d items, asked for commit %d", test.fault, len(items), asked)
		}
	}
}

func TestWatchEndsAtAGap(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	ctx := context.Background()
	for range 3 {
		if _, err := s.Commit(ctx, nil, []db.Op{{Key: "a", Value: []byte("1")}}); err != nil {
			t.Fatal(err)
		}
	}
	s.Compact()
	for _, err := range s.Watch(ctx, "", 1) {
		if !errors.Is(err, memkv.ErrCompacted) {
			t.Errorf("the watch gave %v", err)
		}
	}
}
