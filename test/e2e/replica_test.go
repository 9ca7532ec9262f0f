package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"poolpatch/internal/rpc"
	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// replicaLimit is how long a change may take until it is in a VDI that the database is kept in.
const replicaLimit = 10 * time.Second

// share makes a shared SR, in a directory that it gives, and keeps the database there.
func share(t *testing.T, d *harness.Daemon, host xenapi.Ref[xenapi.Host]) (sr xenapi.Ref[xenapi.SR], dir string) {
	t.Helper()
	dir = filepath.Join(harness.Dir(t), "sr")
	sr = harness.Call[xenapi.Ref[xenapi.SR]](d, "SR.create", host, map[string]string{"location": dir},
		int64(0), "Shared storage", "", "file", "user", true, map[string]string{})
	d.Do("SR.enable_database_replication", sr)
	return sr, dir
}

// metadata is the VDI of the pool's database.
func metadata(t *testing.T, d *harness.Daemon) (xenapi.Ref[xenapi.VDI], xenapi.VDI) {
	t.Helper()
	_, pool := harness.Only[xenapi.Pool](d)
	if len(pool.MetadataVDIs) != 1 {
		t.Fatalf("the pool's database is kept in %v", pool.MetadataVDIs)
	}
	return pool.MetadataVDIs[0], harness.Record(d, pool.MetadataVDIs[0])
}

// as makes a call with a session of its own choice, and gives its result where that is a text.
func as(t *testing.T, d *harness.Daemon, session xenapi.Ref[xenapi.Session], method string, params ...any) (string, error) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.Socket())
	}}
	defer transport.CloseIdleConnections()
	request := rpc.EncodeRequest(method, append([]any{session}, params...))
	answer, err := (&http.Client{Transport: transport}).Post("http://localhost/jsonrpc", "application/json", bytes.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	reply, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	value, failure, err := rpc.DecodeReply(reply)
	if err != nil {
		t.Fatal(err)
	}
	if failure != nil {
		return "", failure
	}
	return value.Text, nil
}

// nameIn is what the pool is called in a VDI, as a session sees it that reads the database there.
func nameIn(t *testing.T, d *harness.Daemon, vdi xenapi.Ref[xenapi.VDI]) string {
	t.Helper()
	session := harness.Call[xenapi.Ref[xenapi.Session]](d, "VDI.open_database", vdi)
	pool, _ := harness.Only[xenapi.Pool](d)
	name, err := as(t, d, session, "pool.get_name_label", pool)
	_, lerr := as(t, d, session, "session.logout")
	if err := errors.Join(err, lerr); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestEveryDiskIsLost: of a pool nothing is left but a shared SR. A new machine that takes the place of the host restores the
// pool from the VDI there, is that pool with its patch, and goes on writing it down. Nothing in the VDI opens the old pool.
func TestEveryDiskIsLost(t *testing.T) {
	t.Parallel()
	d := start(t)
	sr, dir := share(t, d, d.Host())
	pool, _ := harness.Only[xenapi.Pool](d)
	d.Do("pool.set_default_SR", pool, sr)
	program := harness.Program{UUID: xenapi.NewUUID()}
	ref := d.Upload(program.Signed(t))
	d.Do("pool.set_name_label", pool, "before")
	vdi, rec := metadata(t, d)
	harness.Eventually(t, "the name is in the VDI", func() bool { return nameIn(t, d, vdi) == "before" })
	before := harness.Record(d, ref)

	d.Kill()
	uuid, image := d.Read("var/lib/poolpatch/host-uuid"), filepath.Join(dir, rec.Location)
	for _, lost := range []string{"var/lib/poolpatch", "var/patch", "run"} {
		if err := os.RemoveAll(d.Path(lost)); err != nil {
			t.Fatal(err)
		}
	}
	restore := []string{harness.Binary(t, harness.Build{}), "pool", "restore", "--from-vdi", image, "--root", d.Root}
	if err := harness.Run("", restore...); err == nil {
		t.Error("restored on a host that is none of the pool's")
	}
	d.Write("var/lib/poolpatch/host-uuid", uuid, 0o644)
	if err := harness.Run("", restore...); err != nil {
		t.Fatal(err)
	}
	if err := d.Launch(); err != nil {
		t.Fatal(err)
	}
	after := harness.Record(d, ref)
	if _, now := harness.Only[xenapi.Pool](d); now.NameLabel != "before" || after.UUID != before.UUID || after.VDI != before.VDI {
		t.Errorf("the pool is called %q, its patch was %+v and is %+v", now.NameLabel, before, after)
	}
	d.Secure() // with the password that this start has given to root
	d.Apply(ref)
	d.Do("pool.set_name_label", pool, "after")
	harness.Eventually(t, "the restored pool writes itself down", func() bool { return nameIn(t, d, vdi) == "after" })
	d.Clean(vdi)
	d.Do("SR.disable_database_replication", sr)
	d.Clean()
}

// TestReplicaOfAPool: whichever host is the coordinator writes, any host reads, and a session that reads is of the host that
// opened it.
func TestReplicaOfAPool(t *testing.T) {
	t.Parallel()
	options := harness.Options{Etcd: ownEtcd(t)}
	one, two := harness.Start(t, options), harness.Start(t, options)
	first, second := ownHost(one), ownHost(two)
	harness.Eventually(t, "both hosts live", func() bool {
		return harness.Record(one, harness.Record(one, first).Metrics).Live && harness.Record(one, harness.Record(one, second).Metrics).Live
	})
	for sr := range harness.Records[xenapi.SR](two) {
		two.Refused(xenapi.CodeSRHasNoPBDs, "SR.enable_database_replication", sr) // of one host
	}
	share(t, two, second)
	vdi, _ := metadata(t, two)
	pool, rec := harness.Only[xenapi.Pool](one)
	for _, d := range []*harness.Daemon{one, two} {
		if got := harness.Call[string](d, "VDI.read_database_pool_uuid", vdi); got != rec.UUID {
			t.Errorf("the pool in the VDI is %q, not %q", got, rec.UUID)
		}
	}
	session := harness.Call[xenapi.Ref[xenapi.Session]](one, "VDI.open_database", vdi)
	_, err := as(t, two, session, "pool.get_name_label", pool)
	harness.WantCode(t, "on the other host", err, xenapi.CodeSessionInvalid)

	two.Do("pool.designate_new_master", second)
	one.Stop()
	two.Do("pool.set_name_label", pool, "of the second host")
	began := time.Now()
	harness.Eventually(t, "the other host writes", func() bool { return nameIn(t, two, vdi) == "of the second host" })
	if took := time.Since(began); took > replicaLimit {
		t.Errorf("it took %v", took)
	}
	if err := one.Launch(); err != nil {
		t.Fatal(err)
	}
	one.Clean(vdi)
	two.Clean(vdi)
}
