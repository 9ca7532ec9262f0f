package event

import (
	"slices"
	"time"

	"poolpatch/xenapi"
)

const (
	// defaultLog is how many changes are remembered.
	defaultLog = 1 << 15
	// add, mod and del are what can become of an object.
	add = xenapi.EventOperationAdd
	mod = xenapi.EventOperationMod
	del = xenapi.EventOperationDel
)

// change is what a commit did to an object.
type change struct {
	object
	operation xenapi.EventOperation
}

// entry is what the commits later than one revision, up to another, have changed. That is one commit, except where the store
// was read anew. It never changes, so that readers need the lock only to find it.
type entry struct {
	after, revision int64
	injected        int64 // number of the event that was injected; 0 is an entry of commits
	at              time.Time
	kinds           kinds // of changes
	changes         []change
}

// log is the entries since a revision, the oldest first.
type log struct {
	since   int64 // all later commits have an entry, if they changed anything that clients hear of
	entries []entry
	changes int // in all entries
	most    int // changes
}

// begin forgets everything before a revision.
func (l *log) begin(revision int64) { *l = log{since: revision, most: l.most} }

// add appends an entry, unless it says nothing. The oldest ones go.
func (l *log) add(e entry) {
	if len(e.changes) == 0 && !e.gap() {
		return
	}
	l.entries = append(l.entries, e)
	l.changes += weight(e)
	for l.changes > l.most {
		l.changes -= weight(l.entries[0])
		l.since = l.entries[0].revision
		l.entries = l.entries[1:]
	}
}

func weight(e entry) int { return len(e.changes) + 1 }

// gap reports whether the entry's commits are not known one by one.
func (e *entry) gap() bool { return e.injected == 0 && e.after < e.revision-1 }

// from gives the entries that a client at p has not heard of. It is false where that cannot be told: what is before the
// log, or inside a gap, where an object may have come and gone.
func (l *log) from(p position) ([]entry, bool) {
	if p.revision < l.since {
		return nil, false
	}
	i, _ := slices.BinarySearchFunc(l.entries, p.revision, func(e entry, revision int64) int {
		if e.revision < revision || e.revision == revision && e.injected == 0 {
			return -1
		}
		return 1
	})
	later := l.entries[i:]
	return later, !slices.ContainsFunc(later, func(e entry) bool { return e.gap() && e.after < p.revision && p.revision < e.revision })
}

// heard reports whether an entry is nothing new to a client at p.
func (e *entry) heard(p position) bool {
	if e.injected > 0 {
		return e.injected <= p.injected
	}
	return e.revision <= p.revision
}

// outcome is what became of an object since a client heard of it.
type outcome struct {
	change
	entry *entry // the last that tells of it
}

// sum tells what became of each object that is selected, in the order in which they were first touched. What was made and
// deleted again is left out. It also gives when the first of them was touched.
func sum(entries []entry, p position, sel selection) (outcomes []outcome, first time.Time) {
	index := map[object]int{}
	var made []bool // whether the client has never heard of it
	for i := range entries {
		e := &entries[i]
		if e.heard(p) || !sel.wants(e) {
			continue
		}
		for _, c := range e.changes {
			if !sel.has(c.object) {
				continue
			}
			at, known := index[c.object]
			if !known {
				at = len(outcomes)
				index[c.object], made, outcomes = at, append(made, c.operation == add), append(outcomes, outcome{})
			}
			outcomes[at] = outcome{c, e}
		}
	}
	kept := outcomes[:0]
	for i, o := range outcomes {
		switch {
		case o.operation == del && made[i]:
			continue
		case o.operation != del:
			o.operation = mod
			if made[i] {
				o.operation = add
			}
		}
		if len(kept) == 0 || o.entry.at.Before(first) {
			first = o.entry.at
		}
		kept = append(kept, o)
	}
	return kept, first
}
