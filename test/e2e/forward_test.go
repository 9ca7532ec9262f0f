package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// pair is two hosts of one pool; the first is the coordinator.
type pair struct {
	one, two     *harness.Daemon
	first        xenapi.Ref[xenapi.Host]
	second       xenapi.Ref[xenapi.Host]
	local, other xenapi.Ref[xenapi.SR] // the local SRs of the two
}

func startPair(t *testing.T) pair {
	t.Helper()
	etcd := ownEtcd(t)
	begin := func() *harness.Daemon {
		return harness.Start(t, harness.Options{Etcd: etcd, HTTPS: freeAddress(t), Trusted: []*harness.Key{harness.TheKey(t)}})
	}
	p := pair{one: begin()}
	p.two = begin()
	p.first, p.second = ownHost(p.one), ownHost(p.two)
	harness.Eventually(t, "both hosts live", func() bool {
		return harness.Record(p.one, harness.Record(p.one, p.first).Metrics).Live && harness.Record(p.one, harness.Record(p.one, p.second).Metrics).Live
	})
	for _, pbd := range harness.Records[xenapi.PBD](p.one) {
		if pbd.Host == p.first {
			p.local = pbd.SR
		} else {
			p.other = pbd.SR
		}
	}
	return p
}

// freeAddress is a loopback address with a port that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// sharedSR makes an SR that both hosts see, by a call of the host that is not the coordinator.
func (p pair) sharedSR(t *testing.T) xenapi.Ref[xenapi.SR] {
	t.Helper()
	sr := harness.Call[xenapi.Ref[xenapi.SR]](p.two, "SR.create", p.second, map[string]string{"location": filepath.Join(harness.Dir(t), "shared")},
		int64(0), "Shared storage", "", "file", "user", true, map[string]string{})
	plugged := 0
	for _, pbd := range harness.Records[xenapi.PBD](p.one) {
		if pbd.SR == sr && pbd.CurrentlyAttached {
			plugged++
		}
	}
	if plugged != 2 {
		t.Errorf("the shared SR is plugged on %d hosts", plugged)
	}
	for pool := range harness.Records[xenapi.Pool](p.two) {
		p.two.Do("pool.set_default_SR", pool, sr)
	}
	return sr
}

// TestAnyHostAnswers: a client may talk to either host about either.
func TestAnyHostAnswers(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	sr := p.sharedSR(t)

	// The stream goes through to the coordinator, with and without a length.
	program := harness.Program{UUID: xenapi.NewUUID(), Apply: "echo ran on $POOLPATCH_ROOT"}
	patch := program.Signed(t)
	ref, err := p.two.TryUpload(bytes.NewReader(patch), int64(len(patch)))
	if err != nil {
		t.Fatalf("upload to the other host: %v", err)
	}
	rec := harness.Record(p.two, ref)
	if vdi := harness.Record(p.two, rec.VDI); vdi.SR != sr {
		t.Errorf("the patch is on SR %s, not on the default SR", vdi.SR)
	}
	_, err = p.two.TryUpload(io.MultiReader(bytes.NewReader(patch)), -1)
	if err != nil {
		t.Errorf("upload without a length: %v", err)
	}
	_, err = p.two.TryUpload(strings.NewReader("no patch"), 8)
	harness.WantCode(t, "upload of garbage to the other host", err, xenapi.CodeInvalidPatch)

	// Each host is asked to have the other apply it.
	for _, c := range []struct {
		asked, runs *harness.Daemon
		host        xenapi.Ref[xenapi.Host]
	}{{p.one, p.two, p.second}, {p.two, p.one, p.first}} {
		task := c.asked.Async("pool_patch.apply", ref, c.host)
		ended := harness.Wait(c.asked, task)
		if err := harness.Failure(ended); err != nil {
			t.Fatalf("apply on the other host: %v", err)
		}
		if ended.ResidentOn != c.host || !strings.Contains(ended.Result, "ran on "+c.runs.Root) {
			t.Errorf("the task is resident on %s, its result %q", ended.ResidentOn, ended.Result)
		}
		if runs := c.runs.Read(harness.Ran); strings.Count(runs, program.UUID) != 1 {
			t.Errorf("the program ran: %q", runs)
		}
		c.asked.Refused(xenapi.CodePatchAlreadyApplied, "pool_patch.apply", ref, c.host)
	}
	p.clean()
}

// restartFirst restarts the first host, which is the coordinator afterwards too: where that took it long, the other was
// meanwhile.
func (p pair) restartFirst(t *testing.T) {
	t.Helper()
	p.one.Restart()
	harness.Eventually(t, "the first host is the coordinator", func() bool {
		_, err := harness.Try[any](p.two, "pool.designate_new_master", p.first)
		return err == nil && coordinator(p.two) == p.first
	})
}

func (p pair) clean() {
	p.one.Clean()
	p.two.Clean()
}

// TestStorageOfAnotherHost: what is on a host's own storage is reached through every host.
func TestStorageOfAnotherHost(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	fields := xenapi.New[xenapi.VDI]()
	fields.NameLabel, fields.SR, fields.VirtualSize, fields.Type = "a disk", p.other, 4<<20, xenapi.VDITypeUser
	vdi := harness.Call[xenapi.Ref[xenapi.VDI]](p.one, "VDI.create", fields)
	if got := harness.Record(p.one, vdi); got.SR != p.other || got.NameLabel != "a disk" {
		t.Errorf("the VDI is %+v", got)
	}
	p.one.Do("VDI.set_name_label", vdi, "renamed")
	if got := harness.Record(p.two, vdi).NameLabel; got != "renamed" {
		t.Errorf("the other host sees the name %q", got)
	}
	p.one.Do("SR.scan", p.other)

	// Raw bytes are not passed on: the client is sent there.
	c := p.one.Secure()
	if got := location(t, c, p.one.Address(), "PUT", "/import_raw_vdi?vdi="+vdi.String()); got != "https://"+p.two.Address()+"/import_raw_vdi?vdi="+vdi.String() {
		t.Errorf("an import is sent to %q", got)
	}
	if got := location(t, c, p.one.Address(), "GET", "/export_raw_vdi?vdi="+vdi.String()); !strings.HasPrefix(got, "https://"+p.two.Address()+"/export_raw_vdi?") {
		t.Errorf("an export is sent to %q", got)
	}

	// The project's own client goes there, and on the unix socket the host fetches and sends the bytes itself.
	for how, from := range map[string]*client.Client{"TCP": c, "unix socket": p.one.Client()} {
		content := strings.Repeat(how, (4<<20)/len(how)+1)[:4<<20]
		if err := from.ImportVDI(t.Context(), vdi, strings.NewReader(content), int64(len(content)), nil); err != nil {
			t.Errorf("import by %s: %v", how, err)
		}
		var got bytes.Buffer
		if _, err := from.ExportVDI(t.Context(), vdi, 1<<20, &got, nil); err != nil || got.String() != content[1<<20:] {
			t.Errorf("export by %s gives %d bytes, %v", how, got.Len(), err)
		}
	}

	var unplugged xenapi.Ref[xenapi.PBD]
	for ref, pbd := range harness.Records[xenapi.PBD](p.one) {
		if pbd.Host == p.second {
			unplugged = ref
		}
	}
	p.one.Do("PBD.unplug", unplugged)
	p.one.Refused(xenapi.CodeSRHasNoPBDs, "VDI.destroy", vdi)
	p.one.Do("PBD.plug", unplugged)

	p.two.Kill()
	harness.Eventually(t, "the killed host is known to be dead", func() bool {
		_, err := harness.Try[any](p.one, "VDI.set_name_label", vdi, "again")
		return xenapi.CodeOf(err) == xenapi.CodeHostOffline
	})
	if err := p.two.Launch(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the host is reached again", func() bool {
		_, err := harness.Try[any](p.one, "VDI.destroy", vdi)
		return err == nil
	})
	p.clean()
}

// location is where a host sends a transfer, "" when it takes it.
func location(t *testing.T, c *client.Client, address, method, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "https://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Cookie", "session_id="+c.Session().String())
	answer, err := (&http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.Header.Get("Location")
}

// TestDownloadFromAnyHost: the host that has a patch gives it, whoever is asked.
func TestDownloadFromAnyHost(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	program := harness.Program{UUID: xenapi.NewUUID()}
	patch := program.Signed(t)
	p.one.Upload(patch) // onto the coordinator's own storage
	var got bytes.Buffer
	if _, err := p.two.Client().DownloadPatch(context.Background(), program.UUID, &got, nil); err != nil || !bytes.Equal(got.Bytes(), patch) {
		t.Errorf("the other host gives %d bytes of %d, %v", got.Len(), len(patch), err)
	}
	p.supported(t)
	legacy := harness.Program{UUID: xenapi.NewUUID()}
	file := legacy.Signed(t)
	if err := os.WriteFile(p.one.Path("var/patch/old"), file, 0o440); err != nil {
		t.Fatal(err)
	}
	p.restartFirst(t) // it finds the file
	got.Reset()
	harness.Eventually(t, "the legacy patch is found", func() bool {
		for _, rec := range harness.Records[xenapi.PoolPatch](p.two) {
			if rec.UUID == legacy.UUID {
				return true
			}
		}
		return false
	})
	if _, err := p.two.Client().DownloadPatch(context.Background(), legacy.UUID, &got, nil); err != nil || !bytes.Equal(got.Bytes(), file) {
		t.Errorf("the other host gives %d bytes of the legacy file's %d, %v", got.Len(), len(file), err)
	}
	p.clean()
}

// supported asks one host for what only the other can tell: its log, its report, its extensions.
func (p pair) supported(t *testing.T) {
	t.Helper()
	first := harness.Record(p.one, p.first).UUID
	if log := harness.Call[string](p.two, "host.get_log", p.first); !strings.Contains(log, "msg=ready") || !strings.Contains(log, "host="+first) {
		t.Errorf("the log of the other host: %s", log)
	}
	var report bytes.Buffer
	if _, err := p.two.Client().SystemStatus(t.Context(), p.first, "kernel-info", "tar", &report, nil); err != nil || !strings.Contains(report.String(), first) {
		t.Errorf("the report of the other host: %d bytes, %v", report.Len(), err)
	}
	p.one.Write("etc/poolpatch/extensions/lab.hello", "#!/bin/sh\necho '<methodResponse><params><param><value><struct><member><name>Status</name><value>Success</value></member>"+
		"<member><name>Value</name><value>hello</value></member></struct></value></param></params></methodResponse>'\n", 0o755)
	if said := harness.Call[string](p.two, "host.call_extension", p.first, "lab.hello"); said != "hello" {
		t.Errorf("the extension says %q", said)
	}
	for pool := range harness.Records[xenapi.Pool](p.two) {
		if harness.Call[bool](p.two, "pool.has_extension", pool, "lab.hello") || !harness.Call[bool](p.two, "host.has_extension", p.first, "lab.hello") {
			t.Error("the first host alone has the extension")
		}
	}
}

// TestAClientOfAnotherHostGoesAway: the host that takes the upload hears at once that its client did, though it has another
// connection.
func TestAClientOfAnotherHostGoesAway(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	program := harness.Program{}
	patch := program.Signed(t)
	task := p.two.NewTask("upload")
	head, err := p.two.Head(task, fmt.Sprint("Content-Length: ", len(patch)))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", p.two.Address(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("the answer is %v, %v", resp, err)
	}
	if _, err := conn.Write(patch[:len(patch)/2]); err != nil {
		t.Fatal(err)
	}
	tcp := conn.NetConn().(*net.TCPConn)
	if err := errors.Join(tcp.SetLinger(0), tcp.Close()); err != nil {
		t.Fatal(err)
	}
	// Not that the file ends too early: a body of no known length would have ended there.
	if err := harness.Failure(harness.Wait(p.two, task)); err == nil || !strings.Contains(err.Error(), "INVALID_PATCH [the upload was cut off after ") {
		t.Errorf("the upload ended with %v", err)
	}
	p.clean()
}

// TestLegacyPatchOnAnotherHost: a host fetches the coordinator's file, applies it and keeps nothing; the file stays until
// it is cleaned (M7, M8).
func TestLegacyPatchOnAnotherHost(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	program := harness.Program{UUID: xenapi.NewUUID()}
	file := p.one.Path("var/patch/old")
	if err := os.WriteFile(file, program.Signed(t), 0o440); err != nil {
		t.Fatal(err)
	}
	p.restartFirst(t) // it finds the file
	var ref xenapi.Ref[xenapi.PoolPatch]
	harness.Eventually(t, "the legacy patch is found", func() bool {
		for found, rec := range harness.Records[xenapi.PoolPatch](p.two) {
			if rec.UUID == program.UUID {
				ref = found
			}
		}
		return ref != ""
	})
	p.one.Do("pool_patch.apply", ref, p.second)
	if ran := p.two.Read(harness.Ran); strings.Count(ran, program.UUID) != 1 {
		t.Errorf("on the other host ran %q", ran)
	}
	if p.two.Exists("var/patch/old") || !p.one.Exists("var/patch/old") {
		t.Error("the file is where it was not, or is not where it was")
	}
	p.clean()
	if err := os.WriteFile(p.two.Path("var/patch/old"), nil, 0o440); err != nil { // of a former coordinator
		t.Fatal(err)
	}
	p.two.Do("pool_patch.clean", ref)
	if !p.two.Exists("var/patch/old") || p.one.Exists("var/patch/old") {
		t.Error("clean is for the coordinator's file alone")
	}
	p.one.Do("pool_patch.pool_clean", ref)
	if p.two.Exists("var/patch/old") {
		t.Error("pool_clean left a file on a host")
	}
	p.one.Refused(xenapi.CodeCannotFindPatch, "pool_patch.apply", ref, p.first)
	p.clean()
}

// TestOneWriter: of two hosts that see a VDI one writes it, and for as long as it may be doing so nobody else does.
func TestOneWriter(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	fields := xenapi.New[xenapi.VDI]()
	fields.NameLabel, fields.SR, fields.VirtualSize, fields.Type = "a disk", p.sharedSR(t), 8<<20, xenapi.VDITypeUser
	vdi := harness.Call[xenapi.Ref[xenapi.VDI]](p.two, "VDI.create", fields)

	reader, writer := io.Pipe()
	written := make(chan error, 1)
	go func() { written <- p.one.Client().ImportVDI(context.Background(), vdi, reader, 8<<20, nil) }()
	if _, err := writer.Write(make([]byte, 4<<20)); err != nil { // by now the first host has attached it
		t.Fatal(err)
	}
	refused := func(what string) {
		t.Helper()
		err := p.two.Client().ImportVDI(context.Background(), vdi, strings.NewReader("other content"), 13, nil)
		harness.WantCode(t, what+", an import on the other host", err, xenapi.CodeVDIInUse)
		p.two.Refused(xenapi.CodeVDIInUse, "VDI.destroy", vdi)
	}
	refused("while the first host writes")
	p.one.Kill()
	writer.CloseWithError(io.ErrUnexpectedEOF)
	<-written
	refused("after the first host has died")
	if err := p.one.Launch(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the VDI is free", func() bool {
		return p.two.Client().ImportVDI(context.Background(), vdi, strings.NewReader("other content"), 13, nil) == nil
	})
	p.one.Do("VDI.destroy", vdi)
	p.clean()
}

// TestCancelElsewhere: a task is cancelled on whichever host it runs, from whichever host.
func TestCancelElsewhere(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.sharedSR(t)
	program := harness.Program{Precheck: harness.GateWait("gate")}
	ref := p.one.Upload(program.Signed(t))
	gate := harness.NewGate(t, p.two, "gate")
	for _, asked := range []*harness.Daemon{p.one, p.two} {
		task := p.one.Async("pool_patch.precheck", ref, p.second)
		gate.Arrived()
		asked.Do("task.cancel", task)
		rec := harness.Wait(asked, task)
		harness.WantCode(t, "the cancelled task", harness.Failure(rec), xenapi.CodeTaskCancelled)
		p.clean()
	}
	p.two.Do("pool_patch.destroy", ref)
	p.clean()
}
