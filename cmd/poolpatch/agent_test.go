package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/xenapi"
)

// The daemon ends as it was told first, when the answer has had its time.
func TestAwaitEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		tell func(h *host)
		want error
	}{
		{"again", func(h *host) { h.Restart() }, errMoved},
		{"for good", func(h *host) { h.Stop() }, errStopped},
		{"both", func(h *host) { h.Stop(); h.Restart() }, errStopped},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := &host{ending: make(chan error, 1), log: slog.New(slog.DiscardHandler)}
			c.tell(h)
			start := time.Now()
			if got := h.awaitEnd(t.Context()); got != c.want || time.Since(start) != agentPause {
				t.Errorf("%s: %v after %v", c.name, got, time.Since(start))
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&host{ending: make(chan error, 1)}).awaitEnd(ctx); err != nil {
		t.Errorf("untold: %v", err)
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	h := &host{}
	if got := h.Certificate(); got != "" {
		t.Errorf("without HTTPS: %q", got)
	}
	h.certificate = &x509.Certificate{Raw: []byte("der")}
	if block, rest := pem.Decode([]byte(h.Certificate())); block == nil || block.Type != "CERTIFICATE" || string(block.Bytes) != "der" || len(rest) > 0 {
		t.Errorf("got %q", h.Certificate())
	}
}

// A certificate that the administrator keeps in files of their own stays.
func TestOwnCertificate(t *testing.T) {
	t.Parallel()
	h := &host{ownCertificate: true}
	for _, err := range []error{h.ReplaceCertificate("C", "K", ""), h.ResetCertificate()} {
		if xenapi.CodeOf(err) != xenapi.CodeOperationNotAllowed {
			t.Errorf("got %v", err)
		}
	}
	h = &host{paths: pathsBelow(t.TempDir())}
	if err := h.ReplaceCertificate("", "", ""); xenapi.CodeOf(err) != xenapi.CodeServerCertificateInvalid {
		t.Errorf("no certificate at all: %v", err)
	}
	if err := h.ResetCertificate(); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
}
