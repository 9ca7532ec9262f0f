package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

const (
	// drawInterval lies between two drawings of a bar.
	drawInterval = 100 * time.Millisecond
	// smallest is the number of bytes from which on plain lines are worth their space.
	smallest = 1 << 20
	// quietStep is how many bytes go by between two lines when the total is not known.
	quietStep = 1 << 30
	// fractionScale makes the steps of a bar of a task's progress.
	fractionScale = 1000
)

// meter shows how far something has come: on a terminal a bar with the rate and [time gone:time left], else
// a line every tenth. It writes to stderr, and nothing for what is done at once.
type meter struct {
	w     io.Writer
	label string
	bar   *progressbar.ProgressBar
	next  int64 // of the plain lines: the next tenth, or byte count
}

// meter of bytes; a total of -1 is not known.
func (c *cli) bytesMeter(label string, total int64) *meter {
	m := &meter{w: c.stderr, label: label}
	if terminal(c.stderr) {
		m.bar = newBar(c.stderr, label, total, progressbar.OptionSetPredictTime(true),
			progressbar.OptionShowBytes(true), progressbar.OptionShowCount(), progressbar.OptionUseIECUnits(true))
	}
	return m
}

// taskMeter is of a task, which tells a fraction.
func (c *cli) taskMeter(label string) *meter {
	m := &meter{w: c.stderr, label: label}
	if terminal(c.stderr) {
		m.bar = newBar(c.stderr, label, fractionScale, progressbar.OptionSetPredictTime(false))
	}
	return m
}

func newBar(w io.Writer, label string, total int64, more ...progressbar.Option) *progressbar.ProgressBar {
	return progressbar.NewOptions64(total, append([]progressbar.Option{
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(label), progressbar.OptionThrottle(drawInterval),
		progressbar.OptionSetWidth(24), progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░", BarStart: "", BarEnd: ""}),
	}, more...)...)
}

// bytes is a client.Progress.
func (m *meter) bytes(done, total int64) {
	switch {
	case m.bar != nil:
		_ = m.bar.Set64(done)
	case total >= smallest:
		m.tenth(float64(done)/float64(total), size(done))
	case total < 0 && done >= m.next+quietStep:
		m.next = done - done%quietStep
		fmt.Fprintf(m.w, "%s: %s\n", m.label, size(m.next))
	}
}

// fraction is told how much of a task is done, from 0 to 1.
func (m *meter) fraction(f float64) {
	if m.bar != nil {
		_ = m.bar.Set64(int64(f * fractionScale))
		return
	}
	m.tenth(f, "")
}

func (m *meter) tenth(f float64, detail string) {
	now := int64(f * 10)
	if now <= m.next {
		return
	}
	m.next = now
	if detail != "" {
		detail = " (" + detail + ")"
	}
	fmt.Fprintf(m.w, "%s: %d %%%s\n", m.label, now*10, detail)
}

// clearLine goes to the beginning of a terminal's line and erases it.
const clearLine = "\r\x1b[2K"

// end takes the bar off the screen: what follows says how it went.
func (m *meter) end() {
	if m.bar != nil {
		fmt.Fprint(m.w, clearLine)
	}
}

func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
