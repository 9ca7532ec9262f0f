package xeclient

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/thincli"
)

// server is the other end of every connection that a client makes: the first is the command line's, and handle gets the
// others, with the address for which they were made.
type server struct {
	t      *testing.T
	speak  func(s *server)
	handle func(address string, conn net.Conn)

	conn    net.Conn
	in      *bufio.Reader
	request string
	ended   chan struct{}
	dials   int
}

// half is a pipe whose one direction can end, as that of a socket can.
type half struct {
	net.Conn
	out *io.PipeWriter
}

func (h half) Write(b []byte) (int, error) { return h.out.Write(b) }
func (h half) CloseWrite() error           { return h.out.Close() }
func (h half) Close() error                { return errors.Join(h.out.Close(), h.Conn.Close()) }

// fromHalf reads what the other end of a half writes.
type fromHalf struct {
	net.Conn
	in *io.PipeReader
}

func (f fromHalf) Read(b []byte) (int, error) { return f.in.Read(b) }
func (f fromHalf) Close() error               { return errors.Join(f.in.Close(), f.Conn.Close()) }

func halves() (client, server net.Conn) {
	here, there := net.Pipe()
	in, out := io.Pipe()
	return half{here, out}, fromHalf{there, in}
}

func (s *server) dial(context.Context) (net.Conn, error) {
	s.dials++
	if s.dials > 1 {
		return s.dialOther(s.t.Context(), "")
	}
	here, there := net.Pipe()
	s.conn, s.in, s.ended = there, bufio.NewReader(there), make(chan struct{})
	go func() {
		defer close(s.ended)
		defer there.Close()
		s.begin()
		s.speak(s)
	}()
	return here, nil
}

func (s *server) dialOther(_ context.Context, address string) (net.Conn, error) {
	here, there := halves()
	go func() {
		defer there.Close()
		s.handle(address, there)
	}()
	return here, nil
}

// begin reads the command line and exchanges greetings.
func (s *server) begin() {
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return
		}
		head.WriteString(line)
	}
	var n int
	_, rest, _ := strings.Cut(head.String(), "content-length: ")
	_, _ = fmt.Sscan(rest, &n)
	body := make([]byte, n)
	_, _ = io.ReadFull(s.in, body)
	s.request = head.String() + string(body)
	_, _ = s.conn.Write(thincli.Preamble(thincli.Spoken))
	_, _ = thincli.ReadPreamble(s.in)
}

func (s *server) say(m thincli.Message) { _, _ = s.conn.Write(thincli.Append(nil, m)) }

func (s *server) exit(code int32) { s.say(thincli.Message{Tag: thincli.Exit, N: code}) }

// answer is the client's next answer; how often it has said before that it goes on, too.
func (s *server) answer() (m thincli.Message, beats int) {
	for {
		m, err := thincli.Read(s.in, 100)
		if err != nil || m.Tag != thincli.Wait {
			return m, beats
		}
		beats++
	}
}

// play has a client run a command line against the server.
func (s *server) play(ctx context.Context, words ...string) (code int, stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	c := Client{Dial: s.dial, DialOther: s.dialOther, User: "root", Password: "pw", Stdin: strings.NewReader("yes\nno\n"), Stdout: &out, Stderr: &errs}
	code, err = c.Run(ctx, words)
	if s.ended != nil {
		<-s.ended
	}
	return code, out.String(), errs.String(), err
}

func TestACommandLine(t *testing.T) {
	t.Parallel()
	s := &server{t: t, speak: func(s *server) {
		s.say(thincli.Message{Tag: thincli.Print, Text: "a line"})
		s.say(thincli.Message{Tag: thincli.Debug, Text: "nothing"})
		s.say(thincli.Message{Tag: thincli.PrintStderr, Text: "no line"})
		s.say(thincli.Message{Tag: thincli.Error, Text: "CODE", Params: []string{"a", "b"}})
		s.say(thincli.Message{Tag: thincli.Prompt})
		m, err := thincli.Read(s.in, 100)
		line := make([]byte, 3)
		_, rerr := io.ReadFull(s.in, line)
		if end, _ := s.answer(); m.Tag != thincli.Chunk || m.N != 3 || string(line) != "yes" || end.Tag != thincli.End {
			s.t.Errorf("prompt: %v %q %v %v %v", m, line, end, err, rerr)
		}
		s.exit(7)
	}}
	code, stdout, stderr, err := s.play(t.Context(), "c", "k=v")
	if code != 7 || err != nil || stdout != "a line\n" || stderr != "no lineError code: CODE\nError parameters: a, b\n" {
		t.Errorf("exit %d %v, %q, %q", code, err, stdout, stderr)
	}
	const request = "POST /cli HTTP/1.0\r\nUser-agent: xe-cli/Unix/0.2\r\noriginator: cli\r\ncontent-length: 31\r\n\r\nc\nk=v\nusername=root\npassword=pw"
	if s.request != request {
		t.Errorf("the request is %q", s.request)
	}
	if _, _, _, err := s.play(t.Context(), "c\nd"); err == nil || s.dials != 1 {
		t.Errorf("two lines in a word: %v", err)
	}
}

// A server that is none, or no good one, ends the command without an exit code.
func TestServersThatAreNone(t *testing.T) {
	t.Parallel()
	for want, speak := range map[string]func(conn net.Conn){
		"Server internal error": func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 500 Internal Error\r\n\r\nand a page of it")
		},
		"does not speak xe's protocol": func(conn net.Conn) { _, _ = io.WriteString(conn, strings.Repeat("SSH-2.0 ", 10)) },
		"without an exit code":         func(conn net.Conn) { greet(conn) },
		"message too long":             func(conn net.Conn) { greet(conn); _, _ = conn.Write([]byte{0xff, 0xff, 0xff, 0x7f}) },
		"a server does not say OK": func(conn net.Conn) {
			greet(conn)
			_, _ = conn.Write(thincli.Append(nil, thincli.Message{Tag: thincli.OK}))
		},
		"malformed message: kind 0, Exit": func(conn net.Conn) { greet(conn); _, _ = conn.Write([]byte{8, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0}) },
	} {
		c := Client{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Dial: func(context.Context) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				defer there.Close()
				_, _ = there.Read(make([]byte, 4096))
				speak(there)
			}()
			return here, nil
		}}
		if _, err := c.Run(t.Context(), []string{"c"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func greet(conn net.Conn) {
	_, _ = conn.Write(thincli.Preamble(thincli.Spoken))
	_, _ = io.ReadFull(conn, make([]byte, len(thincli.Preamble(thincli.Spoken))))
}

// asked is a server that has the client move a file, and keeps its answer.
func asked(t *testing.T, m thincli.Message, handle func(address string, conn net.Conn)) (s *server, answer *thincli.Message, beats *int) {
	answer, beats = &thincli.Message{}, new(int)
	return &server{t: t, handle: handle, speak: func(s *server) {
		s.say(m)
		*answer, *beats = s.answer()
		s.exit(0)
	}}, answer, beats
}

// head reads the head of a request.
func head(conn net.Conn) string {
	var b strings.Builder
	for one := make([]byte, 1); !strings.HasSuffix(b.String(), "\r\n\r\n"); b.Write(one) {
		if _, err := conn.Read(one); err != nil {
			return b.String() + " and then " + err.Error()
		}
	}
	return b.String()
}

func reply(conn io.Writer, text string) { _, _ = io.WriteString(conn, text) }

const good = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

func TestPut(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("patch", 1<<18)
	file := filepath.Join(t.TempDir(), "p.bin")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		path    string
		answers []string // to one request after another
		want    thincli.Tag
		got     string // addresses and heads
	}{
		"well":                   {"/up?x", []string{good}, thincli.OK, " PUT /up?x"},
		"refused":                {"/up", []string{"HTTP/1.1 403 Forbidden\r\n\r\n"}, thincli.Failed, " PUT /up"},
		"sent elsewhere":         {"/up", []string{"HTTP/1.1 302 Found\r\nLocation: https://other:44/up?y\r\n\r\n", good}, thincli.OK, " PUT /up other:44 PUT /up?y"},
		"sent where all can see": {"/up", []string{"HTTP/1.1 302 Found\r\nLocation: http://other/up\r\n\r\n"}, thincli.Failed, " PUT /up"},
		"sent round and round":   {"/up", []string{"HTTP/1.1 302 Found\r\nLocation: https://h/up\r\n\r\n"}, thincli.Failed, " PUT /up h PUT /up h PUT /up h PUT /up h PUT /up"},
		"to another host":        {"https://h/up", []string{good}, thincli.OK, "h PUT /up"},
		"no HTTP":                {"/up", []string{"SSH-2.0\r\n\r\n"}, thincli.Failed, " PUT /up"},
		"a head without end":     {"/up", []string{good[:20] + strings.Repeat("x", 2*maxHead)}, thincli.Failed, " PUT /up"},
		"no path":                {"up HTTP/1.0\r\nX:", nil, thincli.Failed, ""},
	} {
		var got []string
		n := 0
		s, answer, _ := asked(t, thincli.Message{Tag: thincli.HTTPPut, Text: file, Path: c.path}, func(address string, conn net.Conn) {
			h := head(conn)
			line, _, _ := strings.Cut(h, " HTTP/1.0\r\nContent-length: 1310720\r\n\r\n")
			got = append(got, address+" "+line)
			text := c.answers[min(n, len(c.answers)-1)]
			n++
			reply(conn, text)
			if text != good {
				return
			}
			if body, err := io.ReadAll(conn); string(body) != content || err != nil {
				t.Errorf("%s: %d bytes came, %v", what, len(body), err)
			}
		})
		if _, _, _, err := s.play(t.Context(), "patch-upload", "file-name="+file); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if answer.Tag != c.want || strings.Join(got, " ") != c.got {
			t.Errorf("%s: %v, requests %q, want %v, %q", what, answer.Tag, strings.Join(got, " "), c.want, c.got)
		}
	}
}

// A pipe has no length: its end is that of the connection.
func TestPutOfAPipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() { defer w.Close(); reply(w, "from a pipe") }()
	name := fmt.Sprintf("/dev/fd/%d", r.Fd())
	s, answer, _ := asked(t, thincli.Message{Tag: thincli.HTTPPut, Text: name, Path: "/up"}, func(_ string, conn net.Conn) {
		if h := head(conn); h != "PUT /up HTTP/1.0\r\n\r\n" {
			t.Errorf("the head is %q", h)
		}
		reply(conn, good)
		if body, err := io.ReadAll(conn); string(body) != "from a pipe" || err != nil {
			t.Errorf("%q %v", body, err)
		}
	})
	if _, _, _, err := s.play(t.Context(), "c", "filename="+name); err != nil || answer.Tag != thincli.OK {
		t.Errorf("%v %v", answer.Tag, err)
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		file, answer string
		want         thincli.Tag
		content      string
		stdout       string
	}{
		"well":                 {filepath.Join(dir, "new"), good + "body", thincli.OK, "body", ""},
		"to stdout":            {"", good + "body", thincli.OK, "", "body"},
		"of the promised size": {filepath.Join(dir, "sized"), "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody", thincli.OK, "body", ""},
		"cut off":              {filepath.Join(dir, "short"), "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nbody", thincli.Failed, "", ""},
		"refused":              {filepath.Join(dir, "refused"), "HTTP/1.1 500 Internal Error\r\n\r\npage", thincli.Failed, "", ""},
		"over another file":    {there, good + "body", thincli.Failed, "mine", ""},
	} {
		s, answer, _ := asked(t, thincli.Message{Tag: thincli.HTTPGet, Text: c.file, Path: "/down"}, func(_ string, conn net.Conn) {
			if h := head(conn); h != "GET /down HTTP/1.0\r\n\r\n" {
				t.Errorf("%s: the head is %q", what, h)
			}
			reply(conn, c.answer)
		})
		_, stdout, _, err := s.play(t.Context(), "c", "filename="+c.file)
		content, _ := os.ReadFile(c.file)
		if answer.Tag != c.want || string(content) != c.content || stdout != c.stdout || err != nil {
			t.Errorf("%s: %v %v, file %q, stdout %q", what, answer.Tag, err, content, stdout)
		}
		info, err := os.Stat(c.file)
		switch {
		case c.content == "" && err == nil:
			t.Errorf("%s: a file is left", what)
		case c.content == "body" && info.Mode() != 0o600:
			t.Errorf("%s: the file is %v", what, info.Mode())
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	s := &server{t: t, speak: func(s *server) {
		s.say(thincli.Message{Tag: thincli.Load, Text: file})
		_, _ = io.CopyN(&said, s.in, int64(len(loaded("secret"))))
		s.exit(0)
	}}
	if _, _, _, err := s.play(t.Context(), "c", "device-config:x-filename="+file); err != nil || !bytes.Equal(said.Bytes(), loaded("secret")) {
		t.Errorf("%v %q", err, said.Bytes())
	}
	for _, name := range []string{filepath.Dir(file), file + "-not"} {
		s, answer, _ := asked(t, thincli.Message{Tag: thincli.Load, Text: name}, nil)
		if _, _, stderr, err := s.play(t.Context(), "c", "x="+name); answer.Tag != thincli.Failed || stderr == "" || err != nil {
			t.Errorf("%s: %v %v %q", name, answer.Tag, err, stderr)
		}
	}
}

func loaded(content string) []byte {
	b := thincli.Append(nil, thincli.Message{Tag: thincli.OK})
	b = append(thincli.Append(b, thincli.Message{Tag: thincli.Chunk, N: int32(len(content))}), content...)
	return thincli.Append(b, thincli.Message{Tag: thincli.End})
}

// A server gets no file, and writes none, that the command line does not name.
func TestFilesThatTheCommandLineDoesNotName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, fresh := filepath.Join(dir, "id"), filepath.Join(dir, "fresh")
	if err := os.WriteFile(file, []byte("private"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, m := range []thincli.Message{
		{Tag: thincli.Load, Text: file}, {Tag: thincli.HTTPPut, Text: file, Path: "/up"}, {Tag: thincli.HTTPGet, Text: fresh, Path: "/down"},
		{Tag: thincli.HTTPGet, Text: "", Path: "/down"}, {Tag: thincli.HTTPConnect, Text: "/console"},
	} {
		s, answer, _ := asked(t, m, func(string, net.Conn) { t.Errorf("%v: a connection was made", m) })
		if _, _, stderr, err := s.play(t.Context(), file, "uuid=u", file+"=x"); answer.Tag != thincli.Failed || stderr == "" || err != nil {
			t.Errorf("%v: %v %v %q", m, answer.Tag, err, stderr)
		}
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Error("a file was made")
	}
}

// During a transfer the client says every five minutes that it goes on.
func TestBeats(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	synctest.Test(t, func(t *testing.T) {
		s, answer, beats := asked(t, thincli.Message{Tag: thincli.HTTPGet, Text: file, Path: "/down"}, func(_ string, conn net.Conn) {
			_ = head(conn)
			reply(conn, good)
			time.Sleep(16 * time.Minute)
			reply(conn, "late")
		})
		if _, _, _, err := s.play(t.Context(), "c", "filename="+file); err != nil || answer.Tag != thincli.OK || *beats != 3 {
			t.Errorf("%v %v after %d beats", err, answer.Tag, *beats)
		}
	})
}

// Who interrupts a command ends it, and its transfer, at once.
func TestInterrupted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, _, _ := asked(t, thincli.Message{Tag: thincli.HTTPGet, Text: file, Path: "/down"}, func(_ string, conn net.Conn) {
			_ = head(conn)
			reply(conn, good)
			cancel()
			_, _ = io.Copy(io.Discard, conn) // until the client hangs up
		})
		start := time.Now()
		if _, _, _, err := s.play(ctx, "c", "filename="+file); !errors.Is(err, context.Canceled) || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		synctest.Wait()
		if _, err := os.Stat(file); err == nil {
			t.Error("a part of the file is left")
		}
	})
}
