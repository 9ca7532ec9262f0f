// Package report makes a host's status report: an archive of what somebody who is to help needs to see, its log, its patches, its
// records, its storage.
//
// It is no backup: it holds no secrets, and nothing is made from it again. Its invariant: a report is bounded, in memory and as a whole, and
// one part that cannot be had costs that part alone; the report says so. Start with [Capabilities], the table of the parts, then
// entries.go, which makes each.
package report

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"poolpatch/xenapi"
)

// entryTimeout bounds the making of one part, without the time that its reader takes.
const entryTimeout = time.Minute

// Sources are where a report's parts come from.
type Sources struct {
	Root      string // of the host's files
	Stamps    string // directory of the applied patches' stamps
	PatchLogs string // directory of what patches have printed
	Spool     string // where a file may be made for a report on its way
	// Log is the daemon's, KernelLog the kernel's.
	Log       func() string
	KernelLog func() (string, error)
	// Records gives every record that may be seen, one line of text each.
	Records func(each func(class string, line []byte) error) error
	// Versions and Space are values that JSON can tell; Findings is what a check of the host has found.
	Versions func() any
	Space    func() any
	Findings func(context.Context) (any, error)
}

// Maker makes reports of one host.
type Maker struct {
	from     Sources
	spooling sync.Mutex
}

// New makes a maker.
func New(from Sources) *Maker { return &Maker{from: from} }

// entry is a row of the table: a part of the report.
type entry struct {
	key, contentType, pii string
	most                  int64 // bytes of content
	write                 func(m *Maker, ctx context.Context, p *part) error
}

const mib = 1 << 20

// entries is the table of what a report can contain. The keys are XenServer's where it has the like. All are in a report that asks for
// nothing.
var entries = []entry{
	{"xenserver-logs", "text/plain", "maybe", 64 * mib, (*Maker).logs},
	{"xenserver-install", "text/plain", "no", 16 * mib, (*Maker).stamps},
	{"xenserver-databases", "text/plain", "yes", 128 * mib, (*Maker).records},
	{"poolpatch-check", "text/plain", "maybe", 4 * mib, (*Maker).check},
	{"kernel-info", "text/plain", "maybe", mib, (*Maker).versions},
	{"system-logs", "text/plain", "maybe", 16 * mib, (*Maker).kernelLog},
	{"disk-info", "text/plain", "maybe", 2 * mib, (*Maker).disks},
}

// Capabilities is the table of the parts, as XenAPI's clients read it.
func Capabilities() string {
	type capability struct {
		ContentType    string `xml:"content-type,attr"`
		DefaultChecked string `xml:"default-checked,attr"`
		Key            string `xml:"key,attr"`
		MaxSize        int64  `xml:"max-size,attr"`
		MaxTime        int64  `xml:"max-time,attr"`
		MinSize        int64  `xml:"min-size,attr"`
		MinTime        int64  `xml:"min-time,attr"`
		PII            string `xml:"pii,attr"`
	}
	var all struct {
		XMLName xml.Name     `xml:"system-status-capabilities"`
		All     []capability `xml:"capability"`
	}
	for _, e := range entries {
		all.All = append(all.All, capability{e.contentType, "yes", e.key, e.most, int64(entryTimeout / time.Second), 0, -1, e.pii})
	}
	text, err := xml.Marshal(all)
	if err != nil {
		panic(fmt.Sprintf("report: the table is no XML: %v", err)) // the first test finds it
	}
	return xml.Header + string(text)
}

// Request says what is to be in a report, and how it is packed.
type Request struct {
	entries []entry
	format  format
}

// ParseRequest reads the parts' keys, parted by commas, and the format; nothing is all, as tar. Errors: INVALID_VALUE, VALUE_NOT_SUPPORTED.
func ParseRequest(keys, output string) (Request, error) {
	r := Request{entries: entries}
	var ok bool
	if r.format, ok = formats[output]; !ok {
		return r, xenapi.ErrValueNotSupported("output", output, "a report is packed as "+strings.Join(slices.Sorted(maps.Keys(formats))[1:], ", "))
	}
	if keys == "" {
		return r, nil
	}
	asked := map[string]bool{}
	for key := range strings.SplitSeq(keys, ",") {
		if !slices.ContainsFunc(entries, func(e entry) bool { return e.key == key }) {
			return r, xenapi.ErrInvalidValue("entries", key)
		}
		asked[key] = true
	}
	r.entries = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return !asked[e.key] })
	return r, nil
}

// ContentType is what an answer with the report says of it.
func (r Request) ContentType() string { return r.format.contentType }

// Extension is how a file's name ends that holds the report.
func (r Request) Extension() string { return r.format.extension }

// Write writes a report. progress is told how much of it is made, from 0 to 1. An error is that of w, or the reason why ctx ended.
func (m *Maker) Write(ctx context.Context, w io.Writer, r Request, progress func(float64)) error {
	now := time.Now()
	p := &part{archive: r.format.pack(w), dir: "bug-report-" + now.UTC().Format("20060102150405"), now: now}
	for i, e := range r.entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := m.writeEntry(ctx, p, e); err != nil {
			return err
		}
		progress(float64(i+1) / float64(len(r.entries)))
	}
	if len(p.missing) > 0 {
		p.left = mib
		if err := p.file("left-out.txt", now, []byte(strings.Join(p.missing, "\n")+"\n")); err != nil {
			return err
		}
	}
	return p.archive.Close()
}

// writeEntry notes what cannot be had; only what ends the report is an error.
func (m *Maker) writeEntry(ctx context.Context, p *part, e entry) error {
	p.left = e.most
	making, cancel := context.WithTimeout(ctx, entryTimeout)
	defer cancel()
	if err := e.write(m, making, p); err != nil {
		p.miss(e.key + ": " + err.Error())
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return p.broken
}

// part is the part of a report that is being written.
type part struct {
	archive archive
	dir     string
	now     time.Time
	left    int64    // bytes that the part may still have
	missing []string // what could not be had, a line each
	broken  error    // the report cannot be written
}

// maxMissing bounds how many lines a report has about what it lacks.
const maxMissing = 1000

func (p *part) miss(line string) {
	if len(p.missing) < maxMissing {
		p.missing = append(p.missing, line)
	}
}

// file adds a file to the report, or a line where the part has no more room for it. An error is that of the report's writer.
func (p *part) file(name string, at time.Time, content []byte) error {
	if int64(len(content)) > p.left {
		p.miss(fmt.Sprintf("%s: %d bytes are more than this part may still have", name, len(content)))
		return nil
	}
	p.left -= int64(len(content))
	p.broken = p.archive.file(path.Join(p.dir, name), at, content)
	return p.broken
}
