package httpd_test

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/db"
	"poolpatch/internal/directory/ldaptest"
	"poolpatch/internal/thincli"
	"poolpatch/xenapi"
)

var update = flag.Bool("update", false, "write the transcripts in testdata/xe anew")

// maxSaid is how long a message of the server may be in these tests, in bytes.
const maxSaid = 1 << 20

// greet sends a command line and exchanges the greetings: there is no answer of HTTP.
func (w *wire) greet(lines ...string) {
	w.t.Helper()
	body := strings.Join(lines, "\n")
	w.send(fmt.Appendf(nil, "POST /cli HTTP/1.0\r\nUser-agent: xe-cli/Unix/0.2\r\noriginator: cli\r\ncontent-length: %d\r\n\r\n%s", len(body), body))
	if v, err := thincli.ReadPreamble(w.in); err != nil || v != thincli.Spoken {
		w.t.Fatalf("greeting: %v %v", v, err)
	}
	w.send(thincli.Preamble(thincli.Spoken))
}

// hear reads the server's next message, whose bytes are exactly those that say it.
func (w *wire) hear() thincli.Message {
	w.t.Helper()
	var said bytes.Buffer
	m, err := thincli.Read(io.TeeReader(w.in, &said), maxSaid)
	must(w.t, err)
	if again := thincli.Append(nil, m); !bytes.Equal(again, said.Bytes()) {
		w.t.Errorf("%v came as\n%x, is written as\n%x", m, said.Bytes(), again)
	}
	return m
}

func (w *wire) answer(tag thincli.Tag) { w.send(thincli.Append(nil, thincli.Message{Tag: tag})) }

// chunk sends bytes as a blob.
func (w *wire) chunk(content []byte) {
	w.send(thincli.Append(nil, thincli.Message{Tag: thincli.Chunk, N: int32(len(content))}))
	w.send(content)
	w.answer(thincli.End)
}

// xe is a thin client that a transcript is made with: it does what it is told and writes down what was said.
type xe struct {
	*site
	t     testing.TB
	files map[string][]byte
	vars  map[string]string
	uuids map[string]string // each with what stands for it
	out   strings.Builder
}

// run plays the lines of a script. "NAME: command" keeps what the command prints first as $NAME.
func (x *xe) run(line string) {
	x.t.Helper()
	fmt.Fprintf(&x.out, "$ %s\n", line)
	name, command, kept := strings.Cut(line, ": ")
	if !kept || strings.ContainsAny(name, " =") {
		name, command = "", line
	}
	for _, v := range slices.Sorted(maps.Keys(x.vars)) {
		command = strings.ReplaceAll(command, "$"+v, x.vars[v])
	}
	w := dial(x.t, x.socket)
	w.greet(strings.Split(command, " ")...)
	for {
		m := w.hear()
		x.note("<", m)
		switch m.Tag {
		case thincli.Exit:
			if rest, err := io.ReadAll(w.in); err != nil || len(rest) > 0 {
				x.t.Errorf("%s: after the end: %q %v", line, rest, err)
			}
			w.Close()
			return
		case thincli.Print:
			if name != "" {
				x.vars[name], name = m.Text, ""
			}
		case thincli.Prompt:
			w.chunk([]byte("yes"))
			x.out.WriteString("> yes\n")
		case thincli.Load:
			x.load(w, m.Text)
		case thincli.HTTPPut:
			x.reply(w, x.put(m))
		case thincli.HTTPGet:
			x.reply(w, x.get(m))
		}
	}
}

func (x *xe) load(w *wire, name string) {
	content, ok := x.files[name]
	if !ok {
		w.answer(thincli.Failed)
		x.out.WriteString("> Failed\n")
		return
	}
	w.answer(thincli.OK)
	w.chunk(content)
	fmt.Fprintf(&x.out, "> OK %q\n", content)
}

// reply says, after a beat, how a transfer went.
func (x *xe) reply(w *wire, how thincli.Tag) {
	w.answer(thincli.Wait)
	w.answer(how)
	fmt.Fprintf(&x.out, "> Wait\n> %v\n", how)
}

// put sends a file as an old xe does: HTTP/1.0 without a Host, and no byte of the body before the answer.
func (x *xe) put(m thincli.Message) thincli.Tag {
	content, ok := x.files[m.Text]
	if !ok {
		return thincli.Failed
	}
	w := dial(x.t, x.socket)
	w.say("PUT "+m.Path+" HTTP/1.0", fmt.Sprint("Content-length: ", len(content)))
	if resp := w.head(); resp.StatusCode != 200 {
		return thincli.Failed
	}
	w.send(content)
	w.Close()
	return thincli.OK
}

func (x *xe) get(m thincli.Message) thincli.Tag {
	w := dial(x.t, x.socket)
	w.say("GET " + m.Path + " HTTP/1.0")
	resp := w.head()
	if resp.StatusCode != 200 {
		return thincli.Failed
	}
	body, err := io.ReadAll(resp.Body)
	must(x.t, err)
	x.files[m.Text] = body
	return thincli.OK
}

var (
	uuidForm = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	timeForm = regexp.MustCompile(`20\d{6}T\d\d:\d\d:\d\dZ`)
	lineEnd  = regexp.MustCompile(`\\n([^"\\])`)
	loopForm = regexp.MustCompile(`\bloop\d+`)
	sizeForm = regexp.MustCompile(`size \( RO\): \d{3,4}\n`) // of a signed file: signatures differ in length
)

// note writes a message down. What differs from run to run has something of the same length in its place.
func (x *xe) note(who string, m thincli.Message) {
	text := m.Tag.String()
	for _, part := range append([]string{m.Text, m.Path}, m.Params...) {
		if part != "" {
			text += fmt.Sprintf(" %q", x.steady(part))
		}
	}
	if m.Tag == thincli.Exit {
		text += fmt.Sprint(" ", m.N)
	}
	// A record is read line by line.
	fmt.Fprintf(&x.out, "%s %s\n", who, lineEnd.ReplaceAllString(text, "\\n\n  $1"))
}

func (x *xe) steady(text string) string {
	text = uuidForm.ReplaceAllStringFunc(text, func(uuid string) string {
		if _, ok := x.uuids[uuid]; !ok {
			x.uuids[uuid] = fmt.Sprintf("00000000-0000-4000-8000-%012d", len(x.uuids)+1)
		}
		return x.uuids[uuid]
	})
	text = loopForm.ReplaceAllString(text, "loop0")
	return sizeForm.ReplaceAllString(timeForm.ReplaceAllString(text, "20150213T10:00:00Z"), "size ( RO): 1234\n")
}

// needCluster are commands that a host alone cannot carry out; internal/xe tests them.
var needCluster = []string{"pool-join", "pool-eject", "host-forget"}

// somethingOfEach makes objects of the classes that a site has none of.
func somethingOfEach(tx *db.Tx) error {
	created := time.Date(2015, 2, 13, 10, 0, 0, 0, time.UTC)
	return errors.Join(
		db.Insert(tx, "OpaqueRef:task", xenapi.Task{UUID: "uuid-task", NameLabel: "work", NameDescription: "that takes long", Status: xenapi.TaskStatusPending,
			Progress: 0.5, Type: "<none/>", ResidentOn: here, Created: created, ByClient: true, AuthUser: "root",
			ErrorInfo: []string{"A", "b"}, CurrentOperations: map[string]xenapi.TaskAllowedOperation{"OpaqueRef:other": xenapi.TaskAllowedOperationDestroy}}),
		db.Insert(tx, "OpaqueRef:role", xenapi.Role{UUID: "uuid-role", NameLabel: "pool-admin", NameDescription: "may do everything", Subroles: []xenapi.Ref[xenapi.Role]{"OpaqueRef:none"}}),
		db.Insert(tx, xenapi.RoleRef(xenapi.RoleVMAdmin), xenapi.Role{UUID: xenapi.RoleUUID(xenapi.RoleVMAdmin), NameLabel: xenapi.RoleVMAdmin, NameDescription: "may do much"}),
		db.Insert(tx, "OpaqueRef:user", xenapi.User{UUID: "uuid-user", ShortName: "bob"}),
		db.Insert(tx, "OpaqueRef:ann", xenapi.Session{UUID: "uuid-ann", AuthUserName: "ann", AuthUserSID: "ann", Kind: "user", LastActive: time.Now()}),
		db.Insert(tx, "OpaqueRef:vm", xenapi.VM{UUID: "uuid-vm", NameLabel: "Control domain", PowerState: "Running", IsControlDomain: true, ResidentOn: here}),
		db.Insert(tx, "OpaqueRef:patch-of-old", xenapi.HostPatch{UUID: "uuid-host-patch", Host: here, PoolPatch: "OpaqueRef:gone", Applied: true}),
	)
}

// newDirectory has eve, of the group ops.
func newDirectory(t *testing.T) *ldaptest.Server {
	t.Helper()
	const base = "dc=example,dc=com"
	type attributes = map[string][]string
	return ldaptest.New(t, "ldapi", nil,
		ldaptest.Entry{DN: base, Attributes: attributes{"objectClass": {"domain"}}},
		ldaptest.Entry{DN: "cn=reader," + base, Password: "secret"},
		ldaptest.Entry{DN: "uid=eve," + base, Password: "e", Attributes: attributes{"objectClass": {"account"}, "uid": {"eve"}, "entryUUID": {theUUID}}},
		ldaptest.Entry{DN: "cn=ops," + base, Attributes: attributes{"objectClass": {"groupOfNames"}, "cn": {"ops"}, "member": {"uid=eve," + base}}},
	)
}

// Every command, byte for byte as it goes over the wire. A file in testdata/xe is a script with what is said.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/xe/*.golden")
	must(t, err)
	var played strings.Builder
	for _, file := range scripts {
		want, err := os.ReadFile(file)
		must(t, err)
		played.Write(want)
		t.Run(strings.TrimSuffix(filepath.Base(file), ".golden"), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			must(t, s.db.Update(t.Context(), somethingOfEach))
			x := &xe{site: s, t: t, vars: map[string]string{"DIRECTORY": newDirectory(t).URL()}, uuids: map[string]string{}, files: map[string][]byte{
				"patch.gpg": s.signed(t, 0), "image.raw": bytes.Repeat([]byte("image..."), 1<<17), "password": []byte("secret"), "line": []byte("secret\n"), "broken.gpg": []byte("no patch"),
			}}
			for _, name := range []string{"ca.pem", "list.pem"} {
				text, err := os.ReadFile("testdata/certificates/" + name)
				must(t, err)
				x.files["/root/"+name] = text
			}
			for line := range strings.Lines(string(want)) {
				switch line := strings.TrimSuffix(line, "\n"); {
				case strings.HasPrefix(line, "$ "):
					x.run(line[2:])
				case strings.HasPrefix(line, "#"), line == "":
					x.out.WriteString(line + "\n")
				}
			}
			if *update {
				must(t, os.WriteFile(file, []byte(x.out.String()), 0o644))
			} else if diff := cmp.Diff(string(want), x.out.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
			for ref, rec := range all[xenapi.Session](s) {
				if rec.Originator == "cli" {
					t.Errorf("the session %s was not logged out", ref)
				}
			}
			for ref, rec := range all[xenapi.Task](s) {
				if rec.UUID != "uuid-task" {
					t.Errorf("the task %s %q stays", ref, rec.NameLabel)
				}
			}
		})
	}
	t.Run("all of them", func(t *testing.T) {
		s := newSite(t)
		w := dial(t, s.socket)
		w.greet("help", "--all", "--minimal")
		for _, name := range strings.Split(w.hear().Text, ",") {
			if !strings.Contains(played.String(), name+" ") && !strings.Contains(played.String(), name+"\n") && !slices.Contains(needCluster, name) {
				t.Errorf("no transcript has %s", name)
			}
		}
	})
}

func fromHex(t testing.TB, texts ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(texts, ""), " ", ""))
	must(t, err)
	return b
}

// exactly reads as many bytes as it expects, and compares them.
func (w *wire) exactly(what string, want []byte) {
	w.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(w.in, got); err != nil || !bytes.Equal(got, want) {
		w.t.Fatalf("%s: %q %v, want %q", what, got[:n], err, want)
	}
}

// An old xe, whose bytes stand here as it sent them, lists, uploads a patch, and is refused, over every listener.
func TestAnOldXE(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	must(t, s.auth.EnsureRoot(t.Context(), rootPW))
	const (
		preamble = "58656e536f75726365207468696e20434c492070726f746f636f6c 00000000 02000000"
		exit0    = "0c000000 09000000 04000000 00000000"
		exit1    = "0c000000 09000000 04000000 01000000"
	)
	dials := map[string]func(t testing.TB) *wire{
		"plain": func(t testing.TB) *wire { return dial(t, s.plain) },
		"TLS":   func(t testing.TB) *wire { return dialTLS(t, s.tls, &tls.Config{InsecureSkipVerify: true}) },
		"unix":  func(t testing.TB) *wire { return dial(t, s.socket) },
	}
	patch := s.signed(t, 0)
	for name, connect := range dials {
		start := func(t *testing.T, body string) *wire {
			w := connect(t)
			w.send([]byte("POST /cli HTTP/1.0\r\nUser-agent: xe-cli/Unix/0.2\r\ncontent-length: " + fmt.Sprint(len(body)) + "\r\n\r\n" + body))
			w.exactly("the server's greeting, without an answer of HTTP", fromHex(t, preamble))
			w.send(fromHex(t, preamble))
			return w
		}
		t.Run(name+", list", func(t *testing.T) {
			w := start(t, "host-list\nparams=uuid\n--minimal\nusername=root\npassword="+rootPW)
			w.exactly("the list", append(fromHex(t, "15000000 09000000 00000000 09000000"), "uuid-here"...))
			w.exactly("the exit", fromHex(t, exit0))
		})
		t.Run(name+", records", func(t *testing.T) {
			w := start(t, "pool-list\nparams=uuid,name-label\r\nusername=root\r\npassword="+rootPW)
			text := "uuid ( RO)          : uuid-pool\n    name-label ( RW): \n\n"
			w.exactly("the record", append(fromHex(t, "44000000 09000000 00000000 38000000"), text...))
			w.exactly("the exit", fromHex(t, exit0))
		})
		t.Run(name+", upload", func(t *testing.T) {
			w := start(t, "patch-upload\nfile-name=p.bin\nusername=root\npassword="+rootPW)
			m := w.hear()
			form := regexp.MustCompile(`^/pool_patch_upload\?session_id=OpaqueRef:[0-9a-f-]{36}&task_id=OpaqueRef:[0-9a-f-]{36}$`)
			if m.Tag != thincli.HTTPPut || m.Text != "p.bin" || !form.MatchString(m.Path) {
				t.Fatalf("%+v", m)
			}
			put := connect(t)
			put.send([]byte("PUT " + m.Path + " HTTP/1.0\r\nContent-length: " + fmt.Sprint(len(patch)) + "\r\n\r\n"))
			if resp := put.head(); resp.StatusCode != 200 {
				t.Fatalf("PUT: %d", resp.StatusCode)
			}
			w.send(fromHex(t, "08000000 0a000000 12000000")) // Wait
			put.send(patch)
			put.Close()
			w.send(fromHex(t, "08000000 0a000000 05000000")) // OK
			w.exactly("the patch's UUID", append(fromHex(t, "30000000 09000000 00000000 24000000"), theUUID...))
			w.exactly("the exit", fromHex(t, exit0))
		})
		if name == "unix" {
			continue // whoever is there is root
		}
		t.Run(name+", wrong password", func(t *testing.T) {
			w := start(t, "patch-list\nusername=root\npassword=wrong")
			w.exactly("the refusal", append(fromHex(t, "22000000 09000000 10000000 16000000"), "Authentication failed\n"...))
			w.exactly("the exit", fromHex(t, exit1))
		})
	}
}

// A session that the client shows is used and stays; its role counts.
func TestACommandInASessionOfTheClients(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, c := range []struct {
		session, command, has string
		code                  int32
	}{
		{theRoot, "sr-scan", "", 0},
		{sessionOf(xenapi.RoleReadOnly), "sr-scan", "The session's role does not allow this call.\n", 1},
		{"OpaqueRef:nobody", "sr-scan", "The session does not exist, was logged out or has expired.\n", 1},
	} {
		w := dial(t, s.plain)
		w.greet("session_id="+c.session, c.command, "uuid="+get(s, s.sr).UUID)
		text := ""
		m := w.hear()
		for ; m.Tag != thincli.Exit; m = w.hear() {
			text += m.Text
		}
		if m.N != c.code || !strings.HasPrefix(text, c.has) {
			t.Errorf("%s: %d %q", c.session, m.N, text)
		}
	}
	if get(s, xenapi.Ref[xenapi.Session](theRoot)).UUID == "" {
		t.Error("the client's session was logged out")
	}
}

// A server that stops does not wait for the person at a prompt, and tells the client.
func TestAServerThatStopsEndsConversations(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var all []*wire
	for _, w := range []*wire{dial(t, s.socket), dialTLS(t, s.tls, &tls.Config{InsecureSkipVerify: true})} {
		w.greet("session_id="+theRoot, "pool-eject", "host-uuid=uuid-here")
		for w.hear().Tag != thincli.Prompt {
		}
		all = append(all, w)
	}
	s.stop()
	for _, w := range all {
		if m := w.hear(); m.Tag != thincli.PrintStderr || m.Text != "Error: The host is stopping\n" {
			t.Errorf("%v %q", m.Tag, m.Text)
		}
		if m := w.hear(); m.Tag != thincli.Exit || m.N != 1 {
			t.Errorf("%v %d", m.Tag, m.N)
		}
	}
}

// What is no command line gets a page of HTTP, or nothing, and costs nothing.
func TestAPeerThatIsNoXE(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for header, status := range map[string]int{"Accept: */*": 500, "Content-Length: 204801": 413} {
		w := dial(t, s.plain)
		w.say("POST /cli HTTP/1.0", header)
		resp := w.head()
		if body := w.rest(resp); resp.StatusCode != status {
			t.Errorf("%s: %d %s", header, resp.StatusCode, body)
		}
	}
	for what, said := range map[string][]byte{
		"another protocol":  []byte("GET / HTTP/1.1\r\nHost: a-name-that-is-long-enough\r\n\r\n"),
		"another version":   fromHex(t, "58656e536f75726365207468696e20434c492070726f746f636f6c 01000000 02000000"),
		"a huge message":    append(thincli.Preamble(thincli.Spoken), 0xff, 0xff, 0xff, 0x7f),
		"a negative length": append(thincli.Preamble(thincli.Spoken), 0xff, 0xff, 0xff, 0xff),
		"a wrong answer":    append(thincli.Preamble(thincli.Spoken), thincli.Append(nil, thincli.Message{Tag: thincli.Print, Text: "x"})...),
	} {
		w := dial(t, s.socket)
		w.send([]byte("POST /cli HTTP/1.0\r\ncontent-length: 24\r\n\r\npatch-upload\nfile-name=f"))
		w.exactly(what+": the greeting", thincli.Preamble(thincli.Spoken))
		w.send(said)
		rest, err := io.ReadAll(w.in)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", what, err)
		}
		if strings.HasPrefix(what, "another") != (len(rest) == 0) {
			t.Errorf("%s: the server says %q", what, rest)
		}
	}
	s.await(t, "tasks stay", func(tx *db.Tx) bool {
		for range db.All[xenapi.Task](tx) {
			return false
		}
		return true
	})
}
