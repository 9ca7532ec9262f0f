package repository_test

import (
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/patch"
	"poolpatch/internal/repository"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// What a repository lists is fetched once, applied in its order, and both shows in the records.
func TestSyncAndApply(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	x, repo := s.begin(t, repository.Options{})
	if code := codeOf(x.apply("")); code != xenapi.CodeUpdatesRequireSync {
		t.Errorf("apply before a sync: %q", code)
	}
	s.server.put("b.gpg", s.program(t, 1, ""))
	s.server.put("a.gpg", s.program(t, 2, ""))
	s.offerIndex(t, 7, entry(1, "b.gpg", s.server.get("b.gpg")), entry(2, "a.gpg", s.server.get("a.gpg")))
	hash, err := x.sync(false)
	if err != nil {
		t.Fatal(err)
	}
	rec := get(x, repo)
	if hash == "" || rec.Hash != hash || rec.Serial != 7 || x.held() != "1 2" || x.standing() != "no" || time.Since(get(x, thePool).LastUpdateSync) > soon {
		t.Errorf("hash %q, repository %+v, held %q, standing %s, pool %v", hash, rec, x.held(), x.standing(), get(x, thePool).LastUpdateSync)
	}
	if got := s.server.requests(); got != "poolpatch-repository b.gpg a.gpg" {
		t.Errorf("asked for %q", got)
	}
	// Again: nothing but the index; by force everything, and it is the same.
	again, err := x.sync(false)
	if got := s.server.requests(); err != nil || again != hash || got != "poolpatch-repository" {
		t.Errorf("again: %q, %v, asked for %q", again, err, got)
	}
	again, err = x.sync(true)
	if got := s.server.requests(); err != nil || again != hash || got != "poolpatch-repository b.gpg a.gpg" {
		t.Errorf("by force: %q, %v, asked for %q", again, err, got)
	}
	if code := codeOf(x.apply("other")); code != xenapi.CodeUpdateinfoHashMismatch || s.ran() != "" {
		t.Errorf("another hash: %q, ran %q", code, s.ran())
	}
	results, err := x.apply(hash)
	if err != nil || s.ran() != "1 2" || fmt.Sprint(results) != "[[reboot_host]]" || x.standing() != "yes" {
		t.Errorf("apply: %v, %v, ran %q, standing %s", results, err, s.ran(), x.standing())
	}
	if results, err = x.apply(hash); err != nil || len(results) != 0 || s.ran() != "1 2" {
		t.Errorf("apply again: %v, %v, ran %q", results, err, s.ran())
	}
	x.clean(t)
	// A patch that every host has may be destroyed for its space; nobody fetches it again.
	for _, rec := range all[xenapi.PoolPatch](x) {
		if err := x.do(func(ctx context.Context, tk *task.Task) error { return x.storage.DestroyVDI(ctx, tk, rec.VDI) }); err != nil {
			t.Fatal(err)
		}
	}
	s.server.requests()
	if _, err := x.sync(false); err != nil || x.held() != "" || s.server.requests() != "poolpatch-repository" {
		t.Errorf("after its destruction: %v, held %q", err, x.held())
	}
}

func codeOf(_ any, err error) string { return xenapi.CodeOf(err) }

// Whatever is wrong with a repository is an error that says so, and nothing is recorded or left.
func TestBadRepositories(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	x, repo := s.begin(t, repository.Options{Silence: 300 * time.Millisecond})
	stranger, first, second := newSite(t), s.program(t, 1, ""), s.program(t, 2, "")
	for _, c := range []struct {
		what    string
		prepare func()
		says    string
	}{
		{"no index", func() {}, "poolpatch-repository: the server answers 404 Not Found"},
		{"index of a stranger", func() {
			stranger.offer(t, 1, 0)
			s.server.put(repository.IndexName, stranger.server.get(repository.IndexName))
		}, "which is not trusted"},
		{"index that is not signed", func() { s.server.put(repository.IndexName, []byte(`{"format":"poolpatch-repository"}`)) }, "the file is not signed"},
		{"index with a changed bit", func() {
			s.offer(t, 1, 1)
			s.server.get(repository.IndexName)[150] ^= 1
		}, "poolpatch-repository: "},
		{"a patch for an index", func() { s.server.put(repository.IndexName, first) }, "the index is not the JSON"},
		{"huge index", func() { s.server.put(repository.IndexName, sign(t, s.key, strings.Repeat("x", 1<<20))) }, "more than 1048576 bytes"},
		{"index that inflates", func() {
			s.server.put(repository.IndexName, packed(t, sign(t, s.key, strings.Repeat("x", 1<<20+1))))
		}, "more than 1048576 bytes"},
		{"index without an end", func() {
			s.server.answer(func(w http.ResponseWriter, r *http.Request) bool {
				_, _ = w.Write(first[:100])
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				return true
			})
		}, "the server has fallen silent"},
		{"redirection without end", func() {
			s.server.answer(func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, r.URL.Path, http.StatusFound)
				return true
			})
		}, "more than 5 redirections"},
		{"redirection to a file", func() {
			s.server.answer(func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
				return true
			})
		}, "redirected to file"},
		{"patch that is missing", func() { s.offerIndex(t, 1, entry(1, "none.gpg", first)) }, "none.gpg: the server answers 404 Not Found"},
		{"wrong digest", func() {
			s.server.put("p.gpg", first)
			e := entry(1, "p.gpg", first)
			e.SHA256 = strings.Repeat("0", 64)
			s.offerIndex(t, 1, e)
		}, "p.gpg: its SHA-256 is "},
		{"more bytes than promised", func() {
			s.server.put("p.gpg", append(slices.Clone(first), 0))
			s.offerIndex(t, 1, entry(1, "p.gpg", first))
		}, "p.gpg: it has more than the "},
		{"fewer bytes than promised", func() {
			s.server.put("p.gpg", first[:len(first)-1])
			s.offerIndex(t, 1, entry(1, "p.gpg", first))
		}, "p.gpg: it has "},
		{"answer that breaks off", func() {
			s.offerIndex(t, 1, entry(1, "p.gpg", first))
			s.server.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "p.gpg") {
					return false
				}
				w.Header().Set("Content-Length", fmt.Sprint(len(first)))
				_, _ = w.Write(first[:len(first)/2])
				return true
			})
		}, "p.gpg: unexpected EOF"},
		{"another patch than the index says", func() {
			s.server.put("p.gpg", second)
			s.offerIndex(t, 1, entry(1, "p.gpg", second))
		}, "p.gpg: it is patch " + uuidOf(2) + ", not " + uuidOf(1)},
	} {
		s.server.answer(nil)
		s.server.put(repository.IndexName, nil)
		c.prepare()
		_, err := x.sync(false)
		if xenapi.CodeOf(err) != xenapi.CodeReposyncFailed || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), repo.String()) {
			t.Errorf("%s: %v, want %q", c.what, err, c.says)
		}
		if rec := get(x, repo); rec.Hash != "" || rec.Serial != 0 || !get(x, thePool).LastUpdateSync.IsZero() || x.held() != "" {
			t.Errorf("%s: it was recorded: %+v, held %q", c.what, rec, x.held())
		}
		x.clean(t)
	}
}

// packed is a signed message as gpg compresses it: a packet of an indeterminate length, deflated.
func packed(t testing.TB, signed []byte) []byte {
	t.Helper()
	b := bytes.NewBuffer([]byte{0xa3, 1})
	w, err := flate.NewWriter(b, flate.BestCompression)
	if err == nil {
		_, err = w.Write(signed)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Nobody can show the pool again what was signed long ago, nor two indexes under one number.
func TestRollback(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	x, repo := s.begin(t, repository.Options{})
	s.offer(t, 5, 0)
	if _, err := x.sync(false); err != nil {
		t.Fatal(err)
	}
	refused := func(what, says string) {
		t.Helper()
		if _, err := x.sync(true); xenapi.CodeOf(err) != xenapi.CodeReposyncFailed || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s.offer(t, 4, 0)
	refused("older", "serial number 4, older than the 5")
	s.offer(t, 5, 1)
	refused("changed", "still serial number 5")
	// Also when the pool has stopped to use it meanwhile.
	if err := x.Remove(t.Context(), thePool, repo); err != nil {
		t.Fatal(err)
	}
	if err := x.Add(t.Context(), thePool, repo); err != nil {
		t.Fatal(err)
	}
	refused("changed, added again", "still serial number 5")
	s.offer(t, 6, 0)
	if _, err := x.sync(false); err != nil || get(x, repo).Serial != 6 {
		t.Errorf("newer: %v, %+v", err, get(x, repo))
	}
}

// The repository may name which of the keys that the host trusts signs its index.
func TestKeyOfARepository(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	x, repo := s.begin(t, repository.Options{})
	s.newKey(t, "other.asc")
	s.offer(t, 1, 0)
	for path, want := range map[string]string{"other.asc": xenapi.CodeReposyncFailed, "none.asc": xenapi.CodeReposyncFailed, "test.asc": "", "": ""} {
		if err := x.SetKeyPath(t.Context(), repo, path); err != nil {
			t.Fatal(err)
		}
		if code := codeOf(x.sync(false)); code != want {
			t.Errorf("key %q: %q, want %q", path, code, want)
		}
	}
}

// Patches of all repositories are fetched, each once, and applied in the order of the repositories.
func TestSeveralRepositories(t *testing.T) {
	t.Parallel()
	s, other := newSite(t), newSite(t)
	x, repo := s.begin(t, repository.Options{})
	other.key = s.key
	second := x.repository(t, "second", other.server.URL+"/dir")
	one, two := s.program(t, 1, ""), s.program(t, 2, "")
	s.server.put("two.gpg", two)
	s.offerIndex(t, 1, entry(2, "two.gpg", two))
	other.server.put("one.gpg", one)
	other.server.put("two.gpg", two)
	other.offerIndex(t, 1, entry(1, "one.gpg", one), entry(2, "two.gpg", two))
	hash, err := x.sync(false)
	if err != nil || hash == get(x, repo).Hash || hash == get(x, second).Hash || len(hash) != 64 {
		t.Fatalf("hash %q, %v", hash, err)
	}
	if got := other.server.requests(); got != "poolpatch-repository one.gpg" {
		t.Errorf("the second was asked for %q", got)
	}
	if _, err := x.apply(hash); err != nil || s.ran() != "2 1" {
		t.Errorf("apply: %v, ran %q", err, s.ran())
	}
	if err := x.Set(t.Context(), thePool, []xenapi.Ref[xenapi.Repository]{second, repo}); err != nil {
		t.Fatal(err)
	}
	if turned, err := x.sync(false); err != nil || turned == hash {
		t.Errorf("in another order the hash is %q, %v", turned, err)
	}
}

// A daemon that dies between two patches leaves the first, complete; the next one goes on.
func TestCrashBetweenTwoPatches(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	reached, dead := make(chan struct{}), make(chan struct{})
	x, repo := s.begin(t, repository.Options{Step: func(point string) {
		if point == "sync-fetched" {
			close(reached)
			<-dead
		}
	}})
	s.offer(t, 1, 2)
	ended := make(chan error)
	go func() { _, err := x.sync(false); ended <- err }()
	<-reached
	x.db.Close() // the daemon commits nothing any more
	next := s.start(t, repository.Options{})
	if next.held() != "1" || get(next, repo).Hash != "" || next.standing() != "unknown" {
		t.Errorf("after the crash: held %q, %+v", next.held(), get(next, repo))
	}
	next.clean(t)
	s.server.requests()
	if _, err := next.sync(false); err != nil || next.held() != "1 2" || s.server.requests() != "poolpatch-repository patch-2.gpg" {
		t.Errorf("the next sync: %v, held %q", err, next.held())
	}
	next.clean(t)
	close(dead)
	if err := <-ended; err == nil {
		t.Error("a dead daemon has synced")
	}
}

// A sync that is cancelled while it waits for a server ends as cancelled, and a second one beside it is refused; so are changes
// of what it works on.
func TestCancelAndCollide(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	x, repo := s.begin(t, repository.Options{})
	reached := make(chan struct{})
	first := s.program(t, 1, "")
	s.offerIndex(t, 1, entry(1, "p.gpg", first))
	s.server.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "p.gpg") {
			return false
		}
		_, _ = w.Write(first[:len(first)/2])
		w.(http.Flusher).Flush()
		close(reached)
		<-r.Context().Done()
		return true
	})
	ref, err := x.tasks.Go(t.Context(), task.Spec{Label: "sync"}, func(ctx context.Context, tk *task.Task) (any, error) { return x.Sync(ctx, tk, false) })
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	if got := get(x, thePool).CurrentOperations[ref.String()]; got != xenapi.PoolAllowedOperationSyncUpdates {
		t.Errorf("the pool is marked with %q", got)
	}
	busy := xenapi.CodeSyncUpdatesInProgress
	if code := codeOf(x.sync(true)); code != busy {
		t.Errorf("a second sync: %q", code)
	}
	if code := xenapi.CodeOf(x.Remove(t.Context(), thePool, repo)); code != busy {
		t.Errorf("removal: %q", code)
	}
	watch, stop := context.WithCancel(context.Background())
	watching := make(chan error)
	go func() { watching <- x.tasks.WatchCancels(watch) }()
	if err := x.tasks.Cancel(t.Context(), ref, ""); err != nil {
		t.Fatal(err)
	}
	x.tasks.Wait()
	stop()
	<-watching
	if rec := get(x, ref); rec.Status != xenapi.TaskStatusCancelled || rec.ErrorInfo[0] != xenapi.CodeTaskCancelled {
		t.Errorf("task %s %v", rec.Status, rec.ErrorInfo)
	}
	x.clean(t)
}

// I3: a patch that was interrupted is not run again, and nothing that comes after it is run.
func TestAnInterruptedPatchStopsUpdates(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	x, _ := s.begin(t, repository.Options{})
	s.server.put("patch-1.gpg", s.program(t, 1, "kill -9 $$"))
	s.offer(t, 1, 2)
	hash, err := x.sync(false)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := x.apply(hash); xenapi.CodeOf(err) != xenapi.CodePatchApplyFailed || s.ran() != "1" {
			t.Fatalf("apply: %v, ran %q", err, s.ran())
		}
		x.clean(t)
	}
	unready, err := x.Unready(thePool, false)
	if err != nil || len(unready) != 1 || unready[0][0] != xenapi.CodePatchApplyFailed || !strings.Contains(unready[0][1], "interrupted") {
		t.Errorf("readiness %v, %v", unready, err)
	}
	if rows := all[xenapi.HostPatch](x); len(rows) != 1 || rows[0].State != string(patch.Interrupted) || x.standing() != "no" {
		t.Errorf("rows %+v, standing %s", rows, x.standing())
	}
}

// One update of a host goes on at a time.
func TestUpdatesCollide(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	x, _ := s.begin(t, repository.Options{})
	s.server.put("patch-1.gpg", s.program(t, 1, "until [ -e $POOLPATCH_ROOT/go ]; do sleep 0.02; done"))
	s.offer(t, 1, 1)
	hash, err := x.sync(false)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { _, err := x.apply(hash); ended <- err }()
	if err := x.db.Wait(t.Context(), func(tx *db.Tx) (bool, error) {
		rec, err := db.Get(tx, here)
		return len(rec.CurrentOperations) > 0, err
	}); err != nil {
		t.Fatal(err)
	}
	if ops := get(x, here).CurrentOperations; len(ops) != 1 || slices.Collect(values(ops))[0] != xenapi.HostAllowedOperationApplyUpdates {
		t.Errorf("the host is marked %v", ops)
	}
	if _, err := x.apply(hash); xenapi.CodeOf(err) != xenapi.CodeOtherOperationInProgress || !strings.Contains(err.Error(), "apply_updates") {
		t.Errorf("a second one: %v", err)
	}
	touch(t, filepath.Join(s.root, "go"))
	if err := <-ended; err != nil {
		t.Error(err)
	}
	x.clean(t)
}
