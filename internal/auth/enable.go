package auth

import (
	"context"
	"errors"

	"poolpatch/internal/db"
	"poolpatch/internal/directory"
	"poolpatch/xenapi"
)

// CheckExternal reports whether this host could let users of a directory in: it reaches the directory, and reads it. Nothing is
// changed. Errors: AUTH_UNKNOWN_TYPE, INVALID_VALUE, AUTH_ENABLE_FAILED and its kin.
func (s *Service) CheckExternal(ctx context.Context, config map[string]string, serviceName, authType string) error {
	c, err := directory.Parse(authType, serviceName, config)
	if err != nil {
		return err
	}
	err = s.options.Reach(c).Check(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, directory.ErrUser):
		return xenapi.ErrAuthEnableFailedWrongCredentials(err.Error())
	case errors.Is(err, directory.ErrUnavailable):
		return xenapi.ErrAuthEnableFailedUnavailable(err.Error())
	}
	return xenapi.ErrAuthEnableFailed(err.Error())
}

// EnableExternal has one host let users of a directory in. Errors: AUTH_ALREADY_ENABLED.
func (s *Service) EnableExternal(ctx context.Context, host xenapi.Ref[xenapi.Host], config map[string]string, serviceName, authType string) error {
	c, err := directory.Parse(authType, serviceName, config)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *db.Tx) error { return enable(tx, host, c) })
}

// EnableExternalEverywhere has all hosts of the pool do that, in one transaction: those too that do not live now, and read the
// directory once they do. Errors: POOL_AUTH_ALREADY_ENABLED.
func (s *Service) EnableExternalEverywhere(ctx context.Context, config map[string]string, serviceName, authType string) error {
	c, err := directory.Parse(authType, serviceName, config)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *db.Tx) error {
		if err := NowhereEnabled(tx); err != nil {
			return err
		}
		for host := range db.All[xenapi.Host](tx) {
			if err := enable(tx, host, c); err != nil {
				return err
			}
		}
		return nil
	})
}

// NowhereEnabled refuses a pool of which a host lets users of a directory in. Errors: POOL_AUTH_ALREADY_ENABLED.
func NowhereEnabled(tx *db.Tx) error {
	for ref, host := range db.All[xenapi.Host](tx) {
		if host.ExternalAuthType != "" {
			return xenapi.ErrPoolAuthAlreadyEnabled(ref)
		}
	}
	return nil
}

func enable(tx *db.Tx, host xenapi.Ref[xenapi.Host], c directory.Config) error {
	return db.Change(tx, host, func(rec *xenapi.Host) error {
		if rec.ExternalAuthType != "" {
			return xenapi.ErrAuthAlreadyEnabled(rec.ExternalAuthType, rec.ExternalAuthServiceName)
		}
		rec.ExternalAuthType, rec.ExternalAuthServiceName = c.Type, c.Domain
		rec.ExternalAuthConfiguration, rec.ExternalAuthPassword = c.Public(), c.Password()
		return nil
	})
}

// DisableExternal has a host let in no user of a directory, and ends the sessions that they have opened there. Subjects stay.
func (s *Service) DisableExternal(ctx context.Context, host xenapi.Ref[xenapi.Host]) error {
	return s.db.Update(ctx, func(tx *db.Tx) error { return disable(tx, host) })
}

// DisableExternalEverywhere has all hosts of the pool do that.
func (s *Service) DisableExternalEverywhere(ctx context.Context) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		for host := range db.All[xenapi.Host](tx) {
			if err := disable(tx, host); err != nil {
				return err
			}
		}
		return nil
	})
}

func disable(tx *db.Tx, host xenapi.Ref[xenapi.Host]) error {
	rec, err := db.Get(tx, host)
	if err != nil || rec.ExternalAuthType == "" {
		return err
	}
	rec.ExternalAuthType, rec.ExternalAuthServiceName = "", ""
	rec.ExternalAuthConfiguration, rec.ExternalAuthPassword = map[string]string{}, ""
	if err := db.Put(tx, host, rec); err != nil {
		return err
	}
	for ref, session := range db.All[xenapi.Session](tx) {
		if session.Kind == kindExternal && session.ThisHost == host {
			if err := db.Delete(tx, ref); err != nil {
				return err
			}
		}
	}
	return nil
}
