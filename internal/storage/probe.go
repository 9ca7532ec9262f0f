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

// Probe says, as XML in the form that XenAPI's drivers print, which SR is at a place. Errors: those of Find.
func (s *Service) Probe(ctx context.Context, srType string, deviceConfig map[string]string) (string, error) {
	uuid, err := s.Find(ctx, srType, deviceConfig)
	if err != nil {
		return "", err
	}
	var found probed
	if uuid != "" {
		found.SRs = append(found.SRs, probedSR{uuid})
	}
	text, err := xml.Marshal(found)
	return string(text), err
}

// Find gives the UUID of the SR that is at a place, "" where there is none. Errors: SR_UNKNOWN_DRIVER,
// UNIMPLEMENTED_IN_SM_BACKEND.
func (s *Service) Find(ctx context.Context, srType string, deviceConfig map[string]string) (uuid string, err error) {
	driver, err := s.driver(strings.ToLower(srType))
	if err != nil {
		return "", err
	}
	prober, ok := driver.(Prober)
	if !ok {
		return "", xenapi.ErrUnimplementedInSMBackend("the driver cannot probe")
	}
	ctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	if uuid, err = prober.Probe(ctx, deviceConfig); err != nil {
		return "", fmt.Errorf("probe for an SR of type %s: %w", srType, err)
	}
	return uuid, nil
}
