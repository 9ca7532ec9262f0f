package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"poolpatch/xenapi"
)

// DownloadPatch writes the signed file of a patch to w and gives its size in bytes. Errors: UUID_INVALID,
// CANNOT_FIND_PATCH.
func (c *Client) DownloadPatch(ctx context.Context, uuid string, w io.Writer, progress Progress) (int64, error) {
	return c.get(ctx, "download of a patch", "pool_patch_download", url.Values{"uuid": {uuid}}, 0, w, progress)
}

// ExportVDI writes the bytes of a VDI from an offset on to w, and gives how many it wrote: what broke off
// is resumed at that much later an offset. Errors: HANDLE_INVALID, VDI_IN_USE.
func (c *Client) ExportVDI(ctx context.Context, vdi xenapi.Ref[xenapi.VDI], offset int64, w io.Writer, progress Progress) (int64, error) {
	return c.get(ctx, "export of a VDI", "export_raw_vdi", url.Values{"vdi": {vdi.String()}}, offset, w, progress)
}

// SystemStatus writes the status report of a host to w: its parts by their keys, parted by commas, "" for all; output is tar, tar.gz or zip.
// Errors: INVALID_VALUE, VALUE_NOT_SUPPORTED, HOST_OFFLINE.
func (c *Client) SystemStatus(ctx context.Context, host xenapi.Ref[xenapi.Host], entries, output string, w io.Writer, progress Progress) (int64, error) {
	query := url.Values{"host": {host.String()}, "entries": {entries}, "output": {output}}
	return c.get(ctx, "status report of a host", "system_status", query, 0, w, progress)
}

// get fetches from a handler under a task of its own. The progress counts from the beginning of the object.
func (c *Client) get(ctx context.Context, label, path string, query url.Values, offset int64, w io.Writer, progress Progress) (n int64, err error) {
	_, err = c.transfer(ctx, label, func(ctx context.Context, task xenapi.Ref[xenapi.Task]) error {
		query.Set("task_id", task.String())
		answer, err := c.fetch(ctx, path, query, offset)
		if moved, ok := errors.AsType[*movedError](err); ok {
			there, merr := c.at(moved)
			if merr != nil {
				return merr
			}
			defer there.http.CloseIdleConnections()
			answer, err = there.fetch(ctx, path, query, offset)
		}
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		out := &counted{w: w, at: offset, total: -1, progress: progress}
		if answer.ContentLength >= 0 {
			out.total = offset + answer.ContentLength
		}
		n, err = io.CopyBuffer(out, answer.Body, make([]byte, bodyBuffer))
		if _, local := err.(*localError); err != nil && !local {
			return &BrokenTransfer{fmt.Errorf("receive body: %w", err)}
		}
		return err
	})
	return n, err
}

func (c *Client) fetch(ctx context.Context, path string, query url.Values, offset int64) (*http.Response, error) {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	c.sign(r)
	r.Header.Set("Cookie", "session_id="+url.QueryEscape(c.Session().String()))
	expected := http.StatusOK
	if offset > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		expected = http.StatusPartialContent
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, &ConnectionError{"/" + path, withoutURL(err)}
	}
	if answer.StatusCode == expected {
		return answer, nil
	}
	defer answer.Body.Close()
	if err := movedBy(answer); err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return nil, fmt.Errorf("get /%s: the server does not resume at an offset", path)
	}
	page, _ := io.ReadAll(io.LimitReader(answer.Body, maxPage))
	return nil, pageError(answer.StatusCode, page)
}

// counted is the caller's writer. It hides every other method of it, so that the copy goes in buffers of
// which each is counted.
type counted struct {
	w         io.Writer
	at, total int64
	progress  Progress
}

func (o *counted) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	o.at += int64(n)
	if err != nil {
		return n, &localError{fmt.Errorf("write: %w", err)}
	}
	if o.progress != nil {
		o.progress(o.at, o.total)
	}
	return n, nil
}
