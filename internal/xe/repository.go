package xe

import (
	"context"
	"strings"
)

func repositoryIntroduce(ctx context.Context, r *run) error {
	update, err := r.is("update")
	if err != nil {
		return err
	}
	_, err = r.made(ctx, "Repository", "introduce", r.text("name-label", ""), r.text("name-description", ""), r.text("binary-url", ""),
		r.text("source-url", ""), update, r.text("gpgkey-path", ""))
	return err
}

// thePool is the reference of the one pool.
func (r *run) thePool(ctx context.Context) (string, error) {
	pools, err := r.rows(ctx, classOf("pool"))
	if err != nil {
		return "", err
	}
	if len(pools) == 0 {
		return "", failure("There is no pool")
	}
	return pools[0].ref, nil
}

// onPool sends a message about the pool.
func onPool(message string, params ...any) action {
	return func(ctx context.Context, r *run) error {
		pool, err := r.thePool(ctx)
		if err != nil {
			return err
		}
		_, err = r.call(ctx, "pool."+message, append([]any{pool}, params...)...)
		return err
	}
}

func poolSyncUpdates(ctx context.Context, r *run) error {
	force, err := r.is("force")
	if err != nil {
		return err
	}
	pool, err := r.thePool(ctx)
	if err != nil {
		return err
	}
	hash, err := r.ask(ctx, "pool.sync_updates", pool, force, "", "")
	if err != nil {
		return err
	}
	return r.out.line(hash)
}

// hostApplyUpdates takes hash= for itself; all other words select hosts.
func hostApplyUpdates(ctx context.Context, r *run) error {
	return r.eachHost(ctx, func(host string) error { return r.printSets(ctx, "host.apply_updates", host, r.text("hash", "")) }, "hash")
}

func poolCheckUpdateReadiness(ctx context.Context, r *run) error {
	reboot, err := r.is("requires-reboot")
	if err != nil {
		return err
	}
	pool, err := r.thePool(ctx)
	if err != nil {
		return err
	}
	return r.printSets(ctx, "pool.check_update_readiness", pool, reboot)
}

// printSets prints each set of words that a message gives in a line.
func (r *run) printSets(ctx context.Context, message string, params ...any) error {
	sets, err := r.call(ctx, message, params...)
	if err != nil {
		return err
	}
	for _, set := range sets.Items {
		var words []string
		for _, word := range set.Items {
			words = append(words, r.readable(ctx, word.Text))
		}
		if err := r.out.line(strings.Join(words, "; ")); err != nil {
			return err
		}
	}
	return nil
}

func poolConfigureRepositoryProxy(ctx context.Context, r *run) error {
	return onPool("configure_repository_proxy", r.text("proxy-url", ""), r.text("proxy-username", ""), r.text("proxy-password", ""))(ctx, r)
}

func poolConfigureUpdateSync(ctx context.Context, r *run) error {
	day, err := parseSize("update-sync-day", r.text("update-sync-day", ""))
	if err != nil {
		return err
	}
	return onPool("configure_update_sync", r.text("update-sync-frequency", ""), day)(ctx, r)
}

func poolSetUpdateSyncEnabled(ctx context.Context, r *run) error {
	value, err := r.is("value")
	if err != nil {
		return err
	}
	return onPool("set_update_sync_enabled", value)(ctx, r)
}
