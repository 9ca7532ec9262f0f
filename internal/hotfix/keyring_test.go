package hotfix

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"poolpatch/xenapi"
)

func TestKeyringLists(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	now := time.Now()
	want := map[string]string{ // name → why unusable
		"ed": "", "rsa": "", "sub": "", "small": "its 1024 bits are too few, RSA needs 2048",
		"expired":    "it expired on 2020-01-02T00:00:00Z",
		"subexpired": "it is not for signing",
		"future":     "it is from the future; check this host's clock",
	}
	var names []string
	for name := range want {
		names = append(names, name)
	}
	keys := g.keyring(t, names...).Keys(now)
	if len(keys) != len(want) || !slices.IsSortedFunc(keys, func(a, b Key) int { return strings.Compare(a.Fingerprint, b.Fingerprint) }) {
		t.Errorf("%d keys, want %d, sorted", len(keys), len(want))
	}
	for _, k := range keys {
		name := filepath.Base(k.File)
		if k.Fingerprint != g.keys[name] || !slices.Equal(k.UserIDs, []string{name}) || k.Revoked || k.Unusable != want[name] {
			t.Errorf("%s is listed as %+v, want unusable %q", name, k, want[name])
		}
		if expires := !k.Expires.IsZero(); expires != (name == "expired") {
			t.Errorf("%s expires %v", name, k.Expires)
		}
	}
}

// TestKeyringExtendedKey has a vendor extend a key: what it signed before is good again with the new file.
func TestKeyringExtendedKey(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	const name = "extended"
	g.must(t, nil, at("20200101T000000", "--passphrase", "", "--quick-gen-key", name, "ed25519", "sign", "1d")...)
	out := string(g.must(t, nil, "--with-colons", "--list-keys", "="+name))
	_, after, _ := strings.Cut(out, "\nfpr:::::::::")
	fpr, _, _ := strings.Cut(after, ":")
	patch := g.must(t, sample(100), at("20200101T100000", "-u", fpr, "-o", "-", "--sign")...)
	load := func() *Keyring {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "key"), g.must(t, nil, "--export", fpr), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := LoadKeyring(dir)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if _, _, err := verifyBytes(patch, load()); err == nil {
		t.Error("an expired key was taken")
	}
	g.must(t, nil, "--passphrase", "", "--quick-set-expire", fpr, "0")
	if _, signer, err := verifyBytes(patch, load()); err != nil || signer != fpr {
		t.Errorf("the extended key gave %q, %v", signer, err)
	}
}

func TestLoadKeyringFiles(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	binary := g.must(t, nil, "--export", g.keys["ed"], g.keys["rsa"])
	armoredA := g.must(t, nil, "--armor", "--export", g.keys["ed"])
	armoredB := g.must(t, nil, "--armor", "--export", g.keys["second"])
	keybox, err := os.ReadFile(filepath.Join(g.dir, "pubring.kbx"))
	if err != nil {
		t.Fatal(err)
	}
	private := g.must(t, nil, "--passphrase", "", "--export-secret-keys", g.keys["ed"])
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, tt := range []struct {
		name  string
		files map[string][]byte
		keys  int
		want  string
	}{
		{"none", nil, 0, ""},
		{"many in one binary file", map[string][]byte{"a": binary}, 2, ""},
		{"many armored blocks with text", map[string][]byte{"a": join([]byte("Vendor A:\n"), armoredA, []byte("\nVendor B:\n"), armoredB)}, 2, ""},
		{"hidden files", map[string][]byte{".hidden": []byte("x"), "a": armoredA}, 1, ""},
		{"empty file", map[string][]byte{"a": nil}, 0, "a; it holds no public key"},
		{"text", map[string][]byte{"a": []byte("hello\n")}, 0, "a; read key: "},
		{"cut armor", map[string][]byte{"a": armoredA[:len(armoredA)/2]}, 0, "a; read key: "},
		{"cut binary", map[string][]byte{"a": binary[:len(binary)-3]}, 0, "a; read key: "},
		{"damaged", map[string][]byte{"a": flip(binary, 100)}, 0, "a; read key: "},
		{"keybox", map[string][]byte{"a": keybox}, 0, "a; this is a gpg keybox; write the key with gpg --export"},
		{"private key", map[string][]byte{"a": private}, 0, "a; it holds a private key"},
		{"the same key twice", map[string][]byte{"a": binary, "b": armoredA}, 0, "b; key " + g.keys["ed"] + " is in "},
		{"signature", map[string][]byte{"a": g.must(t, []byte("x"), "-u", g.keys["ed"], "-o", "-", "--detach-sign")}, 0, "a; read key: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, data := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			k, err := LoadKeyring(dir)
			if tt.want != "" {
				if xenapi.CodeOf(err) != xenapi.CodePatchTrustUnreadable || !strings.Contains(err.Error(), filepath.Join(dir, tt.want)) {
					t.Errorf("%v, want %q", err, tt.want)
				}
				return
			}
			if err != nil || len(k.Keys(time.Now())) != tt.keys {
				t.Errorf("%v, want %d keys", err, tt.keys)
			}
		})
	}
	if k, err := LoadKeyring("/no/such/directory"); err != nil || len(k.Keys(time.Now())) != 0 {
		t.Errorf("a missing directory gave %v", err)
	}
}

// What cannot be read is listed beside what can; a keyring is all or nothing.
func TestListKeysNamesWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	dir := g.keyDir(t, "ed", "rsa")
	for _, junk := range []string{"junk", "more"} {
		if err := os.WriteFile(filepath.Join(dir, junk), []byte("hello\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys, faults := ListKeys(dir, time.Now())
	if len(keys) != 2 || len(faults) != 2 || faults[0].Params[0] != filepath.Join(dir, "junk") || faults[1].Params[0] != filepath.Join(dir, "more") {
		t.Errorf("%d keys, faults %v", len(keys), faults)
	}
	patch := g.must(t, sample(100), "-u", g.keys["ed"], "-o", "-", "--sign")
	_, err := NewVerifier(Options{KeyDir: dir}).Verify(contextNow, bytes.NewReader(patch), io.Discard)
	if xenapi.CodeOf(err) != xenapi.CodePatchTrustUnreadable {
		t.Errorf("a good patch: %v", err)
	}
}

func flip(p []byte, at int) []byte {
	p = bytes.Clone(p)
	p[at] ^= 1
	return p
}
