package api_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poolpatch/internal/db"
	hosts "poolpatch/internal/pool"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// The log is read over the API, and goes to the server that the host's record names once that is told.
func TestLog(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	log := slog.New(p.kept.Handler(slog.LevelInfo))
	log.Info("said before")
	if got := p.call(t, sessionOf(xenapi.RoleReadOnly), "host.get_log", here).Text; !strings.HasSuffix(got, "msg=\"said before\"\n") {
		t.Errorf("the log is %q", got)
	}
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	t.Cleanup(p.kept.Deliver())
	p.call(t, theRoot, "host.add_to_logging", here, "syslog_destination", server.LocalAddr().String())
	log.Info("for nobody")
	p.call(t, theRoot, "host.syslog_reconfigure", here)
	log.Info("for the server")
	packet := make([]byte, 1<<10)
	server.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := server.Read(packet)
	if got := string(packet[:n]); err != nil || !strings.HasPrefix(got, "<30>1 ") || !strings.HasSuffix(got, "msg=\"for the server\"") {
		t.Errorf("the server got %q %v", got, err)
	}
	p.call(t, theRoot, "host.set_logging", here, map[string]string{"syslog_destination": "no where"})
	p.refused(t, []string{xenapi.CodeInvalidValue, "logging:syslog_destination", "no where"}, "host.syslog_reconfigure", theRoot, here)
}

// A report goes where it is asked to go, with the records that clients see, and without what is secret in them.
func TestReportThatIsSent(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.update(t, func(tx *db.Tx) error {
		return db.Change(tx, here, func(rec *xenapi.Host) error {
			rec.PowerOnConfig = map[string]string{"power_on_password": "s3cret", "user": "admin"}
			return nil
		})
	})
	insert(t, p, "OpaqueRef:token", xenapi.Task{UUID: "u-token", Status: xenapi.TaskStatusSuccess, Result: "s3cret"})
	var files map[string]string
	status := http.StatusCreated
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && r.ContentLength > 0 {
			files = untar(t, r.Body)
		}
		http.Error(w, "the shelf is full", status)
	}))
	defer server.Close()
	address := server.URL + "/reports/one?signature=s3cret"
	p.call(t, theRoot, "host.bugreport_upload", here, address, map[string]string{})
	var host struct{ Record map[string]any }
	if err := json.Unmarshal([]byte(files["records/host.jsonl"]), &host); err != nil || host.Record["uuid"] != "uuid-here" {
		t.Errorf("the host's record: %v %v", host, err)
	}
	config, _ := host.Record["power_on_config"].(map[string]any)
	if config["user"] != "admin" || config["power_on_password"] != "(hidden)" {
		t.Errorf("power_on_config: %v", config)
	}
	for name, text := range files {
		if strings.Contains(text, "s3cret") || strings.Contains(name, "session") || strings.Contains(name, "user") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if _, err := os.Stat(filepath.Join(p.root, "bugreport")); !os.IsNotExist(err) {
		t.Errorf("the report's file: %v", err)
	}
	status = http.StatusInsufficientStorage
	at := strings.TrimPrefix(server.URL, "http://")
	p.refused(t, []string{xenapi.CodeSystemStatusRetrievalFailed, "the server at " + at + " refused the report: HTTP 507 Insufficient Storage: the shelf is full"},
		"host.bugreport_upload", theRoot, here, address, map[string]string{})
	for _, c := range []struct {
		url     string
		options map[string]string
		want    []string
	}{
		{"ftp://x/y?s3cret", nil, []string{xenapi.CodeInvalidValue, "url", "ftp://x/y"}},
		{"", nil, []string{xenapi.CodeInvalidValue, "url", ""}},
		{server.URL, map[string]string{"http_proxy": "proxy:80"}, []string{xenapi.CodeInvalidValue, "http_proxy", "proxy:"}},
		{server.URL, map[string]string{"speed": "high"}, []string{xenapi.CodeValueNotSupported, "options", "speed", "the one option is http_proxy"}},
	} {
		p.refused(t, c.want, "host.bugreport_upload", theRoot, here, c.url, c.options)
	}
	if text := strings.Join(p.log.with(""), "\n"); strings.Contains(text, "s3cret") {
		t.Errorf("the log tells: %s", text)
	}
}

func untar(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Error(err)
		return nil
	}
	files, in := map[string]string{}, tar.NewReader(z)
	for {
		h, err := in.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Error(err)
			return nil
		}
		text, _ := io.ReadAll(in)
		_, name, _ := strings.Cut(h.Name, "/")
		files[name] = string(text)
	}
}

// A test of the way to a server says whether its certificate is trusted.
func TestPostToAServer(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPost || string(body) == "fail" {
			http.Error(w, "no", http.StatusTeapot)
			return
		}
		fmt.Fprintf(w, "got %s", body)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	defer server.Close()
	host, text, _ := net.SplitHostPort(server.Listener.Addr().String())
	port, _ := strconv.Atoi(text)
	if code := p.code(t, "pool.send_test_post", theRoot, host, port, "x"); code != xenapi.CodeSSLVerifyError {
		t.Errorf("a stranger's certificate: %q", code)
	}
	p.servers.AddCert(server.Certificate())
	if got := p.call(t, theRoot, "pool.send_test_post", host, port, "body").Text; got != "got body" {
		t.Errorf("the answer is %q", got)
	}
	p.refused(t, []string{xenapi.CodeCannotContactHost, net.JoinHostPort(host, text), "it refused: HTTP 418 I'm a teapot: no"}, "pool.send_test_post", theRoot, host, port, "fail")
	p.refused(t, []string{xenapi.CodeInvalidValue, "port", "0"}, "pool.send_test_post", theRoot, host, 0, "x")
	p.refused(t, []string{xenapi.CodeInvalidValue, "host", "a/b"}, "pool.send_test_post", theRoot, "a/b", 1, "x")
	if code := p.code(t, "pool.send_test_post", sessionOf(xenapi.RolePoolOperator), host, port, "x"); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("by a pool-operator: %q", code)
	}
}

// program puts an extension, or a way to switch on, on the host.
func (p *pool) program(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.root, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// answer prints an answer of XenAPI.
func answer(member string) string {
	return "printf '<methodResponse><params><param><value><struct>" + member + "</struct></value></param></params></methodResponse>'"
}

const (
	succeeds = "<member><name>Status</name><value>Success</value></member><member><name>Value</name><value>%s</value></member>"
	refuses  = "<member><name>Status</name><value>Failure</value></member><member><name>ErrorDescription</name><value><array><data><value>VM_LOST</value><value>one</value></data></array></value></member>"
)

// What a program of the host's is called by answers as a message does.
func TestExtensions(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	p.program(t, "extensions/lab.echo", "in=$(cat | tr '<>' '[]'); echo noise >&2; "+answer(fmt.Sprintf(succeeds, "%s"))+` "$in"`)
	p.program(t, "extensions/lab.refuse", answer(refuses))
	p.program(t, "extensions/lab.list", answer(fmt.Sprintf(succeeds, "<array><data><value>a</value><value><i4>1</i4></value></data></array>")))
	for session, params := range map[string][]any{theRoot: {"x"}, sessionOf(xenapi.RolePoolAdmin): nil} {
		got := p.call(t, session, "lab.echo", params...).Text
		if want := "[methodName]lab.echo[/methodName][params][param][value]" + session; !strings.Contains(got, want) || strings.Contains(got, "x[") != (params != nil) {
			t.Errorf("called as a message: %s", got)
		}
	}
	if got := p.call(t, theRoot, "host.call_extension", here, "lab.echo").Text; !strings.Contains(got, "[value]"+theRoot+"[/value]") {
		t.Errorf("called by name: %s", got)
	}
	if got := p.call(t, theRoot, "host.call_extension", here, `{"method":"lab.echo","params":["y"],"id":1}`).Text; !strings.Contains(got, "[params][param][value]y[/value]") {
		t.Errorf("called as JSON-RPC has it: %s", got)
	}
	if got := p.call(t, theRoot, "host.call_extension", here, "lab.list").Text; got != `["a",1]` {
		t.Errorf("what is no text: %s", got)
	}
	if got := p.call(t, theRoot, "lab.list"); got.Kind != rpc.Array || len(got.Items) != 2 {
		t.Errorf("what is no text, as a message: %v", got)
	}
	p.refused(t, []string{"VM_LOST", "one"}, "lab.refuse", theRoot)
	p.refused(t, []string{xenapi.CodeMessageMethodUnknown, "lab.none"}, "lab.none", theRoot)
	p.refused(t, []string{xenapi.CodeMessageMethodUnknown, "lab.none"}, "host.call_extension", theRoot, here, "lab.none")
	p.refused(t, []string{xenapi.CodeMessageMethodUnknown, "lab.echo"}, "lab.echo")
	p.refused(t, []string{xenapi.CodeSessionInvalid, noSession}, "lab.echo", noSession)
	p.refused(t, []string{xenapi.CodeSessionInvalid, noSession}, "lab.none", noSession)
	for _, method := range []string{"lab.echo", "Async.lab.echo"} {
		session := sessionOf(xenapi.RolePoolOperator)
		if method == "Async.lab.echo" {
			ref := xenapi.Ref[xenapi.Task](p.call(t, theRoot, method).Text)
			p.tasks.Wait()
			if rec := get(p, ref); rec.Status != xenapi.TaskStatusSuccess || !strings.Contains(rec.Result, "lab.echo") {
				t.Errorf("as a task: %s %s", rec.Status, rec.Result)
			}
			continue
		}
		if code := p.code(t, method, session); code != xenapi.CodeRBACPermissionDenied {
			t.Errorf("by a pool-operator: %q", code)
		}
	}
	for name, has := range map[string]bool{"lab.echo": true, "lab.none": false, "../extensions/lab.echo": false} {
		if p.call(t, theRoot, "host.has_extension", here, name).Bool != has || p.call(t, theRoot, "pool.has_extension", thePool, name).Bool != has {
			t.Errorf("%s: want %v", name, has)
		}
	}
}

// A pool has an extension that each of its hosts has.
func TestExtensionsOfAPool(t *testing.T) {
	t.Parallel()
	p, _ := newFarm(t)
	p.program(t, "extensions/lab.echo", "true")
	var asked []xenapi.Ref[xenapi.Host]
	missing := xenapi.Ref[xenapi.Host]("")
	p.others.answer = func(e *elsewhere, result any) error {
		asked = append(asked, e.host)
		*result.(*bool) = e.host != missing
		return nil
	}
	if code := p.code(t, "pool.has_extension", theRoot, thePool, "lab.echo"); code != xenapi.CodeHostOffline {
		t.Errorf("with a host that is dead: %q", code)
	}
	p.update(t, func(tx *db.Tx) error { return db.Delete(tx, fourth) })
	asked = nil
	if !p.call(t, theRoot, "pool.has_extension", thePool, "lab.echo").Bool || len(asked) != 2 {
		t.Errorf("every host has it; asked were %v", asked)
	}
	missing = third
	if p.call(t, theRoot, "pool.has_extension", thePool, "lab.echo").Bool {
		t.Error("one host lacks it")
	}
}

func TestRecordsFollowWhatStandsOnTheDisk(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	const uuid = "3f1c0000-4064-4452-bd7a-0ba5840291c3"
	stamps := filepath.Join(p.root, "patch/applied")
	if err := os.MkdirAll(stamps, 0o755); err != nil {
		t.Fatal(err)
	}
	info := `<info uuid="` + uuid + `" version="1.0" name-label="fix" name-description="" after-apply-guidance=""/>`
	if err := os.WriteFile(filepath.Join(stamps, uuid), []byte(info), 0o440); err != nil {
		t.Fatal(err)
	}
	p.call(t, theRoot, "host.refresh_pack_info", here)
	if got := p.call(t, theRoot, "pool_patch.get_host_patches", p.call(t, theRoot, "pool_patch.get_by_uuid", uuid).Text); len(got.Items) != 1 {
		t.Errorf("after a stamp came: %v", got)
	}
	if err := os.Remove(filepath.Join(stamps, uuid)); err != nil {
		t.Fatal(err)
	}
	p.call(t, theRoot, "host.refresh_pack_info", here)
	if got := p.call(t, theRoot, "host.get_patches", here); len(got.Items) != 0 {
		t.Errorf("after it went: %v", got)
	}
}

func TestInitiator(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	const iqn = "iqn.2026-11.lab.example:one"
	p.call(t, theRoot, "host.set_iscsi_iqn", here, iqn)
	if got := p.call(t, theRoot, "host.get_iscsi_iqn", here).Text; got != iqn {
		t.Errorf("the record says %q", got)
	}
	if text, err := os.ReadFile(filepath.Join(p.root, "initiatorname.iscsi")); string(text) != "InitiatorName="+iqn+"\n" {
		t.Errorf("the file says %q %v", text, err)
	}
	p.refused(t, []string{xenapi.CodeInvalidValue, "value", "one"}, "host.set_iscsi_iqn", theRoot, here, "one")
	if got := get(p, here).ISCSIIQN; got != iqn {
		t.Errorf("after a refusal: %q", got)
	}
}

// comeAlive has a dead host live after a while.
func comeAlive(t *testing.T, p *pool, host xenapi.Ref[xenapi.Host], after time.Duration) {
	time.AfterFunc(after, func() { go func() { _ = hosts.Stay(t.Context(), p.db, host, slog.New(slog.DiscardHandler)) }() })
}

const (
	deadMAC = "52:54:00:12:34:56"
	packet  = "ffffffffffff" // and the MAC, 16 times
)

// A host is switched on by magic packets, to the MAC that is given, or that it had while it lived, until it lives.
func TestPowerOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		insert(t, p, fourth, xenapi.Host{UUID: "uuid-fourth", MAC: "52:54:00:00:00:01"})
		p.refused(t, []string{xenapi.CodeHostPowerOnModeDisabled}, "host.power_on", theRoot, fourth)
		p.call(t, theRoot, "host.set_power_on_mode", fourth, "wake-on-lan", map[string]string{})
		began := time.Now()
		p.refused(t, []string{xenapi.CodeHostOffline, fourth.String()}, "host.power_on", theRoot, fourth)
		if took := time.Since(began); took < 4*time.Minute || took > 6*time.Minute || len(p.done) < 20 {
			t.Errorf("given up after %v and %d packets", took, len(p.done))
		}
		if want := packet + strings.Repeat("525400000001", 16); p.done[0] != want {
			t.Errorf("packet %q, want %q", p.done[0], want)
		}
		p.call(t, theRoot, "host.set_power_on_mode", fourth, "wake-on-lan", map[string]string{"mac": deadMAC})
		p.done = nil
		comeAlive(t, p, fourth, 15*time.Second)
		p.call(t, theRoot, "host.power_on", fourth)
		if want := packet + strings.Repeat("525400123456", 16); !slices.Equal(p.done, []string{want, want}) {
			t.Errorf("packets %q", p.done)
		}
		p.refused(t, []string{xenapi.CodeHostIsLive, fourth.String()}, "host.power_on", theRoot, fourth)
		p.refused(t, []string{xenapi.CodeInvalidValue, "mac", "52:54"}, "host.set_power_on_mode", theRoot, fourth, "wake-on-lan", map[string]string{"mac": "52:54"})
		p.refused(t, []string{xenapi.CodeInvalidValue, "power_on_mode", "../x"}, "host.set_power_on_mode", theRoot, fourth, "../x", map[string]string{})
	})
}

// Another mode is a program, which reads what may be secret.
func TestPowerOnByAProgram(t *testing.T) {
	t.Parallel()
	p, _ := newFarm(t)
	p.update(t, func(tx *db.Tx) error { // this host is the coordinator
		return db.Change(tx, thePool, func(rec *xenapi.Pool) error { rec.Master = here; return nil })
	})
	p.program(t, "power-on/lab-bmc", `cat > "$POOLPATCH_ROOT/read"; echo "$POOLPATCH_HOST_UUID $*" >> "$POOLPATCH_ROOT/read"; echo said; echo why >&2; exit 3`)
	p.call(t, theRoot, "host.set_power_on_mode", fourth, "lab-bmc", map[string]string{"password": "s3cret"})
	p.refused(t, []string{xenapi.CodeXenAPIPluginFailure, "3", "said\n", "why\n"}, "host.power_on", theRoot, fourth)
	want := `{"host_uuid":"uuid-2","power_on_config":{"password":"s3cret"},"power_on_mode":"lab-bmc"}uuid-2 ` + "\n"
	if got, err := os.ReadFile(filepath.Join(p.root, "read")); string(got) != want {
		t.Errorf("it read %q %v", got, err)
	}
	p.call(t, theRoot, "host.set_power_on_mode", fourth, "lab-none", map[string]string{})
	p.refused(t, []string{xenapi.CodeXenAPIMissingPlugin, "lab-none"}, "host.power_on", theRoot, fourth)
	if text := strings.Join(p.log.with(""), "\n"); strings.Contains(text, "s3cret") {
		t.Errorf("the log tells: %s", text)
	}
}
