package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"poolpatch/xenapi"
)

const (
	// headTimeout bounds the wait for the head of an answer.
	headTimeout = time.Minute
	// endTimeout bounds the wait for the end of an answer once the body is sent; the task tells the rest.
	endTimeout = 10 * time.Second
	// bodyBuffer is how much of a body is read and sent at once.
	bodyBuffer = 1 << 20
	// maxPage bounds what is kept of an error page, in bytes.
	maxPage = 64 << 10
)

// Progress is told how far a transfer has come, in bytes. The total is -1 when it is not known.
type Progress func(done, total int64)

// UploadPatch sends a signed patch of the given size in bytes, -1 when it is not known, and gives the pool's
// record of it. Nothing is left of an upload that fails or whose ctx ends. Errors: INVALID_PATCH,
// INVALID_PATCH_WITH_LOG, PATCH_ALREADY_EXISTS, HOST_HAS_NO_PATCH_SR, OUT_OF_SPACE, SR_FULL.
func (c *Client) UploadPatch(ctx context.Context, r io.Reader, size int64, progress Progress) (xenapi.Ref[xenapi.PoolPatch], error) {
	result, err := c.put(ctx, "upload of a patch", "/pool_patch_upload", nil, r, size, progress)
	if err != nil {
		return "", err
	}
	var ref xenapi.Ref[xenapi.PoolPatch]
	err = decodeResult(result, &ref)
	return ref, err
}

// ImportVDI writes size bytes, -1 when that is not known, to the beginning of a VDI. Errors: VDI_IN_USE,
// VDI_TOO_SMALL, VDI_IO_ERROR, VDI_READONLY.
func (c *Client) ImportVDI(ctx context.Context, vdi xenapi.Ref[xenapi.VDI], r io.Reader, size int64, progress Progress) error {
	_, err := c.put(ctx, "import of a VDI", "/import_raw_vdi", url.Values{"vdi": {vdi.String()}}, r, size, progress)
	return err
}

// ImportNewVDI makes a VDI of size bytes on an SR and fills it. Nothing is left of an import that fails.
// Errors: SR_FULL, SR_HAS_NO_PBDS, VDI_IO_ERROR.
func (c *Client) ImportNewVDI(ctx context.Context, sr xenapi.Ref[xenapi.SR], r io.Reader, size int64, progress Progress) (xenapi.Ref[xenapi.VDI], error) {
	result, err := c.put(ctx, "import of a VDI", "/import_raw_vdi", url.Values{"sr_id": {sr.String()}}, r, size, progress)
	if err != nil {
		return "", err
	}
	var ref xenapi.Ref[xenapi.VDI]
	err = decodeResult(result, &ref)
	return ref, err
}

// put sends a body to a handler under a task of its own, and gives the task's result.
func (c *Client) put(ctx context.Context, label, path string, query url.Values, r io.Reader, size int64, progress Progress) (string, error) {
	return c.transfer(ctx, label, func(ctx context.Context, task xenapi.Ref[xenapi.Task]) error {
		err := c.sendBody(ctx, path, query, task, r, size, progress)
		if moved, ok := errors.AsType[*movedError](err); ok {
			there, err := c.at(moved)
			if err != nil {
				return err
			}
			return there.sendBody(ctx, path, query, task, r, size, progress)
		}
		return err
	})
}

// sendBody sends a body to this client's host.
func (c *Client) sendBody(ctx context.Context, path string, query url.Values, task xenapi.Ref[xenapi.Task], r io.Reader, size int64, progress Progress) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return &ConnectionError{path, err}
	}
	defer conn.Close()
	// Reads and writes of the connection know no context.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	p := &putting{conn: conn, in: bufio.NewReader(conn), size: size, progress: progress}
	if err := p.begin(c.putHead(path, query, task, size)); err != nil {
		return err
	}
	return p.body(ctx, r)
}

// connect makes a connection of its own for a transfer: net/http would send the body before the server has
// said that it wants it, and could not leave the length open.
func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	conn, err := c.dial(ctx, "", "")
	if err != nil || c.tls == nil {
		return conn, err
	}
	secured := tls.Client(conn, c.tls)
	shaking, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := secured.HandshakeContext(shaking); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// putHead writes the head of a request. Without a length the body ends with the connection.
func (c *Client) putHead(path string, query url.Values, task xenapi.Ref[xenapi.Task], size int64) string {
	params := url.Values{"task_id": {task.String()}}
	for name, values := range query {
		params[name] = values
	}
	var b strings.Builder
	fmt.Fprintf(&b, "PUT %s?%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", path, params.Encode(), c.base.Host)
	// In a cookie and not in the path, which servers log.
	fmt.Fprintf(&b, "Cookie: session_id=%s\r\n", url.QueryEscape(c.Session().String()))
	if size >= 0 {
		b.WriteString("Content-Length: " + strconv.FormatInt(size, 10) + "\r\n")
	}
	if name := c.options.Originator; name != "" && !strings.ContainsAny(name, "\r\n") {
		fmt.Fprintf(&b, "User-Agent: %s\r\nOriginator: %s\r\n", name, name)
	}
	b.WriteString("\r\n")
	return b.String()
}

// putting is a PUT on its connection.
type putting struct {
	conn     net.Conn
	in       *bufio.Reader
	size     int64
	progress Progress
}

// begin sends the head and waits for the server's: until then the server may refuse without a byte being
// sent for nothing.
func (p *putting) begin(head string) error {
	p.conn.SetDeadline(time.Now().Add(headTimeout))
	defer p.conn.SetDeadline(time.Time{})
	if _, err := io.WriteString(p.conn, head); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	answer, err := http.ReadResponse(p.in, &http.Request{Method: http.MethodPut})
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if answer.StatusCode == http.StatusOK {
		return nil // what follows is read as it comes, beside the sending
	}
	if err := movedBy(answer); err != nil {
		return err
	}
	page, _ := io.ReadAll(io.LimitReader(answer.Body, maxPage))
	return pageError(answer.StatusCode, page)
}

// body sends the body. It returns when the server ends its answer before, or when ctx ends, though r may be
// in a Read that does not: what that gives is not sent any more.
func (p *putting) body(ctx context.Context, r io.Reader) error {
	answered, sent := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(answered)
		io.Copy(io.Discard, p.in)
	}()
	go func() { sent <- p.copy(r) }()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-answered:
		return &BrokenTransfer{errEnded}
	case err := <-sent:
		if err != nil {
			return err
		}
	}
	p.conn.SetReadDeadline(time.Now().Add(endTimeout))
	<-answered
	return nil
}

func (p *putting) copy(r io.Reader) error {
	step := p.sender(r)
	for done := int64(0); ; {
		n, err := step(p.rest(done))
		done += n
		if n > 0 && p.progress != nil {
			p.progress(done, p.size)
		}
		switch {
		case err == io.EOF && done < p.size:
			return &localError{fmt.Errorf("read body: it ended after %d of %d bytes", done, p.size)}
		case err == io.EOF:
			return closeWrite(p.conn, p.size)
		case err != nil:
			return err
		}
	}
}

// rest is how much may be sent next, after the first done bytes.
func (p *putting) rest(done int64) int64 {
	if p.size < 0 {
		return bodyBuffer
	}
	return min(bodyBuffer, p.size-done)
}

// sender gives the function that sends at most n bytes of r, and says io.EOF when there are no more or n is 0.
func (p *putting) sender(r io.Reader) func(n int64) (int64, error) {
	if file, ok := r.(*os.File); ok {
		if plain, ok := p.conn.(*net.TCPConn); ok && regular(file) {
			return func(n int64) (int64, error) { return sendFile(plain, file, n) }
		}
	}
	buf := make([]byte, bodyBuffer)
	return func(n int64) (int64, error) {
		if n == 0 {
			return 0, io.EOF
		}
		read, err := r.Read(buf[:n])
		if _, serr := p.conn.Write(buf[:read]); serr != nil {
			return 0, &BrokenTransfer{fmt.Errorf("send body: %w", serr)}
		}
		if err != nil && err != io.EOF {
			err = &localError{fmt.Errorf("read body: %w", err)}
		}
		return int64(read), err
	}
}

func regular(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode().IsRegular()
}

// sendFile has the kernel send bytes of a file, which are not copied.
func sendFile(conn *net.TCPConn, file *os.File, n int64) (int64, error) {
	sent, err := conn.ReadFrom(io.LimitReader(file, n))
	switch {
	case err != nil:
		return sent, &BrokenTransfer{fmt.Errorf("send body: %w", err)}
	case sent == 0:
		return 0, io.EOF
	}
	return sent, nil
}

// closeWrite tells the end of a body whose length was not announced.
func closeWrite(conn net.Conn, size int64) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if size >= 0 || !ok {
		return nil
	}
	if err := half.CloseWrite(); err != nil {
		return &BrokenTransfer{fmt.Errorf("end body: %w", err)}
	}
	return nil
}
