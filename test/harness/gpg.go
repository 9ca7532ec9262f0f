package harness

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Key is a signing key in a gpg home of its own.
type Key struct {
	// ID is the key's fingerprint.
	ID string
	// Public is the public key, armored.
	Public string

	home string
}

// NewKey makes a key with gpg; algorithm is gpg's word, such as ed25519 or rsa4096. More arguments of gpg
// may come before the command.
func NewKey(t testing.TB, algorithm, expires string, more ...string) *Key {
	t.Helper()
	k, err := newKey(Dir(t), algorithm, expires, more...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.close)
	return k
}

func newKey(home, algorithm, expires string, more ...string) (*Key, error) {
	k := &Key{home: home}
	if err := os.Chmod(home, 0o700); err != nil {
		return nil, err
	}
	_, err := k.gpg(append(more, "--passphrase", "", "--quick-generate-key", "Patches <patches@example.com>", algorithm, "sign", expires)...)
	if err != nil {
		return nil, err
	}
	if k.Public, err = k.gpg("--armor", "--export"); err != nil {
		return nil, err
	}
	list, err := k.gpg("--with-colons", "--list-keys")
	for line := range strings.Lines(list) {
		if fields := strings.Split(line, ":"); fields[0] == "fpr" && k.ID == "" {
			k.ID = fields[9]
		}
	}
	return k, err
}

func (k *Key) gpg(args ...string) (string, error) { return Output("", k.command(args...)...) }

func (k *Key) command(args ...string) []string {
	return append([]string{"gpg", "--homedir", k.home, "--batch", "--quiet", "--no-tty", "--trust-model", "always"}, args...)
}

// close ends the agent that gpg started.
func (k *Key) close() { _ = Run("", "gpgconf", "--homedir", k.home, "--kill", "gpg-agent") }

// Sign signs a file with gpg --sign and gives the patch's file, beside it.
func (k *Key) Sign(t testing.TB, program string, more ...string) string {
	t.Helper()
	patch := filepath.Join(filepath.Dir(program), filepath.Base(program)+".patch")
	if _, err := k.gpg(append(more, "--output", patch, "--sign", program)...); err != nil {
		t.Fatal(err)
	}
	return patch
}

// SignStream gives the patch that gpg --sign makes of a program while it is read.
func (k *Key) SignStream(t testing.TB, program io.Reader, more ...string) io.Reader {
	t.Helper()
	argv := k.command(append(more, "--sign")...)
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Stdin = program
	r, w := io.Pipe()
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { w.CloseWithError(cmd.Wait()) }()
	t.Cleanup(func() { r.Close() })
	return r
}

// SignText signs a program and gives the patch.
func (k *Key) SignText(t testing.TB, program string, more ...string) []byte {
	t.Helper()
	dir, err := os.MkdirTemp(work, "sign-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "program")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	patch, err := os.ReadFile(k.Sign(t, file, more...))
	if err != nil {
		t.Fatal(err)
	}
	return patch
}

var theKey = sync.OnceValues(func() (*Key, error) {
	home := filepath.Join(work, "gpg")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	return newKey(home, "ed25519", "never")
})

// TheKey is one key for all tests that need just any.
func TheKey(t testing.TB) *Key {
	t.Helper()
	k, err := theKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}
