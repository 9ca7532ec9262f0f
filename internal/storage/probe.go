package storage

import (
	"context"
	"encoding/xml"
	"fmt"
	"strings"

	"poolpatch/xenapi"
)

// probed is what SR.probe prints.
type probed struct {
	XMLName xml.Name   `xml:"SRlist"`
	SRs     []probedSR `xml:"SR"`
}

type probedSR struct{ UUID string }

// Probe says, as XML in the form that XenAPI's drivers print, which SR is at a place. Errors: SR_UNKNOWN_DRIVER,
// UNIMPLEMENTED_IN_SM_BACKEND.
func (s *Service) Probe(ctx context.Context, srType string, deviceConfig map[string]string) (string, error) {
	driver, err := s.driver(strings.ToLower(srType))
	if err != nil {
		return "", err
	}
	prober, ok := driver.(Prober)
	if !ok {
		return "", xenapi.ErrUnimplementedInSMBackend("the driver cannot probe")
	}
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	uuid, err := prober.Probe(dctx, deviceConfig)
	if err != nil {
		return "", fmt.Errorf("probe for an SR of type %s: %w", srType, err)
	}
	var found probed
	if uuid != "" {
		found.SRs = append(found.SRs, probedSR{uuid})
	}
	text, err := xml.Marshal(found)
	return string(text), err
}
