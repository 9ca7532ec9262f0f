package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// startAt starts a host that listens at a loopback address of its own.
func startAt(t *testing.T, address string) *harness.Daemon {
	t.Helper()
	return harness.Start(t, harness.Options{HTTPS: address, Trusted: []*harness.Key{harness.TheKey(t)}})
}

// join brings a host into the pool of another, as an administrator does.
func join(t *testing.T, host, pool *harness.Daemon, more ...string) error {
	t.Helper()
	binary := harness.Binary(t, harness.Build{})
	token, err := harness.Output("", binary, "pool", "token", "--root", pool.Root)
	if err != nil {
		t.Fatal(err)
	}
	return harness.Run("", append([]string{binary, "pool", "join", pool.Address(), "--token", strings.TrimSpace(token), "--root", host.Root}, more...)...)
}

// newPool is n hosts that have joined, the first of which is the coordinator.
func newPool(t *testing.T, n int) []*harness.Daemon {
	t.Helper()
	var all []*harness.Daemon
	for i := range n {
		all = append(all, startAt(t, freeAddress(t)))
		if i > 0 {
			if err := join(t, all[i], all[0]); err != nil {
				t.Fatalf("host %d: %v", i+1, err)
			}
		}
	}
	return all
}

// databases are how the hosts of a pool have the database, as the pool shows it.
func databases(d *harness.Daemon) string {
	counts := map[string]int{}
	for _, rec := range harness.Records[xenapi.Host](d) {
		counts[rec.OtherConfig["poolpatch:database"]]++
	}
	return fmt.Sprint(counts)
}

// TestJoin: four hosts become one pool, three of which have its database, and any one of them may be lost.
func TestJoin(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, 4)
	for i, d := range hosts {
		if got := databases(d); got != "map[client:1 member:3]" {
			t.Errorf("host %d sees the databases %s", i+1, got)
		}
		if got := coordinator(d); got != ownHost(hosts[0]) {
			t.Errorf("host %d sees the coordinator %s", i+1, got)
		}
		local := 0
		for _, sr := range harness.Records[xenapi.SR](d) {
			if sr.NameLabel == "Local storage" {
				local++
			}
		}
		if local != 4 {
			t.Errorf("host %d sees %d local SRs", i+1, local)
		}
	}
	program := harness.Program{UUID: xenapi.NewUUID()}
	ref := hosts[3].Upload(program.Signed(t))

	var refs []xenapi.Ref[xenapi.Host]
	for _, d := range hosts {
		refs = append(refs, ownHost(d))
	}
	// Each of the first three is lost in turn, and the pool goes on.
	for i := range 3 {
		other := hosts[(i+1)%3]
		hosts[i].Kill()
		harness.Eventually(t, "the pool has a coordinator that lives", func() bool {
			_, err := harness.Try[any](hosts[3], "host.set_name_description", refs[3], fmt.Sprint("without host ", i+1))
			return err == nil && coordinator(hosts[3]) != refs[i]
		})
		if err := hosts[i].Launch(); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the host is back", func() bool {
			return harness.Record(other, harness.Record(other, refs[i]).Metrics).Live
		})
	}
	for i, d := range hosts {
		hosts[0].Do("pool_patch.apply", ref, refs[i])
		if ran := d.Read(harness.Ran); strings.Count(ran, program.UUID) != 1 {
			t.Errorf("on a host ran %q", ran)
		}
	}
	for _, d := range hosts {
		d.Clean()
	}
}

// TestLeave: a host that is ejected is a pool of its own with its storage, and may join again; a dead one is destroyed.
func TestLeave(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, 3)
	one, two, three := hosts[0], hosts[1], hosts[2]
	first, second, third := ownHost(one), ownHost(two), ownHost(three)
	two.Refused(xenapi.CodeOperationNotAllowed, "pool.eject", first)
	two.Refused(xenapi.CodeHostIsLive, "host.destroy", third)
	fields := xenapi.New[xenapi.VDI]()
	for ref, pbd := range harness.Records[xenapi.PBD](one) {
		if _ = ref; pbd.Host == third {
			fields.SR = pbd.SR
		}
	}
	fields.NameLabel, fields.VirtualSize, fields.Type = "mine", 1<<20, xenapi.VDITypeUser
	one.Do("VDI.create", fields)
	program := harness.Program{UUID: xenapi.NewUUID(), Guidance: "restartHost restartXAPI"}
	ref := one.Upload(program.Signed(t))
	for _, host := range []xenapi.Ref[xenapi.Host]{first, second, third} {
		one.Do("pool_patch.apply", ref, host)
	}
	one.Do("host.set_name_label", third, "the third one")
	harness.Eventually(t, "the host knows its name", func() bool { return three.Read("var/lib/poolpatch/host-name") == "the third one" })
	// What an administrator has said of it, and what it still needs, goes with it.
	asItWas := func() {
		t.Helper()
		rec := harness.Record(three, ownHost(three))
		if want := []xenapi.UpdateGuidance{"reboot_host", "restart_toolstack"}; rec.NameLabel != "the third one" || !slices.Equal(rec.PendingGuidances, want) {
			t.Errorf("the host is %q and needs %v", rec.NameLabel, rec.PendingGuidances)
		}
	}

	two.Do("pool.eject", third)
	alone(t, three)
	if n := len(harness.Records[xenapi.Host](one)); n != 2 {
		t.Errorf("the pool has %d hosts", n)
	}
	mine := func() (found xenapi.Ref[xenapi.VDI]) {
		harness.Eventually(t, "its storage came along", func() bool {
			for ref, vdi := range harness.Records[xenapi.VDI](three) {
				if vdi.NameLabel == "mine" {
					found = ref
				}
			}
			return found != ""
		})
		return found
	}
	mine()
	asItWas()
	if err := join(t, three, two); err != nil { // through one that is not the coordinator
		t.Fatal(err)
	}
	harness.Eventually(t, "it has a copy of the database again", func() bool { return databases(one) == "map[member:3]" })
	asItWas()

	two.Kill()
	harness.Eventually(t, "the dead host is destroyed", func() bool {
		_, err := harness.Try[any](three, "host.destroy", second)
		return err == nil
	})
	if n := len(harness.Records[xenapi.Host](one)); n != 2 {
		t.Errorf("the pool has %d hosts", n)
	}
	one.Do("VDI.destroy", mine())
	one.Clean()
	three.Clean()
}

// alone waits until a host is a pool of its own.
func alone(t *testing.T, d *harness.Daemon) {
	t.Helper()
	harness.Eventually(t, "the host is a pool of its own", func() bool {
		records, err := harness.Try[map[xenapi.Ref[xenapi.Host]]xenapi.Host](d, "host.get_all_records")
		return err == nil && len(records) == 1
	})
}

// TestLeaveUnawares: hosts that were destroyed while they were away learn it when they are back: one that made the pool, one
// that has no copy of the database, and one whose daemon went on meanwhile. Each is a pool of its own then, and may join again.
func TestLeaveUnawares(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, 4)
	founder, two, member, client := hosts[0], hosts[1], hosts[2], hosts[3]
	away := map[*harness.Daemon]xenapi.Ref[xenapi.Host]{}
	for _, d := range []*harness.Daemon{founder, client, member} {
		away[d] = ownHost(d)
	}
	destroy := func(d *harness.Daemon) {
		t.Helper()
		harness.Eventually(t, "the host is destroyed", func() bool {
			_, err := harness.Try[any](two, "host.destroy", away[d])
			return err == nil || xenapi.CodeOf(err) == xenapi.CodeHandleInvalid
		})
	}
	for _, d := range []*harness.Daemon{founder, client} {
		d.Kill()
		destroy(d)
		if err := d.Launch(); err != nil {
			t.Fatal(err)
		}
		alone(t, d)
		if err := join(t, d, two); err != nil {
			t.Fatal(err)
		}
	}
	harness.Eventually(t, "all have what they had of the database", func() bool { return databases(two) == "map[client:1 member:3]" })

	member.Pause()
	destroy(member)
	member.Resume()
	alone(t, member)
	for _, d := range hosts {
		d.Clean()
	}
}

// TestWhoMayNotJoin: nothing but a token or the right user admits a host, and not every host.
func TestWhoMayNotJoin(t *testing.T) {
	t.Parallel()
	one, two := startAt(t, freeAddress(t)), startAt(t, freeAddress(t))
	own := ownHost(two)
	two.Refused(xenapi.CodeSessionAuthenticationFailed, "pool.join", one.Address(), "root", "a wrong password")
	two.Refused(xenapi.CodeCannotContactHost, "pool.join", freeAddress(t), "root", "password")
	token := harness.Call[string](one, "pool.create_join_token", int64(600))
	two.Refused(xenapi.CodeSessionAuthenticationFailed, "pool.join", one.Address(), "", token[:len(token)-1]+"x")

	other := harness.Call[string](startAt(t, freeAddress(t)), "pool.create_join_token", int64(600))
	refused := two.Refused(xenapi.CodeSessionAuthenticationFailed, "pool.join", one.Address(), "", other)
	if !strings.Contains(refused.Error(), "not the pool that the token names") {
		t.Errorf("another pool's token: %v", refused)
	}
	for _, who := range []struct{ user, token string }{{"", token[1:]}, {"", token[:70]}, {"root", token[:70]}} {
		refused = two.Refused(xenapi.CodeSessionAuthenticationFailed, "pool.join", one.Address(), who.user, who.token)
		if !strings.Contains(refused.Error(), "not a join token") {
			t.Errorf("a mangled token of user %q: %v", who.user, refused)
		}
	}
	refused = two.Refused(xenapi.CodeOperationNotAllowed, "pool.join", two.Address(), "", harness.Call[string](two, "pool.create_join_token", int64(600)))
	if !strings.Contains(refused.Error(), "does not join itself") {
		t.Errorf("a host's own address: %v", refused)
	}

	program := harness.Program{UUID: xenapi.NewUUID()}
	ref := two.Upload(program.Signed(t))
	two.Refused(xenapi.CodeOperationNotAllowed, "pool.join", one.Address(), "", token)
	two.Apply(ref)
	two.Do("VDI.destroy", harness.Record(two, ref).VDI)
	refused = two.Refused(xenapi.CodePoolHostsNotHomogeneous, "pool.join", one.Address(), "", token)
	if !strings.Contains(refused.Error(), program.UUID) {
		t.Errorf("the error does not name the patch: %v", refused)
	}
	if ownHost(two) != own || len(harness.Records[xenapi.Host](one)) != 1 {
		t.Error("a host that was refused is not where it was")
	}
	if err := join(t, two, one, "--force"); err != nil {
		t.Fatal(err)
	}
	if n := len(harness.Records[xenapi.Host](one)); n != 2 {
		t.Errorf("the pool has %d hosts", n)
	}
	one.Clean()
	two.Clean()
}

// TestJoinOfTwoHalves: a pool that was made two, which have one UUID, is made one again; the command that does it ends.
func TestJoinOfTwoHalves(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, 2)
	refs := []xenapi.Ref[xenapi.Host]{ownHost(hosts[0]), ownHost(hosts[1])}
	for _, d := range hosts {
		d.Kill()
	}
	for i, d := range hosts {
		if err := harness.Run("", harness.Binary(t, harness.Build{}), "pool", "recover", "--root", d.Root); err != nil {
			t.Fatal(err)
		}
		if err := d.Launch(); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the half is rid of the other", func() bool {
			_, err := harness.Try[any](d, "host.destroy", refs[1-i])
			return err == nil
		})
	}
	if err := join(t, hosts[1], hosts[0]); err != nil {
		t.Fatal(err)
	}
	if got := coordinator(hosts[1]); got != refs[0] {
		t.Errorf("the coordinator is %s", got)
	}
}

// TestWithoutMajority: when two of three copies of the database are gone, reads answer, changes are refused in good time,
// and all is well when the others are back.
func TestWithoutMajority(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, 3)
	ref := ownHost(hosts[0])
	hosts[1].Kill()
	hosts[2].Kill()
	began := time.Now()
	harness.Eventually(t, "changes are refused", func() bool {
		_, err := harness.Try[any](hosts[0], "host.set_name_description", ref, "changed")
		return xenapi.CodeOf(err) == xenapi.CodePoolDatabaseUnavailable
	})
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v to refuse a change", took)
	}
	// From then on nobody waits for an election that does not come, nor for others who do.
	began = time.Now()
	var writers sync.WaitGroup
	for range 6 {
		writers.Go(func() {
			if _, err := harness.Try[any](hosts[0], "host.set_name_description", ref, "changed"); xenapi.CodeOf(err) != xenapi.CodePoolDatabaseUnavailable {
				t.Errorf("a change gives %v", err)
			}
		})
	}
	writers.Wait()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("six changes were refused in %v", took)
	}
	if state := harness.Call[map[string]string](hosts[0], "pool.get_database_state"); state["writable"] != "false" {
		t.Errorf("the database is said to be %v", state)
	}
	c := hosts[0].Secure() // somebody logs in
	records, err := client.Call[map[xenapi.Ref[xenapi.Host]]xenapi.Host](t.Context(), c, "host.get_all_records")
	if err != nil || len(records) != 3 {
		t.Errorf("reading gives %d hosts, %v", len(records), err)
	}
	for _, d := range hosts[1:] {
		if err := d.Launch(); err != nil {
			t.Fatal(err)
		}
	}
	harness.Eventually(t, "changes are taken", func() bool {
		_, err := harness.Try[any](hosts[0], "host.set_name_description", ref, "changed")
		return err == nil
	})
	for _, d := range hosts {
		d.Clean()
	}
}

// TestRotate: the pool's authority is replaced while the pool runs, and afterwards its database still holds together.
func TestRotate(t *testing.T) {
	t.Parallel()
	hosts := newPool(t, 3)
	var refs []xenapi.Ref[xenapi.Host]
	for _, d := range hosts {
		refs = append(refs, ownHost(d))
	}
	authorities := func(d *harness.Daemon) string { return d.Read("var/lib/poolpatch/identity/authorities.pem") }
	former := authorities(hosts[0])
	hosts[1].Do("pool.rotate_authority")
	// Each host starts again for that, one after another.
	for _, d := range hosts {
		harness.Eventually(t, "every host has followed", func() bool {
			state, err := harness.Try[map[string]string](d, "pool.get_authority_state")
			return err == nil && state["phase"] == "steady"
		})
		if now := authorities(d); now == former || strings.Count(now, "BEGIN CERTIFICATE") != 1 {
			t.Error("a host does not trust the new authority alone")
		}
	}
	hosts[2].Kill()
	harness.Eventually(t, "two of three go on", func() bool {
		_, err := harness.Try[any](hosts[0], "host.set_name_description", refs[1], "without the third")
		return err == nil
	})
	if err := hosts[2].Launch(); err != nil {
		t.Fatal(err)
	}
	program := harness.Program{UUID: xenapi.NewUUID()}
	ref := hosts[0].Upload(program.Signed(t))
	harness.Eventually(t, "the third host applies a patch", func() bool {
		_, err := harness.Try[any](hosts[1], "pool_patch.apply", ref, refs[2])
		return err == nil
	})
	hosts[1].Clean()
}
