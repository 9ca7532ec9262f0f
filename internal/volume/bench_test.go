package volume

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkLife is attach, format, mount and close of a fresh sparse image of 4 GiB.
func BenchmarkLife(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		image := imageFile(b, dir, 4<<30)
		v, err := Open(b.Context(), Config{Path: image, Dir: image + ".mnt", Format: true})
		if err != nil {
			b.Fatal(err)
		}
		if err := v.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWrite writes 1 GiB and syncs it, into a volume and into a plain file beside its image; "ratio" is how much longer
// the volume takes.
func BenchmarkWrite(b *testing.B) {
	dir := b.TempDir()
	image := imageFile(b, dir, 4<<30)
	v := open(b, Config{Path: image, Dir: image + ".mnt", Format: true})
	var inside, plain time.Duration
	for b.Loop() {
		plain += writeFile(b, filepath.Join(dir, "plain"))
		inside += writeFile(b, filepath.Join(v.Dir(), "patch"))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(inside.Seconds()/float64(b.N), "volume-s")
	b.ReportMetric(plain.Seconds()/float64(b.N), "plain-s")
	b.ReportMetric(inside.Seconds()/plain.Seconds(), "ratio")
	if err := v.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func writeFile(b *testing.B, path string) time.Duration {
	b.Helper()
	defer os.Remove(path)
	chunk := make([]byte, mib)
	for i := range chunk {
		chunk[i] = byte(i)
	}
	start := time.Now()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for range 1024 {
		if _, err := f.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}
