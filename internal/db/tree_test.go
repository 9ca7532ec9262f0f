package db

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestTreeIsASortedMap compares the tree with a map, and every older version of it with what it held.
func TestTreeIsASortedMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var now tree[int]
		model := map[string]int{}
		var olds []tree[int]
		var models []map[string]int
		for i := range rapid.IntRange(0, 60).Draw(t, "steps") {
			olds, models = append(olds, now), append(models, maps.Clone(model))
			key := rapid.StringMatching(`[ab]{0,4}`).Draw(t, "key")
			if rapid.Bool().Draw(t, "delete") {
				now = now.without(key)
				delete(model, key)
			} else {
				now = now.with(key, i)
				model[key] = i
			}
		}
		prefix := rapid.StringMatching(`[ab]{0,2}`).Draw(t, "prefix")
		for i, old := range append(olds, now) {
			checkTree(t, old, append(models, model)[i], prefix)
		}
	})
}

func checkTree(t *rapid.T, got tree[int], want map[string]int, prefix string) {
	var keys []string
	for key, value := range got.below(prefix) {
		keys = append(keys, key)
		if value != want[key] {
			t.Fatalf("%q is %d, want %d", key, value, want[key])
		}
	}
	var wanted []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if strings.HasPrefix(key, prefix) {
			wanted = append(wanted, key)
		}
		if value, ok := got.get(key); !ok || value != want[key] {
			t.Fatalf("get %q gave %d, %v, want %d", key, value, ok, want[key])
		}
	}
	if !slices.Equal(keys, wanted) {
		t.Fatalf("below %q are %q, want %q", prefix, keys, wanted)
	}
}

func TestTreeStopsWhenAsked(t *testing.T) {
	t.Parallel()
	var tr tree[int]
	for i, key := range strings.Split("abcdefgh", "") {
		tr = tr.with(key, i)
	}
	n := 0
	for range tr.below("") {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("went on to %d", n)
	}
}

// TestTreeDiff compares the difference of any two versions with that of their models.
func TestTreeDiff(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var old, now tree[int]
		was, is := map[string]int{}, map[string]int{}
		common := rapid.IntRange(0, 40).Draw(t, "common")
		for i := range common + rapid.IntRange(0, 10).Draw(t, "later") {
			key := rapid.StringMatching(`[ab]{0,4}`).Draw(t, "key")
			if rapid.Bool().Draw(t, "delete") {
				now = now.without(key)
				delete(is, key)
			} else {
				now = now.with(key, i)
				is[key] = i
			}
			if i < common {
				old, was = now, maps.Clone(is)
			}
		}
		got := maps.Clone(was)
		last := ""
		old.root.diff(now.root, func(before, after *node[int]) {
			key := ""
			switch {
			case before != nil && before.value != was[before.key]:
				t.Fatalf("%q was %d, not %d", before.key, was[before.key], before.value)
			case after == nil:
				key = before.key
				delete(got, key)
			default:
				key = after.key
				got[key] = after.value
			}
			if key < last {
				t.Fatalf("%q comes after %q", key, last)
			}
			last = key
		})
		if !maps.Equal(got, is) {
			t.Fatalf("the difference leads to %v, want %v", got, is)
		}
	})
}

func TestTreeDiffWalksOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	var old tree[int]
	for i := range 1 << 14 {
		old = old.with(strconv.Itoa(i), i)
	}
	n := 0
	old.root.diff(old.with("77", 0).root, func(_, _ *node[int]) { n++ })
	if n == 0 || n > 100 {
		t.Errorf("%d of %d nodes were walked for one change", n, 1<<14)
	}
}
