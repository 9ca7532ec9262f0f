package httpd_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/rpc"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// hangUp is sooner than the server closes the connection of a client that it has refused and that stays.
const hangUp = 8 * time.Second

func basic(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// What a request shows first counts, and nothing that it shows besides helps (facts, section 2). The
// handler answers 400 to who is admitted, for no uuid is given.
func TestWhoIsAdmitted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	must(t, s.auth.EnsureRoot(t.Context(), rootPW))
	_, err := s.auth.CreateUser(t.Context(), xenapi.User{ShortName: "ann"}, xenapi.RoleReadOnly, "a")
	must(t, err)
	must(t, s.db.Update(t.Context(), func(tx *db.Tx) error {
		for ref := range db.All[xenapi.Subject](tx) {
			return db.Change(tx, ref, func(rec *xenapi.Subject) error { rec.Roles = nil; return nil })
		}
		return nil
	}))
	before := len(all[xenapi.Session](s))
	const nobody = "OpaqueRef:nobody"
	root, right, wrong := basic("root", rootPW), "pool_secret="+strings.ReplaceAll(secret, " ", "%20"), "pool_secret=wrong"
	for _, c := range []struct {
		what, query string
		headers     []string
		status      int
	}{
		{"nothing", "", nil, 401},
		{"session in the query", "session_id=" + theRoot, nil, 400},
		{"session in a cookie", "", []string{"Cookie: session_id=" + theRoot}, 400},
		{"session, encoded, among cookies joined by &", "", []string{"Cookie: a=b&session_id=" + strings.Replace(theRoot, ":", "%3A", 1)}, 400},
		{"no such session", "session_id=" + nobody, nil, 401},
		{"cookie before query", "session_id=" + nobody, []string{"Cookie: session_id=" + theRoot}, 400},
		{"invalid cookie before query", "session_id=" + theRoot, []string{"Cookie: session_id=" + nobody}, 401},
		{"session before secret and password", "session_id=" + nobody + "&" + right, []string{root}, 401},
		{"secret", right, nil, 400},
		{"secret in a cookie", "", []string{"Cookie: " + right}, 400},
		{"wrong secret before password", wrong, []string{root}, 401},
		{"password", "", []string{root}, 400},
		{"wrong password", "", []string{basic("root", "wrong")}, 401},
		{"password of a subject without a role", "", []string{basic("ann", "a")}, 403},
		{"weak role", "session_id=" + sessionOf(xenapi.RoleVMPowerAdmin), nil, 403},
		{"strong role", "session_id=" + sessionOf(xenapi.RolePoolOperator), nil, 400},
	} {
		resp, body := s.do(t, "GET", "/pool_patch_download?"+c.query, c.headers...)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d %s", c.what, resp.StatusCode, body)
		}
		asked := resp.Header.Get("WWW-Authenticate")
		if want := map[bool]string{true: `Basic realm="pool_patch_download"`}[c.status == 401]; asked != want {
			t.Errorf("%s: WWW-Authenticate %q, want %q", c.what, asked, want)
		}
	}
	w := dial(t, s.socket)
	w.say("GET /pool_patch_download HTTP/1.0")
	resp := w.head()
	if w.rest(resp); resp.StatusCode != 400 {
		t.Errorf("the unix socket is root's: %d", resp.StatusCode)
	}
	if after := len(all[xenapi.Session](s)); after != before {
		t.Errorf("%d sessions that were opened for one request stay", after-before)
	}
}

// A user of the directory shows name and password; nobody is asked for another password because the directory is away.
func TestWhoIsAdmittedFromADirectory(t *testing.T) {
	t.Parallel()
	s, d := newSite(t), newDirectory(t)
	config := map[string]string{"servers": d.URL(), "user": "cn=reader,dc=example,dc=com", "pass": "secret"}
	must(t, s.auth.EnableExternalEverywhere(t.Context(), config, "example.com", "LDAP"))
	subject, err := s.auth.CreateSubject(t.Context(), xenapi.Subject{SubjectIdentifier: "cn=ops,dc=example,dc=com"})
	must(t, err)
	status := func(user, password string) int {
		resp, _ := s.do(t, "GET", "/pool_patch_download?", basic(user, password))
		return resp.StatusCode
	}
	if got := status("eve", "e"); got != 403 {
		t.Errorf("without a role: %d", got)
	}
	must(t, s.auth.AddRole(t.Context(), subject, xenapi.RoleRef(xenapi.RolePoolOperator)))
	if got := [...]int{status("eve", "e"), status("eve@example.com", "e"), status("eve", "wrong"), status("eve", "")}; got != [...]int{400, 400, 401, 401} {
		t.Errorf("answers %v", got)
	}
	d.Stop()
	if got := status("eve", "e"); got != 500 {
		t.Errorf("with the directory away: %d", got)
	}
	if left := len(all[xenapi.Session](s)); left != 1+len(xenapi.Roles()) {
		t.Errorf("%d sessions", left)
	}
}

func TestEachHandlersRole(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, c := range []struct{ method, path, enough, weak, permission string }{
		{"PUT", "/pool_patch_upload", xenapi.RolePoolOperator, xenapi.RoleVMPowerAdmin, "http/put_pool_patch_upload"},
		{"GET", "/pool_patch_download", xenapi.RolePoolOperator, xenapi.RoleVMPowerAdmin, "http/get_pool_patch_download"},
		{"PUT", "/import_raw_vdi", xenapi.RoleVMAdmin, xenapi.RoleVMOperator, "http/put_import_raw_vdi"},
		{"GET", "/export_raw_vdi", xenapi.RoleVMAdmin, xenapi.RoleVMOperator, "http/get_export_raw_vdi"},
		{"GET", "/system_status", xenapi.RolePoolOperator, xenapi.RoleVMPowerAdmin, "http/get_system_status"},
	} {
		ref := s.newTask(t, sessionOf(c.weak))
		resp, body := s.do(t, c.method, c.path+"?task_id="+string(ref), "Cookie: session_id="+sessionOf(c.weak), "Content-Length: 0")
		if resp.StatusCode != 403 || !strings.Contains(body, "RBAC_PERMISSION_DENIED: [ "+c.permission) {
			t.Errorf("%s with %s: %d %s", c.path, c.weak, resp.StatusCode, body)
		}
		if rec := get(s, ref); rec.Status != xenapi.TaskStatusFailure || rec.ErrorInfo[0] != xenapi.CodeRBACPermissionDenied || rec.ErrorInfo[1] != c.permission {
			t.Errorf("%s with %s: task %s %q", c.path, c.weak, rec.Status, rec.ErrorInfo)
		}
		if resp, _ := s.do(t, c.method, c.path, "Cookie: session_id="+sessionOf(c.enough), "Content-Length: 0"); resp.StatusCode == 403 {
			t.Errorf("%s with %s: %d", c.path, c.enough, resp.StatusCode)
		}
	}
}

// Whoever is not the task's owner can neither use it nor end it.
func TestTheTaskOfATransferIsItsOwners(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	stranger, operator := sessionOf(xenapi.RoleVMAdmin), sessionOf(xenapi.RolePoolOperator)
	for _, c := range []struct {
		what, session, path string
		status              int
		want                xenapi.TaskStatus
	}{
		{"no session", "OpaqueRef:nobody", "/export_raw_vdi", 401, xenapi.TaskStatusPending},
		{"a stranger whose role is enough", stranger, "/export_raw_vdi", 403, xenapi.TaskStatusPending},
		{"a stranger whose role is not", stranger, "/pool_patch_download", 403, xenapi.TaskStatusPending},
		{"who may touch any task", operator, "/pool_patch_download", 400, xenapi.TaskStatusFailure},
		{"the owner", theRoot, "/export_raw_vdi", 400, xenapi.TaskStatusFailure},
	} {
		ref := s.newTask(t, theRoot)
		resp, body := s.do(t, "GET", c.path+"?task_id="+string(ref), "Cookie: session_id="+c.session)
		if rec := get(s, ref); resp.StatusCode != c.status || rec.Status != c.want {
			t.Errorf("%s: %d, task %s: %s", c.what, resp.StatusCode, rec.Status, body)
		}
	}
	resp, body := s.do(t, "GET", "/export_raw_vdi?task_id=OpaqueRef:gone", "Cookie: session_id="+theRoot)
	if resp.StatusCode != 500 || !strings.Contains(body, "HANDLE_INVALID: [ task; OpaqueRef:gone ]") {
		t.Errorf("a task that is not there: %d %s", resp.StatusCode, body)
	}
}

// beginUpload sends the head of a request on a connection of its own.
func (s *site) beginUpload(t testing.TB, lines ...string) *wire {
	t.Helper()
	w := dial(t, s.plain)
	w.say(lines...)
	return w
}

// Clients send no byte of the body before they have read the head of the answer; however they say where the
// body ends, the patch arrives (facts, section 6).
func TestUploads(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	signed := s.signed(t, mib)
	length := fmt.Sprint("Content-Length: ", len(signed))
	whole := func(w *wire) { w.send(signed) }
	toEOF := func(w *wire) { w.send(signed); w.end() }
	for _, c := range []struct {
		what, proto string
		headers     []string
		body        func(*wire)
	}{
		{"with a length", "HTTP/1.1", []string{"Host: pool", length}, whole},
		{"with a length, HTTP/1.0", "HTTP/1.0", []string{length}, whole},
		{"until the connection ends", "HTTP/1.0", nil, toEOF},
		{"until the connection ends, HTTP/1.1", "HTTP/1.1", []string{"Host: pool"}, toEOF},
		{"chunked", "HTTP/1.1", []string{"Host: pool", "Transfer-Encoding: chunked"}, func(w *wire) {
			for part := range slices.Chunk(signed, 300_000) {
				fmt.Fprintf(w, "%x\r\n%s\r\n", len(part), part)
			}
			w.send([]byte("0\r\n\r\n"))
		}},
		{"1 PiB that ends early", "HTTP/1.1", []string{"Host: pool", "Content-Length: 1125899906842624"}, toEOF},
		{"a length that is too large", "HTTP/1.1", []string{"Host: pool", fmt.Sprint("Content-Length: ", len(signed)+1000)}, toEOF},
		{"expecting to be told to go on", "HTTP/1.1", []string{"Host: pool", "Expect: 100-continue", length}, whole},
	} {
		ref := s.newTask(t, theRoot)
		w := s.beginUpload(t, append([]string{"PUT /pool_patch_upload?session_id=" + theRoot + "&task_id=" + string(ref) + " " + c.proto}, c.headers...)...)
		resp := w.head() // before a byte of the body is sent
		if resp.StatusCode == 100 {
			resp = w.head()
		} else if slices.Contains(c.headers, "Expect: 100-continue") {
			t.Errorf("%s: was not told", c.what)
		}
		if resp.StatusCode != 200 || resp.Proto != c.proto || !resp.Close || resp.ContentLength != -1 ||
			resp.Header.Get("Cache-Control") != "no-cache, no-store" {
			t.Errorf("%s: %s %d %v", c.what, resp.Proto, resp.StatusCode, resp.Header)
		}
		c.body(w)
		if body := w.rest(resp); body != "" {
			t.Errorf("%s: the body of a success is %q", c.what, body)
		}
		rec := get(s, ref)
		if rec.Status != xenapi.TaskStatusSuccess || !strings.HasPrefix(rec.Result, "OpaqueRef:") {
			t.Fatalf("%s: task %s %q %q", c.what, rec.Status, rec.Result, rec.ErrorInfo)
		}
		patch := get(s, xenapi.Ref[xenapi.PoolPatch](rec.Result))
		if patch.UUID != theUUID || patch.Size != int64(len(signed)) {
			t.Errorf("%s: patch %+v", c.what, patch)
		}
		s.nothingLeft(t, patch.VDI)
		s.forget(t, xenapi.Ref[xenapi.PoolPatch](rec.Result))
	}
}

// The task of a client that reads every result as XML-RPC has one that it can read; those of all others have the bare ref.
func TestUploadForXenOrchestra(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	signed := s.signed(t, 0)
	for label, reads := range map[string]bool{
		"Xapi#putResource /pool_patch_upload": true, "[XO] Patch upload": true, "upload": false, "": false, "my Xapi#putResource ": false,
	} {
		ref, err := s.tasks.Create(t.Context(), task.Spec{Label: label, Session: theRoot})
		must(t, err)
		w := s.beginUpload(t, "PUT /pool_patch_upload?session_id="+theRoot+"&task_id="+string(ref)+" HTTP/1.0", fmt.Sprint("Content-Length: ", len(signed)))
		resp := w.head()
		w.send(signed)
		w.rest(resp)
		result := get(s, ref).Result
		bare := strings.TrimSuffix(strings.TrimPrefix(result, "<value>"), "</value>")
		if (bare != result) != reads || !strings.HasPrefix(bare, "OpaqueRef:") {
			t.Errorf("the task %q has the result %q", label, result)
		}
	}
}

// The same patch again is the same record, told in the same way. This client does not wait for the head: a
// part of the body has been read with the request by then.
func TestUploadingTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	signed := s.signed(t, mib)
	var results []string
	for range 2 {
		ref := s.newTask(t, theRoot)
		w := dial(t, s.plain)
		w.send(fmt.Appendf(nil, "PUT /pool_patch_upload?session_id=%s&task_id=%s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", theRoot, ref, len(signed), signed))
		w.rest(w.head())
		results = append(results, get(s, ref).Result)
	}
	patch := get(s, xenapi.Ref[xenapi.PoolPatch](results[0]))
	if patch.UUID != theUUID || results[0] != results[1] {
		t.Errorf("results %q", results)
	}
	s.nothingLeft(t, patch.VDI)
}

// forget removes a patch and its VDI, so that the next upload is a new one.
func (s *site) forget(t testing.TB, ref xenapi.Ref[xenapi.PoolPatch]) {
	t.Helper()
	for _, call := range []string{"VDI.destroy", "pool_patch.destroy"} {
		object := string(ref)
		if call == "VDI.destroy" {
			object = string(get(s, ref).VDI)
		}
		_, body := s.doBody(t, "POST", "/jsonrpc", fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":[%q,%q],"id":1}`, call, theRoot, object))
		if strings.Contains(body, "error") {
			t.Fatalf("%s: %s", call, body)
		}
	}
}

// One client asks with an empty body first whether it may upload; it wants 200, and nothing may come of it.
func TestTheEmptyProbeMakesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for what, proto := range map[string]string{"no bytes": "HTTP/1.1", "no bytes, HTTP/1.0": "HTTP/1.0"} {
		w := s.beginUpload(t, "PUT /pool_patch_upload "+proto, "Host: pool", "Cookie: session_id="+theRoot, "Content-Length: 0")
		// The answer ends although this client stays: well before the server would hang up on it.
		must(t, w.SetDeadline(time.Now().Add(hangUp)))
		resp := w.head()
		if body := w.rest(resp); resp.StatusCode != 200 || !strings.Contains(body, "the upload is empty") {
			t.Errorf("%s: %d %s", what, resp.StatusCode, body)
		}
	}
	s.nothingLeft(t)
	if n := len(all[xenapi.PoolPatch](s)); n > 0 {
		t.Errorf("%d patches", n)
	}
}

// The head has said 200 by then: the task tells, and a page in the body for those who look there.
func TestUploadsThatFail(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	signed := s.signed(t, mib)
	forged := bytes.Clone(signed)
	forged[len(forged)/2] ^= 1
	for _, c := range []struct {
		what   string
		body   []byte
		length int
		code   string
	}{
		{"no patch", []byte("not a patch at all"), 18, xenapi.CodeInvalidPatch},
		{"a patch that was changed", forged, len(forged), xenapi.CodeInvalidPatch},
		{"a connection cut early", signed[:len(signed)/2], len(signed), xenapi.CodeInvalidPatch},
	} {
		ref := s.newTask(t, theRoot)
		w := s.beginUpload(t, "PUT /pool_patch_upload HTTP/1.1", "Host: pool", "Cookie: session_id="+theRoot+"; task_id="+string(ref), fmt.Sprint("Content-Length: ", c.length))
		resp := w.head()
		w.send(c.body)
		w.end()
		if body := w.rest(resp); resp.StatusCode != 200 || !strings.Contains(body, "<p>"+c.code+": [ ") {
			t.Errorf("%s: %d %s", c.what, resp.StatusCode, body)
		}
		if rec := get(s, ref); rec.Status != xenapi.TaskStatusFailure || rec.ErrorInfo[0] != c.code || rec.Progress != 1 {
			t.Errorf("%s: task %s %q", c.what, rec.Status, rec.ErrorInfo)
		}
		s.nothingLeft(t)
	}
}

// A transfer without a task of the client's is a task while it runs, with the notes of its headers.
func TestAThrowAwayTaskHasTheNotes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.beginUpload(t, "PUT /pool_patch_upload?subtask_of=OpaqueRef:parent HTTP/1.0", "Cookie: session_id="+theRoot, "x-http-other-config-ticket: 42")
	resp := w.head()
	s.await(t, "the task does not show", func(tx *db.Tx) bool {
		for _, rec := range db.All[xenapi.Task](tx) {
			return rec.NameLabel == "pool_patch_upload" && rec.OtherConfig["http:ticket"] == "42" && rec.SubtaskOf == "OpaqueRef:parent" && rec.Session == theRoot
		}
		return false
	})
	w.end()
	w.rest(resp)
	s.nothingLeft(t)
}

// A task that has ended takes no further work; its end stays as it is.
func TestATaskThatHasEndedTakesNoTransfer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ref := s.newTask(t, theRoot)
	must(t, s.tasks.Settle(t.Context(), ref, "done before"))
	w := s.beginUpload(t, "PUT /pool_patch_upload?task_id="+string(ref)+" HTTP/1.0", "Cookie: session_id="+theRoot)
	resp := w.head()
	w.send(s.signed(t, 0))
	w.end()
	if body := w.rest(resp); !strings.Contains(body, xenapi.CodeOperationNotAllowed) {
		t.Errorf("the client reads %q", body)
	}
	if rec := get(s, ref); rec.Status != xenapi.TaskStatusSuccess || rec.Result != "done before" {
		t.Errorf("task %s %q", rec.Status, rec.Result)
	}
	s.nothingLeft(t)
}

// An import is refused before its 200: its head names the task, which must be there by then.
func TestATaskThatHasEndedTakesNoImport(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vdi := s.newVDI(t, mib)
	ref := s.newTask(t, theRoot)
	must(t, s.tasks.Settle(t.Context(), ref, "done before"))
	resp, body := s.do(t, "PUT", "/import_raw_vdi?vdi="+string(vdi)+"&task_id="+string(ref), "Cookie: session_id="+theRoot, "Content-Length: 0")
	if rec := get(s, ref); resp.StatusCode != 500 || !strings.Contains(body, xenapi.CodeOperationNotAllowed) || rec.Result != "done before" {
		t.Errorf("%d %s; task %s %q", resp.StatusCode, body, rec.Status, rec.Result)
	}
	s.nothingLeft(t, vdi)
}

func TestUploadOverTLSAndDownload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	signed := s.signed(t, mib)
	ref := s.newTask(t, theRoot)
	w := dialTLS(t, s.tls, &tls.Config{InsecureSkipVerify: true})
	w.say("PUT /pool_patch_upload?session_id="+theRoot+"&task_id="+string(ref)+" HTTP/1.1", "Host: pool", fmt.Sprint("Content-Length: ", len(signed)))
	resp := w.head()
	w.send(signed)
	w.rest(resp)
	patch := get(s, xenapi.Ref[xenapi.PoolPatch](get(s, ref).Result))

	for _, uuid := range []string{theUUID, strings.ToUpper(theUUID)} {
		resp, body := s.do(t, "GET", "/pool_patch_download?uuid="+uuid, "Cookie: session_id="+theRoot)
		if resp.StatusCode != 200 || resp.ContentLength != int64(len(signed)) || body != string(signed) {
			t.Errorf("%s: %d, %d bytes of %d", uuid, resp.StatusCode, len(body), len(signed))
		}
	}
	ref = s.newTask(t, theRoot)
	resp, body := s.do(t, "GET", "/pool_patch_download?uuid=unknown&task_id="+string(ref), "Cookie: session_id="+theRoot)
	if rec := get(s, ref); resp.StatusCode != 500 || !strings.Contains(body, "UUID_INVALID: [ pool_patch; unknown ]") || rec.Status != xenapi.TaskStatusFailure {
		t.Errorf("%d %s, task %s %q", resp.StatusCode, body, rec.Status, rec.ErrorInfo)
	}
	s.nothingLeft(t, patch.VDI)
}

// image is what an import sends: a pattern, holes and an odd end.
func image() []byte {
	b := make([]byte, 2*mib)
	for i := range 70_000 {
		b[i], b[len(b)-1-i] = byte(i*7), byte(i*11)
	}
	return b
}

// The empty import with which one client asks whether it may import leaves the VDI to the real one, which comes before the
// answer to the question has ended. Where it does not know the length of that, the question says 1 PiB too.
func TestTheEmptyProbeLeavesTheVDIAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vdi := s.newVDI(t, mib)
	put := func(length int) (*wire, xenapi.Ref[xenapi.Task]) {
		ref := s.newTask(t, theRoot)
		w := s.beginUpload(t, "PUT /import_raw_vdi?vdi="+string(vdi)+"&task_id="+string(ref)+" HTTP/1.1", "Host: pool",
			"Cookie: session_id="+theRoot, fmt.Sprint("Content-Length: ", length))
		return w, ref
	}
	for _, length := range []int{0, 1 << 50} {
		asking, question := put(length)
		asked := asking.head()
		image, ref := put(mib)
		resp := image.head()
		image.send(make([]byte, mib/2))
		asking.end()
		if body := asking.rest(asked); asked.StatusCode != 200 || body != "" {
			t.Errorf("the probe of length %d is answered %d %q", length, asked.StatusCode, body)
		}
		image.send(make([]byte, mib/2))
		image.rest(resp)
		for what, ref := range map[string]xenapi.Ref[xenapi.Task]{"probe": question, "image": ref} {
			if rec := get(s, ref); rec.Status != xenapi.TaskStatusSuccess {
				t.Errorf("length %d: the %s: %q", length, what, rec.ErrorInfo)
			}
		}
	}
}

func TestImportAndExport(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	want := image()
	vdi := s.newVDI(t, int64(len(want)))
	uuid := get(s, vdi).UUID
	ref := s.newTask(t, theRoot)
	w := s.beginUpload(t, "PUT /import_raw_vdi?format=RAW&vdi="+uuid+"&task_id="+string(ref)+" HTTP/1.1", "Host: pool",
		"Cookie: session_id="+theRoot, fmt.Sprint("Content-Length: ", len(want)))
	resp := w.head()
	if resp.StatusCode != 200 || resp.Header.Get("task-id") != string(ref) || resp.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	w.send(want)
	w.rest(resp)
	rec := get(s, ref)
	if result, err := rpc.ParseXMLValue(rec.Result); rec.Status != xenapi.TaskStatusSuccess || err != nil || result.Text != string(vdi) {
		t.Errorf("task %s %q %q", rec.Status, rec.Result, rec.ErrorInfo)
	}

	size := len(want)
	for _, c := range []struct {
		header       string
		from, to     int
		status       int
		contentRange string
	}{
		{"", 0, size, 200, ""},
		{"bytes=0-0", 0, 1, 206, fmt.Sprintf("bytes 0-0/%d", size)},
		{"bytes=65530-65550", 65530, 65551, 206, fmt.Sprintf("bytes 65530-65550/%d", size)},
		{"bytes=100000-1000000", 100_000, 1_000_001, 206, fmt.Sprintf("bytes 100000-1000000/%d", size)},
		{"bytes=-70001", size - 70_001, size, 206, fmt.Sprintf("bytes %d-%d/%d", size-70_001, size-1, size)},
		{fmt.Sprintf("bytes=%d-", size), 0, 0, 416, fmt.Sprintf("bytes */%d", size)},
		{"bytes=0-1,2-3", 0, size, 200, ""},
	} {
		resp, body := s.do(t, "GET", "/export_raw_vdi?vdi="+string(vdi), "Cookie: session_id="+theRoot, "Range: "+c.header)
		h := resp.Header
		if resp.StatusCode != c.status || body != string(want[c.from:c.to]) || resp.ContentLength != int64(c.to-c.from) || h.Get("Content-Range") != c.contentRange {
			t.Errorf("Range %q: %d, %d bytes, %v", c.header, resp.StatusCode, len(body), h)
		}
		if !resp.Close || h.Get("Content-Type") != "application/octet-stream" || h.Get("Accept-Ranges") != "bytes" ||
			h.Get("Content-Disposition") != fmt.Sprintf("attachment; filename=%q", uuid+".raw") || !strings.HasPrefix(h.Get("task-id"), "OpaqueRef:") || h.Get("task-id") == xenapi.NullRef {
			t.Errorf("Range %q: %v", c.header, h)
		}
	}
	s.nothingLeft(t, vdi)
}

// XenAPI's own framing leaves out what is zero.
func TestImportInChunks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	want := image()
	vdi := s.newVDI(t, int64(len(want)))
	var stream []byte
	add := func(from, to int) {
		stream = append(append(stream, chunkHeader(from, to-from)...), want[from:to]...)
	}
	add(0, 70_000)
	add(len(want)-70_000, len(want))
	add(0, 0)
	w := s.beginUpload(t, "PUT /import_raw_vdi?chunked&vdi="+string(vdi)+" HTTP/1.0", "Cookie: session_id="+theRoot)
	resp := w.head()
	// A client that gives no task is told which one its import is.
	if rec := get(s, xenapi.Ref[xenapi.Task](resp.Header.Get("task-id"))); rec.NameLabel != "import_raw_vdi" || rec.Status != xenapi.TaskStatusPending {
		t.Errorf("task-id %q is the task %+v", resp.Header.Get("task-id"), rec)
	}
	w.send(stream) // and the connection stays open: the last chunk is the end
	w.rest(resp)
	if _, body := s.do(t, "GET", "/export_raw_vdi?vdi="+string(vdi), "Cookie: session_id="+theRoot); body != string(want) {
		t.Errorf("%d bytes of another content", len(body))
	}
	s.nothingLeft(t, vdi)
}

func TestImportMakesAVDI(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	want := image()
	srUUID := get(s, s.sr).UUID
	for _, param := range []string{"sr_id=" + string(s.sr), "sr_uuid=" + srUUID} {
		ref := s.newTask(t, theRoot)
		w := s.beginUpload(t, "PUT /import_raw_vdi?"+param+"&task_id="+string(ref)+" HTTP/1.1", "Host: pool", "Cookie: session_id="+theRoot, fmt.Sprint("Content-Length: ", len(want)))
		resp := w.head()
		w.send(want)
		w.rest(resp)
		result, err := rpc.ParseXMLValue(get(s, ref).Result)
		vdi := xenapi.Ref[xenapi.VDI](result.Text)
		if rec := get(s, vdi); err != nil || rec.NameLabel != "Imported VDI" || rec.VirtualSize != int64(len(want)) || rec.SR != s.sr {
			t.Errorf("%s: task %+v", param, get(s, ref))
		}
		s.nothingLeft(t, vdi)
		_, body := s.doBody(t, "POST", "/jsonrpc", fmt.Sprintf(`{"jsonrpc":"2.0","method":"VDI.destroy","params":[%q,%q],"id":1}`, theRoot, vdi))
		if strings.Contains(body, "error") {
			t.Fatal(body)
		}
	}
}

func TestImportsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vdi := s.newVDI(t, mib)
	for _, c := range []struct {
		what, query, header string
		status              int
		code                string
	}{
		{"another format", "format=vhd&vdi=" + string(vdi), "Content-Length: 1", 404, xenapi.CodeValueNotSupported},
		{"a transfer encoding", "vdi=" + string(vdi), "Transfer-Encoding: chunked", 404, xenapi.CodeValueNotSupported},
		{"neither VDI nor SR", "", "Content-Length: 1", 400, xenapi.CodeVDIMissing},
		{"an SR and no length", "sr_id=" + string(s.sr), "Accept: */*", 400, xenapi.CodeVDIMissing},
		{"an SR and a length that nobody believes", "sr_id=" + string(s.sr), "Content-Length: 1125899906842624", 400, xenapi.CodeVDIMissing},
		{"no such VDI", "vdi=none", "Content-Length: 1", 500, xenapi.CodeUUIDInvalid},
		{"no such SR", "sr_id=OpaqueRef:none", "Content-Length: 1", 500, xenapi.CodeUUIDInvalid},
	} {
		ref := s.newTask(t, theRoot)
		w := s.beginUpload(t, "PUT /import_raw_vdi?"+c.query+"&task_id="+string(ref)+" HTTP/1.1", "Host: pool", "Cookie: session_id="+theRoot, c.header)
		resp := w.head()
		body, _ := io.ReadAll(resp.Body)
		w.Close()
		rec := get(s, ref)
		if resp.StatusCode != c.status || !strings.Contains(string(body), c.code+": [ ") || rec.Status != xenapi.TaskStatusFailure || rec.ErrorInfo[0] != c.code {
			t.Errorf("%s: %d %s; task %s %q", c.what, resp.StatusCode, body, rec.Status, rec.ErrorInfo)
		}
	}
	s.nothingLeft(t, vdi)
}

func TestExportsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vdi := s.newVDI(t, mib)
	for _, c := range []struct {
		query  string
		status int
		code   string
	}{
		{"format=qcow2&vdi=" + string(vdi), 404, xenapi.CodeValueNotSupported},
		{"", 400, xenapi.CodeVDIMissing},
		{"vdi=none", 500, xenapi.CodeUUIDInvalid},
	} {
		ref := s.newTask(t, theRoot)
		resp, body := s.do(t, "GET", "/export_raw_vdi?"+c.query+"&task_id="+string(ref), "Cookie: session_id="+theRoot)
		rec := get(s, ref)
		if resp.StatusCode != c.status || !strings.Contains(body, c.code+": [ ") || rec.Status != xenapi.TaskStatusFailure || rec.ErrorInfo[0] != c.code {
			t.Errorf("%q: %d %s; task %s %q", c.query, resp.StatusCode, body, rec.Status, rec.ErrorInfo)
		}
	}
}

// An image that was cut off is no image: what the client announced must arrive, and an import that was to
// make a VDI leaves none.
func TestAnImageThatIsCutOff(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	want := image()
	vdi := s.newVDI(t, int64(len(want)))
	half := chunkHeader(0, len(want))
	for _, c := range []struct{ what, query, header, code string }{
		{"into a VDI", "vdi=" + string(vdi), fmt.Sprint("Content-Length: ", len(want)), xenapi.CodeVDIIOError},
		{"into a new VDI", "sr_id=" + string(s.sr), fmt.Sprint("Content-Length: ", len(want)), xenapi.CodeVDIIOError},
		{"within a chunk", "chunked&vdi=" + string(vdi), "Accept: */*", xenapi.CodeVDIIOError},
		{"1 PiB: the length was not known", "vdi=" + string(vdi), "Content-Length: 1125899906842624", ""},
		{"no length", "vdi=" + string(vdi), "Accept: */*", ""},
	} {
		ref := s.newTask(t, theRoot)
		w := s.beginUpload(t, "PUT /import_raw_vdi?"+c.query+"&task_id="+string(ref)+" HTTP/1.1", "Host: pool", "Cookie: session_id="+theRoot, c.header)
		resp := w.head()
		if strings.HasPrefix(c.query, "chunked") {
			w.send(half)
		}
		w.send(want[:mib])
		w.end()
		body := w.rest(resp)
		if rec := get(s, ref); append(rec.ErrorInfo, "")[0] != c.code || !strings.Contains(body, c.code) || resp.StatusCode != 200 {
			t.Errorf("%s: task %s %q; %d %s", c.what, rec.Status, rec.ErrorInfo, resp.StatusCode, body)
		}
		s.nothingLeft(t, vdi)
	}
}

// chunkHeader begins a chunk of XenAPI's own framing.
func chunkHeader(offset, length int) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(nil, uint64(offset)), uint32(length))
}

// What is longer than the VDI fails when the VDI is full.
func TestAnImageThatIsTooLong(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vdi := s.newVDI(t, mib)
	ref := s.newTask(t, theRoot)
	w := s.beginUpload(t, "PUT /import_raw_vdi?vdi="+string(vdi)+"&task_id="+string(ref)+" HTTP/1.0", "Cookie: session_id="+theRoot)
	resp := w.head()
	w.send(image())
	w.end()
	body := w.rest(resp)
	if rec := get(s, ref); rec.Status != xenapi.TaskStatusFailure || rec.ErrorInfo[0] != xenapi.CodeVDIIOError || !strings.Contains(body, xenapi.CodeVDIIOError) {
		t.Errorf("task %s %q; the client reads %q", rec.Status, rec.ErrorInfo, body)
	}
	s.nothingLeft(t, vdi)
}

// A client that goes away is told from a patch or an image that is bad, and from a fault of this host: there is a code,
// and no line in the log that somebody must look at.
func TestAClientThatGoesAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	signed, want := s.signed(t, mib), image()
	vdi := s.newVDI(t, int64(len(want)))
	half := len(signed) / 2
	for _, c := range []struct {
		what, path, header string
		body               []byte
		leave              func(*wire)
		error              string
	}{
		{"reset in an upload", "/pool_patch_upload?", fmt.Sprint("Content-Length: ", len(signed)), signed[:half], (*wire).reset,
			xenapi.CodeInvalidPatch + " the upload was cut off after [0-9]+ bytes"},
		{"reset before the first byte", "/pool_patch_upload?", fmt.Sprint("Content-Length: ", len(signed)), nil, (*wire).reset,
			xenapi.CodeInvalidPatch + " the upload was cut off after 0 bytes"},
		{"reset in an upload of no known length", "/pool_patch_upload?", "Accept: */*", signed[:half], (*wire).reset,
			xenapi.CodeInvalidPatch + " the upload was cut off after [0-9]+ bytes"},
		{"chunks without a last one", "/pool_patch_upload?", "Transfer-Encoding: chunked", fmt.Appendf(nil, "%x\r\n%s\r\n", half, signed[:half]), (*wire).end,
			fmt.Sprintf("%s the upload was cut off after %d bytes", xenapi.CodeInvalidPatch, half)},
		{"reset in an import", "/import_raw_vdi?vdi=" + string(vdi), fmt.Sprint("Content-Length: ", len(want)), want[:mib], (*wire).reset,
			xenapi.CodeVDIIOError + " the image was cut off after [0-9]+ bytes"},
		{"reset in an import of no known length", "/import_raw_vdi?vdi=" + string(vdi), "Accept: */*", want[:mib], (*wire).reset,
			xenapi.CodeVDIIOError + " the image was cut off after [0-9]+ bytes"},
		{"reset within a chunk of XenAPI's framing", "/import_raw_vdi?chunked&vdi=" + string(vdi), "Accept: */*", append(chunkHeader(0, len(want)), want[:mib]...), (*wire).reset,
			xenapi.CodeVDIIOError + " the image was cut off after [0-9]+ bytes"},
	} {
		ref := s.newTask(t, theRoot)
		w := s.beginUpload(t, "PUT "+c.path+"&task_id="+string(ref)+" HTTP/1.1", "Host: pool", "Cookie: session_id="+theRoot, c.header)
		w.head()
		w.send(c.body)
		c.leave(w)
		s.await(t, c.what, func(tx *db.Tx) bool {
			rec, _ := db.Lookup(tx, ref)
			return rec.Status != xenapi.TaskStatusPending
		})
		got := strings.Join(get(s, ref).ErrorInfo, " ")
		if ok, err := regexp.MatchString("^"+c.error+"$", got); err != nil || !ok {
			t.Errorf("%s: %q, want %q", c.what, got, c.error)
		}
		s.nothingLeft(t, vdi)
	}
	if lines := s.alarms.lines(); len(lines) > 0 {
		t.Errorf("in the log: %q", lines)
	}
}

// So it is on the way out.
func TestAClientThatGoesAwayFromADownload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	signed := s.signed(t, 16*mib) // more than a connection holds
	w := s.beginUpload(t, "PUT /pool_patch_upload?session_id="+theRoot+" HTTP/1.0", fmt.Sprint("Content-Length: ", len(signed)))
	resp := w.head()
	w.send(signed)
	w.rest(resp)
	vdi := s.newVDI(t, 64*mib)
	kept := []xenapi.Ref[xenapi.VDI]{vdi}
	for _, rec := range all[xenapi.PoolPatch](s) {
		kept = append(kept, rec.VDI)
	}
	for _, path := range []string{"/pool_patch_download?uuid=" + theUUID, "/export_raw_vdi?vdi=" + string(vdi)} {
		ref := s.newTask(t, theRoot)
		w := s.beginUpload(t, "GET "+path+"&task_id="+string(ref)+" HTTP/1.1", "Host: pool", "Cookie: session_id="+theRoot)
		if resp := w.head(); resp.StatusCode != 200 {
			t.Fatalf("%s: %d", path, resp.StatusCode)
		}
		w.reset()
		s.await(t, path, func(tx *db.Tx) bool {
			rec, _ := db.Lookup(tx, ref)
			return rec.Status != xenapi.TaskStatusPending
		})
		if got := get(s, ref).ErrorInfo; !slices.Equal(got, []string{xenapi.CodeClientError}) {
			t.Errorf("%s: %q", path, got)
		}
		s.nothingLeft(t, kept...)
	}
	if lines := s.alarms.lines(); len(lines) > 0 {
		t.Errorf("in the log: %q", lines)
	}
}
