package pool

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// Identity is what a daemon knows of itself before it has read the database.
type Identity struct {
	HostUUID string // made once, kept below the daemon's root
	Name     string // that the host had in its last pool; "" is its host name
	Hostname string
	Address  string // where clients reach this host
	Version  string // of poolpatch
	Kernel   string
	BootID   string // of the kernel that runs now
	Process  Process
	Database string // member, client or external: how this host has the database
	MAC      string // of the network interface by which it is reached; "" where that has none
	// Initiator is its name among iSCSI nodes, as it stands on its disk; "" is none.
	Initiator string
}

// Entry says who may enter.
type Entry bool

const (
	// Admitted: a host has its row from when it was admitted, or else makes the pool.
	Admitted Entry = false
	// Open: whoever reaches the database is of the pool.
	Open Entry = true
)

// Membership is a daemon's place in its pool.
type Membership struct {
	Pool xenapi.Ref[xenapi.Pool]
	Host xenapi.Ref[xenapi.Host]
	// Fresh says that the pool was made by this very call: nobody has configured it yet. New says that the host's row was.
	Fresh, New bool
}

// Enter brings this host's rows up to date, and makes the pool when the database has none. Errors: ErrEjected.
func Enter(ctx context.Context, d *db.DB, id Identity, entry Entry) (Membership, error) {
	var m Membership
	err := d.Update(ctx, func(tx *db.Tx) (err error) {
		m = Membership{}
		if err := writeRoles(tx); err != nil {
			return err
		}
		_, missing := db.ByUUID[xenapi.Host](tx, id.HostUUID)
		m.New = missing != nil
		if _, _, there := thePool(tx); there && m.New && entry == Admitted {
			return ErrEjected
		}
		if m.Host, err = writeHost(tx, id); err != nil {
			return err
		}
		if err := writeControlDomain(tx, m.Host, id); err != nil {
			return err
		}
		m.Pool, m.Fresh, err = writePool(tx, m.Host)
		return err
	})
	if err != nil {
		return m, fmt.Errorf("enter the pool: %w", err)
	}
	return m, nil
}

func writeHost(tx *db.Tx, id Identity) (xenapi.Ref[xenapi.Host], error) {
	ref, err := db.ByUUID[xenapi.Host](tx, id.HostUUID)
	rec := xenapi.New[xenapi.Host]()
	if err != nil {
		ref = xenapi.NewRef[xenapi.Host]()
		rec.UUID, rec.NameLabel, rec.Enabled = id.HostUUID, cmp.Or(id.Name, id.Hostname), true
		rec.OtherConfig = map[string]string{}
		takeAuth(tx, &rec)
	} else if rec, err = db.Get(tx, ref); err != nil {
		return "", err
	}
	rec.Hostname, rec.Address, rec.MAC, rec.ISCSIIQN = id.Hostname, id.Address, id.MAC, id.Initiator
	rec.APIVersionMajor, rec.APIVersionMinor, rec.APIVersionVendor = apiMajor, apiMinor, "poolpatch"
	rec.SoftwareVersion = map[string]string{
		"product_brand": "poolpatch", "product_version": id.Version, "poolpatch": id.Version, "linux": id.Kernel,
		"xapi": fmt.Sprintf("%d.%d", apiMajor, apiMinor),
	}
	rec.OtherConfig["poolpatch:database"] = id.Database
	rec.OtherConfig["agent_start_time"] = fmt.Sprintf("%d.", id.Process.Started.Unix())
	rec.SSLLegacy, rec.TLSVerificationEnabled, rec.Edition = false, true, "free"
	settleGuidance(&rec, id)
	if rec.Metrics, err = writeMetrics(tx, rec.Metrics); err != nil {
		return "", err
	}
	return ref, db.Put(tx, ref, rec)
}

// The version of XenAPI whose pool_patch messages are served.
const (
	apiMajor = 2
	apiMinor = 4
)

// settleGuidance drops the guidance that has been followed: the toolstack is restarted when the daemon is in another process
// than at the last start, and everything when another kernel runs. A daemon that begins anew in its process, as it does
// to move to another pool, has restarted nothing.
func settleGuidance(rec *xenapi.Host, id Identity) {
	if rec.BootID != "" && rec.BootID != id.BootID {
		rec.PendingGuidances = nil
	}
	if rec.ProcessID != id.Process.ID {
		rec.PendingGuidances = slices.DeleteFunc(rec.PendingGuidances, func(g xenapi.UpdateGuidance) bool {
			return g == xenapi.UpdateGuidanceRestartToolstack
		})
	}
	rec.BootID, rec.ProcessID = id.BootID, id.Process.ID
}

func writeMetrics(tx *db.Tx, ref xenapi.Ref[xenapi.HostMetrics]) (xenapi.Ref[xenapi.HostMetrics], error) {
	rec, ok := db.Lookup(tx, ref)
	if !ok {
		ref, rec = xenapi.NewRef[xenapi.HostMetrics](), xenapi.HostMetrics{UUID: xenapi.NewUUID()}
	}
	rec.Live, rec.LastUpdated = true, time.Now().UTC()
	rec.MemoryTotal, rec.MemoryFree = memory()
	return ref, db.Put(tx, ref, rec)
}

// writeControlDomain makes the VM that stands for the host itself; clients look for it.
func writeControlDomain(tx *db.Tx, host xenapi.Ref[xenapi.Host], id Identity) error {
	rec, err := db.Get(tx, host)
	if err != nil {
		return err
	}
	vm, ok := db.Lookup(tx, rec.ControlDomain)
	if !ok {
		vm = xenapi.New[xenapi.VM]()
		vm.UUID, vm.IsControlDomain, vm.PowerState = xenapi.NewUUID(), true, xenapi.VMPowerStateRunning
		rec.ControlDomain = xenapi.NewRef[xenapi.VM]()
		if err := db.Put(tx, host, rec); err != nil {
			return err
		}
	}
	vm.NameLabel, vm.ResidentOn, vm.Affinity = "Control domain on host: "+id.Hostname, host, host
	return db.Put(tx, rec.ControlDomain, vm)
}

// writePool finds the pool's row or makes it, with this host as coordinator.
func writePool(tx *db.Tx, host xenapi.Ref[xenapi.Host]) (xenapi.Ref[xenapi.Pool], bool, error) {
	for ref, rec := range db.All[xenapi.Pool](tx) {
		if rec.Secret != "" {
			return ref, false, nil
		}
		rec.Secret = newSecret() // the database was restored from a copy without secrets
		return ref, false, db.Put(tx, ref, rec)
	}
	rec := xenapi.New[xenapi.Pool]()
	rec.UUID, rec.Master, rec.Secret = xenapi.NewUUID(), host, newSecret()
	rec.TLSVerificationEnabled = true
	ref := xenapi.NewRef[xenapi.Pool]()
	return ref, true, db.Insert(tx, ref, rec)
}

// newSecret makes what pool.Secret holds.
func newSecret() string { return rand.Text() + rand.Text() }

var roleDescriptions = map[string]string{
	xenapi.RolePoolAdmin:    "Everything, users and roles included",
	xenapi.RolePoolOperator: "Hosts, storage and patches of the pool",
	xenapi.RoleVMPowerAdmin: "Virtual machines, their storage and where they run",
	xenapi.RoleVMAdmin:      "Virtual machines and their disks",
	xenapi.RoleVMOperator:   "Virtual machines that exist",
	xenapi.RoleReadOnly:     "Reading alone",
	xenapi.RoleClientCert:   "Clients that show a certificate",
}

func writeRoles(tx *db.Tx) error {
	for _, name := range append(xenapi.Roles(), xenapi.RoleClientCert) {
		ref := xenapi.RoleRef(name)
		if _, ok := db.Lookup(tx, ref); ok {
			continue
		}
		rec := xenapi.Role{UUID: xenapi.RoleUUID(name), NameLabel: name, NameDescription: roleDescriptions[name], IsInternal: name == xenapi.RoleClientCert}
		if err := db.Insert(tx, ref, rec); err != nil {
			return err
		}
	}
	return nil
}

// SetDefaultSR makes an SR the pool's default.
func SetDefaultSR(ctx context.Context, d *db.DB, pool xenapi.Ref[xenapi.Pool], sr xenapi.Ref[xenapi.SR]) error {
	return d.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, pool, func(rec *xenapi.Pool) error { rec.DefaultSR = sr; return nil })
	})
}
