package api_test

import (
	"slices"
	"testing"

	"poolpatch/internal/db"
	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// Messages about repositories, over the wire: what they take, and what they refuse.
func TestRepositories(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	operator := sessionOf(xenapi.RolePoolOperator)
	repo := p.call(t, operator, "Repository.introduce", "ours", "", "https://host/dir", "", true).Text
	p.refused(t, []string{xenapi.CodeRepositoryAlreadyExists, repo}, "Repository.introduce", operator, "ours", "", "https://other", "", true, "")
	p.refused(t, []string{xenapi.CodeInvalidBaseURL, "ftp://x"}, "Repository.introduce", operator, "x", "", "ftp://x", "", true, "")
	p.call(t, operator, "Repository.set_gpgkey_path", repo, "me.asc")
	p.refused(t, []string{xenapi.CodeInvalidGPGKeyPath, "/me"}, "Repository.set_gpgkey_path", operator, repo, "/me")
	p.call(t, operator, "pool.add_repository", thePool, repo)
	if got := texts(p.call(t, operator, "pool.get_repositories", thePool)); !slices.Equal(got, []string{repo}) {
		t.Errorf("repositories %v", got)
	}
	p.refused(t, []string{xenapi.CodeRepositoryIsInUse}, "Repository.forget", operator, repo)
	p.call(t, operator, "pool.configure_update_sync", thePool, "Daily", 0)
	p.refused(t, []string{xenapi.CodeInvalidUpdateSyncDay, "7"}, "pool.configure_update_sync", operator, thePool, "weekly", 7)
	p.call(t, operator, "pool.set_update_sync_enabled", thePool, true)
	p.refused(t, []string{xenapi.CodeUpdatesRequireSync}, "host.apply_updates", operator, here, "")
	p.call(t, operator, "pool.remove_repository", thePool, repo)
	if rec := get[xenapi.Pool](p, thePool); rec.UpdateSyncEnabled || rec.UpdateSyncFrequency != "daily" {
		t.Errorf("without repositories: %v %s", rec.UpdateSyncEnabled, rec.UpdateSyncFrequency)
	}
	p.refused(t, []string{xenapi.CodeNoRepositoriesConfigured}, "pool.set_update_sync_enabled", operator, thePool, true)
	p.refused(t, []string{xenapi.CodeNoRepositoryEnabled}, "pool.sync_updates", operator, thePool, false)
	// A token is a secret that is not repeated.
	for _, tokens := range [][]any{{"s3cret", ""}, {"", "s3cret"}} {
		p.refused(t, []string{xenapi.CodeValueNotSupported, "token", "", "repositories are public, and known by their signatures"},
			"pool.sync_updates", append([]any{operator, thePool, false}, tokens...)...)
	}
	p.call(t, operator, "pool.set_repositories", thePool, []string{repo, repo})
	p.call(t, operator, "pool.set_repositories", thePool, []string{})
	p.call(t, operator, "Repository.forget", repo)
	if code := p.code(t, "pool.add_repository", sessionOf(xenapi.RoleVMPowerAdmin), thePool, repo); code != xenapi.CodeRBACPermissionDenied {
		t.Errorf("a role that may not: %q", code)
	}
	for message, more := range map[string][]any{
		"pool.add_repository": {repo}, "pool.set_repositories": {[]string{}}, "pool.sync_updates": {true}, "pool.check_update_readiness": {true},
		"pool.configure_repository_proxy": {"http://p", "", ""}, "pool.disable_repository_proxy": nil, "pool.configure_update_sync": {"daily", 0}, "pool.set_update_sync_enabled": {false},
	} {
		p.refused(t, []string{xenapi.CodeHandleInvalid, "pool", dangling}, message, append([]any{operator, dangling}, more...)...)
	}
}

// The proxy's password is in a secret, which only who runs the pool may read; no event shows one.
func TestSecrets(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	operator, below := sessionOf(xenapi.RolePoolOperator), sessionOf(xenapi.RoleVMPowerAdmin)
	token := member(p.from(t, "", 0), "token").Text
	p.call(t, operator, "pool.configure_repository_proxy", thePool, "http://proxy:3128", "ann", "s3cret")
	ref := p.call(t, below, "pool.get_repository_proxy_password", thePool).Text
	if got := p.call(t, operator, "secret.get_value", ref).Text; got != "s3cret" {
		t.Errorf("the password is %q", got)
	}
	for _, message := range []string{"secret.get_value", "secret.get_record", "secret.get_uuid", "secret.get_other_config"} {
		if code := p.code(t, message, below, ref); code != xenapi.CodeRBACPermissionDenied {
			t.Errorf("%s: %q", message, code)
		}
	}
	own := p.call(t, operator, "secret.create", map[string]any{"value": "v", "other_config": map[string]string{"k": "v"}}).Text
	if rec := get(p, xenapi.Ref[xenapi.Secret](own)); rec.Value != "v" || rec.UUID == "" || rec.OtherConfig["k"] != "v" {
		t.Errorf("made: %+v", rec)
	}
	const uuid = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
	second := p.call(t, operator, "secret.introduce", uuid, "w", map[string]string{}).Text
	p.refused(t, []string{xenapi.CodeInvalidValue, "uuid", "x"}, "secret.introduce", operator, "x", "w", map[string]string{})
	if code := p.code(t, "secret.introduce", operator, uuid, "w", map[string]string{}); code != xenapi.CodeDBUniquenessConstraintViolation {
		t.Errorf("the same again: %q", code)
	}
	p.call(t, operator, "secret.destroy", second)
	p.refused(t, []string{xenapi.CodeHandleInvalid, "secret", second}, "secret.destroy", operator, second)
	for _, event := range told(p.from(t, token, 0.2, "*", "secret/"+ref)) {
		if event != "mod pool "+thePool && event[4:8] != "task" {
			t.Errorf("an event: %s", event)
		}
	}
	p.call(t, operator, "pool.disable_repository_proxy", thePool)
	if rec := get[xenapi.Pool](p, thePool); rec.RepositoryProxyURL != "" || rec.RepositoryProxyUsername != "" || !rec.RepositoryProxyPassword.IsNull() {
		t.Errorf("left of the proxy: %q %q %s", rec.RepositoryProxyURL, rec.RepositoryProxyUsername, rec.RepositoryProxyPassword)
	}
	p.refused(t, []string{xenapi.CodeHandleInvalid, "secret", ref}, "secret.get_value", operator, ref)
}

// How a host, and a repository, stand follows the rows of what is applied, also for who waits for events.
func TestStanding(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	repo, patch := xenapi.Ref[xenapi.Repository]("OpaqueRef:repo"), xenapi.Ref[xenapi.PoolPatch]("OpaqueRef:patch")
	insert(t, p, patch, xenapi.PoolPatch{UUID: "u-patch"})
	insert(t, p, repo, xenapi.Repository{UUID: "u-repo", Update: true, Hash: "h", Patches: []string{"u-patch"}})
	standing := func(want string, upToDate bool) {
		t.Helper()
		if got := p.call(t, theRoot, "host.get_latest_synced_updates_applied", here).Text; got != want {
			t.Errorf("the host stands at %q, want %q", got, want)
		}
		if got := p.call(t, theRoot, "Repository.get_up_to_date", repo).Bool; got != upToDate {
			t.Errorf("up to date: %v, want %v", got, upToDate)
		}
	}
	events := func(what string, change func(tx *db.Tx) error, want ...string) {
		t.Helper()
		token := member(p.from(t, "", 0), "token").Text
		p.update(t, change)
		got := told(p.from(t, token, 5, "host", "repository"))
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: events %v, want %v", what, got, want)
		}
	}
	standing("unknown", false)
	events("added to the pool", func(tx *db.Tx) error {
		return db.Change(tx, thePool, func(rec *xenapi.Pool) error { rec.Repositories = []xenapi.Ref[xenapi.Repository]{repo}; return nil })
	}, "mod host OpaqueRef:here")
	standing("no", false)
	events("applied", func(tx *db.Tx) error {
		return db.Insert(tx, "OpaqueRef:row", xenapi.HostPatch{UUID: "u-row", Host: here, PoolPatch: patch, Applied: true})
	}, "mod host OpaqueRef:here", "mod repository OpaqueRef:repo")
	standing("yes", true)
	if got := p.call(t, theRoot, "host.get_all_records_where", `field "latest_synced_updates_applied"="yes"`); len(got.Members) != 1 {
		t.Errorf("found by its standing: %v", rpc.MarshalXMLValue(got))
	}
	events("another host", func(tx *db.Tx) error { return db.Insert(tx, second, xenapi.Host{UUID: "u-second"}) },
		"add host OpaqueRef:second", "mod repository OpaqueRef:repo")
	standing("yes", false)
	events("listed anew", func(tx *db.Tx) error {
		return db.Change(tx, repo, func(rec *xenapi.Repository) error {
			rec.Hash, rec.Patches = "g", []string{"u-patch", "u-new"}
			return nil
		})
	}, "mod host OpaqueRef:here", "mod host OpaqueRef:second", "mod repository OpaqueRef:repo")
	standing("no", false)
}
