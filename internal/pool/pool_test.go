package pool_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/message"
	"poolpatch/internal/pool"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

var (
	one = pool.Identity{HostUUID: "uuid-1", Hostname: "one", Address: "192.0.2.1", Version: "1.0", Kernel: "6.1", BootID: "boot-1", Process: pool.Process{ID: "process-1"}}
	two = pool.Identity{HostUUID: "uuid-2", Hostname: "two", Address: "192.0.2.2", Version: "1.0", Kernel: "6.1", BootID: "boot-2"}
)

func open(t testing.TB, store db.Store, writer string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), store, db.Options{Writer: writer, Tables: append(pool.Tables(),
		db.TableOf[xenapi.Pool](), db.TableOf[xenapi.Host](), db.TableOf[xenapi.HostMetrics](), db.TableOf[xenapi.VM](),
		db.TableOf[xenapi.Role](), db.TableOf[xenapi.SR](), db.TableOf[xenapi.PBD](), db.TableOf[xenapi.Task](), db.TableOf[xenapi.VDI](), db.TableOf[xenapi.VBD](),
		db.TableOf[xenapi.HostPatch](), db.TableOf[xenapi.PoolPatch](), db.TableOf[task.Belonging](), message.Tables()[0], message.Tables()[1], db.TableOf[xenapi.Certificate](),
	)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func enter(t testing.TB, d *db.DB, id pool.Identity) pool.Membership {
	t.Helper()
	m, err := pool.Enter(t.Context(), d, id, pool.Open)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func get[T xenapi.Object](t testing.TB, d *db.DB, ref xenapi.Ref[T]) (rec T) {
	t.Helper()
	if err := d.View(func(tx *db.Tx) (err error) { rec, err = db.Get(tx, ref); return err }); err != nil {
		t.Fatal(err)
	}
	return rec
}

func all[T xenapi.Object](d *db.DB) map[xenapi.Ref[T]]T {
	rows := map[xenapi.Ref[T]]T{}
	_ = d.View(func(tx *db.Tx) error {
		for ref, rec := range db.All[T](tx) {
			rows[ref] = rec
		}
		return nil
	})
	return rows
}

func change[T xenapi.Object](t testing.TB, d *db.DB, ref xenapi.Ref[T], edit func(*T)) {
	t.Helper()
	err := d.Update(t.Context(), func(tx *db.Tx) error {
		return db.Change(tx, ref, func(rec *T) error { edit(rec); return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheFirstHostMakesThePool(t *testing.T) {
	t.Parallel()
	d := open(t, memkv.New(), "one")
	m := enter(t, d, one)
	if !m.Fresh {
		t.Error("a pool that has just been made is fresh")
	}
	p, host := get(t, d, m.Pool), get(t, d, m.Host)
	if p.Master != m.Host || p.UUID == "" || len(p.Secret) < 40 || p.NameLabel != "" || !p.DefaultSR.IsNull() {
		t.Errorf("pool %+v", p)
	}
	if host.UUID != one.HostUUID || host.NameLabel != "one" || host.Hostname != "one" || host.Address != "192.0.2.1" || !host.Enabled {
		t.Errorf("host %+v", host)
	}
	want := map[string]string{"product_brand": "poolpatch", "product_version": "1.0", "poolpatch": "1.0", "linux": "6.1", "xapi": "2.4"}
	if diff := cmp.Diff(want, host.SoftwareVersion); diff != "" {
		t.Errorf("software_version (-want +got):\n%s", diff)
	}
	metrics := get(t, d, host.Metrics)
	if !metrics.Live || metrics.UUID == "" || metrics.MemoryTotal <= 0 || metrics.MemoryFree <= 0 || metrics.MemoryFree > metrics.MemoryTotal {
		t.Errorf("metrics %+v", metrics)
	}
	vm := get(t, d, host.ControlDomain)
	if !vm.IsControlDomain || vm.ResidentOn != m.Host || vm.PowerState != xenapi.VMPowerStateRunning || vm.Domid != 0 || vm.NameLabel != "Control domain on host: one" {
		t.Errorf("control domain %+v", vm)
	}
}

// A pool that was restored from a copy without secrets gets another one.
func TestPoolWithoutSecret(t *testing.T) {
	t.Parallel()
	d := open(t, memkv.New(), "one")
	m := enter(t, d, one)
	old := get(t, d, m.Pool).Secret
	change(t, d, m.Pool, func(rec *xenapi.Pool) { rec.Secret = "" })
	if again := enter(t, d, one); again.Fresh || again.Pool != m.Pool {
		t.Errorf("the pool was made anew: %+v", again)
	}
	if now := get(t, d, m.Pool).Secret; len(now) < 40 || now == old {
		t.Errorf("its secret has %d bytes", len(now))
	}
}

// At every start the rows are found again by the host's uuid: what the machine says is made anew, what an
// administrator said stays.
// A host that is new lets in whom the pool lets in; one that was there has what was said of it.
func TestEnteringTakesTheDirectory(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	d := open(t, store, "one")
	m := enter(t, d, one)
	if first := get(t, d, m.Host); first.ExternalAuthType != "" {
		t.Errorf("the first host: %+v", first)
	}
	change(t, d, m.Host, func(rec *xenapi.Host) {
		rec.ExternalAuthType, rec.ExternalAuthServiceName, rec.ExternalAuthPassword = "AD", "example.com", "hunter2"
		rec.ExternalAuthConfiguration = map[string]string{"user": "reader"}
	})
	two := one
	two.HostUUID = "uuid-two"
	joined := enter(t, d, two)
	if rec := get(t, d, joined.Host); rec.ExternalAuthType != "AD" || rec.ExternalAuthServiceName != "example.com" || rec.ExternalAuthPassword != "hunter2" || rec.ExternalAuthConfiguration["user"] != "reader" {
		t.Errorf("a host that joined: %+v", rec)
	}
	change(t, d, joined.Host, func(rec *xenapi.Host) { rec.ExternalAuthType = "" })
	if rec := get(t, d, enter(t, d, two).Host); rec.ExternalAuthType != "" {
		t.Errorf("a host that was there: %+v", rec)
	}
}

func TestEnteringAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := open(t, memkv.New(), "one")
		m := enter(t, d, one)
		before := get(t, d, m.Host)
		change(t, d, m.Host, func(rec *xenapi.Host) {
			rec.NameLabel, rec.Enabled = "named", false
			rec.OtherConfig["k"] = "v"
		})
		change(t, d, m.Pool, func(rec *xenapi.Pool) { rec.NameLabel = "lab" })
		metrics := get(t, d, before.Metrics)
		change(t, d, before.Metrics, func(rec *xenapi.HostMetrics) { rec.Live = false })
		secret := get(t, d, m.Pool).Secret
		time.Sleep(time.Minute) // of the bubble's clock

		moved := one
		moved.Process.Started = one.Process.Started.Add(time.Minute)
		moved.Hostname, moved.Address, moved.Version, moved.Kernel = "uno", "192.0.2.9", "1.1", "6.2"
		again := enter(t, d, moved)
		if again.Fresh || again.Pool != m.Pool || again.Host != m.Host {
			t.Errorf("entered as %+v, was %+v", again, m)
		}
		host := get(t, d, m.Host)
		if host.NameLabel != "named" || host.Enabled || host.OtherConfig["k"] != "v" {
			t.Errorf("what an administrator said is lost: %+v", host)
		}
		if host.Hostname != "uno" || host.Address != "192.0.2.9" || host.SoftwareVersion["product_version"] != "1.1" || host.SoftwareVersion["linux"] != "6.2" {
			t.Errorf("what the machine says is old: %+v", host)
		}
		if host.OtherConfig["agent_start_time"] == before.OtherConfig["agent_start_time"] {
			t.Error("agent_start_time is that of the first start")
		}
		if host.Metrics != before.Metrics || host.ControlDomain != before.ControlDomain {
			t.Error("metrics or control domain are other objects now")
		}
		now := get(t, d, host.Metrics)
		if !now.Live || !now.LastUpdated.After(metrics.LastUpdated) || now.UUID != metrics.UUID {
			t.Errorf("metrics %+v", now)
		}
		if vm := get(t, d, host.ControlDomain); vm.NameLabel != "Control domain on host: uno" {
			t.Errorf("control domain %q", vm.NameLabel)
		}
		if p := get(t, d, m.Pool); p.NameLabel != "lab" || p.Secret != secret {
			t.Errorf("pool %+v", p)
		}
		counts := []int{len(all[xenapi.Pool](d)), len(all[xenapi.Host](d)), len(all[xenapi.HostMetrics](d)), len(all[xenapi.VM](d)), len(all[xenapi.Role](d))}
		if want := []int{1, 1, 1, 1, len(xenapi.Roles()) + 1}; !slices.Equal(counts, want) {
			t.Errorf("rows %v, want %v", counts, want)
		}
	})
}

func TestASecondHostJoinsThePoolThatIsThere(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	d1, d2 := open(t, store, "one"), open(t, store, "two")
	first := enter(t, d1, one)
	second := enter(t, d2, two)
	if second.Fresh || second.Pool != first.Pool || second.Host == first.Host {
		t.Errorf("entered as %+v, the first as %+v", second, first)
	}
	if p := get(t, d2, second.Pool); p.Master != first.Host {
		t.Errorf("the coordinator is %s, want %s", p.Master, first.Host)
	}
	domains := map[xenapi.Ref[xenapi.Host]]string{}
	for _, vm := range all[xenapi.VM](d2) {
		domains[vm.ResidentOn] = vm.NameLabel
	}
	want := map[xenapi.Ref[xenapi.Host]]string{first.Host: "Control domain on host: one", second.Host: "Control domain on host: two"}
	if diff := cmp.Diff(want, domains); diff != "" {
		t.Errorf("control domains (-want +got):\n%s", diff)
	}
}

// Hosts that start at the same moment make one pool, and one of them is told that it was the one.
func TestHostsThatEnterTogetherMakeOnePool(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	dbs := []*db.DB{open(t, store, "one"), open(t, store, "two")}
	members, errs := make([]pool.Membership, 2), make([]error, 2)
	var group sync.WaitGroup
	for i, id := range []pool.Identity{one, two} {
		group.Go(func() { members[i], errs[i] = pool.Enter(t.Context(), dbs[i], id, pool.Open) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if members[0].Pool != members[1].Pool || members[0].Fresh == members[1].Fresh || members[0].Host == members[1].Host {
		t.Errorf("entered as %+v", members)
	}
	if err := dbs[0].Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(all[xenapi.Pool](dbs[0])); n != 1 {
		t.Errorf("%d pools", n)
	}
}

func TestRolesHaveTheirFixedUUIDs(t *testing.T) {
	t.Parallel()
	d := open(t, memkv.New(), "one")
	enter(t, d, one)
	got := map[string]string{}
	for ref, rec := range all[xenapi.Role](d) {
		if rec.IsInternal != (rec.NameLabel == "client-cert") {
			t.Errorf("%s is internal: %t", rec.NameLabel, rec.IsInternal)
		}
		if string(ref) != "OpaqueRef:"+rec.UUID || rec.NameDescription == "" || strings.TrimSpace(rec.NameDescription) != rec.NameDescription {
			t.Errorf("role %s: %+v", ref, rec)
		}
		got[rec.NameLabel] = rec.UUID
	}
	want := map[string]string{
		"pool-admin": "0165f154-ba3e-034e-6b27-5d271af109ba", "pool-operator": "b9ce9791-0604-50cd-0649-09b3284c7dfd",
		"vm-power-admin": "7955168d-7bec-10ed-105f-c6a7e6e63249", "vm-admin": "aaa00ab5-7340-bfbc-0d1b-7cf342639a6e",
		"vm-operator": "fb8d4ff9-310c-a959-0613-54101535d3d5", "read-only": "7233b8e3-eacb-d7da-2c95-f2e581cdbf4e",
		"client-cert": "2c42debf-c64a-2ecd-f674-3350f06409f7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
}

// The start of the daemon's process follows the guidance to restart the toolstack; another boot id says that the
// machine was rebooted, which follows all of it.
func TestGuidanceThatWasFollowedGoes(t *testing.T) {
	t.Parallel()
	const toolstack, reboot = xenapi.UpdateGuidanceRestartToolstack, xenapi.UpdateGuidanceRebootHost
	for _, c := range []struct {
		what, boot, process string
		want                []xenapi.UpdateGuidance
	}{
		{"the daemon went on in its process", one.BootID, one.Process.ID, []xenapi.UpdateGuidance{toolstack, reboot}},
		{"the daemon restarted", one.BootID, "process-later", []xenapi.UpdateGuidance{reboot}},
		{"the machine rebooted", "boot-later", one.Process.ID, nil}, // where processes are counted from the first again
	} {
		d := open(t, memkv.New(), "one")
		m := enter(t, d, one)
		change(t, d, m.Host, func(rec *xenapi.Host) { rec.PendingGuidances = []xenapi.UpdateGuidance{toolstack, reboot} })
		id := one
		id.BootID, id.Process.ID = c.boot, c.process
		enter(t, d, id)
		if got := get(t, d, m.Host); !slices.Equal(got.PendingGuidances, c.want) || got.BootID != c.boot {
			t.Errorf("%s: pending %v in boot %s, want %v", c.what, got.PendingGuidances, got.BootID, c.want)
		}
	}
}

func TestSetDefaultSR(t *testing.T) {
	t.Parallel()
	d := open(t, memkv.New(), "one")
	m := enter(t, d, one)
	if err := pool.SetDefaultSR(t.Context(), d, m.Pool, "OpaqueRef:sr"); err != nil {
		t.Fatal(err)
	}
	if got := get(t, d, m.Pool).DefaultSR; got != "OpaqueRef:sr" {
		t.Errorf("default_SR is %s", got)
	}
	if err := pool.SetDefaultSR(t.Context(), d, "OpaqueRef:none", "OpaqueRef:sr"); xenapi.CodeOf(err) != xenapi.CodeHandleInvalid {
		t.Errorf("of no pool: %v", err)
	}
}

func TestADatabaseThatFailsIsSaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fails := memkv.WithFaults(func(n int, _ []db.Guard, _ []db.Op) memkv.Fault {
			if n > 1 { // the first writes the schema
				return memkv.FailNotPersisted
			}
			return memkv.None
		})
		_, err := pool.Enter(t.Context(), open(t, memkv.New(fails), "one"), one, pool.Open)
		if !errors.Is(err, memkv.ErrInjected) || !strings.HasPrefix(err.Error(), "enter the pool: ") {
			t.Errorf("error %v", err)
		}
	})
}

func TestTheMachine(t *testing.T) {
	t.Parallel()
	if id := pool.BootID(); len(id) != 36 || id != pool.BootID() {
		t.Errorf("boot id %q", id)
	}
	if k := pool.Kernel(); !strings.Contains(k, ".") || strings.ContainsAny(k, " \x00\n") {
		t.Errorf("kernel %q", k)
	}
	p, again := pool.ThisProcess(), pool.ThisProcess()
	if p.ID == "" || p.ID != again.ID {
		t.Errorf("this process is %q, then %q", p.ID, again.ID)
	}
	if now, booted := time.Now(), pool.Booted(); booted.After(p.Started) || p.Started.After(now) || now.Sub(p.Started) > time.Hour {
		t.Errorf("booted %v, started %v, now %v", booted, p.Started, now)
	}
}
