package volume

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func attached(t *testing.T, readOnly bool) (l *Loop, image string) {
	t.Helper()
	image = imageFile(t, t.TempDir(), 64*mib)
	l, err := AttachPath(t.Context(), image, readOnly)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l, image
}

// wantInUse fails unless the device was not released because of a user.
func wantInUse(t *testing.T, l *Loop, user string) {
	t.Helper()
	err := l.Release(t.Context())
	if busy, ok := errors.AsType[*InUseError](err); !ok || !errors.Is(err, unix.EBUSY) || !strings.Contains(busy.Error(), user) {
		t.Errorf("release: %v, want a user %q", err, user)
	}
	if _, err := l.Size(); err != nil || !l.inUse() {
		t.Errorf("a device that was not released: %v", err)
	}
}

// A device that somebody else uses stays, and who it is is said.
func TestReleaseOfADeviceInUse(t *testing.T) {
	t.Parallel()
	l, image := attached(t, false)
	other, err := os.Open(l.Path())
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command("sleep", "3600")
	process.ExtraFiles = []*os.File{other}
	if err := errors.Join(process.Start(), other.Close()); err != nil {
		t.Fatal(err)
	}
	wantInUse(t, l, fmt.Sprintf("%d (sleep)", process.Process.Pid))
	_ = process.Process.Kill()
	_ = process.Wait()

	dir := t.TempDir()
	if err := errors.Join(Format(t.Context(), l.Path(), "x"), Mount(t.Context(), l.Path(), dir, MountOptions{})); err != nil {
		t.Fatal(err)
	}
	wantInUse(t, l, "mounted at "+dir)
	if err := errors.Join(Unmount(t.Context(), dir), l.Flush(t.Context()), l.Release(t.Context())); err != nil {
		t.Error(err)
	}
	wantGone(t, image)
}

// A device outlives its process as long as somebody uses it, and then is taken over; otherwise it goes with the process.
func TestAdopt(t *testing.T) {
	t.Parallel()
	for _, readOnly := range []bool{false, true} {
		l, image := attached(t, readOnly)
		other, err := os.Open(l.Path())
		if err != nil {
			t.Fatal(err)
		}
		l.close() // as the end of the process does
		for path, identity := range map[string]string{l.Path(): "another use", "/dev/loop-that-is-none": l.Identity(), "": ""} {
			if found, err := Adopt(path, identity); found != nil || err != nil {
				t.Errorf("adopt %q as %q: %v, %v", path, identity, found, err)
			}
		}
		adopted, err := Adopt(l.Path(), l.Identity())
		if err != nil || adopted == nil || adopted.Direct() != l.Direct() {
			t.Fatalf("adopt a device in use: %+v, %v", adopted, err)
		}
		other.Close()
		if size, err := adopted.Size(); size != 64*mib || err != nil {
			t.Errorf("the adopted device: %d bytes, %v", size, err)
		}
		if err := adopted.Release(t.Context()); err != nil {
			t.Error(err)
		}
		wantGone(t, image)
		if found, err := Adopt(l.Path(), l.Identity()); found != nil || err != nil {
			t.Errorf("adopt what is gone: %v, %v", found, err)
		}
	}
}
