package thincli

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Tag says what a message means; the numbers are the wire's.
type Tag int32

// The server's commands, the client's responses, and the two that frame bytes of a file.
const (
	Print       Tag = 0  // Text, to stdout, as a line
	Load        Tag = 1  // send the file Text
	Prompt      Tag = 3  // send a line of stdin
	Exit        Tag = 4  // end with the code N
	HTTPGet     Tag = 12 // GET Path into the file Text
	HTTPPut     Tag = 13 // PUT the file Text to Path
	Error       Tag = 14 // the code Text and its Params, to stderr
	Debug       Tag = 15 // Text, for who looks for a fault
	PrintStderr Tag = 16 // Text, to stderr as it is
	HTTPConnect Tag = 17 // connect the terminal to Path

	OK     Tag = 5
	Failed Tag = 6
	Wait   Tag = 18 // still at it: no answer yet

	Chunk Tag = 7 // N bytes follow, outside of the framing
	End   Tag = 8
)

// kind stands before the tag.
type kind int32

const (
	command  kind = 9
	response kind = 10
	blob     kind = 11
)

// shape is what follows a tag: s is a string (the first Text, the second Path), n a number, l a list of strings.
type shape struct {
	name string
	kind kind
	body string
}

var shapes = map[Tag]shape{
	Print:       {"Print", command, "s"},
	Load:        {"Load", command, "s"},
	Prompt:      {"Prompt", command, ""},
	Exit:        {"Exit", command, "n"},
	HTTPGet:     {"HttpGet", command, "ss"},
	HTTPPut:     {"HttpPut", command, "ss"},
	Error:       {"Error", command, "sl"},
	Debug:       {"Debug", command, "s"},
	PrintStderr: {"PrintStderr", command, "s"},
	HTTPConnect: {"HttpConnect", command, "s"},
	OK:          {"OK", response, ""},
	Failed:      {"Failed", response, ""},
	Wait:        {"Wait", response, ""},
	Chunk:       {"Chunk", blob, "n"},
	End:         {"End", blob, ""},
}

// String is the tag's name.
func (t Tag) String() string {
	if s, ok := shapes[t]; ok {
		return s.name
	}
	return fmt.Sprintf("tag %d", int32(t))
}

// Message is one message; what its tag has no place for stays zero.
type Message struct {
	Tag        Tag
	Text, Path string
	Params     []string
	N          int32
}

// Append writes m, with its length, after b. It panics on a tag that is none of the constants.
func Append(b []byte, m Message) []byte {
	s, ok := shapes[m.Tag]
	if !ok {
		panic("thincli: no message has " + m.Tag.String())
	}
	start := len(b)
	b = appendInt(b, 0)
	b = appendInt(appendInt(b, int32(s.kind)), int32(m.Tag))
	text := m.Text
	for _, part := range s.body {
		switch part {
		case 's':
			b, text = appendString(b, text), m.Path
		case 'n':
			b = appendInt(b, m.N)
		case 'l':
			b = appendInt(b, int32(len(m.Params)))
			for _, p := range m.Params {
				b = appendString(b, p)
			}
		}
	}
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-intSize))
	return b
}

const intSize = 4

func appendInt(b []byte, n int32) []byte { return binary.LittleEndian.AppendUint32(b, uint32(n)) }

func appendString(b []byte, s string) []byte { return append(appendInt(b, int32(len(s))), s...) }

// ErrMalformed says that the bytes are no message.
var ErrMalformed = errors.New("malformed message")

// ErrTooLong says that a message is longer than the reader takes.
var ErrTooLong = errors.New("message too long")

// Read reads one message of at most limit bytes after its length. io.EOF is an end between two messages. A length that is
// claimed costs nothing before the bytes come.
func Read(r io.Reader, limit int) (Message, error) {
	var head [intSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Message{}, err
	}
	length := binary.LittleEndian.Uint32(head[:])
	if uint64(length) > uint64(limit) {
		return Message{}, fmt.Errorf("%w: %d bytes, and %d are taken", ErrTooLong, length, limit)
	}
	var payload bytes.Buffer
	if _, err := io.CopyN(&payload, r, int64(length)); err != nil {
		return Message{}, unexpected(err)
	}
	return parse(payload.Bytes())
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parse reads a payload, all of it.
func parse(payload []byte) (Message, error) {
	p := parser{rest: payload}
	k, m := kind(p.int()), Message{Tag: Tag(p.int())}
	s, known := shapes[m.Tag]
	if p.short || !known || s.kind != k {
		return Message{}, fmt.Errorf("%w: kind %d, %v", ErrMalformed, k, m.Tag)
	}
	into := &m.Text
	for _, part := range s.body {
		switch part {
		case 's':
			*into, into = p.string(), &m.Path
		case 'n':
			m.N = p.int()
		case 'l':
			m.Params = p.list()
		}
	}
	if p.short || len(p.rest) > 0 {
		return Message{}, fmt.Errorf("%w: %v does not end where its length says", ErrMalformed, m.Tag)
	}
	return m, nil
}

// parser takes values off a payload; once something is missing, everything is zero.
type parser struct {
	rest  []byte
	short bool
}

func (p *parser) take(n int64) []byte {
	if n < 0 || n > int64(len(p.rest)) {
		p.rest, p.short = nil, true
		return nil
	}
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	return taken
}

func (p *parser) int() int32 {
	b := p.take(intSize)
	if b == nil {
		return 0
	}
	return int32(binary.LittleEndian.Uint32(b))
}

func (p *parser) string() string { return string(p.take(int64(p.int()))) }

// list believes a count only as far as there are bytes for it.
func (p *parser) list() (items []string) {
	count := p.int()
	if count < 0 || int64(count)*intSize > int64(len(p.rest)) {
		p.rest, p.short = nil, true
		return nil
	}
	for range count {
		items = append(items, p.string())
	}
	return items
}
