package xe_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/rpc"
	"poolpatch/internal/thincli"
	"poolpatch/internal/xe"
	"poolpatch/xenapi"
)

// pool answers messages as a test says, and remembers those that change something.
type pool struct {
	mu      sync.Mutex
	answers map[string]func(params []rpc.Value) (any, error)
	called  []string
}

func newPool() *pool {
	p := &pool{answers: map[string]func([]rpc.Value) (any, error){}}
	p.says("session.login_with_password", "OpaqueRef:s")
	p.says("session.logout", nil)
	p.says("host.get_by_uuid", "OpaqueRef:h")
	return p
}

func (p *pool) says(message string, result any) {
	p.answers[message] = func([]rpc.Value) (any, error) { return result, nil }
}

func (p *pool) refuses(message string, err error) {
	p.answers[message] = func([]rpc.Value) (any, error) { return nil, err }
}

// Dispatch implements rpc.Dispatcher.
func (p *pool) Dispatch(_ context.Context, message string, params []rpc.Value) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, name, _ := strings.Cut(message, "."); !strings.HasPrefix(name, "get_") {
		text := message
		for _, v := range params {
			text += " " + v.Text
		}
		p.called = append(p.called, text)
	}
	if answer, ok := p.answers[message]; ok {
		return answer(params)
	}
	return nil, xenapi.ErrMessageMethodUnknown(message)
}

// play runs a command line; answer is asked for what the client says to a message that wants an answer. It gives what was
// printed, as lines of tag and text, and the exit code.
func play(t *testing.T, p *pool, command string, answer func(conn net.Conn, m thincli.Message)) (said []string, code int32) {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		defer there.Close()
		if _, err := thincli.ReadPreamble(there); err != nil {
			t.Errorf("greeting: %v", err)
			return
		}
		_, _ = there.Write(thincli.Preamble(thincli.Spoken))
		for {
			m, err := thincli.Read(there, 1<<20)
			if err != nil {
				return
			}
			if m.Tag == thincli.Exit {
				code = m.N
				return
			}
			text := strings.TrimSuffix(fmt.Sprintf("%v %s%s", m.Tag, m.Text, strings.Join(append([]string{""}, m.Params...), " ")), "\n")
			said = append(said, text)
			if answer != nil {
				answer(there, m)
			}
		}
	}()
	server, err := thincli.Accept(here, here)
	if err != nil {
		t.Fatal(err)
	}
	err = xe.Serve(t.Context(), p, server, strings.Split(command, " "))
	here.Close()
	<-heard
	if err != nil && code == 0 {
		code = -1 // the client was not told
	}
	return said, code
}

func tell(conn io.Writer, messages ...thincli.Message) {
	for _, m := range messages {
		_, _ = conn.Write(thincli.Append(nil, m))
	}
}

// Who is warned goes on with yes alone, or says beforehand that no warning is needed.
func TestConfirm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		command, answer, message string
		code                     int32
	}{
		{"pool-eject host-uuid=u", "yes", "pool.eject OpaqueRef:s OpaqueRef:h", 0},
		{"pool-eject host-uuid=u", "no", "", 1},
		{"pool-eject host-uuid=u", "", "", 1},
		{"pool-eject host-uuid=u --force", "", "pool.eject OpaqueRef:s OpaqueRef:h", 0},
		{"pool-eject host-uuid=u force=false", "no", "", 1},
		{"host-forget uuid=u", "yes", "host.destroy OpaqueRef:s OpaqueRef:h", 0},
		{"host-forget uuid=u", "y", "", 1},
		{"host-forget uuid=u --force", "", "host.destroy OpaqueRef:s OpaqueRef:h", 0},
		{"pool-join master-address=a master-username=b master-password=c", "", "pool.join OpaqueRef:s a b c", 0},
		{"pool-join master-address=a master-username=b master-password=c --force", "", "pool.join_force OpaqueRef:s a b c", 0},
		{"pool-designate-new-master host-uuid=u", "", "pool.designate_new_master OpaqueRef:s OpaqueRef:h", 0},
	} {
		p := newPool()
		for _, message := range []string{"pool.eject", "host.destroy", "pool.join", "pool.join_force", "pool.designate_new_master"} {
			p.says(message, nil)
		}
		_, code := play(t, p, c.command, func(conn net.Conn, m thincli.Message) {
			if m.Tag == thincli.Prompt {
				tell(conn, thincli.Message{Tag: thincli.Chunk, N: int32(len(c.answer))})
				_, _ = io.WriteString(conn, c.answer)
				tell(conn, thincli.Message{Tag: thincli.End})
			}
		})
		want := []string{"session.login_with_password   1.0 cli", "session.logout OpaqueRef:s"}
		if c.message != "" {
			want = slices.Insert(want, 1, c.message)
		}
		if diff := cmp.Diff(want, p.called); diff != "" || code != c.code {
			t.Errorf("%s, answered %q: exit %d (-want +got):\n%s", c.command, c.answer, code, diff)
		}
	}
}

// TestRepositories: the commands about repositories and updates, what they send and print.
func TestRepositories(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		command, message string
		said             []string
	}{
		{"repository-introduce name-label=a binary-url=https://b source-url= update=true", "Repository.introduce OpaqueRef:s a  https://b   ", []string{"Print u-repository"}},
		{"repository-forget uuid=u", "Repository.forget OpaqueRef:s OpaqueRef:r", nil},
		{"pool-sync-updates --force", "pool.sync_updates OpaqueRef:s OpaqueRef:p   ", []string{"Print h4sh"}},
		{"host-apply-updates hash=h4sh", "host.apply_updates OpaqueRef:s OpaqueRef:h h4sh", []string{"Print reboot_host"}},
		{"pool-check-update-readiness", "pool.check_update_readiness OpaqueRef:s OpaqueRef:p ", []string{"Print HOST_OFFLINE; u (one)"}},
		{"pool-configure-repository-proxy proxy-url=x proxy-username=y proxy-password=z", "pool.configure_repository_proxy OpaqueRef:s OpaqueRef:p x y z", nil},
		{"pool-disable-repository-proxy", "pool.disable_repository_proxy OpaqueRef:s OpaqueRef:p", nil},
		{"pool-configure-update-sync update-sync-frequency=weekly update-sync-day=2", "pool.configure_update_sync OpaqueRef:s OpaqueRef:p weekly ", nil},
		{"pool-set-update-sync-enabled value=true", "pool.set_update_sync_enabled OpaqueRef:s OpaqueRef:p ", nil},
		{"pool-param-add uuid=u param-name=repositories param-key=u", "pool.add_repository OpaqueRef:s OpaqueRef:p OpaqueRef:r", nil},
		{"pool-param-remove uuid=u param-name=repositories param-key=u", "pool.remove_repository OpaqueRef:s OpaqueRef:p OpaqueRef:r", nil},
	} {
		p := newPool()
		host := xenapi.Host{UUID: "u", NameLabel: "one"}
		p.says("host.get_all_records", map[xenapi.Ref[xenapi.Host]]xenapi.Host{"OpaqueRef:h": host})
		p.says("host.get_record", host)
		p.says("pool.get_all_records", map[xenapi.Ref[xenapi.Pool]]xenapi.Pool{"OpaqueRef:p": {}})
		p.says("pool.get_by_uuid", "OpaqueRef:p")
		p.says("Repository.get_by_uuid", "OpaqueRef:r")
		p.says("Repository.introduce", "OpaqueRef:r")
		p.says("Repository.get_uuid", "u-repository")
		p.says("pool.sync_updates", "h4sh")
		p.says("host.apply_updates", [][]string{{"reboot_host"}})
		p.says("pool.check_update_readiness", [][]string{{"HOST_OFFLINE", "OpaqueRef:h"}})
		for _, message := range []string{"Repository.forget", "pool.configure_repository_proxy", "pool.disable_repository_proxy", "pool.configure_update_sync",
			"pool.set_update_sync_enabled", "pool.add_repository", "pool.remove_repository"} {
			p.says(message, nil)
		}
		said, code := play(t, p, c.command, nil)
		if code != 0 || !slices.Contains(p.called, c.message) {
			t.Errorf("%s: exit code %d, %q, sent %q", c.command, code, said, p.called)
		}
		for _, want := range c.said {
			if !slices.Contains(said, want) {
				t.Errorf("%s: said %q, want %q", c.command, said, want)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		err  error
		want []string
	}{
		"known":                   {xenapi.ErrSRUnknownDriver("x"), []string{"PrintStderr There is no SR driver of this type.", "PrintStderr driver: x"}},
		"more than is declared":   {xenapi.NewError(xenapi.CodeSRUnknownDriver, "x", "y"), []string{"PrintStderr There is no SR driver of this type.", "PrintStderr driver: x", "PrintStderr <extra>: y"}},
		"less than is declared":   {xenapi.NewError(xenapi.CodeUUIDInvalid, "VDI"), []string{"PrintStderr There is no object with this UUID.", "PrintStderr type: VDI", "PrintStderr uuid: <unknown>"}},
		"a reference with a name": {xenapi.NewError(xenapi.CodeHostOffline, "OpaqueRef:h"), []string{"PrintStderr The host is not running.", "PrintStderr host: uuid-h (one)"}},
		"a reference to nothing":  {xenapi.NewError(xenapi.CodeHostOffline, "OpaqueRef:x"), []string{"PrintStderr The host is not running.", "PrintStderr host: OpaqueRef:x"}},
		"not known":               {xenapi.NewError("SOMETHING_ELSE", "a", "b"), []string{"Error SOMETHING_ELSE a b"}},
		"a context that ended":    {context.Canceled, []string{"PrintStderr Error: context canceled"}},
	} {
		p := newPool()
		p.refuses("pool.sync_database", c.err)
		p.answers["host.get_record"] = func(params []rpc.Value) (any, error) {
			if params[1].Text != "OpaqueRef:h" {
				return nil, xenapi.ErrHandleInvalid("host", params[1].Text)
			}
			return xenapi.Host{UUID: "uuid-h", NameLabel: "one"}, nil
		}
		said, code := play(t, p, "pool-sync-database", nil)
		if diff := cmp.Diff(c.want, said); diff != "" || code != 1 {
			t.Errorf("%s: exit %d (-want +got):\n%s", what, code, diff)
		}
		if last := p.called[len(p.called)-1]; last != "session.logout OpaqueRef:s" {
			t.Errorf("%s: the last call is %s", what, last)
		}
	}
}

// transferring is a pool with a task, which is as the test says at each look.
func transferring(task func(look int) xenapi.Task) *pool {
	p := newPool()
	p.says("task.create", "OpaqueRef:t")
	p.says("task.destroy", nil)
	p.says("task.cancel", nil)
	p.says("pool_patch.get_uuid", "the-uuid")
	looks := 0
	p.answers["task.get_record"] = func([]rpc.Value) (any, error) { looks++; return task(looks), nil }
	return p
}

func pending(progress float64) xenapi.Task {
	return xenapi.Task{Status: xenapi.TaskStatusPending, Progress: progress}
}

var (
	succeeded = xenapi.Task{Status: xenapi.TaskStatusSuccess, Progress: 1, Result: "OpaqueRef:p"}
	failed    = xenapi.Task{Status: xenapi.TaskStatusFailure, Progress: 1, ErrorInfo: []string{xenapi.CodeInvalidPatch, "why"}}
)

// A transfer is over when the task and the client say so, in whatever order, and the task goes with it in any case.
func TestTransfers(t *testing.T) {
	const refused = "PrintStderr The client reported that its side of a transfer failed."
	invalid := []string{"PrintStderr The file is not a patch: its signature or its information is not valid.", "PrintStderr <extra>: why"}
	after := func(n int, end xenapi.Task) func(int) xenapi.Task {
		return func(look int) xenapi.Task {
			if look > n {
				return end
			}
			return pending(0)
		}
	}
	// A beat that comes late does no harm.
	ok, wait, no := thincli.Message{Tag: thincli.OK}, thincli.Message{Tag: thincli.Wait}, thincli.Message{Tag: thincli.Failed}
	for what, c := range map[string]struct {
		task  func(look int) xenapi.Task
		delay time.Duration // of the answer
		says  []thincli.Message
		hang  bool // the client goes away after it has spoken
		want  []string
		code  int32
	}{
		"the task ends first":                      {after(0, succeeded), time.Minute, []thincli.Message{wait, ok}, false, []string{"Print the-uuid"}, 0},
		"the client ends first":                    {after(20, succeeded), 0, []thincli.Message{ok, wait, wait}, false, []string{"Print the-uuid"}, 0},
		"the task fails":                           {after(3, failed), time.Minute, []thincli.Message{ok}, false, invalid, 1},
		"both fail":                                {after(3, failed), time.Second, []thincli.Message{no}, false, invalid, 1},
		"the task says soon why the client failed": {after(4, failed), 0, []thincli.Message{no}, false, invalid, 1},
		"the client fails before the task begins":  {after(1<<30, failed), 0, []thincli.Message{no}, false, []string{refused}, 1},
		"the client fails, the task does not":      {after(0, succeeded), time.Second, []thincli.Message{no}, false, []string{refused}, 1},
		"the client does not notice the end":       {after(0, succeeded), time.Hour, []thincli.Message{ok}, false, []string{refused}, 1},
		"the client goes away":                     {after(1<<30, failed), time.Second, nil, true, nil, -1},
		"the client goes away after its answer":    {after(1<<30, failed), time.Second, []thincli.Message{ok}, true, nil, -1},
		"the client says what makes no sense":      {after(1<<30, failed), time.Second, []thincli.Message{{Tag: thincli.End}}, false, []string{refused}, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := transferring(c.task)
			said, code := play(t, p, "patch-upload file-name=f", func(conn net.Conn, m thincli.Message) {
				if m.Tag != thincli.HTTPPut {
					return
				}
				go func() {
					time.Sleep(c.delay)
					tell(conn, c.says...)
					if c.hang {
						conn.Close()
					}
				}()
			})
			time.Sleep(2 * time.Hour) // whoever answers late is done
			if len(said) == 0 || said[0] != "HttpPut f" {
				t.Fatalf("%s: %q", what, said)
			}
			if got, want := strings.Join(said[1:], "\n"), strings.Join(c.want, "\n"); got != want || code != c.code {
				t.Errorf("%s: exit %d, %q, want %d, %q", what, code, got, c.code, want)
			}
			if !slices.Contains(p.called, "task.destroy OpaqueRef:s OpaqueRef:t") || p.called[len(p.called)-1] != "session.logout OpaqueRef:s" {
				t.Errorf("%s: the task or the session stays: %q", what, p.called)
			}
		})
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := transferring(func(look int) xenapi.Task {
			if look == 4 {
				return succeeded
			}
			return pending(float64(look/2) / 4)
		})
		p.says("VDI.get_by_uuid", "OpaqueRef:v")
		said, code := play(t, p, "vdi-export uuid=u filename=f --progress", func(conn net.Conn, m thincli.Message) {
			if m.Tag == thincli.HTTPGet {
				go func() { time.Sleep(time.Minute); tell(conn, thincli.Message{Tag: thincli.OK}) }()
			}
		})
		want := []string{"HttpGet f", "PrintStderr \r 25%", "PrintStderr \r100%"}
		if diff := cmp.Diff(want, said); diff != "" || code != 0 {
			t.Errorf("exit %d (-want +got):\n%s", code, diff)
		}
	})
}

// A field that refers to an object that is gone, or goes through one, says so; everything else is shown.
func TestDanglingReferences(t *testing.T) {
	t.Parallel()
	p := newPool()
	p.says("PBD.get_all_records", map[string]xenapi.PBD{
		"OpaqueRef:b": {UUID: "u", Host: "OpaqueRef:h", SR: "OpaqueRef:gone", DeviceConfig: map[string]string{"b": "2", "a": "1"}},
	})
	p.says("host.get_record", xenapi.Host{UUID: "uuid-h", NameLabel: "one"})
	p.refuses("SR.get_record", xenapi.ErrHandleInvalid("SR", "OpaqueRef:gone"))
	said, code := play(t, p, "pbd-list params=host-uuid,host-name-label,sr-uuid,sr-name-label,device-config", nil)
	want := []string{"Print host-uuid ( RO)          : uuid-h\n    host-name-label ( RO): one\n            sr-uuid ( RO): <not in database>\n" +
		"      sr-name-label ( RO): <invalid reference>\n      device-config (MRO): a: 1; b: 2\n"}
	if diff := cmp.Diff(want, said); diff != "" || code != 0 {
		t.Errorf("exit %d (-want +got):\n%s", code, diff)
	}
}

// A host that only begins to have a patch does not have it yet.
func TestAppliedHosts(t *testing.T) {
	t.Parallel()
	p := newPool()
	p.says("pool_patch.get_all_records", map[string]xenapi.PoolPatch{"OpaqueRef:p": {HostPatches: []xenapi.Ref[xenapi.HostPatch]{"OpaqueRef:1", "OpaqueRef:2", "OpaqueRef:3"}}})
	p.answers["host_patch.get_record"] = func(params []rpc.Value) (any, error) {
		return xenapi.HostPatch{Host: xenapi.Ref[xenapi.Host](params[1].Text), Applied: params[1].Text != "OpaqueRef:2"}, nil
	}
	p.answers["host.get_record"] = func(params []rpc.Value) (any, error) {
		return xenapi.Host{UUID: "uuid-" + strings.TrimPrefix(params[1].Text, "OpaqueRef:")}, nil
	}
	if said, _ := play(t, p, "patch-list params=hosts", nil); len(said) != 1 || said[0] != "Print hosts (SRO)    : uuid-1, uuid-3\n" {
		t.Errorf("%q", said)
	}
}

// Several hosts are not acted on by accident, and an SR of several is nobody's.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	for command, want := range map[string][]string{
		"host-disable":                    {"PrintStderr Error: Multiple matching hosts found. Use --multiple to perform the operation on all of them"},
		"host-disable --multiple":         nil,
		"host-disable host=one":           nil,
		"host-disable host=uuid-2":        nil,
		"host-disable name-label=two":     nil,
		"host-disable host=three":         {"PrintStderr Error: No matching hosts found"},
		"host-disable host=one uuid=none": {"PrintStderr Error: No matching hosts found"},
	} {
		p := newPool()
		p.says("host.disable", nil)
		p.says("host.get_all_records", map[string]xenapi.Host{"OpaqueRef:1": {UUID: "uuid-1", NameLabel: "one"}, "OpaqueRef:2": {UUID: "uuid-2", NameLabel: "two"}})
		said, _ := play(t, p, command, nil)
		if diff := cmp.Diff(want, said); diff != "" {
			t.Errorf("%s (-want +got):\n%s", command, diff)
		}
		expected := 1
		switch {
		case want != nil:
			expected = 0
		case strings.HasSuffix(command, "--multiple"):
			expected = 2
		}
		if disabled := strings.Count(strings.Join(p.called, "\n"), "host.disable "); disabled != expected {
			t.Errorf("%s: %d hosts were disabled, want %d", command, disabled, expected)
		}
	}
	p := newPool()
	p.says("SR.get_all_records", map[string]xenapi.SR{"OpaqueRef:s": {PBDs: []xenapi.Ref[xenapi.PBD]{"OpaqueRef:1", "OpaqueRef:2"}}})
	if said, _ := play(t, p, "sr-list params=host", nil); len(said) != 1 || said[0] != "Print host ( RO)    : <shared>\n" {
		t.Errorf("a shared SR: %q", said)
	}
}

// A login that is refused is told in xe's words, and nothing follows it.
func TestLogin(t *testing.T) {
	t.Parallel()
	p := newPool()
	p.refuses("session.login_with_password", xenapi.ErrSessionAuthenticationFailed("u", "m"))
	said, code := play(t, p, "vdi-list username=u password=p", nil)
	if diff := cmp.Diff([]string{"PrintStderr Authentication failed"}, said); diff != "" || code != 1 || len(p.called) != 1 || p.called[0] != "session.login_with_password u p 1.0 cli" {
		t.Errorf("exit %d, %q (-want +got):\n%s", code, p.called, diff)
	}
	p.refuses("session.login_with_password", xenapi.ErrPoolDatabaseUnavailable("r"))
	if said, code := play(t, p, "vdi-list", nil); code != 1 || len(said) != 2 {
		t.Errorf("exit %d, %q", code, said)
	}
}

// FuzzCommandLine: no command line makes the server stumble; each ends with an exit code.
func FuzzCommandLine(f *testing.F) {
	for _, text := range []string{"vdi-list\nparams=all", "help\n--all", "vdi-param-set\nuuid=u\nother-config:k=v", "sr-create\nname-label=n\ntype=t\ndevice-config:a-filename=f", "-u\nroot", "=\n=="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		here, there := net.Pipe()
		defer here.Close()
		ended := make(chan bool, 1)
		go func() {
			defer there.Close()
			_, _ = thincli.ReadPreamble(there)
			_, _ = there.Write(thincli.Preamble(thincli.Spoken))
			for {
				m, err := thincli.Read(there, 1<<24)
				if err != nil || m.Tag == thincli.Exit {
					ended <- err == nil
					return
				}
				switch m.Tag {
				case thincli.Load, thincli.HTTPPut, thincli.HTTPGet:
					tell(there, thincli.Message{Tag: thincli.Failed})
				case thincli.Prompt:
					tell(there, thincli.Message{Tag: thincli.End})
				}
			}
		}()
		server, err := thincli.Accept(here, here)
		if err != nil {
			t.Fatal(err)
		}
		if err := xe.Serve(t.Context(), newPool(), server, strings.Split(text, "\n")); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if !<-ended {
			t.Errorf("%q does not end with an exit code", text)
		}
	})
}
