package hotfix

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"poolpatch/xenapi"
)

var contextNow = context.Background()

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, readAhead) }

// sample is a program whose length is near a boundary of gpg's parts, and that does not compress to nothing.
func sample(n int) []byte {
	p := []byte("#!/bin/sh\nexit 0\n")
	for sum := sha256.Sum256(nil); len(p) < n; sum = sha256.Sum256(sum[:]) {
		p = append(p, sum[:]...)
	}
	return p[:n]
}

// TestVerifyGPGLayouts has the real gpg sign in every layout that it writes.
func TestVerifyGPGLayouts(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	keys := g.keyring(t, "ed", "rsa", "sub")
	for _, key := range []string{"ed", "rsa", "sub"} {
		for _, pack := range []string{"none", "zip", "zlib", "bzip2"} {
			for _, from := range []string{"file", "pipe"} {
				for _, armor := range []string{"--no-armor", "--armor"} {
					for _, size := range []int{1, 191, 192, 8191, 8192, 65536 + 5, 2<<20 + 17} {
						if key != "ed" && size != 8192 {
							continue
						}
						name := fmt.Sprintf("%s %s %s %s %d", key, pack, from, armor, size)
						t.Run(name, func(t *testing.T) {
							t.Parallel()
							program := sample(size)
							args := []string{"-u", g.keys[key], "--compress-algo", pack, armor, "-o", "-", "--sign"}
							var stdin []byte
							if from == "file" {
								file := filepath.Join(t.TempDir(), "program")
								if err := os.WriteFile(file, program, 0o600); err != nil {
									t.Fatal(err)
								}
								args = append(args, file)
							} else {
								stdin = program
							}
							patch := g.must(t, stdin, args...)
							got, signer, err := verifyBytes(patch, keys)
							if err != nil || !bytes.Equal(got, program) || signer != g.keys[key] {
								t.Errorf("signer %s, %d bytes, %v", signer, len(got), err)
							}
						})
					}
				}
			}
		}
	}
}

// TestVerifyRefuses has gpg make files that are no good patches, each for one reason.
func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	program := sample(5000)
	sign := func(args ...string) []byte { return g.must(t, program, append(args, "-o", "-", "--sign")...) }
	u := func(name string) []string { return []string{"-u", g.keys[name]} }
	good := sign(u("ed")...)
	plain := sign("-u", g.keys["ed"], "--compress-algo", "none")
	armored := sign("-u", g.keys["ed"], "--armor")
	past := func(key, when string, more ...string) []byte {
		return sign(at(when, append(more, u(key)...)...)...)
	}
	keys := g.keyring(t, "ed", "rsa", "small", "expired", "subexpired", "future")
	for _, tt := range []struct {
		name  string
		patch []byte
		keys  *Keyring
		want  string
	}{
		{"empty", nil, keys, "the file is empty"},
		{"not signed", program, keys, "the file is not signed"},
		{"unknown key", sign(u("second")...), keys, "the file is signed by key " + g.keys["second"][24:] + ", which is not trusted"},
		{"no keys", good, &Keyring{dir: "/etc/keys"}, "but this host trusts no key (/etc/keys is empty)"},
		{"expired key, signed before", past("expired", "20200101T100000"), keys, "which cannot be used: it expired on 2020-01-02T00:00:00Z"},
		{"expired subkey", past("subexpired", "20200101T100000"), keys, "which cannot be used: it expired on 2020-01-02T00:00:00Z"},
		{"key of the future", past("future", "20990102T000000"), keys, "it is from the future"},
		{"small key", sign(u("small")...), keys, "its 1024 bits are too few, RSA needs 2048"},
		{"expired signature", past("ed", minutesAgo(10), "--default-sig-expire", "seconds=60"), keys, "the file's signature expired on 20"},
		{"older than its key", past("ed", minutesAgo(10)), keys, "is older than the key"},
		{"signature of the future", past("ed", "20990101T000000"), keys, "signature is from the future (2099-01-01T00:00:00Z)"},
		{"SHA-1", sign("-u", g.keys["rsa"], "--digest-algo", "SHA1", "--allow-weak-digest-algos"), keys, "signed with SHA-1, which can be forged"},
		{"text", sign("-u", g.keys["ed"], "--textmode"), keys, "the file was signed as text"},
		{"cleartext", g.must(t, program, "-u", g.keys["ed"], "-o", "-", "--clearsign"), keys, "cleartext signature"},
		{"detached", g.must(t, program, "-u", g.keys["ed"], "-o", "-", "--detach-sign"), keys, "a signature without the patch"},
		{"detached armored", g.must(t, program, "-u", g.keys["ed"], "-o", "-", "--armor", "--detach-sign"), keys, "a signature without the patch"},
		{"encrypted", g.must(t, program, "--passphrase", "x", "-o", "-", "--symmetric"), keys, "the file is encrypted"},
		{"stored", g.must(t, program, "-o", "-", "--store", "--compress-algo", "none"), keys, "without a signature"},
		{"stored, compressed", g.must(t, program, "-o", "-", "--store"), keys, "without a signature"},
		{"a key", g.must(t, nil, "--export", g.keys["ed"]), keys, "it begins with an OpenPGP packet of type 6"},
		{"twice", append(bytes.Clone(good), good...), keys, "data follows the signed message"},
		{"twice, plain", append(bytes.Clone(plain), plain...), keys, "data follows the signed message"},
		{"a byte more", append(bytes.Clone(plain), 0), keys, "data follows the signed message"},
		{"a newline more", append(bytes.Clone(good), '\n'), keys, "data follows the signed message"},
		{"text after armor", append(bytes.Clone(armored), "text\n"...), keys, "data follows the signed message"},
		{"armor after armor", append(bytes.Clone(armored), armored...), keys, "data follows the signed message"},
		{"text before armor", append([]byte("text\n"), armored...), keys, "the file is not signed"},
		{"wrong checksum", breakCRC(armored), keys, "its ASCII armor is broken"},
		{"signed twice over", g.must(t, plain, "-u", g.keys["ed"], "--compress-algo", "none", "-o", "-", "--sign"), keys, "NESTED"},
		{"compressed twice", nestCompressed(good), keys, "compressed more than once"},
		{"more signatures announced", setByte(plain, 14, 0), keys, "nested in an unknown way"},
		{"nothing in it", g.must(t, nil, "-u", g.keys["ed"], "-o", "-", "--sign"), keys, "the program in the file is empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, signer, err := verifyBytes(tt.patch, tt.keys)
			if tt.want == "NESTED" {
				// The inner message is the program, byte for byte: it is signed, and nothing executes it.
				if err != nil || !bytes.Equal(got, plain) {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
				return
			}
			why, ok := errors.AsType[refusal](err)
			if !ok || signer != "" {
				t.Fatalf("signer %q, %v; want a refusal", signer, err)
			}
			if !strings.Contains(string(why), tt.want) {
				t.Errorf("refused because %q, want %q", why, tt.want)
			}
		})
	}
}

func setByte(p []byte, at int, b byte) []byte {
	p = bytes.Clone(p)
	p[at] = b
	return p
}

// minutesAgo writes a time as gpg's --faked-system-time takes it.
func minutesAgo(n int) string {
	return time.Now().UTC().Add(-time.Duration(n) * time.Minute).Format("20060102T150405")
}

func breakCRC(armored []byte) []byte {
	p := bytes.Clone(armored)
	at := bytes.LastIndex(p, []byte("\n=")) + 2
	p[at] ^= 1
	return p
}

// nestCompressed puts a message into a stored compressed packet of its own.
func nestCompressed(message []byte) []byte {
	var zip bytes.Buffer
	zip.Write([]byte{0xa3, 1}) // old format, indeterminate length; ZIP
	for len(message) > 0 {     // stored blocks of deflate
		n := min(len(message), 65535)
		final := byte(0)
		if n == len(message) {
			final = 1
		}
		zip.Write([]byte{final, byte(n), byte(n >> 8), ^byte(n), ^byte(n >> 8)})
		zip.Write(message[:n])
		message = message[n:]
	}
	return zip.Bytes()
}

// TestVerifyTwoSignatures has two keys sign one file: one good signature of a trusted key suffices, a bad
// one of a trusted key refuses.
func TestVerifyTwoSignatures(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	program := sample(5000)
	patch := g.must(t, program, "-u", g.keys["ed"], "-u", g.keys["rsa"], "--compress-algo", "none", "-o", "-", "--sign")
	for _, tt := range []struct {
		trusted []string
		signer  string
	}{
		{[]string{"ed"}, "ed"}, {[]string{"rsa"}, "rsa"}, {[]string{"ed", "rsa"}, "either"}, {[]string{"second"}, ""},
	} {
		keys := g.keyring(t, tt.trusted...)
		got, signer, err := verifyBytes(patch, keys)
		switch {
		case tt.signer == "":
			if _, ok := errors.AsType[refusal](err); !ok {
				t.Errorf("trusting %v: %v", tt.trusted, err)
			}
		case err != nil || !bytes.Equal(got, program) || tt.signer != "either" && signer != g.keys[tt.signer]:
			t.Errorf("trusting %v: signer %s, %v", tt.trusted, signer, err)
		}
		if tt.signer != "either" {
			continue
		}
		for _, last := range []int{1, 600} { // in the last signature, and in the one before it
			bad := bytes.Clone(patch)
			bad[len(bad)-last] ^= 1
			if _, _, err := verifyBytes(bad, keys); err == nil {
				t.Errorf("a signature that is broken %d bytes before the end was taken", last)
			}
		}
	}
}

// TestVerifyRevoked signs, revokes, and verifies with the key before and after.
func TestVerifyRevoked(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	patch := g.must(t, sample(100), "-u", g.keys["revoked"], "-o", "-", "--sign")
	before := g.keyring(t, "revoked")
	if _, _, err := verifyBytes(patch, before); err != nil {
		t.Fatal(err)
	}
	certificate, err := os.ReadFile(filepath.Join(g.dir, "openpgp-revocs.d", g.keys["revoked"]+".rev"))
	if err != nil {
		t.Fatal(err)
	}
	certificate = bytes.ReplaceAll(certificate, []byte(":-----BEGIN"), []byte("-----BEGIN"))
	g.must(t, certificate, "--import")
	after := g.keyring(t, "revoked")
	_, _, err = verifyBytes(patch, after)
	if err == nil || !strings.Contains(err.Error(), "which cannot be used: it was revoked") {
		t.Errorf("a revoked key gave %v", err)
	}
	if list := after.Keys(time.Now()); len(list) != 1 || !list[0].Revoked || list[0].Unusable != "it was revoked" {
		t.Errorf("listed as %+v", list)
	}
}

// TestVerifyTruncated cuts patches at every length.
func TestVerifyTruncated(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	keys := g.keyring(t, "ed")
	for _, args := range [][]string{{"--compress-algo", "none"}, {"--compress-algo", "zip"}, {"--compress-algo", "zlib"}, {"--compress-algo", "bzip2"}, {"--armor"}} {
		patch := g.must(t, sample(700), append(args, "-u", g.keys["ed"], "-o", "-", "--sign")...)
		end := len(bytes.TrimRight(patch, "\n"))
		for n := range end {
			_, _, err := verifyBytes(patch[:n], keys)
			if _, ok := errors.AsType[refusal](err); !ok {
				t.Errorf("%v: cut after %d of %d bytes: %v", args, n, len(patch), err)
			}
		}
	}
}

// TestVerifyBitFlips changes every single bit of small patches. A changed file is refused, or the bit was one
// that is not signed and cannot matter: then program and signer are as before.
func TestVerifyBitFlips(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	keys := g.keyring(t, "ed", "rsa")
	program := sample(60)
	for _, tt := range []struct {
		key  string
		args []string
		most int // bits that may be changed without a refusal
	}{
		// Not signed: the date in the literal packet (32 bits), the type of the signature's unhashed
		// subpacket (8), the bit counts of its numbers within their last byte.
		{"ed", []string{"--compress-algo", "none"}, 46}, // two numbers
		{"rsa", []string{"--compress-algo", "none"}, 43},
		{"ed", []string{"--compress-algo", "zip"}, 60}, // and codes of deflate and bzip2 that nothing uses
		{"ed", []string{"--compress-algo", "zlib"}, 20},
		{"ed", []string{"--compress-algo", "bzip2"}, 60},
		{"ed", []string{"--armor"}, 0}, // the armor has a checksum of all
	} {
		patch := g.must(t, program, append(tt.args, "-u", g.keys[tt.key], "-o", "-", "--sign")...)
		var harmless []int
		for bit := range 8 * len(patch) {
			changed := bytes.Clone(patch)
			changed[bit/8] ^= 1 << (bit % 8)
			got, signer, err := verifyBytes(changed, keys)
			if err == nil {
				harmless = append(harmless, bit/8)
				if !bytes.Equal(got, program) || signer != g.keys[tt.key] {
					t.Fatalf("%v: bit %d of byte %d changes the program or its signer", tt.args, bit%8, bit/8)
				}
				continue
			}
			if _, ok := errors.AsType[refusal](err); !ok {
				t.Fatalf("%v: bit %d: %v", tt.args, bit, err)
			}
		}
		t.Logf("%s %v: %d of %d bits harmless, in bytes %v", tt.key, tt.args, len(harmless), 8*len(patch), compact(harmless))
		if len(harmless) > tt.most {
			t.Errorf("%v: %d bits are harmless, want at most %d", tt.args, len(harmless), tt.most)
		}
	}
}

func compact(all []int) (short []int) {
	for _, n := range all {
		if len(short) == 0 || short[len(short)-1] != n {
			short = append(short, n)
		}
	}
	return short
}

// TestVerifyErrorsThatAreNotThePatchs checks that a lost client and a full disk come through as themselves.
func TestVerifyErrorsThatAreNotThePatchs(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	v := NewVerifier(Options{KeyDir: g.keyDir(t, "ed"), Log: slog.New(slog.DiscardHandler)})
	lost := errors.New("connection reset by peer")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	program := sample(1 << 20)
	for _, args := range [][]string{{"--compress-algo", "none"}, {"--compress-algo", "zip"}, {"--compress-algo", "zlib"}, {"--compress-algo", "bzip2"}, {"--armor"}} {
		patch := g.must(t, program, append(args, "-u", g.keys["ed"], "-o", "-", "--sign")...)
		for _, n := range []int{0, 1, 2, 3, 5, 20, 30, 100, len(patch) / 2, len(patch) - 1, len(patch)} {
			r := io.MultiReader(bytes.NewReader(patch[:n]), iotest.ErrReader(lost))
			_, err := v.Verify(context.Background(), r, io.Discard)
			if !errors.Is(err, lost) || xenapi.CodeOf(err) != "" {
				t.Errorf("%v: a client that is lost after %d bytes gave %v", args, n, err)
			}
		}
		_, err := v.Verify(context.Background(), bytes.NewReader(patch), full)
		if !errors.Is(err, syscall.ENOSPC) || xenapi.CodeOf(err) != "" {
			t.Errorf("%v: a full disk gave %v", args, err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := v.Verify(ctx, bytes.NewReader(patch), io.Discard); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: an ended context gave %v", args, err)
		}
		if got, err := v.Verify(context.Background(), iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(patch))), io.Discard); err != nil || got.Size != int64(len(patch)) {
			t.Errorf("%v: in small reads: %+v, %v", args, got, err)
		}
	}
}

func TestAllowList(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	program := sample(1 << 20)
	sum := sha256.Sum256(program)
	signed := g.must(t, program, "-u", g.keys["second"], "-o", "-", "--sign")
	signedSum := sha256.Sum256(signed)
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	text := fmt.Sprintf("# for tests\n%s\n\n%X # a signed one\n", hex.EncodeToString(sum[:]), signedSum)
	if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	v := NewVerifier(Options{KeyDir: dir + "/none", AllowFile: list, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	off := NewVerifier(Options{KeyDir: dir + "/none", AllowFile: dir + "/no list", Log: slog.New(slog.DiscardHandler)})
	for _, tt := range []struct {
		name string
		v    *Verifier
		file []byte
		want string // reason; "" for accepted
	}{
		{"listed", v, program, ""},
		{"another", v, append(bytes.Clone(program), 1), "is not on the list"},
		{"list off", off, program, "the file is not signed"},
		{"signed by an unknown key", v, signed, "this host trusts no key"},
	} {
		var out bytes.Buffer
		got, err := tt.v.Verify(context.Background(), bytes.NewReader(tt.file), &out)
		if tt.want == "" {
			want := Signed{AllowListed, hex.EncodeToString(sum[:]), int64(len(program))}
			if err != nil || got != want || !bytes.Equal(out.Bytes(), program) || !strings.Contains(logged.String(), "UNSIGNED PATCH ACCEPTED") {
				t.Errorf("%s: %+v, %v, logged %q", tt.name, got, err, logged.String())
			}
			continue
		}
		if xenapi.CodeOf(err) != xenapi.CodeInvalidPatch || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	for _, bad := range []string{"abcd", strings.Repeat("g", 64), strings.Repeat("a", 40)} {
		if err := os.WriteFile(list, []byte("# x\n"+bad+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadAllowList(list); xenapi.CodeOf(err) != xenapi.CodePatchTrustUnreadable || !strings.Contains(err.Error(), list+"; line 2") {
			t.Errorf("%q gave %v", bad, err)
		}
	}
}

// zeros is a stream of n zero bytes that costs nothing to make.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.n)
	clear(p[:n])
	z.n -= n
	return int(n), nil
}

// TestPacketLengths reads packets whose lengths do not fit into 31 and into 32 bits.
func TestPacketLengths(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	for _, tt := range []struct {
		name string
		in   io.Reader
		want int64
	}{
		{"old, 1 byte", io.MultiReader(strings.NewReader("\xac\xff"), &zeros{255}), 255},
		{"old, 2 bytes", io.MultiReader(strings.NewReader("\xad\xff\xff"), &zeros{65535}), 65535},
		{"old, 4 bytes, 2^31", io.MultiReader(strings.NewReader("\xae\x80\x00\x00\x01"), &zeros{2*gib + 1}), 2*gib + 1},
		{"old, 4 bytes, 2^32-1", io.MultiReader(strings.NewReader("\xae\xff\xff\xff\xff"), &zeros{4*gib - 1}), 4*gib - 1},
		{"new, 2 bytes", io.MultiReader(strings.NewReader("\xcb\xdf\xff"), &zeros{8383}), 8383},
		{"new, 5 bytes, 2^32-1", io.MultiReader(strings.NewReader("\xcb\xff\xff\xff\xff\xff"), &zeros{4*gib - 1}), 4*gib - 1},
		{"parts, past 2^32", io.MultiReader(
			strings.NewReader("\xcb\xfe"), &zeros{gib}, strings.NewReader("\xfe"), &zeros{gib}, strings.NewReader("\xfe"), &zeros{gib},
			strings.NewReader("\xfe"), &zeros{gib}, strings.NewReader("\xfe"), &zeros{gib}, strings.NewReader("\x07"), &zeros{7}), 5*gib + 7},
		{"unbounded", io.MultiReader(strings.NewReader("\xaf"), &zeros{5 * gib}), 5 * gib},
	} {
		p, err := nextPacket(newReader(tt.in))
		if err != nil || p.tag != tagLiteral {
			t.Errorf("%s: tag %d, %v", tt.name, p.tag, err)
			continue
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{p}, make([]byte, 1<<20))
		if err != nil || n != tt.want {
			t.Errorf("%s: %d bytes, %v; want %d", tt.name, n, err, tt.want)
		}
	}
}

// TestVerifyPast4GiB verifies a program of more than 2^32 bytes, in constant memory.
func TestVerifyPast4GiB(t *testing.T) {
	if testing.Short() {
		t.Skip("hashes 9 GB")
	}
	t.Parallel()
	const size = 1<<32 + 1<<20
	key, keys := demoKey(t)
	digest, zero := sha512.New(), make([]byte, 1<<20)
	for range size / len(zero) {
		digest.Write(zero)
	}
	var end bytes.Buffer
	if err := signDigest(&end, key, digest); err != nil {
		t.Fatal(err)
	}
	var begin bytes.Buffer
	if err := announce(&begin, key); err != nil {
		t.Fatal(err)
	}
	begin.WriteString("\xcb") // a literal packet in parts
	parts := []io.Reader{&begin}
	body := io.MultiReader(bytes.NewReader(literalHead), &zeros{size})
	for range 4 {
		parts = append(parts, strings.NewReader("\xfe"), io.LimitReader(body, 1<<30))
	}
	parts = append(parts, strings.NewReader("\xff\x00\x10\x00\x06"), io.LimitReader(body, 1<<20+6), &end)
	src := &source{ctx: context.Background(), r: io.MultiReader(parts...)}
	var n countWriter
	signer, err := verify(newReader(src), &n, keys, nil, time.Now())
	if err != nil || signer != key.Fingerprint() || int64(n) != size {
		t.Errorf("signer %s, %d bytes, %v", signer, n, err)
	}
}

type countWriter int64

func (c *countWriter) Write(p []byte) (int, error) { *c += countWriter(len(p)); return len(p), nil }

// demoKey makes a key and a keyring that trusts it.
func demoKey(t testing.TB) (*SigningKey, *Keyring) {
	t.Helper()
	public, private, err := GenerateKey("Demo", "demo@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseSigningKey(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "demo.asc"), public, 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := LoadKeyring(dir)
	if err != nil {
		t.Fatal(err)
	}
	return key, keys
}

// FuzzVerify takes any bytes: never a panic, and never a program that was not signed.
func FuzzVerify(f *testing.F) {
	key, keys := demoKey(f)
	program := sample(200)
	var patch bytes.Buffer
	if err := Sign(bytes.NewReader(program), &patch, key); err != nil {
		f.Fatal(err)
	}
	f.Add(patch.Bytes())
	f.Add(nestCompressed(patch.Bytes()))
	f.Add([]byte(armorBegin + "\n\nowEBWwKk/Q0DAAoB\n=abcd\n" + armorEnd + "\n"))
	f.Add([]byte("\xcb\xfe"))
	f.Add([]byte("\xa3\x03BZh91AY&SY"))
	f.Add([]byte("\xa3\x02\x78\x9c\x03\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out := boundedWriter{left: 64 << 20}
		src := &source{ctx: context.Background(), r: bytes.NewReader(data)}
		_, err := verify(newReader(src), &out, keys, nil, time.Now())
		if err == nil && !bytes.Equal(out.head, program) {
			t.Errorf("accepted a program that was not signed: %q", out.head)
		}
	})
}

// boundedWriter keeps the beginning, and ends an input that unpacks to more than the test has time for.
type boundedWriter struct {
	head []byte
	left int
}

func (w *boundedWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, syscall.ENOSPC
	}
	w.head = append(w.head, p[:min(len(p), 1<<10-min(len(w.head), 1<<10))]...)
	return len(p), nil
}

// BenchmarkVerify compares the pass with gpg's on the same file. POOLPATCH_BENCH_MIB sets its size.
func BenchmarkVerify(b *testing.B) {
	size := int64(64 << 20)
	if text := os.Getenv("POOLPATCH_BENCH_MIB"); text != "" {
		if _, err := fmt.Sscan(text, &size); err != nil {
			b.Fatal(err)
		}
		size <<= 20
	}
	g := newGPG(b)
	dir := b.TempDir()
	file := filepath.Join(dir, "program")
	f, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	block := sample(1 << 20)
	for range size >> 20 {
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	g.must(b, nil, "-u", g.keys["rsa"], "--compress-algo", "none", "-o", file+".patch", "--sign", file)
	v := NewVerifier(Options{KeyDir: g.keyDir(b, "rsa"), Log: slog.New(slog.DiscardHandler)})
	var ours, theirs time.Duration
	b.SetBytes(size)
	for b.Loop() {
		start := time.Now()
		in, err := os.Open(file + ".patch")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Extract(context.Background(), in, Dir(dir)); err != nil {
			b.Fatal(err)
		}
		in.Close()
		ours += time.Since(start)

		b.StopTimer()
		start = time.Now()
		cmd := exec.Command("gpg", "--homedir", g.dir, "--batch", "--yes", "--trust-model", "always", "-o", filepath.Join(dir, "out"), "--decrypt", file+".patch")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		theirs += time.Since(start)
		b.StartTimer()
	}
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-as-fast-as-gpg")
}
