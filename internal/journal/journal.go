// Package journal is the daemon's log: it goes to one writer, the latest part of it is kept in memory for who asks over the
// API, and a server of syslog gets it where the administrator names one.
//
// It is not where the log is kept for good: that is whoever supervises the daemon, or the server of syslog. Its invariant: to
// log never waits for a network. What a slow or absent server cannot take is dropped, and counted. Start with [Journal]; syslog.go
// is the way to a server.
package journal

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
)

// keep is how much of the log is kept in memory, in bytes.
const keep = 256 << 10

// Journal is the log of one daemon.
type Journal struct {
	order sync.Mutex // lines have one order everywhere
	w     io.Writer
	line  bytes.Buffer // that is being written

	mu     sync.Mutex
	recent [][]byte // whole lines, the oldest first
	size   int      // of recent, in bytes

	syslog *sender
}

// New makes a journal that writes to w, as a host of this name.
func New(w io.Writer, hostname string) *Journal {
	return &Journal{w: w, syslog: newSender(hostname)}
}

// Handler is where a logger writes what is not below a level.
func (j *Journal) Handler(level slog.Leveler) slog.Handler {
	return &handler{j, slog.NewTextHandler(&j.line, &slog.HandlerOptions{Level: level})}
}

// Recent is the latest part of the log: whole lines, the oldest first.
func (j *Journal) Recent() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(slices.Concat(j.recent...))
}

func (j *Journal) remember(line []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.recent = append(j.recent, line)
	j.size += len(line)
	drop := 0
	for ; j.size > keep && drop < len(j.recent); drop++ {
		j.size -= len(j.recent[drop])
		j.recent[drop] = nil
	}
	j.recent = j.recent[drop:]
}

// handler writes each record as one line of text.
type handler struct {
	journal *Journal
	text    slog.Handler // writes into the journal's line
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, l slog.Level) bool { return h.text.Enabled(ctx, l) }

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.journal, h.text.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.journal, h.text.WithGroup(name)}
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	j := h.journal
	j.order.Lock()
	defer j.order.Unlock()
	j.line.Reset()
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	line := bytes.Clone(j.line.Bytes())
	j.remember(line) // first: the writer may be one that nobody reads
	j.syslog.take(entry{r.Time, r.Level, line})
	_, err := j.w.Write(line)
	return err
}
