package sandbox

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pipes are what a program reads and writes: errs is out where standard error is not apart.
type pipes struct {
	in        *os.File // nil is /dev/null
	out, errs *output
}

func newPipes(c Command) (_ *pipes, err error) {
	p := &pipes{}
	defer func() {
		if err != nil {
			p.passed()
			p.finish(0)
		}
	}()
	if c.Input != nil {
		if p.in, err = inMemory(c.Input); err != nil {
			return nil, err
		}
	}
	if p.out, err = newOutput(c); err != nil {
		return nil, err
	}
	p.errs = p.out
	if c.Apart {
		c.Log = nil
		p.errs, err = newOutput(c)
	}
	return p, err
}

// inMemory is a file with this content that has no name. Unlike a pipe it needs nobody who goes on writing.
func inMemory(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("input", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "input")
	if _, err = f.Write(content); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("input of the program: %w", err)
	}
	return f, nil
}

// passed closes this process's copies of what the program has got.
func (p *pipes) passed() {
	if p.in != nil {
		p.in.Close()
	}
	for _, o := range p.both() {
		o.write.Close()
	}
}

// finish waits for the end of the output, for at most limit.
func (p *pipes) finish(limit time.Duration) {
	for _, o := range p.both() {
		o.finish(limit)
	}
}

func (p *pipes) both() []*output {
	switch {
	case p.out == nil:
		return nil
	case p.errs == nil || p.errs == p.out:
		return []*output{p.out}
	}
	return []*output{p.out, p.errs}
}

// result is what was printed.
func (p *pipes) result() Result {
	r := Result{Output: p.out.kept.bytes(), Omitted: p.out.kept.omitted(), LogError: p.out.log.err}
	if p.errs != p.out {
		r.Errors = p.errs.kept.bytes()
	}
	return r
}
