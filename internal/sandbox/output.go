package sandbox

import (
	"fmt"
	"io"
	"os"
	"time"
)

const (
	defaultOutputLimit = 1 << 20
	defaultLogLimit    = 16 << 20
	readSize           = 64 << 10
)

// output is one pipe that a program writes both its streams to, and the goroutine that empties it.
type output struct {
	read, write *os.File
	kept        excerpt
	log         boundedLog
	done        chan struct{}
}

func newOutput(c Command) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o := &output{read: r, write: w, done: make(chan struct{})}
	o.kept.limit = c.OutputLimit
	if o.kept.limit == 0 {
		o.kept.limit = defaultOutputLimit
	}
	o.log = boundedLog{w: c.Log, left: c.LogLimit}
	if o.log.left == 0 {
		o.log.left = defaultLogLimit
	}
	go o.empty()
	return o, nil
}

func (o *output) empty() {
	defer close(o.done)
	buf := make([]byte, readSize)
	for {
		n, err := o.read.Read(buf)
		o.kept.add(buf[:n])
		o.log.add(buf[:n])
		if err != nil {
			o.log.end()
			return
		}
	}
}

// finish waits for the end of the output, for at most limit, and stops reading. Whoever still holds the
// pipe then gets SIGPIPE when it prints.
func (o *output) finish(limit time.Duration) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-o.done:
	case <-t.C:
	}
	o.read.Close()
	<-o.done
}

// excerpt keeps the first and the last bytes of a stream: half of limit each.
type excerpt struct {
	limit int
	head  []byte
	tail  []byte // a ring once it is full; next is its oldest byte
	next  int
	total int64
}

func (e *excerpt) add(p []byte) {
	e.total += int64(len(p))
	if room := e.limit/2 - len(e.head); room > 0 {
		n := min(room, len(p))
		e.head, p = append(e.head, p[:n]...), p[n:]
	}
	size := e.limit - e.limit/2
	if len(p) > size {
		p = p[len(p)-size:]
	}
	if room := size - len(e.tail); room > 0 {
		n := min(room, len(p))
		e.tail, p = append(e.tail, p[:n]...), p[n:]
	}
	for len(p) > 0 {
		n := copy(e.tail[e.next:], p)
		e.next, p = (e.next+n)%size, p[n:]
	}
}

// omitted is how many bytes in the middle were not kept.
func (e *excerpt) omitted() int64 { return e.total - int64(len(e.head)+len(e.tail)) }

// bytes joins head and tail, with a line between them that says how much is missing.
func (e *excerpt) bytes() []byte {
	all := append([]byte{}, e.head...)
	if n := e.omitted(); n > 0 {
		all = fmt.Appendf(all, "\n[%d bytes left out]\n", n)
	}
	all = append(all, e.tail[e.next:]...)
	return append(all, e.tail[:e.next]...)
}

// boundedLog writes to w until the limit or an error, and then only counts.
type boundedLog struct {
	w       io.Writer
	left    int64
	dropped int64
	err     error
}

func (l *boundedLog) add(p []byte) {
	n := min(int64(len(p)), l.left)
	l.left -= n
	l.dropped += int64(len(p)) - n
	if l.w == nil || l.err != nil || n == 0 {
		return
	}
	_, l.err = l.w.Write(p[:n])
}

// end says in the log what is missing from it.
func (l *boundedLog) end() {
	if l.w == nil || l.err != nil || l.dropped == 0 {
		return
	}
	_, l.err = fmt.Fprintf(l.w, "\n[%d more bytes of output were not logged]\n", l.dropped)
}
