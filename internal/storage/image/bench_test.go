package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The image of the benchmarks: 4 GiB that hold 1 GiB, in runs of 8 MiB.
const (
	benchSize = 4 << 30
	benchData = 1 << 30
	benchRun  = 8 << 20
)

func benchImage(b *testing.B, dir string) *os.File {
	b.Helper()
	f := create(b, filepath.Join(dir, "source"))
	if err := f.Truncate(benchSize); err != nil {
		b.Fatal(err)
	}
	for at := int64(0); at < benchSize; at += benchRun * (benchSize / benchData) {
		if _, err := f.WriteAt(random(benchRun), at); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return f
}

// dropCache makes the next reading come from the disk, for every competitor alike.
func dropCache(b *testing.B) {
	b.Helper()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0o200); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCopy copies beside cp and qemu-img, each with the data on stable storage at the end; it reports the best time
// of each, and its ratio to Copy's (above 1: slower than Copy). Copy alone computes a digest.
func BenchmarkCopy(b *testing.B) {
	for name, c := range map[string]struct {
		parent string
		cold   bool
	}{"memory": {"/dev/shm", false}, "disk": {"", false}, "disk-cold": {"", true}} {
		b.Run(name, func(b *testing.B) {
			dir := tempDir(b, c.parent)
			src := benchImage(b, dir)
			target := filepath.Join(dir, "target")
			took := map[string]time.Duration{}
			timed := func(who string, f func() error) {
				os.Remove(target)
				if c.cold {
					dropCache(b)
				}
				start := time.Now()
				if err := f(); err != nil {
					b.Fatal(err)
				}
				d := time.Since(start)
				if took[who] == 0 || d < took[who] {
					took[who] = d
				}
			}
			for b.Loop() {
				timed("copy", func() error {
					_, err := Copy(b.Context(), create(b, target), src, Options{Size: benchSize})
					return err
				})
				timed("sum", func() error {
					_, err := Sum(b.Context(), src, benchSize)
					return err
				})
				timed("cp", func() error {
					return synced(target, exec.Command("cp", "--sparse=always", "--reflink=never", src.Name(), target))
				})
				timed("qemu-img", func() error {
					return synced(target, exec.Command("qemu-img", "convert", "-f", "raw", "-O", "raw", "-W", "-m", "8", src.Name(), target))
				})
			}
			b.ReportMetric(0, "ns/op")
			for who, d := range took {
				b.ReportMetric(d.Seconds(), who+"-s")
				b.ReportMetric(d.Seconds()/took["copy"].Seconds(), who+"/copy")
			}
		})
	}
}

func synced(path string, cmd *exec.Cmd) error {
	if err := cmd.Run(); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
