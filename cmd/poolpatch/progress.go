package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

const (
	// drawInterval lies between two drawings of a bar, tickInterval between those of one that stands: its clock goes on.
	drawInterval = 100 * time.Millisecond
	tickInterval = time.Second
	// quietTime goes by before the first plain line: what is done sooner is worth none.
	quietTime = 2 * time.Second
	// quietStep is how many bytes go by between two lines when the total is not known.
	quietStep = 1 << 30
	// fractionScale makes the steps of a bar of a task's progress.
	fractionScale = 1000
)

// meter shows how far something has come: on a terminal a bar with its clock, else a line every tenth. It writes to stderr,
// and nothing for what is done at once.
type meter struct {
	w     io.Writer
	label string
	total int64 // bytes; -1 is not known, 0 that only the fraction is told
	begun time.Time
	bar   *progressbar.ProgressBar // on a terminal
	stop  chan struct{}            // ends the bar's clock

	mu    sync.Mutex // a transfer that was given up may tell still
	ended bool
	shown int64 // bytes or steps on the bar
	next  int64 // of the plain lines: the next tenth, or byte count
}

// bytesMeter is of bytes, of which a total of -1 is not known: the bar tells the rate, and [time gone:time left].
func (c *cli) bytesMeter(label string, total int64) *meter {
	return c.newMeter(label, total, progressbar.OptionSetPredictTime(true), progressbar.OptionShowBytes(true),
		progressbar.OptionShowCount(), progressbar.OptionUseIECUnits(true))
}

// taskMeter is of a task, which tells a fraction: the bar tells the task's stage and [time gone].
func (c *cli) taskMeter(label string) *meter {
	return c.newMeter(label, 0, progressbar.OptionSetPredictTime(false))
}

// workMeter is of a task that goes over so many bytes; 0 is not known.
func (c *cli) workMeter(label string, bytes int64) *meter {
	if bytes <= 0 {
		return c.taskMeter(label)
	}
	return c.bytesMeter(label, bytes)
}

func (c *cli) newMeter(label string, total int64, more ...progressbar.Option) *meter {
	m := &meter{w: c.stderr, label: label, total: total, begun: time.Now()}
	if terminal(c.stderr) {
		m.bar = newBar(c.stderr, label, total, more...)
		m.bar.StartWithoutRender()
		m.stop = make(chan struct{})
		go m.tick(m.stop)
	}
	return m
}

func newBar(w io.Writer, label string, total int64, more ...progressbar.Option) *progressbar.ProgressBar {
	steps := total
	switch {
	case total == 0:
		steps = fractionScale
	case total > 0:
		steps = total + 1 // a full bar stops its clock, and the pool still has work when it has every byte
	}
	return progressbar.NewOptions64(steps, append([]progressbar.Option{
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(label), progressbar.OptionThrottle(drawInterval),
		progressbar.OptionSetWidth(24), progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░", BarStart: "", BarEnd: ""}),
	}, more...)...)
}

// tick draws the bar again and again, until the meter ends.
func (m *meter) tick(stop <-chan struct{}) {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			m.whileOpen(func() { _ = m.bar.RenderBlank() })
		case <-stop:
			return
		}
	}
}

func (m *meter) whileOpen(fn func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ended {
		fn()
	}
}

// bytes is a client.Progress.
func (m *meter) bytes(done, total int64) {
	m.whileOpen(func() {
		switch {
		case m.bar != nil:
			m.draw(done)
		case total > 0:
			m.tenth(float64(done)/float64(total), " ("+size(done)+")")
		case total < 0 && done >= m.next+quietStep && m.late():
			m.next = done - done%quietStep
			fmt.Fprintf(m.w, "%s: %s\n", m.label, size(m.next))
		}
	})
}

// fraction is told how much of a task is done, from 0 to 1.
func (m *meter) fraction(f float64) {
	if m.total > 0 {
		m.bytes(int64(f*float64(m.total)), m.total)
		return
	}
	m.whileOpen(func() {
		if m.bar == nil {
			m.tenth(f, "")
			return
		}
		m.draw(int64(f * fractionScale))
	})
}

// look is told a task's record. That of one that has failed says that all is done.
func (m *meter) look(rec xenapi.Task) {
	if rec.Status != xenapi.TaskStatusPending && rec.Status != xenapi.TaskStatusSuccess {
		return
	}
	if m.bar != nil && m.total == 0 && rec.NameDescription != "" {
		m.whileOpen(func() { m.bar.Describe(m.label + ": " + oneLine(rec.NameDescription)) })
	}
	m.fraction(rec.Progress)
}

// draw moves the bar. One that does not move is left alone: the bar would take the pause for its rate.
func (m *meter) draw(done int64) {
	if done != m.shown {
		m.shown = done
		_ = m.bar.Set64(done)
	}
}

func (m *meter) tenth(f float64, detail string) {
	now := int64(f * 10)
	if now <= m.next || !m.late() {
		return
	}
	m.next = now
	fmt.Fprintf(m.w, "%s: %d %%%s\n", m.label, now*10, detail)
}

func (m *meter) late() bool { return time.Since(m.begun) >= quietTime }

// clearLine goes to the beginning of a terminal's line and erases it.
const clearLine = "\r\x1b[2K"

// end takes the bar off the screen: what follows says how it went.
func (m *meter) end() {
	m.whileOpen(func() {
		m.ended = true
		if m.bar != nil {
			close(m.stop)
			fmt.Fprint(m.w, clearLine)
		}
	})
}

// runTask runs a message as a task, shows on a meter how far it has come, and ends the meter. Errors: those of client.Run.
func runTask[T any](ctx context.Context, p *client.Client, m *meter, message string, args ...any) (T, error) {
	defer m.end()
	var none T
	task, err := p.Async(ctx, message, args...)
	if err != nil {
		return none, err
	}
	text, err := p.FinishTask(ctx, task, m.look)
	if err != nil {
		return none, err
	}
	return client.Result[T](text)
}

func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
