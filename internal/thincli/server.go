package thincli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// greetingTimeout bounds the wait for a client's greeting.
	greetingTimeout = 10 * time.Second
	// writeTimeout bounds each write to a client that does not read.
	writeTimeout = time.Minute
	// loadTimeout bounds the wait for the next bytes of a file that was asked for.
	loadTimeout = time.Minute
	// promptTimeout is how long a person may think.
	promptTimeout = 10 * time.Minute
	// silence is how long a client that beats may say nothing during a transfer: it beats every five minutes.
	silence = 15 * time.Minute
	// oldSilence is that of a client that does not beat.
	oldSilence = 24 * time.Hour
	// maxAnswer is the longest payload that a client sends: a kind, a tag and a number.
	maxAnswer = 3 * intSize
	// maxLine bounds what a person answers to a prompt, in bytes.
	maxLine = 64 << 10
)

// ErrRefused says that the client answered Failed: it could not, or would not.
var ErrRefused = errors.New("the client refused")

// Server is the daemon's end of a conversation. What it writes is held back until it needs an answer, or is flushed. One
// goroutine may write while another waits for an answer.
type Server struct {
	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer
	peer Version

	mu          sync.Mutex // around the read deadline: a wait that begins must not undo an interrupt
	interrupted bool
}

// Accept greets the client and hears its greeting. in is what conn gives, with what was read ahead of it.
func Accept(conn net.Conn, in io.Reader) (*Server, error) {
	s := &Server{conn: conn, in: bufio.NewReader(in), out: bufio.NewWriter(timedWriter{conn})}
	if _, err := s.out.Write(Preamble(Spoken)); err != nil {
		return nil, err
	}
	if err := s.Flush(); err != nil {
		return nil, err
	}
	s.patience(greetingTimeout)
	var err error
	s.peer, err = ReadPreamble(s.in)
	return s, err
}

// timedWriter gives up on a client that does not read.
type timedWriter struct{ conn net.Conn }

func (w timedWriter) Write(b []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return w.conn.Write(b)
}

// Send says one message.
func (s *Server) Send(m Message) error {
	_, err := s.out.Write(Append(nil, m))
	return err
}

// Flush sends what was held back.
func (s *Server) Flush() error { return s.out.Flush() }

// Exit ends the conversation.
func (s *Server) Exit(code int) error {
	return errors.Join(s.Send(Message{Tag: Exit, N: int32(code)}), s.Flush())
}

// Load asks for a file of at most most bytes. Errors: ErrRefused, ErrTooLong.
func (s *Server) Load(name string, most int) ([]byte, error) {
	if err := errors.Join(s.Send(Message{Tag: Load, Text: name}), s.Flush()); err != nil {
		return nil, err
	}
	switch answer, err := s.read(loadTimeout); {
	case err != nil:
		return nil, err
	case answer.Tag == Failed:
		return nil, ErrRefused
	case answer.Tag != OK:
		return nil, fmt.Errorf("%w: %v in the place of an answer", ErrMalformed, answer.Tag)
	}
	return s.blob(most, loadTimeout)
}

// Prompt asks for a line, which comes without its end.
func (s *Server) Prompt() (string, error) {
	if err := errors.Join(s.Send(Message{Tag: Prompt}), s.Flush()); err != nil {
		return "", err
	}
	line, err := s.blob(maxLine, promptTimeout)
	return string(line), err
}

// blob reads chunks up to the end.
func (s *Server) blob(most int, wait time.Duration) (content []byte, err error) {
	for {
		m, err := s.read(wait)
		switch {
		case err != nil:
			return nil, err
		case m.Tag == End:
			return content, nil
		case m.Tag != Chunk || m.N < 0:
			return nil, fmt.Errorf("%w: %v within a blob", ErrMalformed, m.Tag)
		case int64(len(content))+int64(m.N) > int64(most):
			return nil, fmt.Errorf("%w: a blob of more than %d bytes", ErrTooLong, most)
		}
		s.patience(wait)
		chunk, err := io.ReadAll(io.LimitReader(s.in, int64(m.N)))
		if err == nil && len(chunk) < int(m.N) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		content = append(content, chunk...)
	}
}

// Answer waits for the client's answer to HTTPPut or HTTPGet, and passes over its beats. Errors: ErrRefused, and what the
// connection says when the client is gone or silent.
func (s *Server) Answer() error {
	wait := oldSilence
	if s.peer.beats() {
		wait = silence
	}
	for {
		switch m, err := s.read(wait); {
		case err != nil:
			return err
		case m.Tag == OK:
			return nil
		case m.Tag == Failed:
			return ErrRefused
		case m.Tag != Wait:
			return fmt.Errorf("%w: %v in the place of an answer", ErrMalformed, m.Tag)
		}
	}
}

// Gone returns when the client has hung up, or waiting was interrupted. A beat may come late, after the answer.
func (s *Server) Gone() {
	for {
		if m, err := s.read(oldSilence); err != nil || m.Tag != Wait {
			return
		}
	}
}

// Interrupt ends every wait for the client, now and from now on.
func (s *Server) Interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interrupted = true
	_ = s.conn.SetReadDeadline(time.Unix(1, 0))
}

func (s *Server) read(wait time.Duration) (Message, error) {
	s.patience(wait)
	return Read(s.in, maxAnswer)
}

func (s *Server) patience(wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.interrupted {
		_ = s.conn.SetReadDeadline(time.Now().Add(wait))
	}
}
