package api

import (
	"context"
	"errors"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

const (
	// externalCheckTimeout bounds what one host takes to see whether it could read a directory: longer than it gives all of its servers.
	externalCheckTimeout = time.Minute
	// externalChecks is how many hosts look at once.
	externalChecks = 8
)

// poolEnableExternalAuth has every host that lives look first, and changes nothing until all of them could. The change is one
// transaction: a crash leaves all hosts asking the directory, or none.
func (a *API) poolEnableExternalAuth(ctx context.Context, c *call, self poolRef, config map[string]string, serviceName, authType string) error {
	var hosts []hostRef
	if err := a.view(func(tx *db.Tx) error {
		if _, err := db.Get(tx, self); err != nil {
			return err
		}
		for host := range db.All[xenapi.Host](tx) {
			if host == a.services.Host || pool.Alive(tx, host) {
				hosts = append(hosts, host)
			}
		}
		return auth.NowhereEnabled(tx)
	}); err != nil {
		return err
	}
	group, checking := errgroup.WithContext(ctx)
	group.SetLimit(externalChecks)
	for _, host := range hosts {
		group.Go(func() error {
			return ofHost(host, a.checkExternalAuthOn(checking, c, host, config, serviceName, authType))
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return a.services.Auth.EnableExternalEverywhere(ctx, config, serviceName, authType)
}

func (a *API) checkExternalAuthOn(ctx context.Context, c *call, host hostRef, config map[string]string, serviceName, authType string) error {
	ctx, cancel := context.WithTimeout(ctx, externalCheckTimeout)
	defer cancel()
	if host == a.services.Host {
		return a.services.Auth.CheckExternal(ctx, config, serviceName, authType)
	}
	return a.services.Others.CallFor(ctx, host, c.session, "", nil, "host.check_external_auth", host, config, serviceName, authType)
}

// ofHost names the host in the error of an attempt to enable external authentication there.
func ofHost(host hostRef, err error) error {
	failure, ok := errors.AsType[*xenapi.Error](err)
	switch {
	case err == nil:
		return nil
	case !ok:
		return xenapi.ErrPoolAuthEnableFailed(host, "the host did not answer").Because(err)
	case failure.Code == xenapi.CodeAuthUnknownType, failure.Code == xenapi.CodeInvalidValue:
		return err // it is of no host
	}
	message := failure.Error()
	if len(failure.Params) > 0 {
		message = failure.Params[len(failure.Params)-1]
	}
	switch failure.Code {
	case xenapi.CodeAuthEnableFailedWrongCredentials:
		return xenapi.ErrPoolAuthEnableFailedWrongCredentials(host, message)
	case xenapi.CodeAuthEnableFailedUnavailable:
		return xenapi.ErrPoolAuthEnableFailedUnavailable(host, message)
	case xenapi.CodeAuthEnableFailed:
		return xenapi.ErrPoolAuthEnableFailed(host, message)
	}
	return xenapi.ErrPoolAuthEnableFailed(host, failure.Error())
}

// hostCheckExternalAuth is hidden: a host asks the others before any of them enables external authentication.
func (a *API) hostCheckExternalAuth(ctx context.Context, _ *call, _ hostRef, config map[string]string, serviceName, authType string) error {
	return a.services.Auth.CheckExternal(ctx, config, serviceName, authType)
}

// hostEnableExternalAuth has one host ask a directory. That the others do not, pool.detect_nonhomogeneous_external_auth tells.
func (a *API) hostEnableExternalAuth(ctx context.Context, _ *call, host hostRef, config map[string]string, serviceName, authType string) error {
	if err := exists(a, host); err != nil {
		return err
	}
	if err := a.services.Auth.CheckExternal(ctx, config, serviceName, authType); err != nil {
		return err
	}
	return a.services.Auth.EnableExternal(ctx, host, config, serviceName, authType)
}

// poolDisableExternalAuth needs no configuration: no host is in a domain that it would have to leave.
func (a *API) poolDisableExternalAuth(ctx context.Context, _ *call, self poolRef, _ map[string]string) error {
	if err := exists(a, self); err != nil {
		return err
	}
	return a.services.Auth.DisableExternalEverywhere(ctx)
}

func (a *API) hostDisableExternalAuth(ctx context.Context, _ *call, host hostRef, _ map[string]string) error {
	return a.services.Auth.DisableExternal(ctx, host)
}

// poolDetectUnlikeAuth makes a message of each host that asks another directory than the coordinator.
func (a *API) poolDetectUnlikeAuth(ctx context.Context, _ *call, self poolRef) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		if _, err := db.Get(tx, self); err != nil {
			return err
		}
		return pool.TellUnlikeAuth(tx)
	})
}

// poolSetExtAuthThreads bounds how many logins ask the directory at once, on each host.
func (a *API) poolSetExtAuthThreads(ctx context.Context, _ *call, self poolRef, value int64) error {
	if value < 1 {
		return xenapi.ErrInvalidValue("value", strconv.FormatInt(value, 10))
	}
	return a.changePool(ctx, self, func(rec *xenapi.Pool) error { rec.ExtAuthMaxThreads = value; return nil })
}

func (a *API) authSubjectIdentifier(ctx context.Context, _ *call, name string) (string, error) {
	return a.services.Auth.SubjectIdentifier(ctx, name)
}

func (a *API) authSubjectInformation(ctx context.Context, _ *call, identifier string) (map[string]string, error) {
	return a.services.Auth.SubjectInformation(ctx, identifier)
}

func (a *API) authGroupMembership(ctx context.Context, _ *call, identifier string) ([]string, error) {
	return a.services.Auth.GroupMembership(ctx, identifier)
}
