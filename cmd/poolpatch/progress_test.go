package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"poolpatch/xenapi"
)

func TestPlainProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := &cli{stderr: &out}
		m := c.bytesMeter("upload", 10<<20)
		for done := int64(0); done <= 10<<20; done += 256 << 10 {
			m.bytes(done, 10<<20)
			time.Sleep(200 * time.Millisecond) // of the bubble's clock
		}
		m.end()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 9 || lines[0] != "upload: 20 % (2.5 MiB)" || lines[8] != "upload: 100 % (10 MiB)" {
			t.Errorf("lines %q", lines)
		}
		out.Reset()
		m = c.bytesMeter("upload", -1)
		for done := int64(0); done <= 3<<30; done += 64 << 20 {
			m.bytes(done, -1)
			time.Sleep(time.Second)
		}
		if out.String() != "upload: 1 GiB\nupload: 2 GiB\nupload: 3 GiB\n" {
			t.Errorf("lines %q", out.String())
		}
	})
}

// Where there is no terminal, nothing is said of what is done at once, and never that what has failed is done.
func TestPlainProgressIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := &cli{stderr: &out}
		m := c.taskMeter("apply")
		m.look(xenapi.Task{Status: xenapi.TaskStatusSuccess, Progress: 1})
		m = c.bytesMeter("upload", 10<<20)
		m.bytes(10<<20, 10<<20)
		m = c.taskMeter("apply")
		time.Sleep(time.Minute)
		m.look(xenapi.Task{Status: xenapi.TaskStatusFailure, Progress: 1})
		if out.Len() > 0 {
			t.Errorf("it said %q", out.String())
		}
		m.look(xenapi.Task{Status: xenapi.TaskStatusPending, Progress: 0.5, NameDescription: "copying"})
		m.end()
		m.fraction(1)
		if out.String() != "apply: 50 %\n" {
			t.Errorf("it said %q", out.String())
		}
	})
}

// onTerminal runs fn with a terminal that is so many columns wide, and gives what came to be written on it.
func onTerminal(t *testing.T, columns uint16, fn func(tty *os.File)) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminal can be made: ", err)
	}
	defer master.Close()
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		text, _ := io.ReadAll(master) // which ends with an error when the other end is closed
		read <- string(text)
	}()
	fn(tty)
	tty.Close()
	return <-read
}

// frames are the drawings of a bar.
func frames(text string) (all []string) {
	for frame := range strings.SplitSeq(text, "\r") {
		if frame = strings.TrimSpace(frame); frame != "" && frame != "\x1b[2K" {
			all = append(all, frame)
		}
	}
	return all
}

// A copy tells its rate and the time left. Its clock goes on while nothing moves, and when all bytes are there.
func TestBarOfACopy(t *testing.T) {
	text := onTerminal(t, 120, func(tty *os.File) {
		synctest.Test(t, func(t *testing.T) {
			m := (&cli{stderr: tty}).workMeter("copy", 100<<20)
			for i := range 5 {
				time.Sleep(time.Second + time.Millisecond)
				m.look(xenapi.Task{Status: xenapi.TaskStatusPending, Progress: float64(i+1) / 10})
			}
			time.Sleep(5 * time.Second)
			m.look(xenapi.Task{Status: xenapi.TaskStatusPending, Progress: 1})
			time.Sleep(5 * time.Second)
			m.end()
			time.Sleep(5 * time.Second)
		})
	})
	all := frames(text)
	if last := all[len(all)-1]; !strings.Contains(last, "99%") || !strings.Contains(last, "[15s:0s]") && !strings.Contains(last, "[14s:0s]") {
		t.Errorf("at the end it shows %q", last)
	}
	for _, want := range []string{"copy  49%", "(50/100 MiB, 10 MiB/s) [6s:5s]", "(50/100 MiB, 10 MiB/s) [9s:5s]"} {
		if !strings.Contains(text, want) {
			t.Errorf("it never shows %q:\n%s", want, strings.Join(all, "\n"))
		}
	}
	if !strings.HasSuffix(text, clearLine) {
		t.Errorf("the bar stays on the screen: %q", text)
	}
}

// An apply tells what it is at, and its clock goes on while a program runs of which nobody knows how far it is.
func TestBarOfAnApply(t *testing.T) {
	text := onTerminal(t, 80, func(tty *os.File) {
		synctest.Test(t, func(t *testing.T) {
			m := (&cli{stderr: tty}).taskMeter("apply")
			m.look(xenapi.Task{Status: xenapi.TaskStatusPending, Progress: 0.9, NameDescription: "running"})
			time.Sleep(10*time.Second + time.Millisecond)
			m.end()
		})
	})
	all := frames(text)
	if last := all[len(all)-1]; !strings.HasPrefix(last, "apply: running  90%") || !strings.HasSuffix(last, "[10s]") {
		t.Errorf("it shows %q", last)
	}
}
