package xeclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"poolpatch/internal/thincli"
)

const (
	// headTimeout bounds the wait for the head of an answer.
	headTimeout = time.Minute
	// maxHead bounds the head of an answer, in bytes.
	maxHead = 64 << 10
	// maxHops is how often a transfer is sent to another host.
	maxHops = 5
	// bodyBuffer is how much of a body is moved at once.
	bodyBuffer = 1 << 20
)

// allowed refuses files that the command line does not name.
func (t *talk) allowed(name string) error {
	if t.files[name] {
		return nil
	}
	return fmt.Errorf("the server asks for the file %q, which the command line does not name", name)
}

// load sends a file within the conversation.
func (t *talk) load(name string) error {
	file, size, err := t.open(name)
	if err == nil && (size < 0 || size > math.MaxInt32) {
		file.Close()
		err = fmt.Errorf("the file %s has no size that can be sent", name)
	}
	if err != nil {
		fmt.Fprintf(t.Stderr, "%v\n", err)
		return t.say(thincli.Failed, 0)
	}
	defer file.Close()
	if err := errors.Join(t.say(thincli.OK, 0), t.say(thincli.Chunk, int32(size))); err != nil {
		return err
	}
	if _, err := io.CopyN(t.conn, file, size); err != nil {
		return fmt.Errorf("send %s: %w", name, err)
	}
	return t.say(thincli.End, 0)
}

// open opens a file that the command line names, and tells its size: -1 for what is no regular file.
func (t *talk) open(name string) (*os.File, int64, error) {
	if err := t.allowed(name); err != nil {
		return nil, 0, err
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
		file.Close()
		return nil, 0, err
	case !info.Mode().IsRegular():
		return file, -1, nil
	}
	return file, info.Size(), nil
}

// put sends a file to a path of the server. The body waits for the head of the answer, which says that it is wanted.
func (t *talk) put(ctx context.Context, name, path string) error {
	file, size, err := t.open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	var length string
	if size >= 0 {
		length = "Content-length: " + strconv.FormatInt(size, 10) + "\r\n"
	}
	conn, _, err := t.request(ctx, "PUT", path, length)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	body := io.Reader(file)
	if size >= 0 {
		body = io.LimitReader(file, size)
	}
	sent, err := io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{body}, make([]byte, bodyBuffer))
	switch {
	case err != nil:
		return fmt.Errorf("send %s: %w", name, err)
	case size >= 0 && sent < size:
		return fmt.Errorf("send %s: it ended after %d of %d bytes", name, sent, size)
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite() // a body without a length ends so
	}
	return nil
}

// get fetches a path of the server into a file that it makes; no name is stdout. Nothing is left of one that fails.
func (t *talk) get(ctx context.Context, name, path string) error {
	if err := t.allowed(name); err != nil {
		return err
	}
	if name == "" {
		return t.fetch(ctx, path, t.Stdout)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = errors.Join(t.fetch(ctx, path, file), file.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

func (t *talk) fetch(ctx context.Context, path string, w io.Writer) error {
	conn, answer, err := t.request(ctx, "GET", path, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	return answer.copy(w)
}

// answer is the head of an answer and what follows it.
type answer struct {
	status int
	line   string
	header textproto.MIMEHeader
	body   *bufio.Reader
}

// copy writes the body, up to the end of the connection or the length that was promised.
func (a answer) copy(w io.Writer) error {
	length, err := strconv.ParseInt(a.header.Get("Content-Length"), 10, 64)
	if err != nil {
		length = -1
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{a.body}, make([]byte, bodyBuffer))
	switch {
	case err != nil:
		return fmt.Errorf("receive: %w", err)
	case length >= 0 && n != length:
		return fmt.Errorf("receive: %d bytes came of %d", n, length)
	}
	return nil
}

// request sends the head of a request and follows where it is sent. The connection is as far as the answer's body.
func (t *talk) request(ctx context.Context, method, path, headers string) (net.Conn, answer, error) {
	for range maxHops {
		conn, target, err := t.dial(ctx, path)
		if err != nil {
			return nil, answer{}, err
		}
		a, err := ask(ctx, conn, method+" "+target+" HTTP/1.0\r\n"+headers+"\r\n")
		switch {
		case err != nil:
		case a.status == 200:
			return conn, a, nil
		case a.status == 302 && strings.HasPrefix(a.header.Get("Location"), "https://"):
			path = a.header.Get("Location")
			conn.Close()
			continue
		default:
			err = fmt.Errorf("the server answers %s", a.line)
		}
		conn.Close()
		return nil, answer{}, err
	}
	return nil, answer{}, fmt.Errorf("the servers send one another the transfer, %d times", maxHops)
}

// dial connects to where a path leads: to the command line's own server unless it is a URL.
func (t *talk) dial(ctx context.Context, path string) (net.Conn, string, error) {
	if !strings.HasPrefix(path, "https://") {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \r\n") {
			return nil, "", fmt.Errorf("the server names the path %q", path)
		}
		conn, err := t.Dial(ctx)
		return conn, path, err
	}
	u, err := url.Parse(path)
	if err != nil {
		return nil, "", fmt.Errorf("the server names the URL %q", path)
	}
	conn, err := t.DialOther(ctx, u.Host)
	return conn, u.RequestURI(), err
}

func ask(ctx context.Context, conn net.Conn, head string) (answer, error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(headTimeout)); err != nil {
		return answer{}, err
	}
	if _, err := io.WriteString(conn, head); err != nil {
		return answer{}, fmt.Errorf("send a request: %w", err)
	}
	limited := &io.LimitedReader{R: conn, N: maxHead}
	a := answer{body: bufio.NewReader(limited)}
	in := textproto.NewReader(a.body)
	line, err := in.ReadLine()
	if err == nil {
		a.header, err = in.ReadMIMEHeader()
	}
	if err != nil {
		return answer{}, fmt.Errorf("read an answer: %w", err)
	}
	limited.N = math.MaxInt64 // the head is over
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	if a.status, err = strconv.Atoi(code); err != nil || !strings.HasPrefix(version, "HTTP/1.") {
		return answer{}, fmt.Errorf("the server answers %.100q", line)
	}
	a.line = rest
	_ = conn.SetDeadline(time.Time{}) // of a connection that has ended meanwhile the next read says so
	return a, nil
}
