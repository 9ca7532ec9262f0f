package hotfix

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// gpgHome is a key store of the real gpg, shared by the tests: making keys takes seconds.
type gpgHome struct {
	dir  string
	keys map[string]string // name → fingerprint of the primary key
}

var (
	homeOnce sync.Once
	homeBox  gpgHome
	homeErr  error
)

// TestMain removes the shared key store, and ends the agent that gpg started for it.
func TestMain(m *testing.M) {
	code := m.Run()
	if homeBox.dir != "" {
		_ = exec.Command("gpgconf", "--homedir", homeBox.dir, "--kill", "all").Run()
		_ = os.RemoveAll(homeBox.dir)
	}
	os.Exit(code)
}

func newGPG(t testing.TB) gpgHome {
	t.Helper()
	homeOnce.Do(func() { homeErr = homeBox.fill() })
	if homeErr != nil {
		t.Fatal(homeErr)
	}
	return homeBox
}

func (g *gpgHome) fill() (err error) {
	// Not below the test's directory: the agent's socket has a short path, or none.
	if g.dir, err = os.MkdirTemp("", "gpg"); err != nil {
		return err
	}
	g.keys = map[string]string{}
	for _, key := range []struct {
		name, algorithm, usage, expire, at string
	}{
		{"ed", "ed25519", "sign", "never", ""},
		{"second", "ed25519", "sign", "never", ""},
		{"rsa", "rsa4096", "sign", "never", ""},
		{"small", "rsa1024", "sign", "never", ""},
		{"expired", "ed25519", "sign", "1d", "20200101T000000"},
		{"sub", "ed25519", "cert", "never", ""},
		{"subexpired", "ed25519", "cert", "never", "20200101T000000"},
		{"revoked", "ed25519", "sign", "never", ""},
		{"future", "ed25519", "sign", "never", "20990101T000000"},
	} {
		if _, err := g.run(nil, at(key.at, "--passphrase", "", "--quick-gen-key", key.name, key.algorithm, key.usage, key.expire)...); err != nil {
			return err
		}
		out, err := g.run(nil, "--with-colons", "--list-keys", "="+key.name)
		if err != nil {
			return err
		}
		_, after, _ := strings.Cut(string(out), "\nfpr:::::::::")
		g.keys[key.name], _, _ = strings.Cut(after, ":")
	}
	if _, err := g.run(nil, "--passphrase", "", "--quick-add-key", g.keys["sub"], "ed25519", "sign", "never"); err != nil {
		return err
	}
	_, err = g.run(nil, at("20200101T000000", "--passphrase", "", "--quick-add-key", g.keys["subexpired"], "ed25519", "sign", "1d")...)
	return err
}

// at puts options before args that make gpg believe that it is another time.
func at(when string, args ...string) []string {
	if when == "" {
		return args
	}
	return append([]string{"--faked-system-time", when + "!", "--ignore-time-conflict", "--ignore-valid-from"}, args...)
}

func (g *gpgHome) run(stdin []byte, args ...string) ([]byte, error) {
	cmd := exec.Command("gpg", append([]string{"--homedir", g.dir, "--batch", "--yes", "--pinentry-mode", "loopback", "--trust-model", "always", "--no-auto-check-trustdb"}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Run(); err != nil {
		return nil, &gpgError{args, messages.String(), err}
	}
	return out.Bytes(), nil
}

type gpgError struct {
	args     []string
	messages string
	err      error
}

func (e *gpgError) Error() string {
	return "gpg " + strings.Join(e.args, " ") + ": " + e.err.Error() + "\n" + e.messages
}

func (g *gpgHome) must(t testing.TB, stdin []byte, args ...string) []byte {
	t.Helper()
	out, err := g.run(stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// keyring loads the public keys of the names, each from a file of its own; every other file is armored.
func (g *gpgHome) keyring(t testing.TB, names ...string) *Keyring {
	t.Helper()
	k, err := LoadKeyring(g.keyDir(t, names...))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (g *gpgHome) keyDir(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i, name := range names {
		args := []string{"--export", g.keys[name]}
		if i%2 == 1 {
			args = append([]string{"--armor"}, args...)
		}
		if err := os.WriteFile(filepath.Join(dir, name), g.must(t, nil, args...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// verifyBytes verifies a file in memory as of now, and gives its program and its signer.
func verifyBytes(data []byte, keys *Keyring) (program []byte, signer string, err error) {
	var out bytes.Buffer
	src := &source{ctx: contextNow, r: bytes.NewReader(data)}
	signer, err = verify(newReader(src), &out, keys, nil, time.Now())
	return out.Bytes(), signer, err
}
