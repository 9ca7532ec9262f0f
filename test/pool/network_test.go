package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"poolpatch/test/harness"
)

const (
	// namespaces is where ip(8) keeps them.
	namespaces = "/run/netns"
	// nobody is a link-layer address that no port has: what is sent to it is lost without a word.
	nobody = "02:00:00:00:00:00"
	// perProcess is how many networks a test process may have.
	perProcess = 16
)

// network is a bridge of the test's own. The test has an address on it too.
type network struct {
	t     testing.TB
	name  string // of the bridge; what is plugged in is named after it
	net24 string // "10.x.y."
	ports int
}

// port is a network namespace that is plugged into a network.
type port struct {
	t       testing.TB
	bridge  string
	name    string // of the namespace, and of the link that goes to it
	address string
}

var networks atomic.Int32

// newNetwork makes the next network of this process, after it has removed what killed runs left.
func newNetwork(t testing.TB) *network {
	t.Helper()
	if err := sweepOnce(); err != nil {
		t.Fatal(err)
	}
	return networkOf(t, os.Getpid(), int(networks.Add(1))-1)
}

// networkOf makes a network with the names and addresses of a process: those of two that run at once differ.
func networkOf(t testing.TB, pid, nth int) *network {
	t.Helper()
	number := (pid*perProcess + nth) & 0xffff
	n := &network{t: t, name: fmt.Sprintf("pp%d-%d", pid, nth), net24: fmt.Sprintf("10.%d.%d.", number>>8, number&0xff)}
	n.ip("link", "add", n.name, "type", "bridge")
	t.Cleanup(func() { n.ip("link", "delete", n.name) })
	n.ip("address", "add", n.net24+"254/24", "dev", n.name)
	n.ip("link", "set", n.name, "up")
	return n
}

// port makes a namespace and plugs it in.
func (n *network) port() port {
	n.t.Helper()
	n.ports++
	p := port{t: n.t, bridge: n.name, name: fmt.Sprintf("%s-%d", n.name, n.ports), address: fmt.Sprintf("%s%d", n.net24, n.ports)}
	n.ip("netns", "add", p.name)
	n.t.Cleanup(func() { n.ip("netns", "delete", p.name) })
	n.ip("link", "add", p.name, "type", "veth", "peer", "name", "eth0", "netns", p.name)
	// A namespace outlives its name while connections of killed daemons linger.
	n.t.Cleanup(func() { n.ip("link", "delete", p.name) })
	n.ip("link", "set", p.name, "up")
	p.ip("address", "add", p.address+"/24", "dev", "eth0")
	p.ip("link", "set", "lo", "up")
	p.ip("link", "set", "eth0", "up")
	p.plug()
	return p
}

func (n *network) ip(args ...string) { run(n.t, append([]string{"ip"}, args...)...) }

// ip runs ip(8) within the namespace.
func (p port) ip(args ...string) { run(p.t, append(append(p.within(), "ip"), args...)...) }

func run(t testing.TB, argv ...string) {
	t.Helper()
	if err := harness.Run("", argv...); err != nil {
		t.Error(err)
	}
}

// within is what runs a program in the namespace. It becomes that program: the process id is the same.
func (p port) within() []string {
	return []string{"nsenter", "--net=" + namespaces + "/" + p.name, "--"}
}

// unplug takes the cable out of the bridge: connections break without a word, and nobody is reached.
func (p port) unplug() { run(p.t, "ip", "link", "set", p.name, "nomaster") }

func (p port) plug() { run(p.t, "ip", "link", "set", p.name, "master", p.bridge) }

// limit lets a port send, and receive, no more than a rate in Mbit/s.
func (p port) limit(rate int) {
	p.t.Helper()
	bucket := []string{"root", "tbf", "rate", fmt.Sprintf("%dmbit", rate), "burst", "256k", "latency", "200ms"}
	run(p.t, append([]string{"tc", "qdisc", "add", "dev", p.name}, bucket...)...)
	run(p.t, append(append(p.within(), "tc", "qdisc", "add", "dev", "eth0"), bucket...)...)
}

// sent is how many bytes have come out of a port.
func (p port) sent() (bytes int64) {
	p.t.Helper()
	text, err := os.ReadFile("/sys/class/net/" + p.name + "/statistics/rx_bytes")
	if err == nil {
		bytes, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return bytes
}

// sever loses what two ports send to one another, without a word; others reach both.
func sever(a, b port) {
	a.ip("neighbour", "replace", b.address, "lladdr", nobody, "dev", "eth0", "nud", "permanent")
	b.ip("neighbour", "replace", a.address, "lladdr", nobody, "dev", "eth0", "nud", "permanent")
}

// mend undoes sever.
func mend(a, b port) {
	a.ip("neighbour", "delete", b.address, "dev", "eth0")
	b.ip("neighbour", "delete", a.address, "dev", "eth0")
}

// named finds the process id in the names of networks, namespaces and links.
var named = regexp.MustCompile(`^pp(\d+)-\d+(-\d+)?$`)

var sweepOnce = sync.OnceValue(func() error {
	return sweep(func(pid int) bool { // this process has made nothing yet
		return pid == os.Getpid() || errors.Is(unix.Kill(pid, 0), unix.ESRCH)
	})
})

// sweep removes what test processes have left that are gone.
func sweep(gone func(pid int) bool) error {
	links, names, err := inventory()
	for _, l := range links {
		if gone(pidOf(l)) {
			err = errors.Join(err, removeLink(l))
		}
	}
	for _, name := range names {
		if gone(pidOf(name)) { // no more than a name: the namespace itself has ended with the process
			err = errors.Join(err, os.Remove(filepath.Join(namespaces, name)))
		}
	}
	return err
}

// inventory lists the links and the namespaces of test processes.
func inventory() (links, names []string, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, nil, err
	}
	for _, l := range all {
		if named.MatchString(l.Name) {
			links = append(links, l.Name)
		}
	}
	entries, err := os.ReadDir(namespaces)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, e := range entries {
		if named.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return links, names, nil
}

// pidOf is the process id in a name of the inventory.
func pidOf(name string) int {
	pid, _ := strconv.Atoi(named.FindStringSubmatch(name)[1])
	return pid
}

// removeLink removes a link. Those to a namespace vanish with that, at any moment.
func removeLink(name string) error {
	err := harness.Run("", "ip", "link", "delete", name)
	if _, there := net.InterfaceByName(name); there != nil {
		return nil
	}
	return err
}
