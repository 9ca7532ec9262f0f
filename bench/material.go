package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"poolpatch/xenapi"
)

const (
	// seed makes every run measure the same bytes.
	seed = 1
	// stopTimeout bounds the end of the daemon and of gpg's agent.
	stopTimeout = time.Minute
)

// gpg is a key in a home of its own, as an author of patches has one: of the kind that gpg makes unless it is asked for
// another.
type gpg struct{ home string }

func newKey(ctx context.Context, home string) (gpg, error) {
	g := gpg{home}
	if err := os.Mkdir(home, 0o700); err != nil {
		return g, err
	}
	return g, command(ctx, g.with("--passphrase", "", "--quick-generate-key", "Bench <bench@example.com>", "default", "sign", "never")...)
}

// with makes a command line.
func (g gpg) with(args ...string) []string {
	return append([]string{"gpg", "--homedir", g.home, "--batch", "--quiet", "--no-tty", "--trust-model", "always"}, args...)
}

// decrypt makes the command line that verifies a patch and writes its program to out.
func (g gpg) decrypt(patch, out string) []string {
	return g.with("--output", out, "--yes", "--decrypt", patch)
}

// close ends the agent that gpg started.
func (g gpg) close() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	_ = exec.CommandContext(ctx, "gpgconf", "--homedir", g.home, "--kill", "gpg-agent").Run()
}

// signedPatch is a patch that gpg has signed.
type signedPatch struct {
	uuid string
	file string
	size int64 // of the file, bytes
}

// newPatch makes a patch in dir whose program has about n bytes that cannot be compressed. More arguments
// of gpg may come before its --sign.
func (g gpg) newPatch(ctx context.Context, dir string, n int64, more ...string) (signedPatch, error) {
	p := signedPatch{uuid: xenapi.NewUUID()}
	program := filepath.Join(dir, p.uuid+".run")
	p.file = filepath.Join(dir, p.uuid+".gpg")
	defer os.Remove(program)
	if err := writeProgram(ctx, program, p.uuid, n); err != nil {
		return p, fmt.Errorf("write program: %w", err)
	}
	if err := command(ctx, g.with(append(more, "--output", p.file, "--sign", program)...)...); err != nil {
		return p, err
	}
	info, err := os.Stat(p.file)
	if err != nil {
		return p, err
	}
	p.size = info.Size()
	return p, nil
}

// program answers info, and does nothing when it is prechecked or applied: what is measured is poolpatch.
// No shell reads what stands behind exit.
const program = `#!/bin/sh
[ "$1" = info ] && echo '<info uuid="%s" version="1.0" name-label="Bench" name-description="Does nothing" after-apply-guidance=""/>'
exit 0
`

func writeProgram(ctx context.Context, name, uuid string, n int64) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	fmt.Fprintf(w, program, uuid)
	if _, err := io.Copy(w, io.LimitReader(noise(ctx, seed), n)); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// noise gives bytes that look random and are the same for the same seed, until ctx ends.
func noise(ctx context.Context, seed byte) io.Reader {
	return &noisy{ctx, rand.NewChaCha8([32]byte{seed})}
}

type noisy struct {
	ctx    context.Context // of the copy that the reader is for
	source *rand.ChaCha8
}

func (n *noisy) Read(p []byte) (int, error) {
	if err := context.Cause(n.ctx); err != nil {
		return 0, err
	}
	return n.source.Read(p)
}
