package httpd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"poolpatch/xenapi"
)

func TestTheLongestPrefixWins(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ method, path, want string }{
		{"POST", "/", "/"}, {"POST", "/RPC2", "/"}, {"POST", "/json", "/"}, {"POST", "/any/path", "/"},
		{"POST", "/jsonrpc", "/jsonrpc"}, {"POST", "/jsonrpc/2", "/jsonrpc"}, {"POST", "/pool_patch_upload", "/"},
		{"PUT", "/pool_patch_upload", "/pool_patch_upload"}, {"PUT", "/pool_patch_upload/x", "/pool_patch_upload"}, {"PUT", "/", ""},
		{"GET", "/pool_patch_download", "/pool_patch_download"}, {"GET", "/pool_patch_upload", ""}, {"GET", "/export_raw_vdi", "/export_raw_vdi"},
		{"PUT", "/import_raw_vdi", "/import_raw_vdi"}, {"GET", "/host_rrd", "/host_rrd"}, {"GET", "/metrics", "/metrics"}, {"GET", "/check", "/check"}, {"DELETE", "/metrics", ""},
	} {
		got := ""
		if r := lookup(c.method, c.path); r != nil {
			got = r.prefix
		}
		if got != c.want {
			t.Errorf("%s %s goes to %q, want %q", c.method, c.path, got, c.want)
		}
	}
}

func TestByteRange(t *testing.T) {
	t.Parallel()
	const size, all, part, none = 1000, http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable
	for _, c := range []struct {
		header         string
		offset, length int64
		status         int
	}{
		{"", 0, size, all},
		{"bytes=0-0", 0, 1, part},
		{"bytes=0-999", 0, size, part},
		{"bytes=0-1000", 0, size, part}, // longer than there is: what there is
		{"bytes=0-9223372036854775807", 0, size, part},
		{"bytes=500-", 500, 500, part},
		{"bytes=999-", 999, 1, part},
		{"bytes=100-199", 100, 100, part},
		{"bytes=-1", 999, 1, part},
		{"bytes=-1000", 0, size, part},
		{"bytes=-5000", 0, size, part},
		{"bytes=1000-", 0, 0, none},
		{"bytes=1000-2000", 0, 0, none},
		{"bytes=-0", 0, 0, none},
		// What is no single range of bytes is ignored.
		{"bytes=9-1", 0, size, all},
		{"bytes=0-1,5-6", 0, size, all},
		{"bytes=", 0, size, all},
		{"bytes=-", 0, size, all},
		{"bytes=a-b", 0, size, all},
		{"bytes=1-b", 0, size, all},
		{"bytes=--1", 0, size, all},
		{"bytes=0-9223372036854775808", 0, size, all},
		{"items=0-1", 0, size, all},
		{"0-1", 0, size, all},
	} {
		offset, length, status := byteRange(c.header, size)
		if offset != c.offset || length != c.length || status != c.status {
			t.Errorf("%q of %d: %d+%d %d, want %d+%d %d", c.header, size, offset, length, status, c.offset, c.length, c.status)
		}
	}
	if _, length, status := byteRange("bytes=-1", 0); length != 0 || status != none {
		t.Errorf("the last byte of nothing: %d bytes, %d", length, status)
	}
}

// chunk is XenAPI's own framing of data at an offset.
func chunk(offset uint64, data string) string {
	b := binary.LittleEndian.AppendUint64(nil, offset)
	return string(binary.LittleEndian.AppendUint32(b, uint32(len(data)))) + data
}

func TestFramed(t *testing.T) {
	t.Parallel()
	end, broken := chunk(0, ""), &xenapi.Error{Code: xenapi.CodeVDIIOError}
	for _, c := range []struct {
		what, in, want string
		err            error
	}{
		{"nothing", end, "", nil},
		{"one chunk", chunk(0, "abc") + end, "abc", nil},
		{"adjacent chunks", chunk(0, "abc") + chunk(3, "de") + end, "abcde", nil},
		{"a gap before and between", chunk(2, "a") + chunk(5, "b") + end, "\x00\x00a\x00\x00b", nil},
		{"what follows the end is not read", chunk(0, "a") + end + "garbage", "a", nil},
		{"no end", chunk(0, "abc"), "abc", broken},
		{"nothing at all", "", "", broken},
		{"half a header", chunk(0, "a") + end[:7], "a", broken},
		{"data that ends early", chunk(0, "abcdef")[:15], "abc", broken},
		{"backwards", chunk(4, "a") + chunk(4, "b") + end, "\x00\x00\x00\x00a", broken},
	} {
		for name, r := range map[string]io.Reader{
			"at once": strings.NewReader(c.in), "byte by byte": iotest.OneByteReader(strings.NewReader(c.in)),
			"with the error": iotest.DataErrReader(strings.NewReader(c.in)),
		} {
			got, err := io.ReadAll(&framed{r: r})
			if string(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%s, %s: %q %v, want %q %v", c.what, name, got, err, c.want, c.err)
			}
		}
	}
}

// What breaks the connection is no end of the stream.
func TestFramedKeepsOtherErrors(t *testing.T) {
	t.Parallel()
	reset := errors.New("connection reset")
	for _, in := range []string{chunk(0, "abc")[:14], chunk(0, "abc"), chunk(0, "abc")[:5]} {
		if _, err := io.ReadAll(&framed{r: io.MultiReader(strings.NewReader(in), iotest.ErrReader(reset))}); !errors.Is(err, reset) {
			t.Errorf("after %d bytes: %v", len(in), err)
		}
	}
}

// A gap is not held in memory, however wide it is.
func TestFramedGapIsNotHeld(t *testing.T) {
	t.Parallel()
	in := &framed{r: strings.NewReader(chunk(1<<62, "x"))}
	p := bytes.Repeat([]byte{1}, 4096)
	if n, err := in.Read(p); n != len(p) || err != nil || !bytes.Equal(p, make([]byte, len(p))) {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		query   string
		cookies []string
		want    url.Values
	}{
		{"uuid=u&x=", nil, url.Values{"uuid": {"u"}, "x": {""}}},
		{"", []string{"session_id=s; task_id=t"}, url.Values{"session_id": {"s"}, "task_id": {"t"}}},
		{"", []string{"session_id=s&task_id=t"}, url.Values{"session_id": {"s"}, "task_id": {"t"}}},
		{"", []string{"session_id=OpaqueRef%3As", "task_id=a+b"}, url.Values{"session_id": {"OpaqueRef:s"}, "task_id": {"a b"}}},
		{"", []string{"session_id=100%"}, url.Values{"session_id": {"100%"}}}, // no encoding: as it is
		{"session_id=query&task_id=query", []string{"session_id=cookie; task_id=cookie"}, url.Values{"session_id": {"cookie"}, "task_id": {"query"}}},
	} {
		r := httptest.NewRequest("GET", "/?"+c.query, nil)
		for _, line := range c.cookies {
			r.Header.Add("Cookie", line)
		}
		if diff := cmp.Diff(c.want, parameters(r)); diff != "" {
			t.Errorf("%q %q (-want +got):\n%s", c.query, c.cookies, diff)
		}
	}
}

// The text of an error page: clients look for its form, and it never becomes markup.
func TestErrorPage(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	errorPage(w, xenapi.NewError("CUSTOM", "a<b>", "c"))
	const want = "<!doctype html><html><head><title>Internal Error</title></head><body><h1>Internal Error</h1><p>CUSTOM: [ a&lt;b&gt;; c ]</p></body></html>\n"
	if w.Code != http.StatusInternalServerError || w.Body.String() != want || w.Header().Get("Connection") != "close" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
