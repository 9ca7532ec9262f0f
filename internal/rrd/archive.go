// Package rrd remembers what is measured of a host and of its SRs: round-robin databases, whose size does not grow, finely for
// the last minutes and coarsely for the last year.
//
// It measures what the machine and the records say, and knows no HTTP. Its invariant: a row that was recorded does not change, and
// one for which too little was measured is not a number. What was measured since the last save is lost with the daemon. Start with
// [Recorder], then [Series].
package rrd

import (
	"math"
	"time"
)

// Step is the time between two samples.
const Step = 5 * time.Second

// archives are those of each series: how many steps make a row, and how many rows there are (ten minutes, two hours, a week, a
// year).
var archives = []struct{ steps, rows int64 }{{1, 120}, {12, 120}, {720, 168}, {17280, 366}}

// Archive keeps averages over a number of steps. Its fields are exported for encoding alone.
type Archive struct {
	Steps int64     // to a row
	Ring  []float64 // the last rows, the oldest at Head
	Head  int64
	// Row is the number of the row that is being measured, counted from the epoch; those in Ring came before it.
	Row   int64
	Sum   float64
	Count int64
}

func newArchive(steps, rows, step int64) *Archive {
	a := &Archive{Steps: steps, Ring: make([]float64, rows), Row: step / steps}
	for i := range a.Ring {
		a.Ring[i] = math.NaN()
	}
	return a
}

// add takes in what was measured at a step.
func (a *Archive) add(step int64, value float64) {
	a.advance(step / a.Steps)
	if !math.IsNaN(value) {
		a.Sum += value
		a.Count++
	}
}

// advance closes the rows before a row. One that was measured for less than half of its time is not a number.
func (a *Archive) advance(row int64) {
	if row <= a.Row {
		return
	}
	average := math.NaN()
	if 2*a.Count >= a.Steps {
		average = a.Sum / float64(a.Count)
	}
	a.push(average)
	for range min(row-a.Row-1, int64(len(a.Ring))) {
		a.push(math.NaN())
	}
	a.Row, a.Sum, a.Count = row, 0, 0
}

func (a *Archive) push(value float64) {
	a.Ring[a.Head] = value
	a.Head = (a.Head + 1) % int64(len(a.Ring))
}

// at is the value of a row; not a number for one that is not kept.
func (a *Archive) at(row int64) float64 {
	n := int64(len(a.Ring))
	if back := a.Row - row; back >= 1 && back <= n {
		return a.Ring[(a.Head-back+n)%n]
	}
	return math.NaN()
}

// Series is what one source was measured to be.
type Series struct {
	Archives []*Archive
	Last     float64
}

func newSeries(step int64) *Series {
	s := &Series{}
	for _, a := range archives {
		s.Archives = append(s.Archives, newArchive(a.steps, a.rows, step))
	}
	return s
}

func (s *Series) add(step int64, value float64) {
	s.Last = value
	for _, a := range s.Archives {
		a.add(step, value)
	}
}

// advance closes the rows before a step in which nothing was measured.
func (s *Series) advance(step int64) {
	for _, a := range s.Archives {
		a.advance(step / a.Steps)
	}
}

// valid reports whether a series that was read is one that this package has written.
func (s *Series) valid() bool {
	if s == nil || len(s.Archives) != len(archives) {
		return false
	}
	for i, a := range s.Archives {
		if a == nil || a.Steps != archives[i].steps || int64(len(a.Ring)) != archives[i].rows || a.Head < 0 || a.Head >= archives[i].rows {
			return false
		}
	}
	return true
}

// stepOf is the number of the step at a time, counted from the epoch.
func stepOf(t time.Time) int64 { return t.Unix() / int64(Step/time.Second) }
