package hotfix

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/template"
	"unicode/utf8"

	"poolpatch/xenapi"
)

// The names in the directory that a patch is built from.
const (
	metadataName = "patch.json"
	payloadName  = "payload"
	applyName    = "apply"
	precheckName = "precheck"
)

const maxMetadata = 1 << 20 // bytes

// metadata is patch.json.
type metadata struct {
	UUID            string   `json:"uuid"`
	Version         string   `json:"version"`
	NameLabel       string   `json:"name-label"`
	NameDescription string   `json:"name-description"`
	Guidance        []string `json:"after-apply-guidance"`
}

// Build writes a patch's program from a directory: patch.json, the tree payload, the script apply, and the
// script precheck if there is one (docs/patch-file.md). The program is a POSIX shell script followed by a tar
// archive; the same input gives the same bytes. Nothing is held in memory, so a payload may have any size.
func Build(dir string, out io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("patch directory: %w", err)
	}
	defer root.Close()
	prechecks, err := checkLayout(root)
	if err != nil {
		return err
	}
	meta, err := readMetadata(root)
	if err != nil {
		return fmt.Errorf("%s: %w", metadataName, err)
	}
	script, err := meta.script(prechecks)
	if err != nil {
		return fmt.Errorf("%s: %w", metadataName, err)
	}
	if _, err := out.Write(script); err != nil {
		return fmt.Errorf("write program: %w", err)
	}
	return archive(root, out)
}

// checkLayout refuses what it does not know, and what is missing, by name.
func checkLayout(root *os.Root) (prechecks bool, err error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return false, fmt.Errorf("patch directory: %w", err)
	}
	kinds := map[string]fs.FileMode{metadataName: 0, applyName: 0, precheckName: 0, payloadName: fs.ModeDir}
	found := map[string]bool{}
	for _, e := range entries {
		kind, known := kinds[e.Name()]
		switch {
		case !known:
			return false, fmt.Errorf("patch directory: %s has no meaning there; files of the patch go into %s", e.Name(), payloadName)
		case e.Type() != kind:
			return false, fmt.Errorf("patch directory: %s is of the wrong kind", e.Name())
		}
		found[e.Name()] = true
	}
	for _, name := range []string{metadataName, applyName, payloadName} {
		if !found[name] {
			return false, fmt.Errorf("patch directory: %s is missing", name)
		}
	}
	return found[precheckName], nil
}

func readMetadata(root *os.Root) (m metadata, err error) {
	f, err := root.Open(metadataName)
	if err != nil {
		return m, err
	}
	defer f.Close()
	d := json.NewDecoder(io.LimitReader(f, maxMetadata))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, err
	}
	if _, err := d.Token(); err != io.EOF {
		return m, errors.New("more than one value")
	}
	return m, m.check()
}

func (m metadata) check() error {
	for _, field := range []struct{ name, value string }{
		{"uuid", m.UUID}, {"version", m.Version}, {"name-label", m.NameLabel},
	} {
		if field.value == "" {
			return fmt.Errorf("%s is missing", field.name)
		}
	}
	for _, value := range []string{m.Version, m.NameLabel, m.NameDescription} {
		if err := checkText(value); err != nil {
			return err
		}
	}
	for _, word := range m.Guidance {
		if len(strings.Fields(word)) != 1 {
			return fmt.Errorf("after-apply-guidance %q is not one word", word)
		}
	}
	_, err := m.info()
	return err
}

// checkText refuses what XML cannot hold: it has no way to write most control characters.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%q is not UTF-8", s)
	}
	for _, r := range s {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			return fmt.Errorf("%q has a character that XML cannot hold", s)
		}
	}
	return nil
}

// info is the XML that the program prints; it is read back, so that no program is built that no host takes.
func (m metadata) info() ([]byte, error) {
	uuid, ok := xenapi.ParseUUID(m.UUID)
	if !ok {
		return nil, fmt.Errorf("uuid %q is not a UUID", m.UUID)
	}
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<info")
	for _, a := range []struct{ name, value string }{
		{"uuid", uuid}, {"version", m.Version}, {"name-label", m.NameLabel},
		{"name-description", m.NameDescription}, {"after-apply-guidance", strings.Join(m.Guidance, " ")},
	} {
		fmt.Fprintf(&b, " %s=\"", a.name)
		if err := xml.EscapeText(&b, []byte(a.value)); err != nil {
			return nil, err
		}
		b.WriteString(`"`)
	}
	b.WriteString("/>\n")
	if _, err := ParseInfo(b.Bytes()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// program is the script before the archive. It ends with an exit, so no shell reads on into the archive. The
// XML stands in a quoted here-document: its lines begin with "<", so none can end it.
var program = template.Must(template.New("program").Parse(`#!/bin/sh
# A patch for poolpatch: this script, then a tar archive (docs/patch-file.md).
case "${1-}" in
info)
	cat <<'END_OF_INFO'
{{.Info}}END_OF_INFO
	exit
	;;
{{if not .Prechecks}}precheck)
	exit 0
	;;
{{end}}precheck | apply) ;;
*)
	echo "usage: $0 info|precheck|apply" >&2
	exit 64
	;;
esac
work=$(mktemp -d "${TMPDIR:-/tmp}/patch.XXXXXXXX") || exit 70
trap 'cd / && rm -rf "$work"' EXIT
trap 'exit 143' HUP INT TERM
if ! tail -c +{{.Archive}} "$0" | tar -xpf - -C "$work"; then
	echo "the payload of the patch cannot be extracted" >&2
	exit 70
fi
cd "$work/payload" || exit 70
POOLPATCH_ROOT=${POOLPATCH_ROOT:-/}
export POOLPATCH_ROOT
"../$1"
exit
`))

// script fills the template in; the archive begins after the script, whose length depends on that number.
func (m metadata) script(prechecks bool) ([]byte, error) {
	info, err := m.info()
	if err != nil {
		return nil, err
	}
	for at := 0; ; {
		var b bytes.Buffer
		err := program.Execute(&b, map[string]any{"Info": string(info), "Prechecks": prechecks, "Archive": at})
		if err != nil || b.Len()+1 == at {
			return b.Bytes(), err
		}
		at = b.Len() + 1
	}
}
