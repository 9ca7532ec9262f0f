package client

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"poolpatch/xenapi"
)

// StatusError is an answer of the HTTP layer that names no error of the API.
type StatusError struct {
	Code int    // of HTTP
	Text string // of the page, without its markup
}

func (e *StatusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s: %s", e.Code, http.StatusText(e.Code), e.Text))
}

var (
	headline    = regexp.MustCompile(`(?s)<head>.*?</head>|<h1>.*?</h1>`)
	markup      = regexp.MustCompile(`<[^>]*>`)
	errorOnPage = regexp.MustCompile(`^([A-Z][A-Z0-9_]+): \[ (.*?) \]`)
)

// pageError reads a server's HTML page of an error, which has the form CODE: [ p1; p2 ] when the error is
// one of the API (facts, section 1).
func pageError(status int, page []byte) error {
	text := headline.ReplaceAllString(string(page), " ")
	text = strings.TrimSpace(html.UnescapeString(markup.ReplaceAllString(text, " ")))
	if m := errorOnPage.FindStringSubmatch(text); m != nil {
		var params []string
		if m[2] != "" {
			params = strings.Split(m[2], "; ")
		}
		return xenapi.NewError(m[1], params...)
	}
	return &StatusError{status, text}
}

// withoutURL takes the URL off an error of net/http: it may hold a session.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
