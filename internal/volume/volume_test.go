package volume

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// imageFile makes a sparse image that is removed with the test.
func imageFile(t testing.TB, dir string, size int64) string {
	t.Helper()
	path := filepath.Join(dir, "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, c Config) *Volume {
	t.Helper()
	v, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close(context.Background()) })
	return v
}

func closeVolume(t testing.TB, v *Volume) {
	t.Helper()
	if err := v.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// wantGone fails when a loop device still has the image or a mount is below dir.
func wantGone(t *testing.T, image string) {
	t.Helper()
	if d := deviceOver(t, image); d != "" {
		t.Errorf("%s is still over %s", d, image)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); bytes.Contains(mounts, []byte(filepath.Dir(image))) {
		t.Errorf("there is still a mount in %s", filepath.Dir(image))
	}
}

func deviceOver(t *testing.T, image string) string {
	t.Helper()
	devices, err := Devices()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if d.Backing == image {
			return d.Path
		}
	}
	return ""
}

func fsck(t *testing.T, image string) {
	t.Helper()
	if out, err := exec.Command("e2fsck", "-f", "-n", image).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

func TestVolumeKeepsContent(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 64*mib)
	dir := image + ".mnt"
	content := make([]byte, 5*mib+17)
	rand.Read(content)

	v := open(t, Config{Path: image, Dir: dir, Format: true, Label: "patch"})
	if deviceOver(t, image) != v.Device() {
		t.Errorf("the volume's device %s is not over the image", v.Device())
	}
	if err := os.WriteFile(filepath.Join(dir, "patch"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	closeVolume(t, v)
	closeVolume(t, v) // twice is harmless
	wantGone(t, image)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mount point is left: %v", err)
	}
	fsck(t, image)

	v = open(t, Config{Path: image, Dir: dir, ReadOnly: true})
	got, err := os.ReadFile(filepath.Join(dir, "patch"))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("read back %d bytes, %v", len(got), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to a read-only volume: %v", err)
	}
	closeVolume(t, v)
}

func TestReadOnlyLeavesImageAlone(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 32*mib)
	closeVolume(t, open(t, Config{Path: image, Dir: image + ".mnt", Format: true}))
	before, _ := os.ReadFile(image)
	closeVolume(t, open(t, Config{Path: image, Dir: image + ".mnt", ReadOnly: true}))
	if after, _ := os.ReadFile(image); !bytes.Equal(before, after) {
		t.Error("a read-only mount changed the image")
	}
}

func TestMountFlags(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 32*mib)
	dir := image + ".mnt"
	open(t, Config{Path: image, Dir: dir, Format: true})
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	want := int64(unix.ST_NODEV | unix.ST_NOSUID | unix.ST_NOATIME)
	if st.Flags&want != want || st.Flags&unix.ST_NOEXEC != 0 {
		t.Errorf("mount flags %#x", st.Flags)
	}
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command(program).Run(); err != nil {
		t.Errorf("run a program of the volume: %v", err)
	}
}

// Scratch space is for the patch (M5): nothing is reserved and little is taken.
func TestFormatLeavesSpaceAndHoles(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 4<<30)
	v := open(t, Config{Path: image, Dir: image + ".mnt", Format: true})
	free, total, err := v.Free()
	if err != nil || free < (4<<30)*98/100 || total < free {
		t.Errorf("free %d, total %d, %v", free, total, err)
	}
	closeVolume(t, v)
	var st unix.Stat_t
	if err := unix.Stat(image, &st); err != nil || st.Blocks*512 > 8*mib {
		t.Errorf("an empty 4 GiB volume takes %d bytes, %v", st.Blocks*512, err)
	}
}

func TestFormatIgnoresConfigurationAndHasNoJournal(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{MinSize, 64 * mib, 1 << 40} {
		image := imageFile(t, t.TempDir(), size)
		if err := Format(t.Context(), mustLoop(t, image).Path(), "a label of 16 b."); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("dumpe2fs", "-h", image).CombinedOutput()
		text := string(out)
		if err != nil || strings.Contains(text, "has_journal") || !strings.Contains(text, "Block size:               4096") ||
			!strings.Contains(text, "Reserved block count:     0\n") || !strings.Contains(text, "a label of 16 b.") {
			t.Errorf("%d bytes: %v\n%s", size, err, out)
		}
	}
}

func mustLoop(t *testing.T, image string) *Loop {
	t.Helper()
	l, err := AttachPath(t.Context(), image, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Detach(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestFormatErrors(t *testing.T) {
	t.Parallel()
	small := imageFile(t, t.TempDir(), MinSize-4096)
	closed := imageFile(t, t.TempDir(), MinSize)
	readOnly, err := AttachPath(t.Context(), closed, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { readOnly.Detach(context.Background()) })
	for name, c := range map[string]struct{ device, label, want string }{
		"too small":      {small, "", "are less than"},
		"long label":     {small, "seventeen bytes..", "longer than 16 bytes"},
		"no device":      {small + ".none", "", "no such file"},
		"mke2fs's words": {readOnly.Path(), "", "while setting up superblock"},
	} {
		if err := Format(t.Context(), c.device, c.label); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A stream that outgrows its VDI grows it (M4), thousands of times over.
func TestGrow(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 64*mib)
	v := open(t, Config{Path: image, Dir: image + ".mnt", Format: true})
	chunk := make([]byte, 8*mib)
	rand.Read(chunk)
	sizes := []int64{64 * mib, 65*mib + 512, 256 * mib, 64 << 30, 1 << 40}
	for _, size := range sizes {
		if err := os.Truncate(image, size); err != nil {
			t.Fatal(err)
		}
		if err := v.Grow(t.Context(), size); err != nil {
			t.Fatalf("to %d bytes: %v", size, err)
		}
		if _, total, err := v.Free(); err != nil || total < size*97/100 {
			t.Errorf("grown to %d bytes there are %d, %v", size, total, err)
		}
		appendTo(t, filepath.Join(v.Dir(), "patch"), chunk)
	}
	closeVolume(t, v)
	fsck(t, image)
	v = open(t, Config{Path: image, Dir: image + ".mnt", ReadOnly: true})
	got, err := os.ReadFile(filepath.Join(v.Dir(), "patch"))
	if err != nil || !bytes.Equal(got, bytes.Repeat(chunk, len(sizes))) {
		t.Errorf("read back %d bytes, %v", len(got), err)
	}
	closeVolume(t, v)
}

func appendTo(t *testing.T, path string, p []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(p); err != nil {
		t.Fatal(err)
	}
}

// With a file open the kernel decides: it grows the file system under it, or refuses and everything stays as it was.
func TestGrowWhileWriting(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 64*mib)
	v := open(t, Config{Path: image, Dir: image + ".mnt", Format: true})
	f, err := os.Create(filepath.Join(v.Dir(), "patch"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(image, 64<<30); err != nil {
		t.Fatal(err)
	}
	err = v.Grow(t.Context(), 64<<30)
	if _, total, _ := v.Free(); mayGrowOnline(t) != (total > 60<<30) {
		t.Errorf("there are %d bytes, %v", total, err)
	}
	if !mayGrowOnline(t) && (!errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "patch")) {
		t.Errorf("without the capability: %v", err)
	}
	if mayGrowOnline(t) && err != nil {
		t.Error(err)
	}
	if _, err := f.Write([]byte("still there")); err != nil {
		t.Error(err)
	}
	f.Close()
	closeVolume(t, v)
	fsck(t, image)
}

// mayGrowOnline reports whether this process has CAP_SYS_RESOURCE.
func mayGrowOnline(t *testing.T) bool {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

func TestGrowWithoutLongerImage(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 32*mib)
	v := open(t, Config{Path: image, Dir: image + ".mnt", Format: true})
	if err := v.Grow(t.Context(), 64*mib); err == nil || !strings.Contains(err.Error(), "has 33554432 bytes of 67108864") {
		t.Errorf("grow past the image: %v", err)
	}
}

func TestTrimMakesHoles(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 256*mib)
	v := open(t, Config{Path: image, Dir: image + ".mnt", Format: true})
	scratch := filepath.Join(v.Dir(), "scratch")
	content := make([]byte, 64*mib)
	rand.Read(content)
	if err := os.WriteFile(scratch, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	full := allocated(t, image)
	if full < 64*mib {
		t.Fatalf("after Sync the image has %d bytes", full)
	}
	os.Remove(scratch)
	if err := errors.Join(v.Sync(t.Context()), v.Trim(t.Context())); err != nil {
		t.Fatal(err)
	}
	if now := allocated(t, image); now > full-60*mib {
		t.Errorf("the image had %d bytes and has %d", full, now)
	}
}

func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestOpenUndoesWhatItDid(t *testing.T) {
	t.Parallel()
	full := t.TempDir()
	os.WriteFile(filepath.Join(full, "file"), nil, 0o600)
	for name, c := range map[string]Config{
		"nothing to mount":       {},
		"directory not empty":    {Dir: full, Format: true},
		"no parent directory":    {Dir: "/nonexistent/dir", Format: true},
		"label too long":         {Format: true, Label: "longer than sixteen bytes"},
		"format and read only":   {Format: true, ReadOnly: true},
		"read only without a fs": {ReadOnly: true},
	} {
		c.Path = imageFile(t, t.TempDir(), 32*mib)
		if c.Dir == "" {
			c.Dir = c.Path + ".mnt"
		}
		if v, err := Open(t.Context(), c); err == nil {
			v.Close(context.Background())
			t.Errorf("%s: opened", name)
		}
		wantGone(t, c.Path)
		if _, err := os.Stat(c.Path + ".mnt"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the mount point is left", name)
		}
	}
}

// The disk under an image fills up before the image has a file system: mke2fs is told of it as of a broken disk, and so is who
// called it.
func TestOpenOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk, err := Open(t.Context(), Config{Path: imageFile(t, t.TempDir(), 32*mib), Dir: t.TempDir(), Format: true})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close(context.Background())
	image := imageFile(t, disk.Dir(), 32*mib)
	filler, err := os.Create(filepath.Join(disk.Dir(), "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for chunk := int64(mib); chunk >= 4096; {
		info, _ := filler.Stat()
		if unix.Fallocate(int(filler.Fd()), 0, info.Size(), chunk) != nil {
			chunk /= 2
		}
	}
	filler.Close()
	v, err := Open(t.Context(), Config{Path: image, Dir: image + ".mnt", Format: true})
	if err == nil {
		v.Close(context.Background())
	}
	if !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v", err)
	}
}

func TestOpenAfterCancel(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 32*mib)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Config{Path: image, Dir: image + ".mnt", Format: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantGone(t, image)

	v := open(t, Config{Path: image, Dir: image + ".mnt", Format: true})
	if err := v.Close(ctx); err != nil {
		t.Errorf("close after the end of the context: %v", err)
	}
	wantGone(t, image)
}

// A crash leaves the mount point and a file system that was not unmounted; neither is in the way.
func TestOpenTakesLeftovers(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 32*mib)
	dir := image + ".mnt"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	closeVolume(t, open(t, Config{Path: image, Dir: dir, Format: true}))
}

func TestOpenBlockDevice(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 32*mib)
	l := mustLoop(t, image)
	v := open(t, Config{Path: l.Path(), Dir: image + ".mnt", Format: true})
	if v.Device() != l.Path() {
		t.Errorf("mounted %s over %s", v.Device(), l.Path())
	}
	if err := os.Truncate(image, 64*mib); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Grow(t.Context(), 64*mib), v.Grow(t.Context(), 64*mib)); err != nil {
		t.Fatal(err)
	}
	if _, total, _ := v.Free(); total < 60*mib {
		t.Errorf("grown to %d bytes", total)
	}
	closeVolume(t, v)
}

func TestOpenFileIndependentOfCaller(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 32*mib)
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	v := open(t, Config{File: f, Dir: image + ".mnt", Format: true})
	if _, err := f.Stat(); err != nil {
		t.Errorf("the caller's file was closed: %v", err)
	}
	f.Close()
	if err := os.WriteFile(filepath.Join(v.Dir(), "patch"), []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
	closeVolume(t, v)
}

func TestBusyUnmountNamesTheHolder(t *testing.T) {
	t.Parallel()
	image := imageFile(t, t.TempDir(), 32*mib)
	v := open(t, Config{Path: image, Dir: image + ".mnt", Format: true})
	holder, err := os.Create(filepath.Join(v.Dir(), "held"))
	if err != nil {
		t.Fatal(err)
	}
	err = unmount(t.Context(), v.Dir(), 3*pollInterval)
	busy, ok := errors.AsType[*BusyError](err)
	if !ok || !errors.Is(err, unix.EBUSY) || !strings.Contains(busy.Error(), "volume.test") || !strings.Contains(busy.Error(), "/held") {
		t.Errorf("got %v", err)
	}
	if !v.InUse() {
		t.Error("a file system with an open file is not in use")
	}
	holder.Close()
	closeVolume(t, v) // what was left to do is done now
	if v.InUse() {
		t.Error("a closed volume is in use")
	}
	wantGone(t, image)
}

func TestUnmountNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Join(dir, "missing")} {
		if err := Unmount(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
}

func TestLoopDirect(t *testing.T) {
	t.Parallel()
	shm, err := os.MkdirTemp("/dev/shm", "volume-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shm) })
	disk := mustLoop(t, imageFile(t, t.TempDir(), 32*mib))
	if !disk.Direct() {
		t.Error("a loop device over a file on a disk does not bypass the page cache")
	}
	image := imageFile(t, shm, 32*mib)
	closeVolume(t, open(t, Config{Path: image, Dir: image + ".mnt", Format: true})) // memory has no direct I/O and works
}

// A store with large sectors gets a device with large sectors, or it could not bypass the page cache.
func TestLoopSectors(t *testing.T) {
	t.Parallel()
	outer := imageFile(t, t.TempDir(), 512*mib)
	f, err := os.OpenFile(outer, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	config := configuration(f, false)
	config.Size = 4096
	store := configureAny(t, config)
	f.Close()
	v := open(t, Config{Path: store.Path(), Dir: outer + ".mnt", Format: true})
	image := imageFile(t, v.Dir(), 64*mib)
	inner := open(t, Config{Path: image, Dir: outer + ".inner", Format: true})
	if !inner.loop.Direct() || attribute(inner.Device(), "queue/logical_block_size") != "4096" {
		t.Errorf("direct %v, sector %s", inner.loop.Direct(), attribute(inner.Device(), "queue/logical_block_size"))
	}
	closeVolume(t, inner)
	closeVolume(t, v)
}

func configureAny(t *testing.T, config *unix.LoopConfig) *Loop {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatal(err)
		}
		l, err := configure(n, config)
		if errors.Is(err, unix.EBUSY) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Detach(context.Background()) })
		return l
	}
	t.Fatal("no free loop device")
	return nil
}

func TestAttachManyAtOnce(t *testing.T) {
	t.Parallel()
	const n = 24
	dir := t.TempDir()
	image := imageFile(t, dir, 32*mib)
	loops, errs := make(chan *Loop, n), make(chan error, n)
	for range n {
		go func() {
			l, err := AttachPath(context.Background(), image, false)
			loops <- l
			errs <- err
		}()
	}
	seen := map[string]bool{}
	for range n {
		l, err := <-loops, <-errs
		if err != nil {
			t.Error(err)
			continue
		}
		seen[l.Path()] = true
		t.Cleanup(func() {
			if err := l.Detach(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	if len(seen) != n {
		t.Errorf("%d devices for %d attachments", len(seen), n)
	}
}

// Nothing leaks (I4): the kernel removes the mount and the loop device of a killed process.
func TestKilledProcessLeavesNothing(t *testing.T) {
	// Not beside others: its process begins with a copy of all mounts that there are, and keeps their devices in use.
	image := imageFile(t, t.TempDir(), 64*mib)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"="+image)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "mounted\n" {
		t.Errorf("the child said %q", line)
	}
	device := deviceOver(t, image)
	if device == "" {
		t.Error("the child has no loop device")
	}
	mine, _ := os.ReadFile("/proc/self/mountinfo")
	if bytes.Contains(mine, []byte(image)) {
		t.Error("the child's mount is seen outside")
	}
	cmd.Process.Kill()
	cmd.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := until(ctx, func() (bool, error) { return deviceOver(t, image) == "", nil }); err != nil {
		t.Errorf("%s is still over the image: %v", device, err)
	}
	wantGone(t, image)
	closeVolume(t, open(t, Config{Path: image, Dir: image + ".mnt"})) // the directory and the dirty file system are no obstacle
}

func TestIsolateKeepsTheProcess(t *testing.T) {
	t.Parallel()
	if here, err := namespace(); err != nil || os.Getenv(isolatedVariable) != here {
		t.Errorf("this test runs in %q, %v, marked %q", here, err, os.Getenv(isolatedVariable))
	}
	if err := Isolate(); err != nil {
		t.Errorf("the second time: %v", err)
	}
	parent, _ := os.Readlink("/proc/" + "1" + "/ns/mnt")
	if mine, _ := os.Readlink("/proc/self/ns/mnt"); mine == parent {
		t.Error("the mount namespace is the one of init")
	}
}

// TestLaterMounts: what is mounted outside after the start is seen inside exactly where that is said.
func TestLaterMounts(t *testing.T) {
	// Not beside others: its process begins with a copy of all mounts that there are, and keeps their devices in use.
	const script = `
cd "$1" && mkdir on && mkfifo go said || exit 1
"$0" < go 2> said &
exec 3> go
read sees err < said
mount -t tmpfs later on && touch on/there
echo mounted >&3
wait
echo "$sees $err"`
	for mode, want := range map[string]string{"shared": "true\ntrue <nil>\n", "private": "false\nfalse <nil>\n"} {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation", mode, "sh", "-c", script, os.Args[0], dir)
		cmd.Env = append(os.Environ(), laterVariable+"="+filepath.Join(dir, "on", "there"))
		if out, err := cmd.Output(); string(out) != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", mode, out, err, want)
		}
	}
}

func TestFollows(t *testing.T) {
	t.Parallel()
	for mountinfo, want := range map[string]bool{
		"": false,
		"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n":                                                   false,
		"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n":                                          true,
		"27 1 254:0 / / rw,relatime master:1 - ext4 /dev/vda rw\n":                                          true,
		"27 1 254:0 / / rw,relatime unbindable - ext4 /dev/vda rw\n":                                        false,
		"27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 0:5 / /dev rw shared:2 - devtmpfs none rw\n":           false,
		"27 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n28 27 0:5 / / rw - overlay over rw,lowerdir=/x\n":   false,
		"27 1 254:0 / / rw shared:3 master:1 - ext4 /dev/vda rw\n28 27 0:5 / /dev rw - devtmpfs none rw\nx": true,
	} {
		if got := follows(mountinfo); got != want {
			t.Errorf("%q: %t", mountinfo, got)
		}
	}
}

func TestStepThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wake, undone := make(chan struct{}), make(chan int)
		start := time.Now()
		_, err := step(t.Context(), time.Minute, "mount /dev/x", func() (int, error) { <-wake; return 7, nil }, func(n int) { undone <- n })
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "mount /dev/x") || time.Since(start) != time.Minute {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		close(wake)
		if n := <-undone; n != 7 {
			t.Errorf("what came too late was not taken back: %d", n)
		}
	})
}

func TestStepThatFails(t *testing.T) {
	t.Parallel()
	err := act(t.Context(), time.Minute, "mount /dev/x", func() error { return syscall.EIO }, func() { t.Error("undone") })
	if !errors.Is(err, syscall.EIO) || err.Error() != "mount /dev/x: input/output error" {
		t.Errorf("got %v", err)
	}
}
