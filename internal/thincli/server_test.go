package thincli

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// meet begins a conversation with a client of a version; client plays it and is waited for.
func meet(t *testing.T, v Version, client func(conn net.Conn)) *Server {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := ReadPreamble(there); err != nil {
			t.Errorf("the server's greeting: %v", err)
		}
		_, _ = there.Write(Preamble(v))
		client(there)
	}()
	t.Cleanup(func() { here.Close(); there.Close(); <-done })
	s, err := Accept(here, here)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func say(conn io.Writer, messages ...Message) {
	for _, m := range messages {
		_, _ = conn.Write(Append(nil, m))
	}
}

// hear passes over what the server says, up to a tag.
func hear(t *testing.T, conn io.Reader, tag Tag) Message {
	for {
		m, err := Read(conn, 1<<16)
		if err != nil {
			t.Errorf("waiting for %v: %v", tag, err)
			return m
		}
		if m.Tag == tag {
			return m
		}
	}
}

func TestAConversation(t *testing.T) {
	t.Parallel()
	exited := make(chan Message, 1)
	s := meet(t, Spoken, func(conn net.Conn) {
		hear(t, conn, Load)
		say(conn, Message{Tag: OK}, Message{Tag: Chunk, N: 3})
		_, _ = io.WriteString(conn, "abc")
		say(conn, Message{Tag: Chunk, N: 2})
		_, _ = io.WriteString(conn, "de")
		say(conn, Message{Tag: End})
		hear(t, conn, Load)
		say(conn, Message{Tag: Failed})
		hear(t, conn, Prompt)
		say(conn, Message{Tag: Chunk, N: 3})
		_, _ = io.WriteString(conn, "yes")
		say(conn, Message{Tag: End})
		hear(t, conn, HTTPPut)
		say(conn, Message{Tag: Wait}, Message{Tag: Wait}, Message{Tag: OK})
		hear(t, conn, HTTPGet)
		say(conn, Message{Tag: Failed})
		exited <- hear(t, conn, Exit)
	})
	if content, err := s.Load("f", 5); string(content) != "abcde" || err != nil {
		t.Errorf("load: %q %v", content, err)
	}
	if _, err := s.Load("f", 5); !errors.Is(err, ErrRefused) {
		t.Errorf("a file that there is not: %v", err)
	}
	if line, err := s.Prompt(); line != "yes" || err != nil {
		t.Errorf("prompt: %q %v", line, err)
	}
	for _, m := range []struct {
		tag  Tag
		want error
	}{{HTTPPut, nil}, {HTTPGet, ErrRefused}} {
		if err := errors.Join(s.Send(Message{Tag: m.tag, Text: "f", Path: "/"}), s.Flush()); err != nil {
			t.Error(err)
		}
		if err := s.Answer(); !errors.Is(err, m.want) {
			t.Errorf("%v: %v", m.tag, err)
		}
	}
	if err := s.Exit(3); err != nil {
		t.Error(err)
	}
	if m := <-exited; m.N != 3 {
		t.Errorf("exit %d", m.N)
	}
}

// What a client claims to send, or sends in the wrong place, is an error and not memory.
func TestAClientThatLies(t *testing.T) {
	t.Parallel()
	ok := Append(nil, Message{Tag: OK})
	for what, said := range map[string][]byte{
		"a huge chunk":          slices.Concat(ok, Append(nil, Message{Tag: Chunk, N: 1 << 30})),
		"a negative chunk":      slices.Concat(ok, Append(nil, Message{Tag: Chunk, N: -1})),
		"many chunks":           slices.Concat(ok, bytes.Repeat(slices.Concat(Append(nil, Message{Tag: Chunk, N: 4}), []byte("four")), 3)),
		"an answer in a blob":   slices.Concat(ok, ok),
		"no answer":             Append(nil, Message{Tag: End}),
		"a long message":        {0xff, 0xff, 0, 0},
		"the end within a blob": slices.Concat(ok, Append(nil, Message{Tag: Chunk, N: 4}), []byte("tw")),
		"the end":               nil,
	} {
		s := meet(t, Spoken, func(conn net.Conn) {
			hear(t, conn, Load)
			_, _ = conn.Write(said)
			conn.Close()
		})
		if content, err := s.Load("f", 10); err == nil {
			t.Errorf("%s: %q", what, content)
		}
	}
}

// Silence ends: at once for who does not greet, after three missed beats in a transfer, after a day for who has no beats.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		go io.Copy(io.Discard, there)
		start := time.Now()
		if _, err := Accept(here, here); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != greetingTimeout {
			t.Errorf("no greeting: %v after %v", err, time.Since(start))
		}
		there.Close()
	})
	for _, c := range []struct {
		version Version
		beats   int
		want    time.Duration
	}{
		{Version{0, 2}, 0, silence},
		{Version{0, 2}, 3, 3*5*time.Minute + silence},
		{Version{0, 1}, 0, oldSilence},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := meet(t, c.version, func(conn net.Conn) {
				for range c.beats {
					time.Sleep(5 * time.Minute)
					say(conn, Message{Tag: Wait})
				}
			})
			start := time.Now()
			if err := s.Answer(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != c.want {
				t.Errorf("%v, %d beats: %v after %v, want %v", c.version, c.beats, err, time.Since(start), c.want)
			}
		})
	}
}

// A client that does not read is given up.
func TestAClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := meet(t, Spoken, func(net.Conn) {})
		start := time.Now()
		err := errors.Join(s.Send(Message{Tag: Print, Text: strings.Repeat("x", 1<<20)}), s.Flush())
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != writeTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := meet(t, Spoken, func(net.Conn) {})
		answered := make(chan error, 1)
		go func() { answered <- s.Answer() }()
		synctest.Wait()
		start := time.Now()
		s.Interrupt()
		if err := <-answered; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the wait that was: %v", err)
		}
		s.Gone() // returns at once
		if time.Since(start) != 0 {
			t.Errorf("waiting went on for %v", time.Since(start))
		}
	})
}
