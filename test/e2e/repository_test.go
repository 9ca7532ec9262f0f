package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"poolpatch/internal/repository"
	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestRepository: the pool fetches patches from a directory whose index gpg has signed, whichever host is asked, and each host
// applies them in the order of the index.
func TestRepository(t *testing.T) {
	t.Parallel()
	dir, programs := harness.Dir(t), []harness.Program{{Guidance: "restartXAPI"}, {}}
	var entries []repository.Entry
	for i := range programs {
		file, content := fmt.Sprintf("%d.gpg", 2-i), programs[i].Signed(t)
		sum := sha256.Sum256(content)
		entries = append(entries, repository.Entry{File: file, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), UUID: programs[i].UUID})
		write(t, filepath.Join(dir, file), content)
	}
	index, err := repository.NewIndex(1, entries)
	if err != nil {
		t.Fatal(err)
	}
	text, err := index.Text()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, repository.IndexName), harness.TheKey(t).SignText(t, string(text)))
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()

	p := startPair(t)
	pool, _ := harness.Only[xenapi.Pool](p.two)
	repo := harness.Call[xenapi.Ref[xenapi.Repository]](p.two, "Repository.introduce", "ours", "", server.URL, "", true, "")
	p.two.Do("pool.add_repository", pool, repo)
	hash := harness.Call[string](p.two, "pool.sync_updates", pool, false, "", "")
	if rec := harness.Record(p.one, repo); rec.Hash != hash || rec.UpToDate || len(harness.Records[xenapi.PoolPatch](p.one)) != 2 {
		t.Errorf("after the sync: %+v, hash %s", rec, hash)
	}
	for _, host := range []xenapi.Ref[xenapi.Host]{p.first, p.second} {
		if got := harness.Call[[][]string](p.two, "host.apply_updates", host, hash); fmt.Sprint(got) != "[[restart_toolstack]]" {
			t.Errorf("%s is to do %v", host, got)
		}
	}
	for _, d := range []*harness.Daemon{p.one, p.two} {
		if got := strings.Fields(d.Read(harness.Ran)); len(got) != 2 || got[0] != programs[0].UUID || got[1] != programs[1].UUID {
			t.Errorf("ran %v", got)
		}
	}
	if rec := harness.Record(p.two, repo); !rec.UpToDate || harness.Record(p.two, p.first).LatestSyncedUpdatesApplied != xenapi.LatestSyncedUpdatesAppliedStateYes {
		t.Errorf("after the updates: %+v", rec)
	}
	p.one.Clean()
	p.two.Clean()
}
