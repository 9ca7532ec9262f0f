package image

import (
	"bytes"
	"context"
	"encoding"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"poolpatch/xenapi"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// drawImage makes an image with holes, written zeroes and data that begin and end anywhere.
func drawImage(t *rapid.T, f *os.File) (content []byte) {
	size := rapid.IntRange(0, 5*BlockSize).Draw(t, "size")
	if rapid.Bool().Draw(t, "page") {
		size &^= pageSize - 1
	}
	content = make([]byte, size)
	if err := errors.Join(f.Truncate(0), f.Truncate(int64(size))); err != nil {
		t.Fatal(err)
	}
	for range rapid.IntRange(0, 8).Draw(t, "writes") {
		if size == 0 {
			break
		}
		at := rapid.IntRange(0, size-1).Draw(t, "at")
		n := min(rapid.SampledFrom([]int{1, 511, pageSize, 3 * pageSize, BlockSize, BlockSize + 1}).Draw(t, "n"), size-at)
		if rapid.Bool().Draw(t, "data") {
			copy(content[at:], random(n))
		} else {
			clear(content[at : at+n])
		}
		if _, err := f.WriteAt(content[at:at+n], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	return content
}

func contentOf(t interface{ Fatal(...any) }, f *os.File, size int) []byte {
	got := make([]byte, size)
	if _, err := f.ReadAt(got, 0); err != nil && size > 0 {
		t.Fatal(err)
	}
	return got
}

func TestCopyOfAnyLayout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pairs := map[string][2]*os.File{
		"disk":   {create(t, filepath.Join(dir, "src")), create(t, filepath.Join(dir, "dst"))},
		"memory": {memory(t), memory(t)},
	}
	rapid.Check(t, func(t *rapid.T) {
		pair := pairs[rapid.SampledFrom([]string{"disk", "memory"}).Draw(t, "where")]
		src, dst := pair[0], pair[1]
		content := drawImage(t, src)
		size := int64(len(content))
		if err := dst.Truncate(0); err != nil {
			t.Fatal(err)
		}
		old := rapid.Bool().Draw(t, "old content")
		if old {
			if _, err := dst.WriteAt(random(len(content)), 0); err != nil {
				t.Fatal(err)
			}
		}
		var blocks Blocks
		digest, err := Copy(context.Background(), dst, src, Options{Size: size, DstZeroed: !old, Blocks: &blocks})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(contentOf(t, dst, len(content)), content) {
			t.Fatal("the copy differs")
		}
		for name, f := range map[string]*os.File{"source": src, "copy": dst} {
			if sum, err := Sum(context.Background(), f, size); err != nil || sum != digest {
				t.Fatalf("the digest of the %s is %v, %v; copying said %v", name, sum, err, digest)
			}
		}
		if blocks.Digest() != digest {
			t.Fatal("the block list is of something else")
		}
		for i := range blockCount(size) {
			if b := content[i*BlockSize:]; !blocks.Check(i, b[:min(len(b), BlockSize)]) {
				t.Fatalf("block %d does not match its sum", i)
			}
		}
		var st syscall.Stat_t
		if err := syscall.Fstat(int(dst.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		// The file system's own map of extents may take a block or two.
		if most := grains(content)*holeSize/512 + 16; st.Blocks > most {
			t.Fatalf("the copy takes %d sectors, and needs %d at most", st.Blocks, most)
		}
	})
}

// grains counts the pieces of content, of the size of the smallest hole, that are not zero.
func grains(content []byte) (n int64) {
	for piece := range slices.Chunk(content, holeSize) {
		if !isZero(piece) {
			n++
		}
	}
	return n
}

// A content that is zero in every other page is copied in one piece, and not into thousands of little ones.
func TestCopyDoesNotCrumble(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src, dst := create(t, filepath.Join(dir, "src")), create(t, filepath.Join(dir, "dst"))
	content := make([]byte, 4*BlockSize)
	for at := 0; at < len(content); at += 2 * pageSize {
		content[at] = 1
	}
	if _, err := src.Write(content); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), dst, src, Options{Size: int64(len(content)), DstZeroed: true}); err != nil {
		t.Fatal(err)
	}
	if hole, err := dst.Seek(0, unix.SEEK_HOLE); err != nil || hole != int64(len(content)) {
		t.Errorf("the copy has a hole at %d, %v", hole, err)
	}
}

func TestStreamsOfAnyLayout(t *testing.T) {
	t.Parallel()
	src, dst := memory(t), create(t, filepath.Join(t.TempDir(), "dst"))
	rapid.Check(t, func(t *rapid.T) {
		content := drawImage(t, src)
		size := int64(len(content))
		offset := rapid.IntRange(0, len(content)).Draw(t, "offset")
		n := rapid.IntRange(0, len(content)-offset).Draw(t, "length")
		var out bytes.Buffer
		if err := WriteTo(context.Background(), &out, src, int64(offset), int64(n)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), content[offset:offset+n]) {
			t.Fatalf("exported %d bytes that differ", out.Len())
		}
		if _, err := dst.WriteAt(random(len(content)), 0); err != nil {
			t.Fatal(err)
		}
		cut := rapid.IntRange(0, len(content)).Draw(t, "stream")
		digest, err := ReadFrom(context.Background(), dst, io.MultiReader(bytes.NewReader(content[:cut/2]), bytes.NewReader(content[cut/2:cut])), size)
		if err != nil {
			t.Fatal(err)
		}
		clear(content[cut:])
		if !bytes.Equal(contentOf(t, dst, len(content)), content) {
			t.Fatal("the import differs")
		}
		if sum, err := Sum(context.Background(), dst, size); err != nil || sum != digest {
			t.Fatalf("imported %v, is %v, %v", digest, sum, err)
		}
	})
}

// The values stand in docs/image-digest.md and were computed by another program.
func TestDigestExamples(t *testing.T) {
	t.Parallel()
	for text, content := range map[string][]byte{
		"poolpatch1:4f96e786ee8f14cfa6c339d6e936010ccedfc8874e4be5bdcf71f3570e2af8f3": {},
		"poolpatch1:6e1c822a5deb9a3365e2e967d9c0a003c9d49339bcafb9c13bf981b814a99522": make([]byte, 1<<20),
		"poolpatch1:4f0f4bbd409ef0d9a1a19c3a7edf47f8d4876f53be0ad074ead39433eacd71b5": []byte("abc"),
		"poolpatch1:c421df4dd8290e57a26c5873b705bb7556d92f90289498cd11f49a3654c5f7f5": append(make([]byte, 2<<20), 1),
	} {
		f := memory(t)
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
		if d, err := Sum(t.Context(), f, int64(len(content))); err != nil || d.String() != text {
			t.Errorf("%d bytes: %v, %v; want %s", len(content), d, err, text)
		}
		if spec, _ := os.ReadFile("../../../docs/image-digest.md"); !bytes.Contains(spec, []byte(text)) {
			t.Errorf("%s is not in the specification", text)
		}
	}
}

func FuzzParseDigest(f *testing.F) {
	f.Add("")
	f.Add("poolpatch1:4f96e786ee8f14cfa6c339d6e936010ccedfc8874e4be5bdcf71f3570e2af8f3")
	f.Add("poolpatch1:4F96e786ee8f14cfa6c339d6e936010ccedfc8874e4be5bdcf71f3570e2af8f3")
	f.Add("poolpatch2:00")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDigest(text)
		if err == nil && d.String() != text && !d.IsZero() {
			t.Errorf("%q was read as %q", text, d)
		}
		var _ encoding.TextUnmarshaler = &d
	})
}

func FuzzBlocks(f *testing.F) {
	var b Blocks
	b.reset(3 * BlockSize)
	b.add(1, Digest{1})
	seed, _ := b.MarshalBinary()
	f.Add(seed)
	f.Add(seed[:len(seed)-1])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b Blocks
		if b.UnmarshalBinary(data) != nil {
			return
		}
		if again, _ := b.MarshalBinary(); !bytes.Equal(again, data) {
			t.Errorf("%x came back as %x", data, again)
		}
		b.Check(0, nil)
	})
}

func TestBlocksRefuseOtherContent(t *testing.T) {
	t.Parallel()
	f := memory(t)
	content := random(BlockSize)
	f.WriteAt(content, BlockSize)
	var blocks Blocks
	if _, err := SumBlocks(t.Context(), f, 2*BlockSize, &blocks); err != nil {
		t.Fatal(err)
	}
	zero := make([]byte, BlockSize)
	if !blocks.Check(0, zero) || !blocks.Check(1, content) || blocks.Check(1, zero) || blocks.Check(0, content) || blocks.Check(2, nil) || blocks.Check(-1, zero) {
		t.Error("a block was judged wrongly")
	}
}

func TestCopyOntoBlockDevice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	device := loopDevice(t, filepath.Join(dir, "store"), random(4*BlockSize))
	src := memory(t)
	content := make([]byte, 3*BlockSize+512)
	copy(content[BlockSize+pageSize:], random(pageSize))
	content[len(content)-1] = 1
	src.Write(content)
	digest, err := Copy(t.Context(), device, src, Options{Size: int64(len(content))})
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := Sum(t.Context(), device, int64(len(content))); err != nil || sum != digest {
		t.Errorf("the device has %v, %v; want %v", sum, err, digest)
	}
	if _, err := Copy(t.Context(), device, src, Options{Size: 5 * BlockSize}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short source: %v", err)
	}
	src.Truncate(5 * BlockSize)
	if _, err := Copy(t.Context(), device, src, Options{Size: 5 * BlockSize}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("short device: %v", err)
	}
}

func TestLongerDestinationKeepsItsSize(t *testing.T) {
	t.Parallel()
	dst, src := memory(t), memory(t)
	dst.Truncate(3 * BlockSize)
	src.Write([]byte("abc"))
	if _, err := Copy(t.Context(), dst, src, Options{Size: 3}); err != nil {
		t.Fatal(err)
	}
	if n, _ := length(dst); n != 3*BlockSize {
		t.Errorf("the destination has %d bytes", n)
	}
}

func TestShortSource(t *testing.T) {
	t.Parallel()
	src, dst := memory(t), memory(t)
	src.Truncate(BlockSize)
	for name, err := range map[string]error{
		"copy":   second(Copy(t.Context(), dst, src, Options{Size: BlockSize + 1})),
		"sum":    second(Sum(t.Context(), src, BlockSize+1)),
		"export": WriteTo(t.Context(), io.Discard, src, BlockSize, 1),
	} {
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A source that is cut while it is copied must not become an image that ends in zeroes.
func TestSourceCutMeanwhile(t *testing.T) {
	t.Parallel()
	const size = 64 * BlockSize
	src, dst := memory(t), memory(t)
	src.Write(random(size / 2))
	src.Truncate(size)
	cut := func(int64, int64) { src.Truncate(size / 2) }
	if _, err := Copy(t.Context(), dst, src, Options{Size: size, Progress: cut}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

func TestReadErrorSaysOffset(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store")
	device := loopDevice(t, path, random(8*BlockSize))
	if err := os.Truncate(path, 3*BlockSize); err != nil { // the device keeps its size and cannot read what is gone
		t.Fatal(err)
	}
	_, err := Copy(t.Context(), memory(t), device, Options{Size: 8 * BlockSize})
	if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "at offset ") {
		t.Errorf("got %v", err)
	}
}

func TestNoSpace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	os.WriteFile(store, nil, 0o600)
	os.Truncate(store, 16<<20)
	device := loopDevice(t, store, make([]byte, 16<<20))
	if out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", device.Name()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mnt := filepath.Join(dir, "mnt")
	os.Mkdir(mnt, 0o700)
	if err := syscall.Mount(device.Name(), mnt, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(mnt, syscall.MNT_DETACH) })
	src := memory(t)
	src.Write(random(32 << 20))
	for name, fill := range map[string]func(dst *os.File) error{
		"copy": func(dst *os.File) error { return second(Copy(t.Context(), dst, src, Options{Size: 32 << 20})) },
		"import": func(dst *os.File) error {
			return second(ReadFrom(t.Context(), dst, bytes.NewReader(random(32<<20)), 32<<20))
		},
	} {
		dst, err := os.Create(filepath.Join(mnt, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := fill(dst); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "at offset ") {
			t.Errorf("%s: %v", name, err)
		}
		dst.Close()
		os.Remove(dst.Name())
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	reason := errors.New("the task was cancelled")
	src := memory(t)
	src.Write(random(64 * BlockSize))
	ctx, cancel := context.WithCancelCause(t.Context())
	var seen int64
	_, err := Copy(ctx, memory(t), src, Options{Size: 64 * BlockSize, Progress: func(done, total int64) {
		seen = done
		cancel(reason)
	}})
	if !errors.Is(err, reason) || seen > 40*BlockSize {
		t.Errorf("after %d bytes: %v", seen, err)
	}
	for name, err := range map[string]error{
		"sum":    second(Sum(ctx, src, 64*BlockSize)),
		"import": second(ReadFrom(ctx, memory(t), bytes.NewReader(make([]byte, BlockSize)), BlockSize)),
		"export": WriteTo(ctx, io.Discard, src, 0, BlockSize),
	} {
		if !errors.Is(err, reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	src := memory(t)
	src.Truncate(1 << 40)
	src.WriteAt(random(3*BlockSize), 5*BlockSize-1)
	src.WriteAt([]byte{1}, 1<<40-1)
	const data = 5 * BlockSize // four blocks are touched by the first write
	var calls int
	var last, total int64
	start := time.Now()
	_, err := Copy(t.Context(), memory(t), src, Options{Size: 1 << 40, Progress: func(d, n int64) {
		if d < last {
			t.Errorf("progress went from %d to %d", last, d)
		}
		calls, last, total = calls+1, d, n
	}})
	if err != nil || last != data || total != data {
		t.Errorf("%d of %d bytes, want %d, %v", last, total, data, err)
	}
	if most := int(time.Since(start)/progressInterval) + 2; calls > most {
		t.Errorf("%d calls, want at most %d", calls, most)
	}
}

func TestStreamTooLong(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 3, BlockSize} {
		_, err := ReadFrom(t.Context(), memory(t), bytes.NewReader(random(int(size)+1)), size)
		if xenapi.CodeOf(err) != xenapi.CodeVDIIOError {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

func TestStreamError(t *testing.T) {
	t.Parallel()
	r := io.MultiReader(bytes.NewReader(random(100)), &broken{})
	if _, err := ReadFrom(t.Context(), memory(t), r, BlockSize); !errors.Is(err, syscall.ECONNRESET) || !strings.Contains(err.Error(), "offset 100:") {
		t.Errorf("got %v", err)
	}
}

type broken struct{}

func (*broken) Read([]byte) (int, error) { return 0, syscall.ECONNRESET }

// Memory is constant in the size of the image (I6). Not parallel: it measures what the whole process allocates.
func TestMemoryIsBounded(t *testing.T) {
	src, dst := create(t, filepath.Join(t.TempDir(), "src")), create(t, filepath.Join(t.TempDir(), "dst"))
	const size = 256 * BlockSize
	for at := int64(0); at < size; at += 16 * BlockSize {
		src.WriteAt(random(16*BlockSize), at)
	}
	src.Truncate(1 << 40)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Copy(t.Context(), dst, src, Options{Size: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > MaxMemory {
		t.Errorf("copying %d bytes allocated %d", size, took)
	}
}

func TestCloneOnFileSystems(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if CanClone(dir) != clones(t, dir) {
		t.Errorf("CanClone says %v", CanClone(dir))
	}
	if left, _ := os.ReadDir(dir); len(left) > 2 {
		t.Errorf("the probe left %v", left)
	}
	device := loopDevice(t, filepath.Join(dir, "store"), make([]byte, 320<<20))
	if out, err := exec.Command("mkfs.xfs", "-q", "-f", "-m", "reflink=1", device.Name()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mnt := filepath.Join(dir, "mnt")
	os.Mkdir(mnt, 0o700)
	if err := syscall.Mount(device.Name(), mnt, "xfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(mnt, syscall.MNT_DETACH) })
	if !CanClone(mnt) || !clones(t, mnt) {
		t.Error("XFS does not clone")
	}
	testReflink(t, mnt)
}

func clones(t *testing.T, dir string) bool {
	t.Helper()
	src, dst := create(t, filepath.Join(dir, "a")), create(t, filepath.Join(dir, "b"))
	src.Write(random(pageSize + 1))
	dst.Write(random(3 * pageSize))
	err := Clone(dst, src)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	if err != nil {
		return false
	}
	if n, _ := length(dst); n != pageSize+1 || !bytes.Equal(contentOf(t, dst, int(n)), contentOf(t, src, int(n))) {
		t.Errorf("the clone of %d bytes has %d", pageSize+1, n)
	}
	src.Close()
	dst.Close()
	return true
}

func testReflink(t *testing.T, dir string) {
	t.Helper()
	src, dst := create(t, filepath.Join(dir, "src")), create(t, filepath.Join(dir, "dst"))
	src.Write(random(BlockSize))
	digest, err := Copy(t.Context(), dst, src, Options{Size: BlockSize, Reflink: true})
	if err != nil || !digest.IsZero() {
		t.Errorf("reflink: %v, %v", digest, err)
	}
	a, _ := Sum(t.Context(), src, BlockSize)
	b, err := Sum(t.Context(), dst, BlockSize)
	if err != nil || a != b || a.IsZero() {
		t.Errorf("digests %v and %v, %v", a, b, err)
	}
	if digest, err := Copy(t.Context(), memory(t), src, Options{Size: BlockSize, Reflink: true}); err != nil || digest != a {
		t.Errorf("across file systems: %v, %v", digest, err)
	}
	src.Close()
	dst.Close()
}
