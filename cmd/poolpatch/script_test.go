package main

import (
	"bufio"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the golden parts of testdata anew")

// scriptTimeout bounds each step of a script that waits for another process.
const scriptTimeout = time.Minute

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"poolpatch": main, "xe": main})
}

// TestScripts runs the real program, with a real daemon where a script says serve.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TMPDIR", filepath.Join(e.WorkDir, "tmp"))
			return os.Mkdir(filepath.Join(e.WorkDir, "tmp"), 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": scriptServe, "exits": scriptExits, "interrupt": scriptInterrupt, "interrupt-upload": scriptInterruptUpload,
			"interrupt-apply": scriptInterruptApply, "pipe": scriptPipe, "tell": scriptTell,
			"capture": scriptCapture, "flip": scriptFlip, "empty": scriptEmpty, "random": scriptRandom, "sparse": scriptSparse, "web": scriptWeb,
		},
	})
}

// serve DIR starts a daemon below DIR, waits until it says that it is ready, and stops it when the script
// ends. $HTTPS is its address.
func scriptServe(ts *testscript.TestScript, _ bool, args []string) {
	root := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(root, 0o755))
	address, err := freeAddress("127.0.0.1")
	ts.Check(err)
	ts.Setenv("HTTPS", "https://"+address)
	ts.Setenv("ADDRESS", address)
	notify := ts.MkAbs(".ready")
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	ts.Check(err)
	defer os.Remove(notify)
	defer ready.Close()
	log, err := os.Create(ts.MkAbs("daemon.log"))
	ts.Check(err)
	cmd := program(ts, append([]string{"serve", "--root", root, "--https", address}, args[1:]...)...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+notify)
	cmd.Stderr = log
	ts.Check(cmd.Start())
	ts.Defer(func() {
		defer log.Close()
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			text, _ := os.ReadFile(log.Name())
			ts.Fatalf("stop the daemon: %v\n%s", err, text)
		}
	})
	ready.SetReadDeadline(time.Now().Add(scriptTimeout))
	if _, err := ready.Read(make([]byte, 100)); err != nil {
		text, _ := os.ReadFile(log.Name())
		ts.Fatalf("the daemon is not ready: %v\n%s", err, text)
	}
}

// program is the command under test, in the script's directory and environment.
func program(ts *testscript.TestScript, args ...string) *exec.Cmd {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), ":") {
		path := filepath.Join(dir, "poolpatch")
		if _, err := os.Stat(path); err == nil {
			cmd := exec.Command(path, args...)
			cmd.Dir = ts.MkAbs(".")
			cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "TMPDIR=" + ts.Getenv("TMPDIR"), "HOME=" + ts.Getenv("HOME")}
			return cmd
		}
	}
	ts.Fatalf("the program is not in PATH")
	return nil
}

// exits CODE COMMAND… runs a command, which must end with the code.
func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := codeOf(ts.Exec(args[1], args[2:]...)); got != want {
		ts.Fatalf("exit code %d, want %d\n%s%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

func codeOf(err error) int {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// interrupt TEXT ARGS… runs the program, sends it SIGINT when it prints TEXT, and wants exit code 130.
func scriptInterrupt(ts *testscript.TestScript, _ bool, args []string) {
	cmd := program(ts, args[1:]...)
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	cmd.Stderr = ts.Stderr()
	ts.Check(cmd.Start())
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), args[0]) {
			ts.Check(cmd.Process.Signal(os.Interrupt))
			break
		}
	}
	io.Copy(io.Discard, out)
	if code := codeOf(cmd.Wait()); code != exitInterrupted {
		ts.Fatalf("exit code %d, want %d", code, exitInterrupted)
	}
}

// interrupt-upload FILE ARGS… sends half of a file to the program's stdin, which stays open, then SIGINT.
// The half must be larger than what pipes and sockets hold, so that the pool has part of it.
func scriptInterruptUpload(ts *testscript.TestScript, _ bool, args []string) {
	content, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	cmd := program(ts, args[1:]...)
	in, err := cmd.StdinPipe()
	ts.Check(err)
	defer in.Close()
	var said strings.Builder
	cmd.Stderr = &said
	ts.Check(cmd.Start())
	_, err = in.Write(content[:len(content)/2])
	ts.Check(err)
	ts.Check(cmd.Process.Signal(os.Interrupt))
	if code := codeOf(cmd.Wait()); code != exitInterrupted {
		ts.Fatalf("exit code %d, want %d\n%s", code, exitInterrupted, said.String())
	}
	if !strings.Contains(said.String(), "interrupted: cancelled, and cleaned up") {
		ts.Fatalf("it said %q", said.String())
	}
}

// interrupt-apply PIPE WORD ARGS… runs the program, sends it SIGINT when a patch writes to PIPE.began, and then has the patch
// read WORD from PIPE, unless that is -. It wants exit code 130; stderr is what the program said.
func scriptInterruptApply(ts *testscript.TestScript, _ bool, args []string) {
	cmd := program(ts, args[2:]...)
	var said strings.Builder
	cmd.Stderr = io.MultiWriter(&said, ts.Stderr())
	ts.Check(cmd.Start())
	_, err := os.ReadFile(ts.MkAbs(args[0] + ".began"))
	ts.Check(err)
	ts.Check(cmd.Process.Signal(os.Interrupt))
	if args[1] != "-" {
		scriptTell(ts, false, args[:2])
	}
	if code := codeOf(cmd.Wait()); code != exitInterrupted {
		ts.Fatalf("exit code %d, want %d\n%s", code, exitInterrupted, said.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("said"), []byte(said.String()), 0o644))
}

// pipe FILE… makes named pipes.
func scriptPipe(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		ts.Check(syscall.Mkfifo(ts.MkAbs(name), 0o600))
	}
}

// tell PIPE WORD writes a word to whoever reads a pipe.
func scriptTell(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]+"\n"), 0o600))
}

// capture NAME FILE sets an environment variable to the first word of a file, or of stdout.
func scriptCapture(ts *testscript.TestScript, _ bool, args []string) {
	words := strings.Fields(ts.ReadFile(args[1]))
	if len(words) == 0 {
		ts.Fatalf("%s is empty", args[1])
	}
	ts.Setenv(args[0], words[0])
}

// flip FILE changes one bit in the middle of a file.
func scriptFlip(ts *testscript.TestScript, _ bool, args []string) {
	content, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	content[len(content)/2] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), content, 0o644))
}

// random FILE BYTES makes a file that does not compress, always the same.
func scriptRandom(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	content, x := make([]byte, n), uint32(1)
	for i := range content {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		content[i] = byte(x)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), content, 0o644))
}

// sparse FILE BYTES makes a file of a size that holds nothing.
func scriptSparse(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), nil, 0o644))
	ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
}

// web DIR serves a directory's files over http until the script ends. $WEB is its URL.
func scriptWeb(ts *testscript.TestScript, _ bool, args []string) {
	server := httptest.NewServer(http.FileServer(http.Dir(ts.MkAbs(args[0]))))
	ts.Defer(server.Close)
	ts.Setenv("WEB", server.URL)
}

// empty DIR wants a directory in which nothing is left.
func scriptEmpty(ts *testscript.TestScript, _ bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(entries) > 0 {
		ts.Fatalf("%s holds %v", args[0], entries)
	}
}

// TestHelpTeaches wants of every command a line, and an example that begins as the command does.
func TestHelpTeaches(t *testing.T) {
	t.Parallel()
	walk((&cli{}).command(), func(cmd *cobra.Command) {
		if cmd.Short == "" {
			t.Errorf("%s has no short help", cmd.CommandPath())
		}
		if !cmd.HasSubCommands() && !strings.Contains(cmd.Example, "  "+cmd.CommandPath()) && !strings.Contains(cmd.Example, "| "+cmd.CommandPath()) {
			t.Errorf("the example of %s does not show it", cmd.CommandPath())
		}
		if strings.HasPrefix(cmd.Short, "Deprecated") != (cmd.CommandPath() == "poolpatch patch clean" || cmd.CommandPath() == "poolpatch patch pool-clean") {
			t.Errorf("M8: the help of %s says %q", cmd.CommandPath(), cmd.Short)
		}
	})
}

func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, visit)
	}
}

// TestHelpNamesValues wants of every flag a word for its value, and of every argument that names an object that a shell can
// complete it.
func TestHelpNamesValues(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	walk((&cli{}).command(), func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if name, _ := pflag.UnquoteUsage(f); name != strings.ToUpper(name) && name != "json" {
				t.Errorf("%s --%s takes a %s", cmd.CommandPath(), f.Name, name)
			}
		})
		path := strings.TrimPrefix(cmd.CommandPath(), "poolpatch ")
		seen[path] = true
		if _, ok := completed[path]; !ok && regexp.MustCompile(` (UUID|SR|HOST)\b`).MatchString(cmd.Use) {
			t.Errorf("no shell completes %q", cmd.Use)
		}
	})
	for path := range completed {
		if !seen[path] {
			t.Errorf("there is no command %q", path)
		}
	}
}

// TestManualNamesEveryCommand keeps docs/cli.md true.
func TestManualNamesEveryCommand(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	walk((&cli{}).command(), func(cmd *cobra.Command) {
		name := strings.TrimPrefix(cmd.CommandPath(), "poolpatch ")
		if cmd.Runnable() && !cmd.HasSubCommands() && !strings.Contains(string(text), "`"+name) {
			t.Errorf("docs/cli.md does not name %s", name)
		}
	})
	for _, code := range []int{exitOK, exitFailed, exitUsage, exitUnreachable, exitFindings, exitInterrupted} {
		if !strings.Contains(string(text), "| "+strconv.Itoa(code)+" |") || !strings.Contains(rootLong, strconv.Itoa(code)+"  ") {
			t.Errorf("exit code %d is not explained", code)
		}
	}
}
