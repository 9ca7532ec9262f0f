package xe

import (
	"context"
	"strings"
)

// authConfig reads config:key=value. A file with a password ends with a line's end that is not of it.
func (r *run) authConfig() (map[string]string, error) {
	config, err := r.config("config")
	if pass, ok := config["pass"]; ok {
		config["pass"] = strings.TrimRight(pass, "\r\n")
	}
	return config, err
}

// givenPool is the pool, which uuid= may name.
func (r *run) givenPool(ctx context.Context) (string, error) {
	if _, ok := r.lookup("uuid"); ok {
		return r.refOf(ctx, "pool", "uuid")
	}
	return r.thePool(ctx)
}

func poolEnableExternalAuth(ctx context.Context, r *run) error {
	pool, err := r.givenPool(ctx)
	if err != nil {
		return err
	}
	return r.enableExternalAuth(ctx, "pool", pool)
}

func hostEnableExternalAuth(ctx context.Context, r *run) error {
	host, err := r.refOf(ctx, "host", "host-uuid")
	if err != nil {
		return err
	}
	return r.enableExternalAuth(ctx, "host", host)
}

func (r *run) enableExternalAuth(ctx context.Context, class, ref string) error {
	config, err := r.authConfig()
	if err != nil {
		return err
	}
	_, err = r.call(ctx, class+".enable_external_auth", ref, config, r.text("service-name", ""), r.text("auth-type", ""))
	return err
}

func poolDisableExternalAuth(ctx context.Context, r *run) error {
	pool, err := r.givenPool(ctx)
	if err != nil {
		return err
	}
	_, err = r.call(ctx, "pool.disable_external_auth", pool, r.entries("config"))
	return err
}

func hostDisableExternalAuth(ctx context.Context, r *run) error {
	host, err := r.refOf(ctx, "host", "host-uuid")
	if err != nil {
		return err
	}
	_, err = r.call(ctx, "host.disable_external_auth", host, r.entries("config"))
	return err
}
