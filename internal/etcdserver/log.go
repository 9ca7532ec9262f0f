package etcdserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger makes the logger that etcd wants of ours. Warnings and worse pass. What etcd calls fatal is
// reported to died and ends the goroutine instead of the process.
func newLogger(to *slog.Logger, died *death) *zap.Logger {
	if to == nil {
		to = slog.Default()
	}
	return zap.New(bridge{to: to.With("component", "etcd"), died: died}, zap.WithFatalHook(fatalHook{died}))
}

// bridge is a zapcore.Core that writes to a slog.Logger.
type bridge struct {
	to     *slog.Logger
	died   *death
	fields []zapcore.Field
}

// idle are warnings about settings that mean nothing here, where nothing listens, and about refusals that the
// asker waits out.
var idle = []string{
	"Running http and grpc server on single port", "simple token is not cryptographically signed",
	"rejecting promote learner", "rejecting member promote request", "rejecting member add request",
	"rejecting member remove request", "failed to promote a member",
}

const (
	// stopping is the entry with which etcd says why it stops by itself. It has no other way to say it.
	stopping = "server error"
	// removal is part of the reason of a member that was removed.
	removal = "permanently removed from the cluster"
)

func (b bridge) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

func (b bridge) With(fields []zapcore.Field) zapcore.Core {
	b.fields = append(slices.Clip(b.fields), fields...)
	return b
}

func (b bridge) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !b.Enabled(e.Level) || slices.ContainsFunc(idle, func(s string) bool { return strings.HasPrefix(e.Message, s) }) {
		return ce
	}
	return ce.AddCore(e, b)
}

func (b bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if e.Message == stopping {
		b.died.report(stopError(fields))
	}
	level := slog.LevelWarn
	if e.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(slices.Clip(b.fields), fields...) {
		f.AddTo(enc)
	}
	var attrs []slog.Attr
	for key, value := range enc.Fields {
		attrs = append(attrs, slog.Any(key, value))
	}
	slices.SortFunc(attrs, func(x, y slog.Attr) int { return strings.Compare(x.Key, y.Key) })
	b.to.LogAttrs(context.Background(), level, e.Message, attrs...)
	return nil
}

func (b bridge) Sync() error { return nil }

// fatalHook runs after a fatal entry was written.
type fatalHook struct{ died *death }

func (h fatalHook) OnWrite(ce *zapcore.CheckedEntry, fields []zapcore.Field) {
	h.died.report(fatalError(ce.Message, fields))
	zapcore.WriteThenGoexit.OnWrite(ce, fields)
}

// stopError is the reason in an entry of etcd's stop.
func stopError(fields []zapcore.Field) error {
	err := fatalError(stopping, fields)
	if strings.Contains(err.Error(), removal) {
		return fmt.Errorf("%w: %w", ErrRemoved, err)
	}
	return err
}

// fatalError keeps the error that a fatal entry carries, so that callers can ask what it was.
func fatalError(message string, fields []zapcore.Field) error {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			return fmt.Errorf("etcd: %s: %w", message, err)
		}
	}
	return errors.New("etcd: " + message)
}
