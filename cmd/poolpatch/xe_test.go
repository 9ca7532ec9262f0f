package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhereACommandLineOfXEGoes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, extra, socket, address, user string
		args                               []string
	}{
		{"nothing said", "", "/run/poolpatch/socket", "", "root", []string{"c"}},
		{"below a root", "", "/r/run/poolpatch/socket", "", "root", []string{"c", "--root", "/r"}},
		{"this host", "", "/run/poolpatch/socket", "", "root", []string{"-s", "127.0.0.1", "c"}},
		{"this host, by its port", "", "", "127.0.0.1:444", "root", []string{"c", "-p", "444"}},
		{"a host", "", "", "pool.example:443", "alice", []string{"-h", "pool.example", "-u", "alice", "c"}},
		{"a host without TLS", "", "", "pool.example:80", "root", []string{"-s", "pool.example", "--nossl", "c"}},
		{"a URL", "", "", "pool.example:444", "root", []string{"c", "server=https://pool.example:444"}},
		{"IPv6", "", "", "[fd00::1]:443", "root", []string{"c", "-s", "fd00::1"}},
		{"the command line counts more", "server=a,username=b", "", "c:443", "d", []string{"c", "-s", "c", "-u", "d"}},
		{"what the variable says", "server=a,port=1,username=b", "", "a:1", "b", []string{"c"}},
	} {
		o, err := parseXE(c.args, c.extra)
		if err != nil {
			t.Fatal(err)
		}
		d, err := o.dialer()
		if err != nil || d.socket != c.socket || d.address != c.address || o.user != c.user {
			t.Errorf("%s: socket %q, address %q, user %q, %v", c.what, d.socket, d.address, o.user, err)
		}
		if diff := cmp.Diff([]string{"c"}, o.words); diff != "" {
			t.Errorf("%s: the server's words (-want +got):\n%s", c.what, diff)
		}
	}
}

func TestTheNameXE(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"xe": true, "/usr/bin/xe": true, "./poolpatch": false, "/xe/poolpatch": false, "axe": false} {
		if startedAsXE(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
