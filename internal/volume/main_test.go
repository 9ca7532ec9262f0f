package volume

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"testing"
)

// childVariable makes the test binary a process that opens a volume and waits to be killed.
const childVariable = "VOLUME_TEST_CHILD"

// laterVariable makes it a process that says whether it sees a mount that is made after its start.
const laterVariable = "VOLUME_TEST_LATER"

func TestMain(m *testing.M) {
	if err := Isolate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if image := os.Getenv(childVariable); image != "" {
		child(image)
	}
	if file := os.Getenv(laterVariable); file != "" {
		later(file)
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

// later says what it expects before it reads a line, and then whether the file on the mount is there.
func later(file string) {
	sees, err := SeesLaterMounts()
	fmt.Fprintln(os.Stderr, sees, err)
	bufio.NewReader(os.Stdin).ReadString('\n')
	_, err = os.Stat(file)
	fmt.Println(err == nil)
	os.Exit(0)
}
