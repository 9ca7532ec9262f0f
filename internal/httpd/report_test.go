package httpd_test

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"

	"poolpatch/xenapi"
)

// A report is sent in the format that is asked for, and what cannot be is refused, in the task too.
func TestSystemStatus(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	operator := "Cookie: session_id=" + sessionOf(xenapi.RolePoolOperator)
	ref := s.newTask(t, sessionOf(xenapi.RolePoolOperator))
	resp, body := s.do(t, "GET", "/system_status?entries=system-logs,xenserver-databases&output=tar&host=uuid-here&task_id="+string(ref), operator)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/x-tar" || resp.Header.Get("task-id") != string(ref) {
		t.Fatalf("%d %v %.200s", resp.StatusCode, resp.Header, body)
	}
	var names []string
	for in := tar.NewReader(strings.NewReader(body)); ; {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		_, name, _ := strings.Cut(h.Name, "/")
		text, _ := io.ReadAll(in)
		names = append(names, name)
		if name == "records/pool.jsonl" && (!bytes.Contains(text, []byte("uuid-pool")) || bytes.Contains(text, []byte(secret))) {
			t.Errorf("the pool's record: %s", text)
		}
	}
	if all := strings.Join(names, " "); !strings.Contains(all, "kernel.log") || !strings.Contains(all, "records/host.jsonl") || strings.Contains(all, "poolpatch.log") {
		t.Errorf("files %q", names)
	}
	if rec := get(s, ref); rec.Status != xenapi.TaskStatusSuccess || rec.Progress != 1 {
		t.Errorf("the task: %s %v", rec.Status, rec.Progress)
	}
	for query, code := range map[string]string{
		"entries=nothing": xenapi.CodeInvalidValue, "output=tar.bz2": xenapi.CodeValueNotSupported, "host=nobody": xenapi.CodeUUIDInvalid,
	} {
		ref := s.newTask(t, sessionOf(xenapi.RolePoolOperator))
		resp, body := s.do(t, "GET", "/system_status?"+query+"&task_id="+string(ref), operator)
		if rec := get(s, ref); resp.StatusCode != 500 || !strings.Contains(body, code+": [ ") || rec.Status != xenapi.TaskStatusFailure || rec.ErrorInfo[0] != code {
			t.Errorf("%s: %d %s, task %s %q", query, resp.StatusCode, body, rec.Status, rec.ErrorInfo)
		}
	}
}
