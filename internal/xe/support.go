package xe

import (
	"context"

	"poolpatch/internal/thincli"
)

// download has the client fetch a part of a host's status report into the file that a parameter names.
func (r *run) download(ctx context.Context, file, entries, output string, besides ...string) error {
	return r.eachHost(ctx, func(host string) error {
		query := []pair{{"host", host}, {"entries", entries}, {"output", output}}
		_, err := r.transfer(ctx, "Status report", thincli.Message{Tag: thincli.HTTPGet, Text: r.text(file, ""), Path: "/system_status"}, query)
		return err
	}, append(besides, file)...)
}

func hostStatus(ctx context.Context, r *run) error {
	return r.download(ctx, "filename", r.text("entries", ""), r.text("output", ""), "entries", "output")
}

func hostLogs(ctx context.Context, r *run) error {
	return r.download(ctx, "file-name", "xenserver-logs,system-logs", "tar.gz")
}

func hostReportUpload(ctx context.Context, r *run) error {
	options := map[string]string{}
	if proxy, given := r.lookup("http-proxy"); given {
		options["http_proxy"] = proxy
	}
	return r.eachHost(ctx, func(host string) error {
		_, err := r.call(ctx, "host.bugreport_upload", host, r.text("url", ""), options)
		return err
	}, "url", "http-proxy")
}

func hostSetPowerOnMode(ctx context.Context, r *run) error {
	config, besides := r.entries("power-on-config"), []string{"power-on-mode"}
	for _, p := range r.pairs {
		if _, ok := entryOf("power-on-config", p.key); ok {
			besides = append(besides, p.key)
		}
	}
	return r.eachHost(ctx, func(host string) error {
		_, err := r.call(ctx, "host.set_power_on_mode", host, r.text("power-on-mode", ""), config)
		return err
	}, besides...)
}

func poolTestPost(ctx context.Context, r *run) error {
	port, err := parseSize("dest-port", r.text("dest-port", ""))
	if err != nil {
		return err
	}
	answer, err := r.ask(ctx, "pool.send_test_post", r.text("dest-host", ""), port, r.text("body", ""))
	if err != nil {
		return err
	}
	return r.out.line(answer)
}
