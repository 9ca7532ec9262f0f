package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"poolpatch/internal/auth"
	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/internal/trust"
	"poolpatch/xenapi"
)

const (
	// syncTimeout is how long a host may take to see what the pool trusts.
	syncTimeout = 30 * time.Second
	// maxClientName bounds the name that certificates of clients must have: as long as a DNS name may be.
	maxClientName = 253
)

// changeTrust changes what the pool trusts, and ends in the same transaction the sessions that rested on what it was.
func (a *API) changeTrust(ctx context.Context, change func(tx *db.Tx) error) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		return a.services.Auth.EndUntrusted(tx)
	})
}

func (a *API) poolInstallCertificate(ctx context.Context, _ *call, name, cert string) error {
	return a.tellWhy(name, a.changeTrust(ctx, func(tx *db.Tx) error { return trust.Install(tx, name, cert) }))
}

// tellWhy has the log say what is wrong with a text: XenAPI's errors have no room for it.
func (a *API) tellWhy(name string, err error) error {
	switch xenapi.CodeOf(err) {
	case xenapi.CodeCertificateCorrupt, xenapi.CodeCRLCorrupt:
		a.log.Info("not installed", "name", name, "error", errors.Unwrap(err))
	}
	return err
}

func (a *API) poolUninstallCertificate(ctx context.Context, _ *call, name string) error {
	return a.changeTrust(ctx, func(tx *db.Tx) error { return trust.Uninstall(tx, name) })
}

func (a *API) poolCertificates(context.Context, *call) (names []string, err error) {
	return names, a.view(func(tx *db.Tx) error { names = trust.Installed(tx); return nil })
}

func (a *API) poolInstallCRL(ctx context.Context, _ *call, name, list string) error {
	return a.tellWhy(name, a.changeTrust(ctx, func(tx *db.Tx) error { return a.services.Trust.InstallList(tx, name, list) }))
}

func (a *API) poolUninstallCRL(ctx context.Context, _ *call, name string) error {
	return a.changeTrust(ctx, func(tx *db.Tx) error { return trust.UninstallList(tx, name) })
}

func (a *API) poolCRLs(context.Context, *call) (names []string, err error) {
	return names, a.view(func(tx *db.Tx) error { names = trust.InstalledLists(tx); return nil })
}

// poolSyncCertificates returns when every host that lives has seen what the pool trusts, and this one could read all of it. One that
// does not live sees it before it serves.
func (a *API) poolSyncCertificates(ctx context.Context, _ *call) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if err := a.services.DB.Sync(ctx); err != nil {
		return err
	}
	var others errgroup.Group
	for _, host := range a.livingOthers() {
		others.Go(func() error {
			err := a.services.Others.CallFor(ctx, host, "", "", nil, "host.sync_data", host)
			if errors.Is(err, context.DeadlineExceeded) {
				return xenapi.ErrHostOffline(host).Because(err)
			}
			return err
		})
	}
	if err := others.Wait(); err != nil {
		return err
	}
	return a.services.Trust.Check()
}

func (a *API) livingOthers() (hosts []hostRef) {
	if a.services.Others == nil {
		return nil
	}
	_ = a.view(func(tx *db.Tx) error {
		hosts = slices.DeleteFunc(pool.InOrder(tx), func(h hostRef) bool { return h == a.services.Host || !pool.Alive(tx, h) })
		return nil
	})
	return hosts
}

// poolEnableClientCertificates lets in clients that show a certificate of this name. Those that were let in by another go.
func (a *API) poolEnableClientCertificates(ctx context.Context, _ *call, self poolRef, name string) error {
	if name == "" || len(name) > maxClientName {
		return xenapi.ErrInvalidValue("name", name)
	}
	return a.setClientCertificates(ctx, self, true, name)
}

func (a *API) poolDisableClientCertificates(ctx context.Context, _ *call, self poolRef) error {
	return a.setClientCertificates(ctx, self, false, "")
}

func (a *API) setClientCertificates(ctx context.Context, self poolRef, enabled bool, name string) error {
	return a.changeTrust(ctx, func(tx *db.Tx) error {
		return db.Change(tx, self, func(rec *xenapi.Pool) error {
			rec.ClientCertificateAuthEnabled, rec.ClientCertificateAuthName = enabled, name
			return nil
		})
	})
}

// poolSetLocalAuthThreads is how many passwords each host checks at once, from the next login on.
func (a *API) poolSetLocalAuthThreads(ctx context.Context, _ *call, self poolRef, value int64) error {
	switch {
	case value <= 0:
		return xenapi.ErrInvalidValue("value", strconv.FormatInt(value, 10))
	case value > auth.MaxThreads:
		return xenapi.ErrValueNotSupported("value", strconv.FormatInt(value, 10), fmt.Sprintf("each password check takes memory: at most %d run at once", auth.MaxThreads))
	}
	return a.changePool(ctx, self, func(rec *xenapi.Pool) error { rec.LocalAuthMaxThreads = value; return nil })
}
