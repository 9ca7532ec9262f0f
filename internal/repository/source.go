package repository

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	dialTimeout = 30 * time.Second // to a server or proxy
	tlsTimeout  = 30 * time.Second
	// defaultSilence is how long a server may say nothing before it is given up. A slow one is not.
	defaultSilence = time.Minute
	maxRedirects   = 5
	maxHeaders     = 64 << 10 // bytes of an answer's headers
)

// proxy is what stands between the pool and its repositories; the zero proxy is none.
type proxy struct{ url, user, password string }

func (p proxy) parse() (*url.URL, error) {
	if p.url == "" {
		return nil, nil
	}
	u, err := url.Parse(p.url)
	if err != nil {
		return nil, errors.New("the URL of the repository proxy is not one")
	}
	if p.user != "" {
		u.User = url.UserPassword(p.user, p.password)
	}
	return u, nil
}

// source gets files from servers. Its user closes it.
type source struct {
	client    *http.Client
	transport *http.Transport
	silence   time.Duration
}

// newSource asks nothing of the daemon's environment: which proxy is used is the pool's to say.
func newSource(config *tls.Config, via proxy, silence time.Duration) (*source, error) {
	u, err := via.parse()
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		Proxy:           http.ProxyURL(u),
		DialContext:     (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig: config, TLSHandshakeTimeout: tlsTimeout,
		ResponseHeaderTimeout:  silence,
		MaxResponseHeaderBytes: maxHeaders,
		DisableCompression:     true, // digests are of the bytes that are sent
	}
	return &source{&http.Client{Transport: t, CheckRedirect: redirected}, t, silence}, nil
}

func (s *source) close() { s.transport.CloseIdleConnections() }

// redirected follows a server elsewhere a few times, but not from https to where others can listen.
func redirected(next *http.Request, before []*http.Request) error {
	switch {
	case len(before) > maxRedirects:
		return fmt.Errorf("more than %d redirections", maxRedirects)
	case next.URL.Scheme != "https" && next.URL.Scheme != before[len(before)-1].URL.Scheme:
		return fmt.Errorf("it is redirected to %s", next.URL.Scheme)
	}
	return nil
}

// open begins to read a file of a repository. What the server or the way to it is to blame for is a fault.
func (s *source) open(ctx context.Context, base, file string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	b, err := s.get(ctx, cancel, strings.TrimSuffix(base, "/")+"/"+url.PathEscape(file))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return b, nil
}

func (s *source) get(ctx context.Context, cancel context.CancelCauseFunc, address string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fault("the address of the file is not a URL")
	}
	// Redirections, the connection and its headers each have a limit of their own; together they have this one.
	late := time.AfterFunc((maxRedirects+1)*s.silence, func() { cancel(errSilent) })
	defer late.Stop()
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, blame(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fault("the server answers " + resp.Status)
	}
	b := &answer{ctx: ctx, cancel: cancel, body: resp.Body, silence: s.silence}
	b.timer = time.AfterFunc(s.silence, func() { cancel(errSilent) })
	b.timer.Stop()
	return b, nil
}

const errSilent = fault("the server has fallen silent")

// blame makes a fault of an error of a connection, unless the caller has ended it.
func blame(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case cause == error(errSilent):
		return errSilent
	case cause != nil:
		return cause
	}
	return fault(err.Error())
}

// answer is what a server sends. Only the wait for it is timed, not what the reader does in between.
type answer struct {
	ctx     context.Context // of the request that the answer lives for
	cancel  context.CancelCauseFunc
	body    io.ReadCloser
	timer   *time.Timer
	silence time.Duration
}

func (a *answer) Read(p []byte) (int, error) {
	a.timer.Reset(a.silence)
	n, err := a.body.Read(p)
	a.timer.Stop()
	if err != nil && err != io.EOF {
		err = blame(a.ctx, err)
	}
	return n, err
}

// Close ends the request, also in the middle of the answer.
func (a *answer) Close() error {
	a.timer.Stop()
	a.cancel(nil)
	return a.body.Close()
}

// promised is a file on its way in, which is held against what the index says of it. Its end is an error where they differ,
// so whoever reads to the end has the right bytes.
type promised struct {
	r     io.Reader
	entry Entry
	hash  hash.Hash
	got   int64
	tell  func(got int64)
	fault error // the source's, once it was read
}

func newPromised(r io.Reader, e Entry, tell func(int64)) *promised {
	return &promised{r: r, entry: e, hash: sha256.New(), tell: tell}
}

func (p *promised) Read(b []byte) (int, error) {
	if p.fault != nil {
		return 0, p.fault
	}
	n, err := p.r.Read(b)
	p.hash.Write(b[:n])
	p.got += int64(n)
	p.tell(p.got)
	switch {
	case p.got > p.entry.Size:
		p.fault = fault(fmt.Sprintf("it has more than the %d bytes that the index says", p.entry.Size))
	case err == io.EOF:
		p.fault = p.end()
	case err != nil:
		p.fault = err
	}
	if p.fault != nil {
		return 0, p.fault
	}
	return n, err
}

func (p *promised) end() error {
	if p.got != p.entry.Size {
		return fault(fmt.Sprintf("it has %d bytes, the index says %d", p.got, p.entry.Size))
	}
	if sum := hex.EncodeToString(p.hash.Sum(nil)); sum != p.entry.SHA256 {
		return fault(fmt.Sprintf("its SHA-256 is %s, the index says %s", sum, p.entry.SHA256))
	}
	return nil
}
