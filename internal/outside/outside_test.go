package outside

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"poolpatch/xenapi"
)

func plain() *tls.Config { return &tls.Config{} }

func parcel(text string) Parcel {
	return Parcel{strings.NewReader(text), int64(len(text)), "text/plain"}
}

func target(t *testing.T, address, proxy string) Target {
	t.Helper()
	to, err := ParseTarget(address, proxy)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// serve is a server that does what h says; its address.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// A parcel goes straight to its server, or by way of a proxy, with its length.
func TestPut(t *testing.T) {
	t.Parallel()
	var got []string
	take := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+r.URL.String()+" "+r.Header.Get("Content-Length")+r.Header.Get("Proxy-Authorization")+" "+string(body))
	}
	address := serve(t, take)
	if err := New(plain).Put(t.Context(), target(t, address+"/shelf?x=1", ""), parcel("report")); err != nil || got[0] != "PUT /shelf?x=1 6 report" {
		t.Errorf("straight: %q %v", got, err)
	}
	proxy, _ := url.Parse(serve(t, take))
	proxy.User = url.UserPassword("u", "p")
	if err := New(plain).Put(t.Context(), target(t, "http://nowhere.invalid/shelf", proxy.String()), parcel("report")); err != nil || got[1] != "PUT http://nowhere.invalid/shelf 6Basic dTpw report" {
		t.Errorf("by a proxy: %q %v", got, err)
	}
}

// What goes wrong is said without what is secret in the address.
func TestPutThatFails(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	stranger := httptest.NewUnstartedServer(nil)
	stranger.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	stranger.StartTLS()
	defer stranger.Close()
	moved := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	silent := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that its client goes
		<-r.Context().Done()
	})
	c := &Client{plain, 200 * time.Millisecond}
	for what, address := range map[string]string{
		xenapi.CodeSystemStatusRetrievalFailed: "http://u:s3cret@" + closed.Addr().String() + "/x?s3cret",
		xenapi.CodeSSLVerifyError:              stranger.URL + "/?s3cret",
		"moved":                                moved + "/?s3cret",
		"silent":                               silent + "/?s3cret",
	} {
		err := c.Put(t.Context(), target(t, address, ""), parcel("report"))
		code := xenapi.CodeOf(err)
		if code != what && (code != xenapi.CodeSystemStatusRetrievalFailed || len(what) > 6) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, address := range []string{"http://u:s3cret@:80/?s3cret", "ftp://u:s3cret@x/?s3cret", "http://u:s3cret@x:port/?s3cret", ""} {
		if _, err := ParseTarget(address, ""); xenapi.CodeOf(err) != xenapi.CodeInvalidValue || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", address, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("cancelled")
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	if err := New(plain).Put(ctx, target(t, silent, ""), parcel("report")); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
}

// A server that only listens for long is not silent.
func TestALongPut(t *testing.T) {
	t.Parallel()
	got := make(chan int64, 1)
	address := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got <- n
	})
	c := &Client{plain, 300 * time.Millisecond}
	piece := bytes.Repeat([]byte("x"), 8<<10)
	body := &slow{piece: piece, left: 10, pause: 60 * time.Millisecond}
	if err := c.Put(t.Context(), target(t, address, ""), Parcel{body, int64(10 * len(piece)), "text/plain"}); err != nil || <-got != int64(10*len(piece)) {
		t.Errorf("a long one: %v", err)
	}
}

// slow gives a piece now and then.
type slow struct {
	piece []byte
	left  int
	pause time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	s.left--
	<-time.After(s.pause)
	return copy(p, s.piece), nil
}

// An answer is read up to a bound.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = w.Write(bytes.Repeat([]byte("x"), int(n)*maxAnswer))
	}))
	defer s.Close()
	c := New(func() *tls.Config { return s.Client().Transport.(*http.Transport).TLSClientConfig.Clone() })
	at := s.Listener.Addr().(*net.TCPAddr)
	if text, err := c.Post(t.Context(), at.IP.String(), int64(at.Port), "1"); err != nil || len(text) != maxAnswer {
		t.Errorf("as long as may be: %d %v", len(text), err)
	}
	if _, err := c.Post(t.Context(), at.IP.String(), int64(at.Port), "12"); xenapi.CodeOf(err) != xenapi.CodeCannotContactHost {
		t.Errorf("longer: %v", err)
	}
}
