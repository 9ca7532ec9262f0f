package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

const (
	// maxReply bounds an answer, in bytes: the records of a large pool are far from it.
	maxReply = 64 << 20
	// attempts is how often a message that only reads is sent when connections break.
	attempts = 3
	// attemptPause lies before the second attempt; it doubles.
	attemptPause = 100 * time.Millisecond
)

// Call sends a message and decodes its result: a string, int64, float64, bool, time, reference, slice, map or
// record of package xenapi, whose enums are empty where this version does not know the word. The session is
// not among args. Errors: those of the message.
func Call[T any](ctx context.Context, c *Client, message string, args ...any) (T, error) {
	var result T
	reply, err := c.call(ctx, message, args)
	if err != nil {
		return result, err
	}
	if err := known(reply.value, reflect.TypeFor[T]()).Decode(&result); err != nil {
		return result, fmt.Errorf("result of %s: %w", message, err)
	}
	return result, nil
}

// Do sends a message whose result does not matter.
func (c *Client) Do(ctx context.Context, message string, args ...any) error {
	_, err := c.call(ctx, message, args)
	return err
}

// Raw sends a message and gives its result as it came over the wire.
func (c *Client) Raw(ctx context.Context, message string, args ...any) (json.RawMessage, error) {
	reply, err := c.call(ctx, message, args)
	if err != nil {
		return nil, err
	}
	var envelope struct{ Result json.RawMessage }
	if err := json.Unmarshal(reply.body, &envelope); err != nil {
		return nil, fmt.Errorf("result of %s: %w", message, err)
	}
	return envelope.Result, nil
}

// call sends a message in the session. When that has ended, it is sent again in a new one: the pool looks at
// the session before it does anything.
func (c *Client) call(ctx context.Context, message string, args []any) (reply, error) {
	if strings.HasPrefix(message, "system.") {
		return c.repeat(ctx, message, args)
	}
	session := c.Session()
	r, err := c.repeat(ctx, message, append([]any{session}, args...))
	if e, ok := errors.AsType[*xenapi.Error](err); !ok || e.Code != xenapi.CodeSessionInvalid {
		return r, err
	}
	if err := c.replace(ctx, session); err != nil {
		return reply{}, err
	}
	return c.repeat(ctx, message, append([]any{c.Session()}, args...))
}

// repeat sends a message that only reads again when no answer came.
func (c *Client) repeat(ctx context.Context, message string, params []any) (r reply, err error) {
	pause := attemptPause
	for n := 1; ; n++ {
		r, err = c.send(ctx, message, params)
		broken, ok := errors.AsType[*ConnectionError](err)
		if !ok || n == attempts || !reads(message) || ctx.Err() != nil {
			return r, err
		}
		if sleep(ctx, pause) != nil {
			return r, broken
		}
		pause *= 2
	}
}

// reads reports whether a message can be sent twice without doing anything twice.
func reads(message string) bool {
	class, name, _ := strings.Cut(message, ".")
	return class == "system" || class != "Async" && (strings.HasPrefix(name, "get_") || name == "list_methods")
}

// ConnectionError is a connection that could not be made, or that broke before the answer was there.
type ConnectionError struct {
	Message string // what was called
	Err     error
}

func (e *ConnectionError) Error() string { return "call " + e.Message + ": " + e.Err.Error() }
func (e *ConnectionError) Unwrap() error { return e.Err }

// reply is the answer to a call.
type reply struct {
	body  []byte
	value rpc.Value
}

// send is one request and its answer.
func (c *Client) send(ctx context.Context, message string, params []any) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.CallTimeout)
	defer cancel()
	status, body, err := c.post(ctx, rpc.EncodeRequest(message, params))
	switch {
	case err != nil:
		return reply{}, &ConnectionError{message, withoutURL(err)}
	case status != http.StatusOK:
		return reply{}, fmt.Errorf("call %s: %w", message, pageError(status, body))
	}
	value, refused, err := rpc.DecodeReply(body)
	switch {
	case err != nil:
		return reply{}, fmt.Errorf("call %s: %w", message, err)
	case refused != nil:
		return reply{}, refused
	}
	return reply{body, value}, nil
}

func (c *Client) post(ctx context.Context, request []byte) (status int, body []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath("jsonrpc").String(), bytes.NewReader(request))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	c.sign(r)
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxReply+1))
	if err == nil && len(body) > maxReply {
		err = fmt.Errorf("the answer is longer than %d bytes", maxReply)
	}
	return answer.StatusCode, body, err
}

// sign says who asks.
func (c *Client) sign(r *http.Request) {
	if c.options.Originator != "" {
		r.Header.Set("User-Agent", c.options.Originator)
		r.Header.Set("Originator", c.options.Originator)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
