package hotfix

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"poolpatch/xenapi"
)

// imageOf is a file at the beginning of an image.
func imageOf(file []byte, more int) []byte { return append(bytes.Clone(file), make([]byte, more)...) }

func extractImage(t *testing.T, keys *Keyring, image []byte) (Verified, error) {
	t.Helper()
	v := NewVerifier(Options{KeyDir: keys.dir, Log: slog.New(slog.DiscardHandler)})
	return v.ExtractImage(t.Context(), bytes.NewReader(image), Dir(t.TempDir()))
}

// In every layout that gpg writes the file's end is found, wherever the image ends.
func TestExtractImageGPGLayouts(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	keys := g.keyring(t, "ed", "rsa")
	for _, key := range []string{"ed", "rsa"} {
		for _, pack := range []string{"none", "zip", "zlib", "bzip2"} {
			for _, armor := range []string{"--no-armor", "--armor"} {
				for _, size := range []int{1, readAhead + 5} {
					if key != "ed" && (size == 1 || pack != "none") {
						continue
					}
					t.Run(strings.Join([]string{key, pack, armor, fmt.Sprint(size)}, " "), func(t *testing.T) {
						t.Parallel()
						patch := g.must(t, sample(size), "-u", g.keys[key], "--compress-algo", pack, armor, "-o", "-", "--sign")
						for _, more := range []int{0, 1, 511, readAhead, 3*bufferSize + 1} {
							got, err := extractImage(t, keys, imageOf(patch, more))
							if pack == "bzip2" && armor == "--no-armor" && more > 0 {
								wantRefusal(t, err, "bzip2 and ends before its image") // it cannot tell its end from damage
								continue
							}
							if err != nil || got.SignedSize() != int64(len(patch)) || got.Signer() != g.keys[key] {
								t.Errorf("%d zeroes more: %d of %d bytes, signer %s, %v", more, got.SignedSize(), len(patch), got.Signer(), err)
							}
						}
						if got, err := extractImage(t, keys, append(imageOf(patch, 70000), 1)); err == nil {
							t.Errorf("a byte behind the zeroes: taken, with %d bytes", got.SignedSize())
						}
					})
				}
			}
		}
	}
}

func wantRefusal(t *testing.T, err error, text string) {
	t.Helper()
	if xenapi.CodeOf(err) != xenapi.CodeInvalidPatch || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one that says %q", err, text)
	}
}

// A signature may end in zeroes of its own, which are not those of the image.
func TestExtractImageOfAFileThatEndsInZero(t *testing.T) {
	t.Parallel()
	key, keys := demoKey(t)
	for i := range 20000 {
		var patch bytes.Buffer
		if err := Sign(strings.NewReader(script(fmt.Sprint("echo ", i))), &patch, key); err != nil {
			t.Fatal(err)
		}
		if b := patch.Bytes(); b[len(b)-1] != 0 {
			continue
		}
		for _, more := range []int{0, 1, 5000} {
			got, err := extractImage(t, keys, imageOf(patch.Bytes(), more))
			if err != nil || got.SignedSize() != int64(patch.Len()) {
				t.Errorf("%d zeroes more: %d of %d bytes, %v", more, got.SignedSize(), patch.Len(), err)
			}
		}
		return
	}
	t.Fatal("no signature ends in a zero")
}

func TestExtractImageRefuses(t *testing.T) {
	t.Parallel()
	key, keys := demoKey(t)
	var b bytes.Buffer
	if err := Sign(strings.NewReader(script("echo good")), &b, key); err != nil {
		t.Fatal(err)
	}
	good := b.Bytes()
	for what, tt := range map[string]struct {
		image []byte
		text  string
	}{
		"nothing":             {nil, "the file is empty"},
		"zeroes":              {make([]byte, 1<<20), "the file is not signed"},
		"a program":           {imageOf([]byte(script("echo hi")), 512), "the file is not signed"},
		"zeroes before":       {append(make([]byte, 512), good...), "the file is not signed"},
		"garbage behind":      {append(imageOf(good, 100), "x"...), "data follows"},
		"garbage at once":     {append(bytes.Clone(good), 'x'), "data follows"},
		"twice":               {append(imageOf(good, 512), good...), "data follows"},
		"cut off, and zeroes": {imageOf(good[:len(good)-3], 512), "the file was changed or damaged"},
		"cut off":             {good[:len(good)-3], "ends too early"},
	} {
		got, err := extractImage(t, keys, tt.image)
		if got.path != "" {
			t.Errorf("%s: a program was given", what)
		}
		t.Run(what, func(t *testing.T) { wantRefusal(t, err, tt.text) })
	}
}
