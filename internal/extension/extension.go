// Package extension runs programs that the administrator of a host keeps there for the API to call: new messages, and ways to switch
// other hosts on.
//
// They are not patches: nobody signs them, so only root may have put them there. Its invariant: a program that somebody else than root
// could have written or replaced is not run. Start with [Directory].
package extension

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"poolpatch/internal/rpc"
	"poolpatch/internal/sandbox"
	"poolpatch/xenapi"
)

const (
	// deadline is how long a program may run.
	deadline = 5 * time.Minute
	// maxOutput bounds what a program may print, on each of its streams, in bytes.
	maxOutput = 1 << 20
)

// Directory is where such programs are.
type Directory struct {
	path, root string
	deadline   time.Duration
}

// In is the directory at a path, of the host whose files are below root.
func In(path, root string) Directory { return Directory{path, root, deadline} }

// ErrMissing says that there is no program of a name.
var ErrMissing = errors.New("there is no such program")

// name is what a program may be called.
var name = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// Named reports whether a program can be called so.
func Named(text string) bool { return name.MatchString(text) }

// Has reports whether there is a program of a name that may be run.
func (d Directory) Has(name string) bool {
	_, err := d.find(name)
	return err == nil
}

// find gives the path of a program. Errors: ErrMissing, XENAPI_PLUGIN_FAILURE where there is one that may not be run.
func (d Directory) find(name string) (string, error) {
	if !Named(name) {
		return "", ErrMissing
	}
	file := filepath.Join(d.path, name)
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", ErrMissing
	case err != nil:
		return "", fmt.Errorf("program %s: %w", name, err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return "", refused(name + " is no program: make it a regular file that can be executed")
	case !roots(info):
		return "", refused(name + " is not root's alone: chown root:root and chmod go-w it")
	}
	if dir, err := os.Stat(d.path); err != nil || !roots(dir) {
		return "", refused("the directory of " + name + " is not root's alone: chown root:root and chmod go-w it")
	}
	return file, nil
}

// roots reports whether nobody but root can write a file.
func roots(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && owner.Uid == 0 && info.Mode()&0o022 == 0
}

func refused(why string) *xenapi.Error { return xenapi.ErrXenAPIPluginFailure(why, "", "") }

// Call has a program answer a message: it reads an XML-RPC call, and prints XenAPI's answer to it. Errors: MESSAGE_METHOD_UNKNOWN where there is
// no such program, XENAPI_PLUGIN_FAILURE, those that the program tells.
func (d Directory) Call(ctx context.Context, name string, params []rpc.Value) (rpc.Value, error) {
	r, err := d.run(ctx, name, rpc.EncodeXMLCall(name, params))
	if errors.Is(err, ErrMissing) {
		return rpc.Value{}, xenapi.ErrMessageMethodUnknown(name)
	}
	if err != nil {
		return rpc.Value{}, err
	}
	value, told, err := rpc.DecodeXMLReply(r.Output)
	switch {
	case err != nil || r.Omitted > 0:
		return rpc.Value{}, failed("no answer", r)
	case told != nil:
		return rpc.Value{}, told
	}
	return value, nil
}

// Do runs a program that reads input, and is done when it ends. env is besides what every program gets, as NAME=value. Errors: ErrMissing,
// XENAPI_PLUGIN_FAILURE.
func (d Directory) Do(ctx context.Context, name string, input []byte, env ...string) error {
	_, err := d.run(ctx, name, input, env...)
	return err
}

func (d Directory) run(ctx context.Context, name string, input []byte, env ...string) (sandbox.Result, error) {
	file, err := d.find(name)
	if err != nil {
		return sandbox.Result{}, err
	}
	r, err := sandbox.Run(ctx, sandbox.Command{
		Path: file, Dir: d.root, Input: input, Apart: true, Deadline: d.deadline, OutputLimit: maxOutput,
		Env: append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "POOLPATCH_ROOT=" + d.root, d.variable()}, env...),
	})
	_, unstarted := errors.AsType[*fs.PathError](err)
	switch {
	case unstarted:
		return r, refused(name + " is no program that this host can execute").Because(err)
	case err != nil:
		return r, err
	case r.TimedOut:
		return r, failed(fmt.Sprintf("ended after %v", d.deadline), r)
	case r.Signal != 0:
		return r, failed("ended by "+r.Signal.String(), r)
	case r.ExitCode != 0:
		return r, failed(strconv.Itoa(r.ExitCode), r)
	}
	return r, nil
}

// maxTold bounds what an error tells of each stream, in bytes.
const maxTold = 4 << 10

func failed(how string, r sandbox.Result) *xenapi.Error {
	return xenapi.ErrXenAPIPluginFailure(how, told(r.Output), told(r.Errors))
}

func told(output []byte) string { return string(output[:min(len(output), maxTold)]) }

// variable marks what a program of this directory has started.
func (d Directory) variable() string { return "POOLPATCH_EXTENSIONS=" + d.path }

// Recover ends what programs that a dead daemon has run left running.
func (d Directory) Recover(ctx context.Context) error { return sandbox.KillLeft(ctx, d.variable()) }
