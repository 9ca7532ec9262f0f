package storage

import (
	"context"
	"io"
	"sync"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Others reaches other hosts.
type Others interface {
	// Call has another host run a message as a task. It gives the message's error, or HOST_OFFLINE.
	Call(ctx context.Context, host xenapi.Ref[xenapi.Host], t xenapi.Ref[xenapi.Task], result any, message string, params ...any) error
	// Read gets a path of another host's HTTP handlers, and its length in bytes.
	Read(ctx context.Context, host xenapi.Ref[xenapi.Host], path string) (io.ReadCloser, int64, error)
}

// plugElsewhere gives a shared SR a PBD on every other host and has them plug it. A host that cannot, or is not there,
// keeps the PBD unplugged: who wants the SR there sees why when he plugs it.
func (s *Service) plugElsewhere(ctx context.Context, t *task.Task, sr xenapi.Ref[xenapi.SR], config map[string]string) {
	var work sync.WaitGroup
	defer work.Wait()
	for _, host := range s.otherHosts() {
		pbd, err := s.CreatePBD(ctx, xenapi.PBD{Host: host, SR: sr, DeviceConfig: config})
		if err != nil {
			s.log.Warn("shared SR has no PBD on a host", "sr", sr, "host", host, "error", err)
			continue
		}
		work.Go(func() {
			if err := s.callAs(ctx, t, host, "PBD.plug", pbd); err != nil {
				s.log.Warn("shared SR not plugged on a host; plug its PBD there", "sr", sr, "host", host, "error", err)
			}
		})
	}
}

// UnplugVBDsOf has another host unplug its VBDs, and returns when this host's copy of the database shows that. Errors: those of
// VBD.unplug, HOST_OFFLINE.
func (s *Service) UnplugVBDsOf(ctx context.Context, t *task.Task, host xenapi.Ref[xenapi.Host]) error {
	var plugged map[xenapi.Ref[xenapi.VBD]]xenapi.VBD
	_ = s.view(func(tx *db.Tx) error { plugged = pluggedVBDs(tx, host); return nil })
	for ref := range plugged {
		if err := s.callAs(ctx, t, host, "VBD.unplug", ref); err != nil {
			return err
		}
	}
	return s.db.Sync(ctx)
}

// callAs has another host run a message as a subtask.
func (s *Service) callAs(ctx context.Context, t *task.Task, host xenapi.Ref[xenapi.Host], message string, params ...any) error {
	if s.others == nil {
		return xenapi.ErrHostOffline(host)
	}
	return t.Delegate(ctx, message, func(ctx context.Context, sub xenapi.Ref[xenapi.Task]) error {
		return s.others.Call(ctx, host, sub, nil, message, params...)
	})
}

func (s *Service) otherHosts() (hosts []xenapi.Ref[xenapi.Host]) {
	_ = s.view(func(tx *db.Tx) error {
		for host := range db.All[xenapi.Host](tx) {
			if host != s.host {
				hosts = append(hosts, host)
			}
		}
		return nil
	})
	return hosts
}

// seenBy lists the other hosts that have an SR plugged.
func (s *Service) seenBy(sr xenapi.Ref[xenapi.SR]) (hosts []xenapi.Ref[xenapi.Host]) {
	_ = s.view(func(tx *db.Tx) error {
		for _, ref := range db.Referrers[xenapi.PBD](tx, "SR", sr) {
			if pbd, ok := db.Lookup(tx, ref); ok && pbd.CurrentlyAttached && pbd.Host != s.host {
				hosts = append(hosts, pbd.Host)
			}
		}
		return nil
	})
	return hosts
}

// RemoveVDI is [Service.DestroyVDI] wherever the VDI is: a host that sees its SR does it.
func (s *Service) RemoveVDI(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VDI]) error {
	err := s.DestroyVDI(ctx, t, ref)
	if xenapi.CodeOf(err) != xenapi.CodeSRHasNoPBDs {
		return err
	}
	var rec xenapi.VDI
	if err := s.view(func(tx *db.Tx) (err error) { rec, err = db.Get(tx, ref); return err }); err != nil {
		return err
	}
	for _, host := range s.seenBy(rec.SR) {
		if err = s.callAs(ctx, t, host, "VDI.destroy", ref); xenapi.CodeOf(err) != xenapi.CodeHostOffline {
			return err
		}
	}
	return err
}
