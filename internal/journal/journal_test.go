package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/xenapi"
)

// The latest lines are kept, whole, and never more than there is room for.
func TestRecent(t *testing.T) {
	t.Parallel()
	var w bytes.Buffer
	j := New(&w, "one")
	log := slog.New(j.Handler(slog.LevelInfo)).With("host", "one")
	log.Debug("below the level")
	log.Info("first")
	if got := j.Recent(); got != w.String() || !strings.HasSuffix(got, "level=INFO msg=first host=one\n") || strings.Contains(got, "below") {
		t.Fatalf("kept %q, written %q", got, w.String())
	}
	long := strings.Repeat("x", 1<<10)
	for i := range 2 * keep / len(long) {
		log.Info(long, "n", i)
	}
	got := j.Recent()
	last := fmt.Sprintf("n=%d\n", 2*keep/len(long)-1)
	if len(got) > keep || len(got) < keep-2*len(long) || !strings.HasPrefix(got, "time=") || !strings.HasSuffix(got, last) {
		t.Errorf("kept %d bytes, from %.40q to %q", len(got), got, got[len(got)-20:])
	}
}

func TestDestinations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]destination{
		"":                    {},
		"log.lab":             {"udp", "log.lab:514"},
		"10.0.0.1:5140":       {"udp", "10.0.0.1:5140"},
		"tcp://log.lab:601":   {"tcp", "log.lab:601"},
		"udp://log.lab":       {"udp", "log.lab:514"},
		"[fe80::1]:514":       {"udp", "[fe80::1]:514"},
		"fe80::1":             {"udp", "[fe80::1]:514"},
		"tls://log.lab":       {},
		"log.lab:0":           {},
		"log.lab:70000":       {},
		"log lab":             {},
		"tcp://":              {},
		"http://log.lab/path": {},
	} {
		got, err := parseDestination(text)
		if got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		if refused := xenapi.CodeOf(err) == xenapi.CodeInvalidValue; refused != (want == destination{} && text != "") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// server is one of syslog in a bubble: it is connected to by dial.
type server struct {
	dialed chan net.Conn
	down   atomic.Bool
	tries  atomic.Int64
}

func (s *server) dial(_ context.Context, network, address string) (net.Conn, error) {
	s.tries.Add(1)
	if s.down.Load() {
		return nil, errors.New("no way to " + network + " " + address)
	}
	here, there := net.Pipe()
	s.dialed <- there
	return late{here}, nil
}

// late is a connection that takes a line after its other end was closed, as one of TCP does.
type late struct{ net.Conn }

func (l late) SetWriteDeadline(at time.Time) error {
	_ = l.Conn.SetWriteDeadline(at)
	return nil
}

func (l late) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	if err == io.ErrClosedPipe {
		return len(p), nil
	}
	return n, err
}

// frame reads one message with its length before it.
func frame(t *testing.T, conn net.Conn) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(time.Hour))
	n, digit := 0, make([]byte, 1)
	for {
		if _, err := io.ReadFull(conn, digit); err != nil {
			t.Error(err)
			return ""
		}
		if digit[0] == ' ' {
			break
		}
		n = 10*n + int(digit[0]-'0')
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(conn, text); err != nil {
		t.Error(err)
	}
	return string(text)
}

// begin is a journal that goes to the server, and its logger.
func begin(t *testing.T) (*server, *Journal, *slog.Logger) {
	s := &server{dialed: make(chan net.Conn, 10)}
	j := New(io.Discard, "one.lab")
	j.syslog.dial = s.dial
	t.Cleanup(j.Deliver())
	if err := j.Forward("tcp://log.lab:601"); err != nil {
		t.Fatal(err)
	}
	return s, j, slog.New(j.Handler(slog.LevelDebug))
}

var form = regexp.MustCompile(`^<(\d+)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z one\.lab poolpatch \d+ - - time=\S+ level=\w+ msg=(.*)$`)

// A line goes out as RFC 5424 has it, with its severity.
func TestALineAsSyslogHasIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, log := begin(t)
		log.Info("first")
		conn := <-s.dialed
		frame(t, conn)
		for level, priority := range map[slog.Level]string{slog.LevelDebug: "31", slog.LevelInfo: "30", slog.LevelWarn: "28", slog.LevelError: "27"} {
			log.Log(t.Context(), level, "said", "what", "a b")
			if m := form.FindStringSubmatch(frame(t, conn)); m == nil || m[1] != priority || m[2] != `said what="a b"` {
				t.Errorf("%v: %q", level, m)
			}
		}
	})
	long := entry{time.Now(), slog.LevelInfo, []byte(strings.Repeat("é", maxMessage) + "\n")}
	if got := newSender("").frame(destination{network: "udp"}, long); len(got) > maxMessage || len(got) < maxMessage-1 || got[0] != '<' || !strings.Contains(string(got), "Z - poolpatch ") {
		t.Errorf("over UDP a long line is %d bytes: %.60s", len(got), got)
	}
}

// Nobody waits for a server that is away. What it could not get is counted, and told when it is back.
func TestAServerThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, log := begin(t)
		s.down.Store(true)
		log.Info("in flight")
		synctest.Wait()
		for i := range queueLength + 7 {
			log.Info("later", "n", i)
		}
		time.Sleep(time.Hour)
		if n := s.tries.Load(); n < 10 || n > 70 {
			t.Errorf("%d attempts in an hour", n)
		}
		s.down.Store(false)
		conn := <-s.dialed
		for _, want := range []string{"lines=7", "msg=\"in flight\"", "msg=later n=0"} {
			if got := frame(t, conn); !strings.HasSuffix(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		}
		conn.Close()
	})
}

// A connection that the server closes is made anew, and a line is not lost with it; another server gets what comes after it is named.
func TestConnectionsThatEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, j, log := begin(t)
		log.Info("one")
		conn := <-s.dialed
		frame(t, conn)
		conn.Close()
		synctest.Wait()
		log.Info("two")
		conn = <-s.dialed
		if got := frame(t, conn); !strings.HasSuffix(got, "msg=two") {
			t.Errorf("after the connection was lost: %q", got)
		}
		if err := j.Forward("tcp://other.lab"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the old connection: %v", err)
		}
		log.Info("three")
		if got := frame(t, <-s.dialed); !strings.HasSuffix(got, "msg=three") {
			t.Errorf("to another server: %q", got)
		}
		if err := j.Forward(""); err != nil {
			t.Fatal(err)
		}
		log.Info("four")
		time.Sleep(time.Hour)
		if len(s.dialed) != 0 || len(j.syslog.queue) != 0 {
			t.Error("a line goes to no server")
		}
	})
}

// A daemon that ends sends what it has said, and waits for that only so long.
func TestLastLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, taken := range []bool{true, false} {
			s := &server{dialed: make(chan net.Conn, 1)}
			j := New(io.Discard, "one.lab")
			j.syslog.dial = s.dial
			stop := j.Deliver()
			_ = j.Forward("tcp://log.lab:601")
			slog.New(j.Handler(slog.LevelInfo)).Info("stopped")
			heard := make(chan string, 1)
			if taken {
				go func() { heard <- frame(t, <-s.dialed) }()
			}
			began := time.Now()
			stop()
			if took := time.Since(began); taken != (took == 0) || took > flushTimeout {
				t.Errorf("taken %v: it ended after %v", taken, took)
			}
			if taken && !strings.HasSuffix(<-heard, "msg=stopped") {
				t.Error("the last line did not come")
			}
		}
	})
}
