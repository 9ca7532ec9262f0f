package xe

import (
	"context"
	"strings"
)

// installFile installs a file of the client's under its base name.
func installFile(message string) action {
	return func(ctx context.Context, r *run) error {
		file := r.text("filename", "")
		text, err := r.peer.Load(file, maxLoaded)
		if err != nil {
			return failure("The file '" + file + "' could not be loaded: " + err.Error())
		}
		_, err = r.call(ctx, "pool."+message, file[strings.LastIndexAny(file, `/\`)+1:], string(text))
		return err
	}
}

// uninstall forgets what was installed under a name.
func uninstall(message string) action {
	return func(ctx context.Context, r *run) error {
		_, err := r.call(ctx, "pool."+message, r.text("name", ""))
		return err
	}
}

// listInstalled prints the names of what is installed.
func listInstalled(message string) action {
	return func(ctx context.Context, r *run) error {
		names, err := r.call(ctx, "pool."+message)
		if err != nil {
			return err
		}
		for _, name := range names.Items {
			if err := r.out.line(name.Text); err != nil {
				return err
			}
		}
		return nil
	}
}

// enableClientCertificates lets clients in by certificates of a name.
func enableClientCertificates(ctx context.Context, r *run) error {
	return onPool("enable_client_certificate_auth", r.text("name", ""))(ctx, r)
}
