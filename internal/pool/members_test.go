package pool_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/internal/db/memkv"
	"poolpatch/internal/pool"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// copies is where the copies of a database are, by the rules of [pool.Keepers].
type copies struct {
	mu   sync.Mutex
	urls map[string]bool
	fail error
}

func (k *copies) AddKeeper(_ context.Context, url string) (pool.Place, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return pool.Place{}, k.fail
	}
	k.urls[url] = true
	return pool.Place{Role: pool.Member, Keepers: []pool.Keeper{{URL: url}}}, nil
}

func (k *copies) RemoveKeeper(_ context.Context, url string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail == nil {
		delete(k.urls, url)
	}
	return k.fail
}

func (k *copies) setFail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = err
}

func (k *copies) list() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.urls))
}

// gate is the coordinator of a pool, which admits hosts and lets them go.
type gate struct {
	*pool.Cluster
	copies *copies
	faults *faults
}

// faults fails the next commit in some way.
type faults struct {
	mu   sync.Mutex
	next memkv.Fault
}

func (f *faults) set(next memkv.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = next
}

func (f *faults) take(int, []db.Guard, []db.Op) memkv.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.next
	f.next = memkv.None
	return now
}

// atGate runs a test on a pool of one host that lives.
func atGate(t *testing.T, test func(t *testing.T, g *gate)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{copies: &copies{urls: map[string]bool{}}, faults: &faults{}}
		h := newTrusting(t, memkv.New(memkv.WithFaults(g.faults.take)), dir, uuidOne)
		change(t, h.d, h.host, func(rec *xenapi.Host) { rec.SoftwareVersion["product_version"] = "1" })
		g.Cluster = h.Cluster
		g.Keepers = g.copies
		h.run(true)
		test(t, g)
		h.stop()
		h.d.Close()
	})
}

// applicant is a host that fits the pool.
func applicant(t *testing.T, uuid string) pool.Applicant {
	t.Helper()
	_, request, err := authority.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	local := xenapi.New[xenapi.SR]()
	local.UUID, local.NameLabel, local.Type = "99999999"+uuid[8:], "Local storage", "file"
	return pool.Applicant{
		Identity: pool.Identity{HostUUID: uuid, Hostname: uuid[:1], Address: "10.0.0." + uuid[:1], Version: "1"},
		Request:  string(request), SRs: []pool.OwnSR{{SR: local, DeviceConfig: map[string]string{"location": "/sr"}}},
	}
}

func (g *gate) host(t *testing.T, uuid string) (ref xenapi.Ref[xenapi.Host]) {
	t.Helper()
	if err := g.DB.View(func(tx *db.Tx) (err error) { ref, err = db.ByUUID[xenapi.Host](tx, uuid); return err }); err != nil {
		t.Fatal(err)
	}
	return ref
}

func (g *gate) insert(t *testing.T, fn func(tx *db.Tx) error) {
	t.Helper()
	if err := g.DB.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// TestAdmit: what a host brings and what it finds are rows before it lives, and it is known by a certificate of the pool's.
func TestAdmit(t *testing.T) {
	t.Parallel()
	atGate(t, func(t *testing.T, g *gate) {
		shared := xenapi.New[xenapi.SR]()
		shared.UUID, shared.Shared = xenapi.NewUUID(), true
		g.insert(t, func(tx *db.Tx) error {
			return errors.Join(db.Insert(tx, "OpaqueRef:shared", shared), db.Insert(tx, "OpaqueRef:pbd", xenapi.PBD{
				UUID: xenapi.NewUUID(), Host: g.Me, SR: "OpaqueRef:shared", DeviceConfig: map[string]string{"location": "/shared"}, CurrentlyAttached: true}))
		})
		a := applicant(t, uuidTwo)
		a.Name = "named"
		admitted, err := g.Admit(t.Context(), a, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := get(t, g.DB, g.host(t, uuidTwo)).NameLabel; got != "named" {
			t.Errorf("it is called %q", got)
		}
		if admitted.Place.Role != pool.Member || !slices.Equal(g.copies.list(), []string{"https://10.0.0.2:443"}) {
			t.Errorf("its database is %+v, copies %v", admitted.Place, g.copies.list())
		}
		if !strings.Contains(admitted.Certificate, "CERTIFICATE") || !strings.Contains(admitted.Trusted, "CERTIFICATE") {
			t.Errorf("admitted with %+v", admitted)
		}
		plugged := map[string]bool{}
		for _, pbd := range all[xenapi.PBD](g.DB) {
			if pbd.Host == g.host(t, uuidTwo) {
				plugged[pbd.DeviceConfig["location"]] = pbd.CurrentlyAttached
			}
		}
		if !maps.Equal(plugged, map[string]bool{"/sr": true, "/shared": true}) {
			t.Errorf("it will plug %v", plugged)
		}
	})
}

// TestWhoIsNotAdmitted: nothing is left of a host that was refused, and no token is used up.
func TestWhoIsNotAdmitted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		edit func(*pool.Applicant)
		want string
	}{
		{"another version", func(a *pool.Applicant) { a.Version = "2" }, xenapi.CodePoolJoiningHostMustHaveSameProductVersion},
		{"other patches", func(a *pool.Applicant) { a.Applied = []string{"p"} }, xenapi.CodePoolHostsNotHomogeneous},
		{"a host that lives", func(a *pool.Applicant) { a.HostUUID = uuidOne }, xenapi.CodeHostIsLive},
		{"no request", func(a *pool.Applicant) { a.Request = "" }, xenapi.CodeInvalidValue},
		{"an SR that is there", func(a *pool.Applicant) { a.SRs[0].SR.UUID = uuidThree }, xenapi.CodeSRUUIDExists},
		{"a wrong token", func(a *pool.Applicant) { a.Token = "pp1.nonsense" }, xenapi.CodeSessionAuthenticationFailed},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			atGate(t, func(t *testing.T, g *gate) {
				sr := xenapi.New[xenapi.SR]()
				sr.UUID = uuidThree
				g.insert(t, func(tx *db.Tx) error { return db.Insert(tx, "OpaqueRef:sr", sr) })
				token, err := g.NewToken(t.Context(), time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				a := applicant(t, uuidTwo)
				a.Token = token
				c.edit(&a)
				if _, err := g.Admit(t.Context(), a, false); xenapi.CodeOf(err) != c.want {
					t.Errorf("error %v, want %s", err, c.want)
				}
				if hosts, srs := len(all[xenapi.Host](g.DB)), len(all[xenapi.SR](g.DB)); hosts != 1 || srs != 1 || len(g.copies.list()) != 0 {
					t.Errorf("left are %d hosts, %d SRs, copies %v", hosts, srs, g.copies.list())
				}
				good := applicant(t, uuidTwo)
				good.Token = token
				if _, err := g.Admit(t.Context(), good, false); err != nil {
					t.Errorf("the token is used up: %v", err)
				}
			})
		})
	}
}

// TestJoiningItself: a host that was given its own address is told so.
func TestJoiningItself(t *testing.T) {
	t.Parallel()
	atGate(t, func(t *testing.T, g *gate) {
		g.Identity.HostUUID = uuidOne
		_, err := g.Admit(t.Context(), applicant(t, uuidOne), true)
		if xenapi.CodeOf(err) != xenapi.CodeOperationNotAllowed || !strings.Contains(err.Error(), "does not join itself") {
			t.Error(err)
		}
	})
}

func TestTokens(t *testing.T) {
	t.Parallel()
	atGate(t, func(t *testing.T, g *gate) {
		var token string
		var err error
		for range 16 {
			if token, err = g.NewToken(t.Context(), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := g.NewToken(t.Context(), time.Hour); xenapi.CodeOf(err) != xenapi.CodeOperationNotAllowed {
			t.Errorf("the 17th: %v", err)
		}
		a := applicant(t, uuidTwo)
		a.Token = token
		if _, err := g.Admit(t.Context(), a, false); err != nil {
			t.Error(err)
		}
		if _, err := g.Admit(t.Context(), a, false); xenapi.CodeOf(err) != xenapi.CodeSessionAuthenticationFailed {
			t.Errorf("a second time: %v", err)
		}
		if token, err = g.NewToken(t.Context(), time.Minute); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute) // of the bubble's clock
		b := applicant(t, uuidThree)
		b.Token = token
		if _, err := g.Admit(t.Context(), b, false); xenapi.CodeOf(err) != xenapi.CodeSessionAuthenticationFailed {
			t.Errorf("an expired one: %v", err)
		}
		time.Sleep(time.Hour)
		for range 16 { // those that have expired make room
			if _, err := g.NewToken(t.Context(), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestAdmissionThatIsInterrupted: at each gap the host may ask again, and the outcome is that of one call.
func TestAdmissionThatIsInterrupted(t *testing.T) {
	t.Parallel()
	for what, hurt := range map[string]func(*gate){
		"not committed":       func(g *gate) { g.faults.set(memkv.FailNotPersisted) },
		"committed, in doubt": func(g *gate) { g.faults.set(memkv.FailButPersisted) },
		"no room was made":    func(g *gate) { g.copies.setFail(errors.New("no quorum")) },
		"the answer was lost": func(*gate) {},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			atGate(t, func(t *testing.T, g *gate) {
				hurt(g)
				_, _ = g.Admit(t.Context(), applicant(t, uuidTwo), true)
				g.copies.setFail(nil)
				if _, err := g.Admit(t.Context(), applicant(t, uuidTwo), true); err != nil {
					t.Fatal(err)
				}
				counts := []int{len(all[xenapi.Host](g.DB)), len(all[xenapi.HostMetrics](g.DB)), len(all[xenapi.VM](g.DB)), len(all[xenapi.SR](g.DB)), len(all[xenapi.PBD](g.DB)), len(g.copies.list())}
				if !slices.Equal(counts, []int{2, 2, 2, 1, 1, 1}) {
					t.Errorf("rows and copies %v", counts)
				}
			})
		})
	}
}

// TestDestroy: a dead host goes with what it alone had; what its tasks have begun on shared SRs is the coordinator's.
func TestDestroy(t *testing.T) {
	t.Parallel()
	atGate(t, func(t *testing.T, g *gate) {
		if _, err := g.Admit(t.Context(), applicant(t, uuidTwo), true); err != nil {
			t.Fatal(err)
		}
		two := g.host(t, uuidTwo)
		var local xenapi.Ref[xenapi.SR]
		for ref := range all[xenapi.SR](g.DB) {
			local = ref
		}
		shared := xenapi.New[xenapi.SR]()
		shared.UUID, shared.Shared = xenapi.NewUUID(), true
		g.insert(t, func(tx *db.Tx) error {
			own := func(object string, sr xenapi.Ref[xenapi.SR]) error {
				return db.Insert(tx, xenapi.Ref[task.Belonging](object), task.Belonging{Task: "OpaqueRef:t", Host: two, Kind: "vdi", Object: object, Detail: map[string]string{"SR": sr.String()}})
			}
			ref, _, _ := first[xenapi.Pool](tx)
			return errors.Join(db.Insert(tx, "OpaqueRef:certificate", xenapi.Certificate{UUID: xenapi.NewUUID(), Host: two}), db.Insert(tx, "OpaqueRef:shared", shared), own("mine", local), own("ours", "OpaqueRef:shared"),
				db.Insert(tx, "OpaqueRef:vdi", xenapi.VDI{UUID: xenapi.NewUUID(), SR: local}),
				db.Insert(tx, "OpaqueRef:t", xenapi.Task{UUID: xenapi.NewUUID(), Status: xenapi.TaskStatusPending, ResidentOn: two}),
				db.Change(tx, ref, func(rec *xenapi.Pool) error { rec.DefaultSR = local; return nil }))
		})
		if err := g.Eject(t.Context(), "", two); xenapi.CodeOf(err) != xenapi.CodeHostOffline {
			t.Errorf("ejecting a dead host: %v", err)
		}
		if err := g.Destroy(t.Context(), g.Me); xenapi.CodeOf(err) != xenapi.CodeHostCannotDestroySelf {
			t.Errorf("destroying itself: %v", err)
		}
		g.copies.setFail(errors.New("no quorum")) // the host's copy cannot be removed now
		if err := g.Destroy(t.Context(), two); err != nil {
			t.Errorf("the host is out, and its copy goes later: %v", err)
		}
		counts := []int{len(all[xenapi.Host](g.DB)), len(all[xenapi.HostMetrics](g.DB)), len(all[xenapi.VM](g.DB)), len(all[xenapi.SR](g.DB)), len(all[xenapi.PBD](g.DB)), len(all[xenapi.VDI](g.DB)), len(all[xenapi.Certificate](g.DB))}
		if !slices.Equal(counts, []int{1, 1, 1, 1, 0, 0, 1}) { // this host shows a certificate too
			t.Errorf("rows %v", counts)
		}
		if n := len(all[task.Belonging](g.DB)); n != 1 {
			t.Errorf("%d belongings are left", n)
		}
		for _, b := range all[task.Belonging](g.DB) {
			if b.Object != "ours" || b.Host != g.Me {
				t.Errorf("left is %+v", b)
			}
		}
		if rec := get[xenapi.Task](t, g.DB, "OpaqueRef:t"); rec.Status != xenapi.TaskStatusFailure || rec.ErrorInfo[0] != xenapi.CodeHostOffline {
			t.Errorf("its task is %s %v", rec.Status, rec.ErrorInfo)
		}
		for _, rec := range all[xenapi.Pool](g.DB) {
			if !rec.DefaultSR.IsNull() {
				t.Error("the default SR is one that is gone")
			}
		}
		g.copies.setFail(nil)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- g.SettleDeparted(ctx, slog.New(slog.DiscardHandler)) }()
		time.Sleep(time.Minute) // of the bubble's clock
		if left := g.copies.list(); len(left) != 0 {
			t.Errorf("copies %v are left", left)
		}
		if _, err := g.Admit(t.Context(), applicant(t, uuidTwo), true); err != nil {
			t.Errorf("it may not join again: %v", err)
		}
		time.Sleep(time.Minute)
		if left := g.copies.list(); len(left) != 1 {
			t.Errorf("copies after it has joined again: %v", left)
		}
		stop()
		<-ended
	})
}

func first[T xenapi.Object](tx *db.Tx) (xenapi.Ref[T], T, bool) {
	for ref, rec := range db.All[T](tx) {
		return ref, rec, true
	}
	var none T
	return "", none, false
}

// TestSettleLost: a host that only starts again keeps its tasks; one that has died loses them, and what it only read.
func TestSettleLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		back bool
		want xenapi.TaskStatus
		left int
	}{
		{"it starts again", true, xenapi.TaskStatusPending, 2},
		{"it has died", false, xenapi.TaskStatusFailure, 1},
	} {
		inCluster(t, 2, func(cl *cluster) {
			one, two := cl.hosts[0], cl.hosts[1]
			if err := one.d.Update(context.Background(), func(tx *db.Tx) error {
				own := func(mode string) error {
					return db.Insert(tx, xenapi.Ref[task.Belonging](mode), task.Belonging{Task: "OpaqueRef:t", Host: two.ref, Kind: "attachment", Object: mode, Detail: map[string]string{"mode": mode}})
				}
				return errors.Join(own("RO"), own("RW"), db.Insert(tx, "OpaqueRef:t", xenapi.Task{UUID: "t", Status: xenapi.TaskStatusPending, ResidentOn: two.ref, ByClient: true}))
			}); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error)
			go func() { ended <- pool.SettleLost(ctx, one.d, one.ref, slog.New(slog.DiscardHandler)) }()
			two.disconnect()
			time.Sleep(2 * time.Second)
			if c.back {
				two.reconnect()
			}
			time.Sleep(20 * time.Second)
			if rec := get[xenapi.Task](cl.t, one.d, "OpaqueRef:t"); rec.Status != c.want {
				t.Errorf("%s: the task is %s %v", c.what, rec.Status, rec.ErrorInfo)
			}
			if n := len(all[task.Belonging](one.d)); n != c.left {
				t.Errorf("%s: %d attachments are left", c.what, n)
			}
			stop()
			<-ended
		})
	}
}

// TestEject: the coordinator and a host that is busy stay; a host that leaves hears of it, and its copy goes.
func TestEject(t *testing.T) {
	t.Parallel()
	inCluster(t, 2, func(cl *cluster) {
		one, two := cl.hosts[0], cl.hosts[1]
		kept := &copies{urls: map[string]bool{"https://10.0.0.2:443": true}}
		cluster := func(m *member) *pool.Cluster { return &pool.Cluster{DB: m.d, Me: m.ref, Keepers: kept} }
		ctx := context.Background()
		change(cl.t, one.d, two.ref, func(rec *xenapi.Host) { rec.Address = "10.0.0.2" })
		put := func(fn func(*db.Tx) error) {
			if err := one.d.Update(ctx, fn); err != nil {
				t.Fatal(err)
			}
		}
		refused := func(what string, from *member, host xenapi.Ref[xenapi.Host], code, says string) {
			synctest.Wait()
			if err := cluster(from).Eject(ctx, "OpaqueRef:by", host); xenapi.CodeOf(err) != code || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", what, err)
			}
		}
		refused("on a host that is not the coordinator", two, two.ref, xenapi.CodeHostIsSlave, "")
		refused("no host", one, "OpaqueRef:none", xenapi.CodeHandleInvalid, "")
		put(func(tx *db.Tx) error { // the call itself, where it was made
			return db.Insert(tx, "OpaqueRef:by", xenapi.Task{UUID: "by", Status: xenapi.TaskStatusPending, ResidentOn: one.ref})
		})
		refused("the coordinator", one, one.ref, xenapi.CodeOperationNotAllowed, "designate another one")
		put(func(tx *db.Tx) error {
			return db.Insert(tx, "OpaqueRef:t", xenapi.Task{UUID: "t", Status: xenapi.TaskStatusPending, ResidentOn: two.ref})
		})
		refused("a host with a task", one, two.ref, xenapi.CodeOperationNotAllowed, "runs the task")
		put(func(tx *db.Tx) error {
			return errors.Join(db.Delete(tx, xenapi.Ref[xenapi.Task]("OpaqueRef:t")),
				db.Insert(tx, "OpaqueRef:b", task.Belonging{Host: two.ref, Kind: "attachment", Object: "o"}))
		})
		refused("a host that uses a VDI", one, two.ref, xenapi.CodeOperationNotAllowed, "temporary things")
		put(func(tx *db.Tx) error {
			rec, err := db.Get(tx, two.ref)
			return errors.Join(err, db.Insert(tx, "OpaqueRef:vbd", xenapi.VBD{UUID: "vbd", VM: rec.ControlDomain, CurrentlyAttached: true, Device: "loop9"}))
		})
		put(func(tx *db.Tx) error { return db.Delete(tx, xenapi.Ref[task.Belonging]("OpaqueRef:b")) })
		refused("a host whose disk is attached", one, two.ref, xenapi.CodeOperationNotAllowed, "loop9: unplug the VBD vbd")
		change(cl.t, one.d, "OpaqueRef:vbd", func(rec *xenapi.VBD) { rec.CurrentlyAttached = false })
		change(cl.t, one.d, "OpaqueRef:by", func(rec *xenapi.Task) { rec.ResidentOn = two.ref }) // it does not stand in its own way
		if err := cluster(one).Destroy(ctx, two.ref); xenapi.CodeOf(err) != xenapi.CodeHostIsLive {
			t.Errorf("destroying a host that lives: %v", err)
		}
		if n := len(all[xenapi.Host](one.d)); n != 2 {
			t.Errorf("%d hosts are left of those that stay", n)
		}

		heard := make(chan error, 1)
		go func() { heard <- pool.Evicted(ctx, two.d, two.ref) }()
		if err := cluster(one).Eject(ctx, "OpaqueRef:by", two.ref); err != nil {
			t.Fatal(err)
		}
		if err := <-heard; err != nil {
			t.Error(err)
		}
		if hosts, left := len(all[xenapi.Host](one.d)), kept.list(); hosts != 1 || len(left) != 0 {
			t.Errorf("%d hosts, copies %v", hosts, left)
		}
		if vbds := all[xenapi.VBD](one.d); len(vbds) != 0 {
			t.Errorf("VBDs of a host that has left: %v", vbds)
		}
		refused("the only host", one, one.ref, xenapi.CodeOperationNotAllowed, "the only one")
		if _, err := pool.Enter(ctx, two.d, pool.Identity{HostUUID: "uuid-1"}, pool.Admitted); !errors.Is(err, pool.ErrEjected) {
			t.Errorf("it enters again: %v", err)
		}
	})
}

// TestWhoMayAskToJoin: a host that would lose something stays where it is.
func TestWhoMayAskToJoin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		put  func(tx *db.Tx, me xenapi.Ref[xenapi.Host]) error
		want string
	}{
		{"nothing", func(*db.Tx, xenapi.Ref[xenapi.Host]) error { return nil }, ""},
		{"a task", func(tx *db.Tx, me xenapi.Ref[xenapi.Host]) error {
			return db.Insert(tx, "OpaqueRef:t", xenapi.Task{UUID: "t", Status: xenapi.TaskStatusPending, ResidentOn: me, AuthUser: "root"})
		}, xenapi.CodeOperationNotAllowed},
		{"a task of the daemon's own", func(tx *db.Tx, me xenapi.Ref[xenapi.Host]) error {
			return db.Insert(tx, "OpaqueRef:t", xenapi.Task{UUID: "t", Status: xenapi.TaskStatusPending, ResidentOn: me})
		}, ""},
		{"another host", func(tx *db.Tx, _ xenapi.Ref[xenapi.Host]) error {
			return db.Insert(tx, "OpaqueRef:other", xenapi.Host{UUID: uuidTwo})
		}, xenapi.CodeOperationNotAllowed},
		{"a patch in a VDI", func(tx *db.Tx, _ xenapi.Ref[xenapi.Host]) error {
			return errors.Join(db.Insert(tx, "OpaqueRef:v", xenapi.VDI{UUID: "v"}), db.Insert(tx, "OpaqueRef:p", xenapi.PoolPatch{UUID: "p", VDI: "OpaqueRef:v"}))
		}, xenapi.CodeOperationNotAllowed},
		{"a disk that is attached", func(tx *db.Tx, me xenapi.Ref[xenapi.Host]) error {
			rec, err := db.Get(tx, me)
			return errors.Join(err, db.Insert(tx, "OpaqueRef:vbd", xenapi.VBD{UUID: "vbd", VM: rec.ControlDomain, CurrentlyAttached: true}))
		}, xenapi.CodeOperationNotAllowed},
		{"a disk that is not", func(tx *db.Tx, me xenapi.Ref[xenapi.Host]) error {
			rec, err := db.Get(tx, me)
			return errors.Join(err, db.Insert(tx, "OpaqueRef:vbd", xenapi.VBD{UUID: "vbd", VM: rec.ControlDomain}))
		}, ""},
		{"a shared SR", func(tx *db.Tx, me xenapi.Ref[xenapi.Host]) error {
			return errors.Join(db.Insert(tx, "OpaqueRef:s", xenapi.SR{UUID: "s", Shared: true}),
				db.Insert(tx, "OpaqueRef:b", xenapi.PBD{UUID: "b", Host: me, SR: "OpaqueRef:s", CurrentlyAttached: true}))
		}, xenapi.CodePoolJoiningHostCannotContainSharedSRs},
	} {
		d := open(t, memkv.New(), "one")
		me := enter(t, d, one).Host
		if err := d.Update(t.Context(), func(tx *db.Tx) error {
			return errors.Join(c.put(tx, me), db.Insert(tx, "OpaqueRef:joining", xenapi.Task{UUID: "joining", Status: xenapi.TaskStatusPending, ResidentOn: me, AuthUser: "root"}))
		}); err != nil {
			t.Fatal(err)
		}
		_, err := (&pool.Cluster{DB: d, Me: me}).Describe("OpaqueRef:joining", true)
		if xenapi.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}
