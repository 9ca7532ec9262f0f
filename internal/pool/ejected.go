package pool

import (
	"context"
	"net/http"
	"time"

	"poolpatch/internal/authority"
)

// MemberPath is where a host asks another whether it is of the pool still: 204 is yes, 410 no, anything else that the
// other cannot know. It is open on connections to [authority.MemberName] alone.
const MemberPath = "/pool_member"

const (
	// rollTimeout bounds the wait for the majority that vouches for an answer.
	rollTimeout = 5 * time.Second
	// askTimeout bounds one question.
	askTimeout = 10 * time.Second
	// askPause lies between two rounds of questions, and before the first: a host whose database is there soon asks nobody.
	askPause = 2 * time.Second
)

// AwaitEjection returns nil when a host of the pool says that this host is not of it any more. A host that was away when it
// was taken out learns it so: the pool's database is closed to it. others are the URLs of those that it asks. That nobody
// answers says nothing.
func AwaitEjection(ctx context.Context, keys *authority.Keyholder, others func() []string) error {
	for {
		if err := pause(ctx, askPause); err != nil {
			return err
		}
		if Ejected(ctx, keys, others()) {
			return nil
		}
	}
}

// Ejected asks hosts at their URLs, one after another, until one says that this host is not of the pool any more.
func Ejected(ctx context.Context, keys *authority.Keyholder, urls []string) bool {
	asking := &http.Client{Timeout: askTimeout, Transport: &http.Transport{
		TLSClientConfig: keys.MemberConfig(), TLSHandshakeTimeout: dialTimeout, DisableKeepAlives: true,
	}}
	for _, url := range urls {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+MemberPath, nil)
		if err != nil {
			continue
		}
		answer, err := asking.Do(request)
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusGone {
			return true
		}
	}
	return false
}
