package machine

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolpatch/xenapi"
)

// The name stands in the file that iscsid reads, whose other lines stay.
func TestInitiator(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	m := New(root, Options{})
	if name, err := m.Initiator(); name != "" || err != nil {
		t.Errorf("without a file: %q %v", name, err)
	}
	for _, name := range []string{"iqn.2026-11.lab", "iqn.2026-11.example.lab:a_B.c-1:2", "eui.02004567A425678D", "naa.52004567BA64678D", "naa.62004567BA64678D0123456789ABCDEF"} {
		if err := m.SetInitiator(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := m.Initiator(); got != name || err != nil {
			t.Errorf("%s: read %q %v", name, got, err)
		}
	}
	for _, name := range []string{"", "one", "iqn.2026-13.lab", "iqn.2026-11.Lab", "iqn.2026-11.", "iqn.2026-11.lab:a b", "iqn.2026-11.lab:a\nInitiatorAlias=x", "eui.02", "naa.5", "iqn.2026-11.lab:" + strings.Repeat("x", 220)} {
		if err := m.SetInitiator(name); xenapi.CodeOf(err) != xenapi.CodeInvalidValue {
			t.Errorf("%q: %v", name, err)
		}
	}
	file := filepath.Join(root, "etc/iscsi/initiatorname.iscsi")
	if err := os.WriteFile(file, []byte("## made at install\n InitiatorName=iqn.1993-08.org.debian:01:x\nInitiatorAlias=one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := m.Initiator(); got != "iqn.1993-08.org.debian:01:x" {
		t.Errorf("read %q", got)
	}
	if err := m.SetInitiator("iqn.2026-11.lab"); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); string(text) != "## made at install\nInitiatorName=iqn.2026-11.lab\nInitiatorAlias=one\n" {
		t.Errorf("written %q", text)
	}
	if err := os.Truncate(file, maxInitiatorFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Initiator(); err == nil {
		t.Error("a file without end is read")
	}
}

// The last address of a network is where all on it listen.
func TestBroadcastAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"10.1.2.3/8": "10.255.255.255", "192.168.1.77/26": "192.168.1.127", "10.0.0.1/32": "10.0.0.1"} {
		ip, network, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := lastOf(&net.IPNet{IP: ip, Mask: network.Mask}).String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if mac := MACOf(net.IPv4(127, 0, 0, 1)); mac != "" {
		t.Errorf("of the loopback device: %s", mac)
	}
	for text, ok := range map[string]bool{"52:54:00:12:34:56": true, "52-54-00-12-34-56": true, "5254.0012.3456": true, "": false, "52:54:00:12:34": false, "00:00:00:00:fe:80:00:00:00:00:00:00:02:00:5e:10:00:00:00:01": false} {
		if _, err := ParseMAC(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
