package pool

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Applicant is a host that wants to join the pool.
type Applicant struct {
	Identity
	// Request is for its certificate (authority.NewHost).
	Request string
	// Applied are the UUIDs of the patches that it has.
	Applied []string
	// SRs are its own storage, which it brings along.
	SRs []OwnSR
	// Force admits it whatever patches it has.
	Force bool
	// Token is what admits it; whoever asks for it with the right session needs none.
	Token string
}

// OwnSR is an SR that one host alone sees, and how.
type OwnSR struct {
	SR           xenapi.SR
	DeviceConfig map[string]string
	Default      bool // of its own pool
}

// Admission is what an applicant is told.
type Admission struct {
	Place       Place
	Certificate string // of the host, in PEM
	Trusted     string // certificates of the pool's authorities, in PEM
}

// Admit takes a host into the pool. allowed says that its caller may do that without a token. The host's rows come first,
// then its copy of the database: a crash in between leaves a host that has never lived, which may ask again, or
// be destroyed. Errors: HOST_IS_SLAVE naming the coordinator, SESSION_AUTHENTICATION_FAILED, OPERATION_NOT_ALLOWED for the
// host that is asked itself, HOST_IS_LIVE for another one that lives,
// POOL_HOSTS_NOT_HOMOGENEOUS, POOL_JOINING_HOST_MUST_HAVE_SAME_PRODUCT_VERSION, SR_UUID_EXISTS.
func (c *Cluster) Admit(ctx context.Context, a Applicant, allowed bool) (Admission, error) {
	now := time.Now()
	var admitted Admission
	// A host that has left this address takes its copy of the database along first.
	if err := c.removeCopy(ctx, URL(a.Address)); err != nil {
		return admitted, err
	}
	err := c.DB.Update(ctx, func(tx *db.Tx) (err error) {
		if Coordinating(tx, c.Me) != nil {
			return notCoordinator(tx)
		}
		if !allowed {
			if err := useToken(tx, a.Token, now); err != nil {
				return err
			}
		}
		if a.HostUUID == c.Identity.HostUUID {
			return xenapi.ErrOperationNotAllowed("the address is this host's own: a host does not join itself")
		}
		if err := fits(tx, a); err != nil {
			return err
		}
		if admitted, err = certify(tx, a, now); err != nil {
			return err
		}
		return settleIn(tx, a)
	})
	if err != nil {
		return Admission{}, err
	}
	admitted.Place, err = c.Keepers.AddKeeper(ctx, URL(a.Address))
	return admitted, err
}

// fits checks a host against the pool.
func fits(tx *db.Tx, a Applicant) error {
	if _, ok := xenapi.ParseUUID(a.HostUUID); !ok {
		return xenapi.ErrInvalidValue("host", a.HostUUID)
	}
	if ref, err := db.ByUUID[xenapi.Host](tx, a.HostUUID); err == nil && Alive(tx, ref) {
		return xenapi.ErrHostIsLive(ref)
	}
	if _, leaving := db.Lookup(tx, departedRef(URL(a.Address))); leaving {
		ref, _, _ := thePool(tx)
		return xenapi.ErrOtherOperationInProgress("pool", ref.String(), "eject")
	}
	coordinator, err := db.Get(tx, Coordinator(tx))
	if err != nil {
		return err
	}
	if coordinator.SoftwareVersion["product_version"] != a.Version {
		return xenapi.ErrPoolJoiningHostMustHaveSameProductVersion()
	}
	for _, own := range a.SRs {
		if ref, err := db.ByUUID[xenapi.SR](tx, own.SR.UUID); err == nil && !ownedBy(tx, ref, a.HostUUID) {
			return xenapi.ErrSRUUIDExists(own.SR.UUID)
		}
	}
	if a.Force {
		return nil
	}
	return homogeneous(appliedOn(tx, Coordinator(tx)), a.Applied)
}

// ownedBy reports whether an SR is there because the host was admitted before.
func ownedBy(tx *db.Tx, sr xenapi.Ref[xenapi.SR], hostUUID string) bool {
	pbds := db.Referrers[xenapi.PBD](tx, "SR", sr)
	return len(pbds) > 0 && !slices.ContainsFunc(pbds, func(ref xenapi.Ref[xenapi.PBD]) bool {
		pbd, _ := db.Lookup(tx, ref)
		host, _ := db.Lookup(tx, pbd.Host)
		return host.UUID != hostUUID
	})
}

// appliedOn lists the UUIDs of the patches that a host has.
func appliedOn(tx *db.Tx, host xenapi.Ref[xenapi.Host]) (uuids []string) {
	for _, ref := range db.Referrers[xenapi.HostPatch](tx, "host", host) {
		if row, ok := db.Lookup(tx, ref); ok && row.Applied {
			patch, _ := db.Lookup(tx, row.PoolPatch)
			uuids = append(uuids, patch.UUID)
		}
	}
	return uuids
}

// homogeneous refuses a host that has other patches than the pool.
func homogeneous(pool, host []string) error {
	var differences []string
	for _, uuid := range missing(pool, host) {
		differences = append(differences, "the host lacks "+uuid)
	}
	for _, uuid := range missing(host, pool) {
		differences = append(differences, "the pool lacks "+uuid)
	}
	if len(differences) == 0 {
		return nil
	}
	return xenapi.ErrPoolHostsNotHomogeneous("other patches are applied: " + strings.Join(differences, ", "))
}

// missing are the elements of from that in has not, in order.
func missing(from, in []string) []string {
	var all []string
	for _, uuid := range slices.Sorted(slices.Values(from)) {
		if !slices.Contains(in, uuid) {
			all = append(all, uuid)
		}
	}
	return all
}

func certify(tx *db.Tx, a Applicant, now time.Time) (Admission, error) {
	pool, _ := db.Lookup(tx, theTrust)
	signer, err := authority.Parse([]byte(pool.Authority))
	if err != nil {
		return Admission{}, err
	}
	cert, err := signer.Issue([]byte(a.Request), a.HostUUID, now)
	if err != nil {
		return Admission{}, xenapi.ErrInvalidValue("request", err.Error())
	}
	return Admission{Certificate: string(cert), Trusted: pool.Trusted}, nil
}

// settleIn writes the rows of a host that has never lived here. It plugs its SRs, and the pool's shared ones, when it starts.
func settleIn(tx *db.Tx, a Applicant) error {
	host, err := writeHost(tx, a.Identity)
	if err != nil {
		return err
	}
	if err := writeControlDomain(tx, host, a.Identity); err != nil {
		return err
	}
	for _, own := range a.SRs {
		if err := bring(tx, host, own); err != nil {
			return err
		}
	}
	for sr, rec := range db.All[xenapi.SR](tx) {
		if rec.Shared {
			if err := shareWith(tx, host, sr); err != nil {
				return err
			}
		}
	}
	return nil
}

// bring makes the rows of an SR that the host has; those of its VDIs come when it is scanned.
func bring(tx *db.Tx, host xenapi.Ref[xenapi.Host], own OwnSR) error {
	if _, err := db.ByUUID[xenapi.SR](tx, own.SR.UUID); err == nil {
		return nil // it was admitted before
	}
	sr := xenapi.NewRef[xenapi.SR]()
	rec := xenapi.New[xenapi.SR]()
	rec.UUID, rec.NameLabel, rec.NameDescription = own.SR.UUID, own.SR.NameLabel, own.SR.NameDescription
	rec.Type, rec.ContentType, rec.OtherConfig, rec.SMConfig = own.SR.Type, own.SR.ContentType, own.SR.OtherConfig, own.SR.SMConfig
	rec.PhysicalSize, rec.PhysicalUtilisation = -1, -1
	if err := db.Insert(tx, sr, rec); err != nil {
		return err
	}
	return plug(tx, host, sr, own.DeviceConfig)
}

// shareWith gives a host a PBD of a shared SR, like the coordinator's.
func shareWith(tx *db.Tx, host xenapi.Ref[xenapi.Host], sr xenapi.Ref[xenapi.SR]) error {
	var config map[string]string
	for _, ref := range db.Referrers[xenapi.PBD](tx, "SR", sr) {
		pbd, _ := db.Lookup(tx, ref)
		if pbd.Host == host {
			return nil
		}
		if config == nil || pbd.Host == Coordinator(tx) {
			config = pbd.DeviceConfig
		}
	}
	return plug(tx, host, sr, config)
}

func plug(tx *db.Tx, host xenapi.Ref[xenapi.Host], sr xenapi.Ref[xenapi.SR], config map[string]string) error {
	rec := xenapi.New[xenapi.PBD]()
	rec.UUID, rec.Host, rec.SR, rec.DeviceConfig, rec.CurrentlyAttached = xenapi.NewUUID(), host, sr, maps.Clone(config), true
	return db.Insert(tx, xenapi.NewRef[xenapi.PBD](), rec)
}

// Describe is this host as an applicant to another pool; joining is the task that runs on it meanwhile. Errors: OPERATION_NOT_ALLOWED saying what it must be rid of first,
// POOL_JOINING_HOST_CANNOT_CONTAIN_SHARED_SRS.
func (c *Cluster) Describe(joining xenapi.Ref[xenapi.Task], force bool) (a Applicant, err error) {
	a = Applicant{Identity: c.Identity, Force: force}
	return a, c.DB.View(func(tx *db.Tx) error {
		if n := len(InOrder(tx)); n > 1 {
			return xenapi.ErrOperationNotAllowed(fmt.Sprintf("this host is in a pool of %d hosts: eject it first", n))
		}
		for ref, rec := range db.All[xenapi.Task](tx) {
			// Tasks of the daemon's own are begun again after its restart.
			if rec.Status == xenapi.TaskStatusPending && rec.AuthUser != "" && ref != joining {
				return xenapi.ErrOperationNotAllowed("this host runs the task " + rec.NameLabel + ": wait for it, or cancel or destroy it")
			}
		}
		for _, patch := range db.All[xenapi.PoolPatch](tx) {
			if _, ok := db.Lookup(tx, patch.VDI); ok {
				return xenapi.ErrOperationNotAllowed("patch " + patch.UUID + " is in a VDI of this host's own pool: destroy it first")
			}
		}
		if err := noDiskAttached(tx, c.Me); err != nil {
			return err
		}
		me, err := db.Get(tx, c.Me)
		if err != nil {
			return err
		}
		a.Name, a.Applied = me.NameLabel, appliedOn(tx, c.Me)
		_, pool, _ := thePool(tx)
		for _, ref := range db.Referrers[xenapi.PBD](tx, "host", c.Me) {
			pbd, _ := db.Lookup(tx, ref)
			sr, ok := db.Lookup(tx, pbd.SR)
			switch {
			case !ok:
			case sr.Shared && pbd.CurrentlyAttached:
				return xenapi.ErrPoolJoiningHostCannotContainSharedSRs()
			case !sr.Shared:
				a.SRs = append(a.SRs, OwnSR{SR: sr, DeviceConfig: pbd.DeviceConfig, Default: pbd.SR == pool.DefaultSR})
			}
		}
		return nil
	})
}
