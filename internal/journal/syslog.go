package journal

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"poolpatch/xenapi"
)

const (
	// queueLength is how many lines wait for a server that takes none.
	queueLength = 4096
	// maxMessage bounds a line on its way to a server, in bytes: more than servers take by default.
	maxMessage = 8 << 10
	// dialTimeout bounds the way to a server, its name's resolution included.
	dialTimeout = 10 * time.Second
	// sendTimeout bounds the wait for a server to take one line.
	sendTimeout = 10 * time.Second
	// firstPause and lastPause bound the time between two attempts to reach a server; it doubles.
	firstPause = time.Second
	lastPause  = time.Minute
	// flushTimeout is how long a daemon that ends waits for its last lines to go out.
	flushTimeout = 2 * time.Second
	// syslogPort is where servers listen (RFC 5426).
	syslogPort = "514"
	// daemonFacility is syslog's facility of daemons (RFC 5424, section 6.2.1).
	daemonFacility = 3
)

// entry is a line on its way to a server.
type entry struct {
	at    time.Time
	level slog.Level
	line  []byte
}

// destination is a server of syslog.
type destination struct{ network, address string }

// sender takes lines to a server. Nobody waits for it.
type sender struct {
	hostname string
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	queue    chan entry
	ending   chan struct{}

	mu      sync.Mutex
	to      destination   // zero: none
	changed chan struct{} // closed when to is another
	dropped int           // lines since the last that was sent
}

func newSender(hostname string) *sender {
	return &sender{
		hostname: cmp.Or(hostname, "-"), dial: (&net.Dialer{}).DialContext, queue: make(chan entry, queueLength),
		ending: make(chan struct{}), changed: make(chan struct{}),
	}
}

// Deliver takes the log to the server that Forward names, until the function that it gives is called, which waits a moment for the last
// lines to go out.
func (j *Journal) Deliver() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { j.syslog.run(ctx) })
	return func() {
		t := time.AfterFunc(flushTimeout, cancel)
		defer t.Stop()
		close(j.syslog.ending)
		work.Wait()
		cancel() // where all went out before the time was over
	}
}

// Forward names the server of syslog that lines go to from now on: HOST or HOST:PORT over UDP, tcp://HOST:PORT over TCP, "" none.
// Errors: INVALID_VALUE.
func (j *Journal) Forward(text string) error {
	to, err := parseDestination(text)
	if err != nil {
		return err
	}
	j.syslog.redirect(to)
	return nil
}

// hostName is what a server may be called by, where it is no address.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$`)

func parseDestination(text string) (destination, error) {
	if text == "" {
		return destination{}, nil
	}
	to, rest := destination{network: "udp"}, text
	if scheme, after, ok := strings.Cut(text, "://"); ok {
		to.network, rest = scheme, after
	}
	host, port := rest, syslogPort
	if h, p, err := net.SplitHostPort(rest); err == nil {
		host, port = h, p
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if to.network != "udp" && to.network != "tcp" || err != nil || n == 0 || !hostName.MatchString(host) && net.ParseIP(host) == nil {
		return destination{}, xenapi.ErrInvalidValue("logging:syslog_destination", text)
	}
	to.address = net.JoinHostPort(host, port)
	return to, nil
}

func (s *sender) redirect(to destination) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to == to {
		return
	}
	s.to, s.dropped = to, 0
	close(s.changed)
	s.changed = make(chan struct{})
}

// target is where lines go, and what is closed when that is another server.
func (s *sender) target() (destination, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to, s.changed
}

// take queues a line if there is a server, or counts it as dropped.
func (s *sender) take(e entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to == (destination{}) {
		return
	}
	select {
	case s.queue <- e:
	default:
		s.dropped++
	}
}

// run sends lines to one server after another, until ctx ends or there is nothing left to send at the end.
func (s *sender) run(ctx context.Context) {
	for {
		to, changed := s.target()
		serving, cancel := context.WithCancel(ctx)
		stop := make(chan struct{})
		var watch sync.WaitGroup
		watch.Go(func() {
			select {
			case <-changed:
				cancel()
			case <-stop:
			}
		})
		done := s.serve(serving, to)
		close(stop)
		cancel()
		watch.Wait()
		if done || ctx.Err() != nil {
			return
		}
	}
}

// serve sends lines to a server until ctx ends, and connects again whenever the connection is lost. It reports whether the daemon ends,
// and all is sent.
func (s *sender) serve(ctx context.Context, to destination) (done bool) {
	if to == (destination{}) {
		select {
		case <-s.ending:
			return true
		case <-ctx.Done():
			return false
		}
	}
	var c connection
	defer c.close()
	for {
		e, ok := s.next(ctx)
		if !ok {
			return ctx.Err() == nil
		}
		for pause := firstPause; s.send(ctx, &c, to, e) != nil; pause = min(2*pause, lastPause) {
			c.close()
			if !s.rest(ctx, pause) {
				return ctx.Err() == nil
			}
		}
	}
}

// next is the line to send next; none when ctx ends, or the daemon does and the queue is empty.
func (s *sender) next(ctx context.Context) (entry, bool) {
	select {
	case e := <-s.queue:
		return e, true
	default:
	}
	select {
	case e := <-s.queue:
		return e, true
	case <-s.ending:
		return entry{}, false
	case <-ctx.Done():
		return entry{}, false
	}
}

// rest waits for the next attempt. A daemon that ends makes none.
func (s *sender) rest(ctx context.Context, pause time.Duration) bool {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ending:
	case <-ctx.Done():
	}
	return false
}

// connection is the one to a server, if there is one now.
type connection struct {
	net.Conn
	gone chan struct{} // closed when the server has closed its end, which a write would learn one line too late
}

func (c *connection) open(conn net.Conn) {
	c.Conn, c.gone = conn, make(chan struct{})
	go func(gone chan<- struct{}) {
		defer close(gone)
		_, _ = io.Copy(io.Discard, conn) // until the server, or close, ends it
	}(c.gone)
}

func (c *connection) close() {
	if c.Conn == nil {
		return
	}
	c.Conn.Close()
	<-c.gone
	c.Conn = nil
}

func (c *connection) write(frame []byte) error {
	select {
	case <-c.gone:
		return net.ErrClosed
	default:
	}
	if err := c.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err := c.Write(frame)
	return err
}

// send sends a line, and before it how many were dropped. A line that fails half way is sent again on the next connection: a server may
// get a piece of it, and then all.
func (s *sender) send(ctx context.Context, c *connection, to destination, e entry) error {
	if c.Conn == nil {
		dialing, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := s.dial(dialing, to.network, to.address)
		if err != nil {
			return err
		}
		c.open(conn)
	}
	defer context.AfterFunc(ctx, func() { c.Conn.Close() })()
	if n := s.lost(); n > 0 {
		line := fmt.Appendf(nil, "level=WARN msg=\"lines of the log were dropped: the syslog server did not take them\" lines=%d", n)
		if err := c.write(s.frame(to, entry{time.Now(), slog.LevelWarn, line})); err != nil {
			return err
		}
		s.told(n)
	}
	return c.write(s.frame(to, e))
}

func (s *sender) lost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

func (s *sender) told(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = max(0, s.dropped-n)
}

// frame is a line as the server reads it (RFC 5424); over TCP its length stands before it (RFC 6587, section 3.4.1).
func (s *sender) frame(to destination, e entry) []byte {
	text := bytes.TrimSuffix(e.line, []byte("\n"))
	message := fmt.Appendf(nil, "<%d>1 %s %s poolpatch %d - - ", daemonFacility*8+severity(e.level), e.at.UTC().Format("2006-01-02T15:04:05.000000Z"), s.hostname, os.Getpid())
	message = append(message, bytes.ToValidUTF8(text[:min(len(text), maxMessage-len(message))], nil)...)
	if to.network != "tcp" {
		return message
	}
	return append(fmt.Appendf(nil, "%d ", len(message)), message...)
}

// severity is a level as syslog counts (RFC 5424, section 6.2.1).
func severity(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}
