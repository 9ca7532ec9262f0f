package client

import (
	"fmt"
	"net/http"
	"net/url"
)

// movedError is a host's answer that another host of the pool has the image of a transfer.
type movedError struct{ location *url.URL }

func (e *movedError) Error() string { return "another host has the image: " + e.location.Host }

// movedBy gives the error of an answer 302. One that does not lead to HTTPS is none: the session goes along.
func movedBy(answer *http.Response) error {
	if answer.StatusCode != http.StatusFound {
		return nil
	}
	to, err := url.Parse(answer.Header.Get("Location"))
	if err != nil || to.Scheme != "https" || to.Host == "" {
		return fmt.Errorf("the host sends the transfer to %q, which is not https://HOST", answer.Header.Get("Location"))
	}
	return &movedError{to}
}

// at makes a client of the host that a transfer was sent to, for that transfer: with the same session, and as suspicious of
// certificates.
func (c *Client) at(moved *movedError) (*Client, error) {
	o := c.options
	o.Socket, o.URL = "", "https://"+moved.location.Host
	there, err := newClient(o)
	if err != nil {
		return nil, err
	}
	there.session = c.Session()
	return there, nil
}
