package repository

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/message"
	"poolpatch/xenapi"
)

// maxCredential bounds a user name or password of the proxy, in bytes.
const maxCredential = 1024

// Introduce makes a repository, which the pool does not use until it is added. Errors: INVALID_BASE_URL, INVALID_GPGKEY_PATH,
// REPOSITORY_ALREADY_EXISTS.
func (s *Service) Introduce(ctx context.Context, rec xenapi.Repository) (repoRef, error) {
	rec.BinaryURL, rec.SourceURL = strings.TrimRight(rec.BinaryURL, "/"), strings.TrimRight(rec.SourceURL, "/")
	if !isBase(rec.BinaryURL) {
		return "", xenapi.ErrInvalidBaseURL(shown(rec.BinaryURL))
	}
	if rec.SourceURL != "" && !isBase(rec.SourceURL) {
		return "", xenapi.ErrInvalidBaseURL(shown(rec.SourceURL))
	}
	if err := checkKeyPath(rec.GPGKeyPath); err != nil {
		return "", err
	}
	rec.UUID = xenapi.NewUUID()
	made := xenapi.NewRef[xenapi.Repository]()
	return made, s.db.Update(ctx, func(tx *db.Tx) error {
		for ref, other := range db.All[xenapi.Repository](tx) {
			if other.NameLabel == rec.NameLabel || other.BinaryURL == rec.BinaryURL {
				return xenapi.ErrRepositoryAlreadyExists(ref)
			}
		}
		return db.Insert(tx, made, rec)
	})
}

// isBase reports whether the files of a repository can be below a URL. Everybody may read it, so it holds no password.
func isBase(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		u.User == nil && u.RawQuery == "" && !u.ForceQuery && !strings.Contains(text, "#")
}

// shown is a URL as an error may show it: without what could be a password.
func shown(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		scheme, rest = "", text
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "…" + rest[i:]
	}
	if !ok {
		return rest
	}
	return scheme + "://" + rest
}

// checkKeyPath takes the name of a file of trusted keys, which need not be there yet.
func checkKeyPath(path string) error {
	if path != "" && !PlainName(path) {
		return xenapi.ErrInvalidGPGKeyPath(path)
	}
	return nil
}

// SetKeyPath says which of the trusted keys sign the index.
func (s *Service) SetKeyPath(ctx context.Context, self repoRef, path string) error {
	if err := checkKeyPath(path); err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, self, func(rec *xenapi.Repository) error { rec.GPGKeyPath = path; return nil })
	})
}

// Forget removes a repository. Patches that came from it stay. Errors: REPOSITORY_IS_IN_USE.
func (s *Service) Forget(ctx context.Context, self repoRef) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		if _, err := db.Get(tx, self); err != nil {
			return err
		}
		if _, pool, _ := thePool(tx); slices.Contains(pool.Repositories, self) {
			return xenapi.ErrRepositoryIsInUse()
		}
		return db.Delete(tx, self)
	})
}

// Add makes a repository one of the pool's.
func (s *Service) Add(ctx context.Context, pool poolRef, self repoRef) error {
	return s.change(ctx, pool, func(now []repoRef) []repoRef { return append(now, self) })
}

// Remove makes a repository none of the pool's.
func (s *Service) Remove(ctx context.Context, pool poolRef, self repoRef) error {
	return s.change(ctx, pool, func(now []repoRef) []repoRef {
		return slices.DeleteFunc(now, func(ref repoRef) bool { return ref == self })
	}, self)
}

// Set says which repositories are the pool's, in the order in which their patches are applied.
func (s *Service) Set(ctx context.Context, pool poolRef, all []repoRef) error {
	return s.change(ctx, pool, func([]repoRef) []repoRef { return all })
}

// change changes the pool's repositories. One that is added must be synced before its updates count, and with the last one
// ends the syncing by itself. Errors: SYNC_UPDATES_IN_PROGRESS.
func (s *Service) change(ctx context.Context, self poolRef, edit func([]repoRef) []repoRef, named ...repoRef) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		pool, err := db.Get(tx, self)
		if err != nil {
			return err
		}
		if syncing(tx, &pool) {
			return xenapi.ErrSyncUpdatesInProgress()
		}
		before := slices.Clone(pool.Repositories)
		pool.Repositories = distinct(edit(pool.Repositories))
		for _, ref := range append(named, pool.Repositories...) {
			rec, err := db.Get(tx, ref)
			if err != nil {
				return err
			}
			if slices.Contains(before, ref) && slices.Contains(pool.Repositories, ref) {
				continue
			}
			// Its serial number stays: an older index is not taken then either.
			rec.Hash, rec.Patches = "", nil
			if err := db.Put(tx, ref, rec); err != nil {
				return err
			}
			pool.LastUpdateSync = time.Time{}
		}
		if len(pool.Repositories) == 0 {
			pool.LastUpdateSync, pool.UpdateSyncEnabled = time.Time{}, false
			if err := message.Clear(tx, message.UpdateSyncFailed, pool.UUID); err != nil {
				return err
			}
		}
		return db.Put(tx, self, pool)
	})
}

func distinct(refs []repoRef) (once []repoRef) {
	for _, ref := range refs {
		if !slices.Contains(once, ref) {
			once = append(once, ref)
		}
	}
	return once
}

// SetProxy says through what repositories are reached. The password becomes a secret; that of the last proxy goes. Errors:
// INVALID_REPOSITORY_PROXY_URL, INVALID_REPOSITORY_PROXY_CREDENTIAL.
func (s *Service) SetProxy(ctx context.Context, self poolRef, address, user, password string) error {
	if !isProxy(address) {
		return xenapi.ErrInvalidRepositoryProxyURL(shown(address))
	}
	if (user == "") != (password == "") || strings.ContainsRune(user, ':') || unsayable(user) || unsayable(password) {
		return xenapi.ErrInvalidRepositoryProxyCredential()
	}
	return s.replaceProxy(ctx, self, address, user, password)
}

// ClearProxy has repositories reached without a proxy.
func (s *Service) ClearProxy(ctx context.Context, self poolRef) error {
	return s.replaceProxy(ctx, self, "", "", "")
}

func (s *Service) replaceProxy(ctx context.Context, self poolRef, address, user, password string) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, self, func(pool *xenapi.Pool) error {
			if _, ok := db.Lookup(tx, pool.RepositoryProxyPassword); ok {
				if err := db.Delete(tx, pool.RepositoryProxyPassword); err != nil {
					return err
				}
			}
			pool.RepositoryProxyURL, pool.RepositoryProxyUsername, pool.RepositoryProxyPassword = address, user, ""
			if password == "" {
				return nil
			}
			pool.RepositoryProxyPassword = xenapi.NewRef[xenapi.Secret]()
			return db.Insert(tx, pool.RepositoryProxyPassword, xenapi.Secret{UUID: xenapi.NewUUID(), Value: password})
		})
	})
}

func isProxy(text string) bool {
	u, err := url.Parse(text)
	return isBase(text) && err == nil && (u.Path == "" || u.Path == "/")
}

// unsayable reports what cannot be sent in a header.
func unsayable(text string) bool {
	return len(text) > maxCredential || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// Schedule says when the pool syncs by itself: each day, or each week on a day from 0, Sunday. Errors:
// INVALID_UPDATE_SYNC_DAY.
func (s *Service) Schedule(ctx context.Context, self poolRef, frequency xenapi.UpdateSyncFrequency, day int64) error {
	if day < 0 || day > 6 || frequency == xenapi.UpdateSyncFrequencyDaily && day != 0 {
		return xenapi.ErrInvalidUpdateSyncDay(day)
	}
	return s.db.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, self, func(pool *xenapi.Pool) error {
			pool.UpdateSyncFrequency, pool.UpdateSyncDay = frequency, day
			return nil
		})
	})
}

// SetEnabled says whether the pool syncs by itself. Errors: NO_REPOSITORIES_CONFIGURED.
func (s *Service) SetEnabled(ctx context.Context, self poolRef, enabled bool) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, self, func(pool *xenapi.Pool) error {
			if enabled && len(pool.Repositories) == 0 {
				return xenapi.ErrNoRepositoriesConfigured()
			}
			pool.UpdateSyncEnabled = enabled
			if enabled {
				return nil
			}
			return message.Clear(tx, message.UpdateSyncFailed, pool.UUID)
		})
	})
}
