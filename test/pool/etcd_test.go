package pool

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"poolpatch/test/harness"
)

// Variables that make the test program an etcd: its directory and the address of its one listener.
const (
	etcdDirectory = "POOLPATCH_TEST_ETCD_DIRECTORY"
	etcdAddress   = "POOLPATCH_TEST_ETCD_ADDRESS"
)

// etcdPort is where an etcd listens for clients.
const etcdPort = "2379"

// startEtcd runs an etcd as an administrator would on a machine of its own, behind port p, and gives its endpoint. It
// ends with the test, or with the test process: its standard input does.
func startEtcd(t testing.TB, p port) string {
	t.Helper()
	address := net.JoinHostPort(p.address, etcdPort)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append(p.within(), self)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), etcdDirectory+"="+harness.Dir(t), etcdAddress+"="+address)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("etcd: %v", err)
		}
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("etcd ended before it was ready: %v", err)
	}
	return "http://" + address
}

// runEtcd is the etcd. It says a line when it is ready, and ends when its standard input does.
func runEtcd(dir, address string) error {
	c := embed.NewConfig()
	c.Dir, c.Name = dir, "own"
	c.UnsafeNoFsync = true // nothing here takes the power from it
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{{Scheme: "unix", Host: "localhost:0"}}
	c.ListenClientUrls = []url.URL{{Scheme: "http", Host: address}}
	c.AdvertiseClientUrls = c.ListenClientUrls
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	<-e.Server.ReadyNotify()
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err // without closing it, which waits for its clients
}
