package xeclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"poolpatch/internal/thincli"
)

const (
	// beat is how often a client that is busy with a transfer says so.
	beat = 5 * time.Minute
	// maxMessage bounds what a server says at once, in bytes: the output of a patch's program is far from it.
	maxMessage = 64 << 20
)

// Client is where a command line goes, and the terminal that it has.
type Client struct {
	// Dial connects to the server that the command line is for.
	Dial func(ctx context.Context) (net.Conn, error)
	// DialOther connects over TLS to HOST[:PORT], which the server has named.
	DialOther func(ctx context.Context, address string) (net.Conn, error)

	User, Password string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run sends a command line and gives the exit code that the server says. The error says that there is none: the server
// could not be reached, or broke off.
func (c *Client) Run(ctx context.Context, words []string) (code int, err error) {
	for _, w := range words {
		if strings.ContainsAny(w, "\n\r") {
			return 0, fmt.Errorf("the word %q has more than one line, which cannot be sent", w)
		}
	}
	conn, err := c.Dial(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })() // reads and writes of the connection know no context
	t := &talk{Client: c, conn: conn, in: bufio.NewReader(conn), stdin: bufio.NewReader(c.Stdin), files: filesNamed(words)}
	code, err = t.run(ctx, append(words, "username="+c.User, "password="+c.Password))
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return code, err
}

// filesNamed are the files that a server may ask for: the values of the command line.
func filesNamed(words []string) map[string]bool {
	files := map[string]bool{}
	for _, w := range words {
		if _, value, ok := strings.Cut(w, "="); ok {
			files[value] = true
		}
	}
	return files
}

// talk is one conversation.
type talk struct {
	*Client
	conn  net.Conn
	in    *bufio.Reader
	stdin *bufio.Reader
	files map[string]bool
}

func (t *talk) run(ctx context.Context, words []string) (int, error) {
	body := strings.Join(words, "\n")
	_, err := fmt.Fprintf(t.conn, "POST /cli HTTP/1.0\r\nUser-agent: xe-cli/Unix/0.2\r\noriginator: cli\r\ncontent-length: %d\r\n\r\n%s", len(body), body)
	if err != nil {
		return 0, fmt.Errorf("send the command line: %w", err)
	}
	if _, err := thincli.ReadPreamble(t.in); err != nil {
		if foreign, ok := errors.AsType[*thincli.ForeignError](err); ok && strings.HasPrefix(string(foreign.Said), "HTTP") {
			return 0, errors.New("Server internal error") //lint:ignore ST1005 as xe says it
		}
		return 0, err
	}
	if _, err := t.conn.Write(thincli.Preamble(thincli.Spoken)); err != nil {
		return 0, err
	}
	for {
		m, err := thincli.Read(t.in, maxMessage)
		switch {
		case err == io.EOF:
			return 0, errors.New("the server ended the conversation without an exit code")
		case err != nil:
			return 0, err
		case m.Tag == thincli.Exit:
			return int(m.N), nil
		}
		if err := t.do(ctx, m); err != nil {
			return 0, err
		}
	}
}

// do what the server says.
func (t *talk) do(ctx context.Context, m thincli.Message) (err error) {
	switch m.Tag {
	case thincli.Print:
		_, err = io.WriteString(t.Stdout, m.Text+"\n")
	case thincli.PrintStderr:
		_, err = io.WriteString(t.Stderr, m.Text)
	case thincli.Error:
		_, err = fmt.Fprintf(t.Stderr, "Error code: %s\nError parameters: %s\n", m.Text, strings.Join(m.Params, ", "))
	case thincli.Debug:
	case thincli.Prompt:
		err = t.answerPrompt()
	case thincli.Load:
		err = t.load(m.Text)
	case thincli.HTTPPut:
		err = t.busy(func() error { return t.put(ctx, m.Text, m.Path) })
	case thincli.HTTPGet:
		err = t.busy(func() error { return t.get(ctx, m.Text, m.Path) })
	case thincli.HTTPConnect:
		err = t.busy(func() error { return errors.New("there is no terminal to connect") })
	default:
		err = fmt.Errorf("%w: a server does not say %v", thincli.ErrMalformed, m.Tag)
	}
	return err
}

func (t *talk) say(tag thincli.Tag, n int32) error {
	_, err := t.conn.Write(thincli.Append(nil, thincli.Message{Tag: tag, N: n}))
	return err
}

func (t *talk) answerPrompt() error {
	line, err := t.stdin.ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("read an answer: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if err := t.say(thincli.Chunk, int32(len(line))); err != nil {
		return err
	}
	if _, err := io.WriteString(t.conn, line); err != nil {
		return err
	}
	return t.say(thincli.End, 0)
}

// busy does a transfer, says meanwhile that it goes on, and answers how it went. What went wrong is told here too: the
// server knows only that it did.
func (t *talk) busy(transfer func() error) error {
	done := make(chan error, 1)
	go func() { done <- transfer() }()
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				fmt.Fprintf(t.Stderr, "%v\n", err)
				return t.say(thincli.Failed, 0)
			}
			return t.say(thincli.OK, 0)
		case <-ticker.C:
			if err := t.say(thincli.Wait, 0); err != nil {
				t.conn.Close()
				<-done
				return err
			}
		}
	}
}
