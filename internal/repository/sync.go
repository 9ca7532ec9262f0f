package repository

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/message"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// errNotCoordinator ends a sync whose host has stopped to be the coordinator.
var errNotCoordinator = xenapi.ErrOperationNotAllowed("this host is not the pool's coordinator any more")

// plan is what a sync has found out before it fetches anything.
type plan struct {
	force  bool
	repos  []repo
	source *source
	done   int64 // bytes of files that are over
	total  int64 // bytes of the files that are wanted
}

// repo is a repository of the pool, and its index once that was read.
type repo struct {
	ref    repoRef
	rec    xenapi.Repository
	index  sealed
	wanted []Entry
}

// Sync makes the pool have every patch that its repositories list, and gives the hash of what they list. A patch that the
// pool has is not fetched again, unless force is set: then it is, and must be the same. What was fetched before an error stays.
// Errors: NO_REPOSITORY_ENABLED, SYNC_UPDATES_IN_PROGRESS, REPOSYNC_FAILED, PATCH_TRUST_UNREADABLE, those of an upload.
func (s *Service) Sync(ctx context.Context, t *task.Task, force bool) (hash string, err error) {
	p := plan{force: force}
	via, err := s.beginSync(ctx, t, &p)
	if err != nil {
		return "", err
	}
	// A crash from here on leaves the mark of a task that has ended, which counts for nothing, and complete patches.
	defer func() { s.unmark(ctx, func(tx *db.Tx) error { return unmarkPool(tx, t.Ref()) }) }()
	if p.source, err = newSource(s.TLS(), via, s.Silence); err != nil {
		return "", err
	}
	defer p.source.close()
	for i := range p.repos {
		if err := s.readIndexOf(ctx, &p, &p.repos[i]); err != nil {
			return "", err
		}
	}
	s.Step("sync-indexed")
	for _, r := range p.repos {
		for _, e := range r.wanted {
			// A crash in here leaves what an interrupted upload leaves, which the next start of the host removes.
			if err := s.fetch(ctx, t, &p, r, e); err != nil {
				return "", err
			}
			s.Step("sync-fetched")
		}
	}
	// The content of every patch is there: now the records may say so.
	if err := s.update(ctx, func(tx *db.Tx) (err error) { hash, err = s.record(tx, t, p.repos); return err }); err != nil {
		return "", err
	}
	s.Step("sync-recorded")
	return hash, nil
}

// beginSync marks the pool, and reads what the sync is of.
func (s *Service) beginSync(ctx context.Context, t *task.Task, p *plan) (via proxy, err error) {
	err = s.db.Update(ctx, func(tx *db.Tx) error {
		if !s.Coordinating(tx) {
			return errNotCoordinator
		}
		ref, pool, ok := thePool(tx)
		if !ok {
			return errNotCoordinator
		}
		if p.repos = enabled(tx, pool); len(p.repos) == 0 {
			return xenapi.ErrNoRepositoryEnabled()
		}
		if syncing(tx, &pool) {
			return xenapi.ErrSyncUpdatesInProgress()
		}
		secret, _ := db.Lookup(tx, pool.RepositoryProxyPassword)
		via = proxy{pool.RepositoryProxyURL, pool.RepositoryProxyUsername, secret.Value}
		mark(&pool.CurrentOperations, t.Ref(), xenapi.PoolAllowedOperationSyncUpdates)
		return db.Put(tx, ref, pool)
	})
	return via, err
}

// syncing reports whether a sync goes on, and drops the marks of those that have ended from the record.
func syncing(tx *db.Tx, pool *xenapi.Pool) bool {
	dropDead(tx, pool.CurrentOperations)
	for _, op := range pool.CurrentOperations {
		if op == xenapi.PoolAllowedOperationSyncUpdates {
			return true
		}
	}
	return false
}

// unmark takes a mark away. One that stays counts for nothing once its task has ended.
func (s *Service) unmark(ctx context.Context, fn func(*db.Tx) error) {
	if err := s.update(ctx, fn); err != nil {
		s.log.Warn("mark of an operation not removed; the next operation does it", "error", err)
	}
}

func unmarkPool(tx *db.Tx, t taskRef) error {
	ref, pool, ok := thePool(tx)
	if _, marked := pool.CurrentOperations[t.String()]; !ok || !marked {
		return nil
	}
	delete(pool.CurrentOperations, t.String())
	return db.Put(tx, ref, pool)
}

// enabled are the repositories that patches are fetched from, in the pool's order.
func enabled(tx *db.Tx, pool xenapi.Pool) (all []repo) {
	for _, ref := range pool.Repositories {
		if rec, ok := db.Lookup(tx, ref); ok && rec.Update {
			all = append(all, repo{ref: ref, rec: rec})
		}
	}
	return all
}

// readIndexOf fetches the index of a repository and finds out which of its patches are wanted.
func (s *Service) readIndexOf(ctx context.Context, p *plan, r *repo) error {
	body, err := p.source.open(ctx, r.rec.BinaryURL, IndexName)
	if err != nil {
		return s.explain(ctx, r.ref, IndexName, err)
	}
	defer body.Close()
	if r.index, err = readIndex(ctx, s.verifier.Of(r.rec.GPGKeyPath), body); err != nil {
		return s.explain(ctx, r.ref, IndexName, err)
	}
	if err := newer(r.rec, r.index); err != nil {
		return s.explain(ctx, r.ref, IndexName, err)
	}
	return s.db.View(func(tx *db.Tx) error {
		for _, e := range r.index.Patches {
			if p.force || s.lacks(tx, e.UUID) {
				r.wanted = append(r.wanted, e)
				p.total += e.Size
			}
		}
		return nil
	})
}

// newer refuses an index that is older than the last one, or another one of the same number: somebody may show the pool again
// what was signed long ago, to keep a patch from it.
func newer(rec xenapi.Repository, index sealed) error {
	switch {
	case index.Serial < rec.Serial:
		return fault(fmt.Sprintf("the index has serial number %d, older than the %d that was there before", index.Serial, rec.Serial))
	case index.Serial == rec.Serial && index.hash != rec.Fingerprint:
		return fault(fmt.Sprintf("the index was changed and has still serial number %d", index.Serial))
	}
	return nil
}

// lacks reports whether the pool needs the content of a patch and has it not. What every host has applied nobody needs,
// until a host joins: an administrator may have destroyed it for the space.
func (s *Service) lacks(tx *db.Tx, uuid string) bool {
	return !s.patches.Holds(tx, uuid) && !everywhere(tx, uuid)
}

// fetch uploads one patch, as a part of the task.
func (s *Service) fetch(ctx context.Context, t *task.Task, p *plan, r repo, e Entry) error {
	defer func() { p.done += e.Size }()
	needed := p.force
	_ = s.db.View(func(tx *db.Tx) error { needed = needed || s.lacks(tx, e.UUID); return nil })
	if !needed {
		return nil // another repository has brought it meanwhile
	}
	_, err := t.Part(ctx, "fetch "+e.File, func(sctx context.Context, sub *task.Task) (any, error) {
		body, err := p.source.open(sctx, r.rec.BinaryURL, e.File)
		if err != nil {
			return "", s.explain(sctx, r.ref, e.File, err)
		}
		defer body.Close()
		in := newPromised(body, e, func(got int64) { t.Progress(ctx, float64(p.done+got)/float64(p.total)) })
		patch, err := s.patches.Take(sctx, sub, in, e.Size, e.UUID)
		if in.fault != nil && err != nil {
			err = in.fault // whatever the upload made of it
		}
		return patch.String(), s.explain(sctx, r.ref, e.File, err)
	})
	return err
}

// explain names repository and file in what a server is to blame for. A call that was ended says so.
func (s *Service) explain(ctx context.Context, ref repoRef, file string, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return errors.Join(cause, err)
	}
	if f, ok := errors.AsType[fault](faultOf(err)); ok {
		return xenapi.ErrReposyncFailed(ref, file+": "+f.Error()).Because(err)
	}
	return fmt.Errorf("fetch %s: %w", file, err)
}

// record writes what was synced: one transaction says it of repositories, pool and task.
func (s *Service) record(tx *db.Tx, t *task.Task, repos []repo) (string, error) {
	if !s.Coordinating(tx) {
		return "", errNotCoordinator
	}
	for _, r := range repos {
		if err := db.Change(tx, r.ref, func(rec *xenapi.Repository) error {
			rec.Hash, rec.Fingerprint, rec.Serial = r.index.hash, r.index.hash, r.index.Serial
			rec.Patches = nil
			for _, e := range r.index.Patches {
				rec.Patches = append(rec.Patches, e.UUID)
			}
			return nil
		}); err != nil {
			return "", err
		}
	}
	ref, pool, ok := thePool(tx)
	if !ok {
		return "", errNotCoordinator
	}
	pool.LastUpdateSync = time.Now().UTC()
	delete(pool.CurrentOperations, t.Ref().String())
	if err := message.Clear(tx, message.UpdateSyncFailed, pool.UUID); err != nil {
		return "", err
	}
	if err := db.Put(tx, ref, pool); err != nil {
		return "", err
	}
	hash := hashOf(enabled(tx, pool))
	return hash, t.Succeed(tx, hash)
}

// hashOf is that of what the repositories list together, "" where one of them was not synced yet: of one it is its own.
func hashOf(repos []repo) string {
	if len(repos) == 0 || slices.ContainsFunc(repos, func(r repo) bool { return r.rec.Hash == "" }) {
		return ""
	}
	if len(repos) == 1 {
		return repos[0].rec.Hash
	}
	sum := sha256.New()
	for _, r := range repos {
		_, _ = io.WriteString(sum, r.rec.Hash+"\n")
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// listed are the UUIDs of the patches that the repositories list, in the order of application, each once.
func listed(repos []repo) (uuids []string) {
	seen := map[string]bool{}
	for _, r := range repos {
		for _, uuid := range r.rec.Patches {
			if uuid = strings.ToLower(uuid); !seen[uuid] {
				seen[uuid], uuids = true, append(uuids, uuid)
			}
		}
	}
	return uuids
}
