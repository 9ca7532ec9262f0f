package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// curler drives curl, which speaks JSON-RPC 1.0 and gives its password with each transfer.
type curler struct {
	*testing.T
	daemon  *harness.Daemon
	session string
}

// curl takes patches through their lives, and an image in and out.
func curl(t *testing.T, d *harness.Daemon) {
	c := curler{T: t, daemon: d}
	c.session = c.call("session.login_with_password", "root", harness.Password).(string)
	c.uploads()
	c.mission()
	c.image()
	c.call("session.logout", c.session)
}

// run runs curl, with what it is to send from a pipe, and gives what it wrote.
func (c curler) run(stdin string, args ...string) string {
	c.Helper()
	argv := append([]string{"curl", "--silent", "--show-error", "--insecure", "--max-time", "60"}, args...)
	out, err := harness.Output(stdin, argv...)
	if err != nil {
		c.Fatal(err)
	}
	return out
}

// call makes a call and gives its result.
func (c curler) call(method string, params ...any) any {
	c.Helper()
	text, err := json.Marshal(map[string]any{"method": method, "params": params, "id": 1})
	if err != nil {
		c.Fatal(err)
	}
	var reply struct{ Result, Error any }
	out := c.run("", "--json", string(text), "https://"+c.daemon.Address()+"/jsonrpc")
	if err := json.Unmarshal([]byte(out), &reply); err != nil || reply.Error != nil {
		c.Fatalf("%s: %v %s", method, err, out)
	}
	return reply.Result
}

// transfer is the URL of a handler and the password for it.
func (c curler) transfer(path string) []string {
	return []string{"--user", "root:" + harness.Password, "https://" + c.daemon.Address() + path}
}

// upload sends a file under a task, and gives the patch's record.
func (c curler) upload(stdin string, args ...string) (string, xenapi.PoolPatch) {
	c.Helper()
	task := c.call("task.create", c.session, "upload by curl", "").(string)
	c.run(stdin, append(args, c.transfer("/pool_patch_upload?task_id="+task)...)...)
	// The answer ends with the task.
	if status := c.call("task.get_status", c.session, task); status != "success" {
		c.Fatalf("the upload ended as %v: %v", status, c.call("task.get_error_info", c.session, task))
	}
	ref := c.call("task.get_result", c.session, task).(string)
	c.call("task.destroy", c.session, task)
	return ref, harness.Record(c.daemon, xenapi.Ref[xenapi.PoolPatch](ref))
}

// uploads sends a body in every way in which curl does, and fetches it back.
func (c curler) uploads() {
	c.Helper()
	for _, way := range []struct {
		name  string
		pipe  bool
		known bool // whether the daemon is told the length
		args  []string
	}{
		{"from a file", false, true, []string{"--upload-file", "FILE"}},
		{"from a file, HTTP/1.0", false, true, []string{"--http1.0", "--upload-file", "FILE"}},
		{"from a file, in chunks", false, false, []string{"--header", "Transfer-Encoding: chunked", "--upload-file", "FILE"}},
		{"from a file that is waited for", false, true, []string{"--header", "Expect: 100-continue", "--upload-file", "FILE"}},
		{"from a pipe", true, false, []string{"--upload-file", "-"}},
		{"as the data of a form", false, true, []string{"--request", "PUT", "--data-binary", "@FILE"}},
	} {
		p := &harness.Program{Tail: strings.Repeat("c", 5<<20)}
		file := signed(c.T, p)[0]
		patch := read(c.T, file)
		stdin := ""
		if way.pipe {
			stdin = string(patch)
		}
		for i := range way.args {
			way.args[i] = strings.ReplaceAll(way.args[i], "FILE", file)
		}
		ref, rec := c.upload(stdin, way.args...)
		if rec.UUID != p.UUID || rec.Size != int64(len(patch)) {
			c.Errorf("%s: the record says %s, %d bytes; %s, %d bytes were sent", way.name, rec.UUID, rec.Size, p.UUID, len(patch))
		}
		size := int64(4 << 30)
		if way.known {
			size = 4 * int64(len(patch))
		}
		if got := harness.Record(c.daemon, rec.VDI).VirtualSize; got < size || got > size+1<<20 {
			c.Errorf("%s: the VDI is %d bytes large, not %d (M4)", way.name, got, size)
		}
		back := filepath.Join(harness.Dir(c.T), "back")
		c.run("", append(c.transfer("/pool_patch_download?uuid="+p.UUID), "--output", back)...)
		if !bytes.Equal(read(c.T, back), patch) {
			c.Errorf("%s: what was uploaded is not what is fetched", way.name)
		}
		c.call("pool_patch.pool_clean", c.session, ref)
	}
}

// mission uploads a patch, applies it and destroys its VDI.
func (c curler) mission() {
	c.Helper()
	p := &harness.Program{}
	ref, rec := c.upload("", "--upload-file", signed(c.T, p)[0])
	host := c.call("host.get_all", c.session).([]any)[0]
	if log := c.call("pool_patch.precheck", c.session, ref, host); log != "prechecked\n" {
		c.Errorf("the precheck says %q", log)
	}
	if log := c.call("pool_patch.apply", c.session, ref, host); !strings.HasSuffix(log.(string), "applied\n") {
		c.Errorf("the apply says %q", log)
	}
	ran(c.T, c.daemon, p)
	c.call("VDI.destroy", c.session, rec.VDI)
}

// image writes an image into a VDI and reads it back: whole, in parts, and the rest of a part.
func (c curler) image() {
	c.Helper()
	dir := harness.Dir(c.T)
	raw, back := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "back.raw")
	image := make([]byte, 4<<20)
	for i := range image {
		image[i] = byte(rand.N(256))
	}
	write(c.T, raw, image)
	pool := c.call("pool.get_all", c.session).([]any)[0]
	vdi := c.call("VDI.create", c.session, map[string]any{
		"name_label": "disk of curl", "name_description": "", "SR": c.call("pool.get_default_SR", c.session, pool), "virtual_size": len(image),
		"type": "user", "sharable": false, "read_only": false, "other_config": map[string]any{},
	}).(string)
	c.run("", append(c.transfer("/import_raw_vdi?vdi="+vdi), "--upload-file", raw)...)
	export := c.transfer("/export_raw_vdi?vdi=" + vdi)
	for part, want := range map[string][]byte{
		"0-99": image[:100], "1048575-1048576": image[1048575:1048577], "4194000-": image[4194000:], "-7": image[len(image)-7:], "0-": image,
	} {
		c.run("", append(export, "--range", part, "--output", back)...)
		if got := read(c.T, back); !bytes.Equal(got, want) {
			c.Errorf("range %s gives %d bytes, not the %d that are there", part, len(got), len(want))
		}
	}
	write(c.T, back, image[:1_000_000])
	c.run("", append(export, "--continue-at", "-", "--output", back)...)
	if !bytes.Equal(read(c.T, back), image) {
		c.Error("an export that is resumed is not the image")
	}
	status := c.run("", append(export, "--range", fmt.Sprint(len(image), "-"), "--output", back, "--write-out", "%{http_code}")...)
	if status != "416" {
		c.Errorf("a range behind the end is answered %s", status)
	}
	c.call("VDI.destroy", c.session, vdi)
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
