package volume

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// childVariable makes the test binary a process that opens a volume and waits to be killed.
const childVariable = "VOLUME_TEST_CHILD"

func TestMain(m *testing.M) {
	if err := Isolate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if image := os.Getenv(childVariable); image != "" {
		child(image)
	}
	os.Exit(m.Run())
}

// child tells its parent when the volume is there, and never ends by itself.
func child(image string) {
	v, err := Open(context.Background(), Config{Path: image, Dir: image + ".mnt", Format: true, Label: "child"})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.WriteFile(v.Dir()+"/patch", []byte("half written"), 0o600)
	fmt.Println("mounted")
	os.Stdin.Read(make([]byte, 1))
	os.Exit(1)
}
