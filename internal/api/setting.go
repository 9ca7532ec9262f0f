package api

import (
	"context"
	"crypto/rand"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

type poolRef = xenapi.Ref[xenapi.Pool]

func (a *API) changePool(ctx context.Context, self poolRef, edit func(*xenapi.Pool) error) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error { return db.Change(tx, self, edit) })
}

// poolNothingToDo serves messages that take away what no pool has: TLS before 1.2, a cache of images.
func (a *API) poolNothingToDo(_ context.Context, _ *call, self poolRef) error {
	return exists(a, self)
}

func (a *API) hostDisableCaching(_ context.Context, _ *call, host hostRef) error {
	return exists(a, host)
}

// poolDeconfigureWLB takes back the wish too that a pool may note without a server for it.
func (a *API) poolDeconfigureWLB(ctx context.Context, _ *call) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.Pool](tx) {
			rec.WLBEnabled = false
			if err := db.Put(tx, ref, rec); err != nil {
				return err
			}
		}
		return nil
	})
}

// hostSetSSLLegacy takes what is so already.
func (a *API) hostSetSSLLegacy(ctx context.Context, _ *call, self hostRef, value bool) error {
	if value {
		return xenapi.ErrValueNotSupported("value", "true", "TLS before 1.2 is not spoken")
	}
	return a.changeHost(ctx, self, func(rec *xenapi.Host) { rec.SSLLegacy = false })
}

func (a *API) hostSetHTTPSOnly(ctx context.Context, _ *call, self hostRef, value bool) error {
	return a.changeHost(ctx, self, func(rec *xenapi.Host) { rec.HTTPSOnly = value })
}

// poolSetHTTPSOnly is of the hosts that the pool has now.
func (a *API) poolSetHTTPSOnly(ctx context.Context, _ *call, self poolRef, value bool) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		if _, err := db.Get(tx, self); err != nil {
			return err
		}
		for ref, rec := range db.All[xenapi.Host](tx) {
			rec.HTTPSOnly = value
			if err := db.Put(tx, ref, rec); err != nil {
				return err
			}
		}
		return nil
	})
}

// hostSetNUMAPolicy notes a wish about virtual machines that start on the host.
func (a *API) hostSetNUMAPolicy(ctx context.Context, _ *call, self hostRef, value xenapi.HostNUMAAffinityPolicy) error {
	return a.changeHost(ctx, self, func(rec *xenapi.Host) { rec.NUMAAffinityPolicy = value })
}

func (a *API) poolAddGuestAgentConfig(ctx context.Context, _ *call, self poolRef, key, value string) error {
	return a.changePool(ctx, self, func(rec *xenapi.Pool) error {
		if _, there := rec.GuestAgentConfig[key]; there {
			return xenapi.ErrMapDuplicateKey("pool", "guest_agent_config", self.String(), key)
		}
		if rec.GuestAgentConfig == nil {
			rec.GuestAgentConfig = map[string]string{}
		}
		rec.GuestAgentConfig[key] = value
		return nil
	})
}

func (a *API) poolRemoveGuestAgentConfig(ctx context.Context, _ *call, self poolRef, key string) error {
	return a.changePool(ctx, self, func(rec *xenapi.Pool) error { delete(rec.GuestAgentConfig, key); return nil })
}

// poolRotateSecret makes a new pool secret, and ends the sessions that the old one has opened.
func (a *API) poolRotateSecret(ctx context.Context, _ *call) error {
	return a.services.Auth.RotateSecret(ctx, rand.Text()+rand.Text())
}

// poolVerifyTLS says of the pool and its hosts what is so from the first: hosts know one another by certificates of the
// pool's own authority.
func (a *API) poolVerifyTLS(ctx context.Context, _ *call) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.Pool](tx) {
			rec.TLSVerificationEnabled = true
			if err := db.Put(tx, ref, rec); err != nil {
				return err
			}
		}
		for ref, rec := range db.All[xenapi.Host](tx) {
			rec.TLSVerificationEnabled = true
			if err := db.Put(tx, ref, rec); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *API) hostVerifyTLS(ctx context.Context, _ *call) error {
	return a.changeHost(ctx, a.services.Host, func(rec *xenapi.Host) { rec.TLSVerificationEnabled = true })
}

// clearGuidance drops guidance that has been followed.
func (a *API) clearGuidance(ctx context.Context, host hostRef, followed func(xenapi.UpdateGuidance) bool) error {
	return a.changeHost(ctx, host, func(rec *xenapi.Host) {
		rec.PendingGuidances = slices.DeleteFunc(rec.PendingGuidances, followed)
	})
}

// edition is the one that there is: it costs nothing and does not end.
const edition = "free"

func (a *API) poolLicenseState(_ context.Context, _ *call, self poolRef) (map[string]string, error) {
	return map[string]string{"edition": edition, "expiry": "never"}, exists(a, self)
}

func applyEdition(name string) error {
	if name != edition {
		return xenapi.ErrInvalidValue("edition", name)
	}
	return nil
}

func (a *API) poolApplyEdition(_ context.Context, _ *call, self poolRef, name string) error {
	if err := exists(a, self); err != nil {
		return err
	}
	return applyEdition(name)
}

func (a *API) hostApplyEdition(_ context.Context, _ *call, host hostRef, name string, _ bool) error {
	if err := exists(a, host); err != nil {
		return err
	}
	return applyEdition(name)
}

// A host without a license has the edition that needs none.
func (a *API) hostLicenseRemove(_ context.Context, _ *call, host hostRef) error {
	return exists(a, host)
}

// poolRecoverSlaves tells of no host: they find their coordinator in the database, and none waits to be told.
func (a *API) poolRecoverSlaves(context.Context, *call) ([]hostRef, error) { return nil, nil }

// poolBecomeMaster makes this host the coordinator.
func (a *API) poolBecomeMaster(ctx context.Context, _ *call) error {
	return pool.Designate(ctx, a.services.DB, a.services.Host)
}

// nbdInfo is how a VDI is reached over NBD.
type nbdInfo struct {
	ExportName string `json:"exportname"`
	Address    string `json:"address"`
	Port       int64  `json:"port"`
	Cert       string `json:"cert"`
	Subject    string `json:"subject"`
}

// Class names the XenAPI class.
func (nbdInfo) Class() string { return "vdi_nbd_server_info" }

// vdiNBDInfo names no way, as in a pool without a network for NBD.
func (a *API) vdiNBDInfo(_ context.Context, _ *call, self vdiRef) ([]nbdInfo, error) {
	return nil, exists(a, self)
}
