package pull

import (
	"math/rand/v2"

	"poolpatch/internal/storage/image"
)

// plan says which blocks are missing, which are on their way, and how many sources have each. Its caller serialises.
type plan struct {
	blocks *image.Blocks
	state  []state // by position in the list
	have   []int16 // how many sources have the block, by position in the list
	open   int     // blocks that have not landed
	low    int     // every position below has landed
}

// state is how far a block has come.
type state byte

const (
	missing state = iota
	coming
	landed
)

func newPlan(blocks *image.Blocks) *plan {
	n := blocks.Len()
	return &plan{blocks: blocks, state: make([]state, n), have: make([]int16, n), open: n}
}

func (p *plan) left() int { return p.open }

// first is the index of the first block that has not landed.
func (p *plan) first() int64 {
	for ; p.low < len(p.state); p.low++ {
		if p.state[p.low] != landed {
			return p.blocks.Index(p.low)
		}
	}
	return 0
}

// count takes into account that a source has got more blocks, or has them no more (by is -1).
func (p *plan) count(set *Set, by int16) {
	for i := range p.have {
		if set.Has(p.blocks.Index(i)) {
			p.have[i] += by
		}
	}
}

// run is consecutive blocks of the image: n positions of the list, from at.
type run struct{ at, n int }

// take chooses the missing blocks that a source has and fewest others do, and marks them as coming. Where several are as
// rare, chance decides, so that those who pull at the same time take different ones.
func (p *plan) take(set *Set) (run, bool) {
	best, n := -1, len(p.state)
	p.first() // moves low
	width := n - p.low
	if width == 0 {
		return run{}, false
	}
	start := rand.IntN(width)
	for k := range width {
		i := p.low + (start+k)%width
		if p.state[i] == missing && set.Has(p.blocks.Index(i)) && (best < 0 || p.have[i] < p.have[best]) {
			if best = i; p.have[i] <= 1 {
				break // nothing is rarer
			}
		}
	}
	if best < 0 {
		return run{}, false
	}
	r := run{best, 1}
	for next := best + 1; next < n && r.n < runBlocks; next++ {
		if p.state[next] != missing || p.blocks.Index(next) != p.blocks.Index(next-1)+1 || !set.Has(p.blocks.Index(next)) || p.have[next] != p.have[best] {
			break
		}
		r.n++
	}
	for i := range r.n {
		p.state[r.at+i] = coming
	}
	return r, true
}

// giveBack makes the blocks of a run missing again that have not landed.
func (p *plan) giveBack(r run) {
	for i := r.at; i < r.at+r.n; i++ {
		if p.state[i] == coming {
			p.state[i] = missing
		}
	}
}

func (p *plan) land(i int) {
	p.state[i] = landed
	p.open--
}

// span is where a run lies in the image: its first block, and its length in bytes.
func (p *plan) span(r run) (first, length int64) {
	for i := range r.n {
		length += p.blocks.Length(p.blocks.Index(r.at + i))
	}
	return p.blocks.Index(r.at), length
}
