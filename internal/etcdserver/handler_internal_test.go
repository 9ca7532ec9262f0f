package etcdserver

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A member that reads no more holds a writer up for a few seconds, not until TCP gives up.
func TestWritesHaveADeadline(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		to := &writer{w, http.NewResponseController(w)}
		for {
			if _, err := to.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
			to.Flush()
		}
	}))
	defer server.Close()
	reply, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close() // it is never read
	select {
	case <-ended:
	case <-time.After(4 * writeDeadline):
		t.Error("the write waits on")
		reply.Body.Close()
	}
}
