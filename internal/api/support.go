package api

import (
	"context"
	"io"
	"maps"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/outside"
	"poolpatch/internal/report"
	"poolpatch/xenapi"
)

// Log is the daemon's.
type Log interface {
	// Recent is the latest part of it.
	Recent() string
	// Forward sends it to a server of syslog from now on, or to none. Errors: INVALID_VALUE.
	Forward(destination string) error
}

func (a *API) hostLog(context.Context, *call, hostRef) (string, error) {
	return a.services.Log.Recent(), nil
}

// hostReconfigureSyslog has what the host's record says count; a daemon that starts does the same.
func (a *API) hostReconfigureSyslog(_ context.Context, _ *call, host hostRef) error {
	var rec xenapi.Host
	if err := a.view(func(tx *db.Tx) (err error) { rec, err = db.Get(tx, host); return err }); err != nil {
		return err
	}
	return a.services.Log.Forward(rec.Logging[xenapi.SyslogDestination])
}

func (a *API) hostReportCapabilities(context.Context, *call, hostRef) (string, error) {
	return report.Capabilities(), nil
}

// made is how much of a report's upload its making is.
const made = 0.8

// hostUploadReport makes the report first: a server is told how long it is.
func (a *API) hostUploadReport(ctx context.Context, c *call, _ hostRef, address string, options map[string]string) error {
	for _, option := range slices.Sorted(maps.Keys(options)) {
		if option != outside.ProxyOption {
			return xenapi.ErrValueNotSupported("options", option, "the one option is "+outside.ProxyOption)
		}
	}
	target, err := outside.ParseTarget(address, options[outside.ProxyOption])
	if err != nil {
		return err
	}
	request, err := report.ParseRequest("", "tar.gz")
	if err != nil {
		return err
	}
	file, size, err := a.services.Reports.Spool(ctx, request, func(f float64) { c.task.Progress(ctx, made*f) })
	if err != nil {
		return err
	}
	defer file.Close()
	return a.services.Outside.Put(ctx, target, outside.Parcel{
		Body: &progressing{r: file, size: size, tell: func(f float64) { c.task.Progress(ctx, made+(1-made)*f) }}, Length: size, ContentType: request.ContentType(),
	})
}

// progressing tells how much of something is read.
type progressing struct {
	r          io.Reader
	read, size int64
	tell       func(float64)
}

func (p *progressing) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.read += int64(n)
	if n > 0 {
		p.tell(float64(p.read) / float64(p.size))
	}
	return n, err
}

func (a *API) poolTestPost(ctx context.Context, _ *call, host string, port int64, body string) (string, error) {
	return a.services.Outside.Post(ctx, host, port, body)
}

// hostRefreshPackInfo has the records follow the stamps on the host's disk, as every start does.
func (a *API) hostRefreshPackInfo(ctx context.Context, _ *call, _ hostRef) error {
	return a.services.Patches.Follow(ctx)
}
