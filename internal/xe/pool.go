package xe

import (
	"context"
	"slices"
)

// eachHost goes over the hosts that the command line selects: one, or several with --multiple. besides are words that select none.
func (r *run) eachHost(ctx context.Context, do func(ref string) error, besides ...string) error {
	hosts, err := r.selectedHosts(ctx, besides...)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if err := do(host.ref); err != nil {
			return err
		}
	}
	return nil
}

// onHosts sends a message to the hosts that are selected.
func onHosts(message string) action {
	return func(ctx context.Context, r *run) error {
		return r.eachHost(ctx, func(host string) error {
			_, err := r.call(ctx, "host."+message, host)
			return err
		})
	}
}

// printHosts prints what a message gives of each host that is selected.
func printHosts(message string) action {
	return func(ctx context.Context, r *run) error {
		return r.eachHost(ctx, func(host string) error {
			got, err := r.call(ctx, "host."+message, host)
			if err != nil {
				return err
			}
			return r.out.line(r.scalar(ctx, got, nil))
		})
	}
}

// hostInstallCertificate loads the files that the parameters name from the client.
func hostInstallCertificate(ctx context.Context, r *run) error {
	files := []string{"certificate", "private-key", "certificate-chain"}
	var texts []any
	for _, param := range files {
		text := ""
		if file, given := r.lookup(param); given {
			content, err := r.peer.Load(file, maxLoaded)
			if err != nil {
				return failure("The file '" + file + "' could not be loaded: " + err.Error())
			}
			text = string(content)
		}
		texts = append(texts, text)
	}
	return r.eachHost(ctx, func(host string) error {
		_, err := r.call(ctx, "host.install_server_certificate", append([]any{host}, texts...)...)
		return err
	}, files...)
}

func hostSetHostname(ctx context.Context, r *run) error {
	host, err := r.refOf(ctx, "host", "host-uuid")
	if err != nil {
		return err
	}
	_, err = r.call(ctx, "host.set_hostname_live", host, r.text("host-name", ""))
	return err
}

func hostDeclareDead(ctx context.Context, r *run) error {
	host, err := r.refOf(ctx, "host", "uuid")
	if err != nil {
		return err
	}
	if err := r.confirm("WARNING: A host should only be declared dead if it is certainly off; if it still runs, what it does to shared storage is not noticed."); err != nil {
		return err
	}
	_, err = r.call(ctx, "host.declare_dead", host)
	return err
}

// selectedHosts are those that host= names, by name or UUID, and that pass every filter; besides are words that are none.
func (r *run) selectedHosts(ctx context.Context, besides ...string) ([]row, error) {
	hosts, err := r.selected(ctx, classOf("host"), append(besides, "host")...)
	if err != nil {
		return nil, err
	}
	if name, ok := r.lookup("host"); ok {
		hosts = slices.DeleteFunc(hosts, func(h row) bool {
			uuid, _ := h.record.Member("uuid")
			label, _ := h.record.Member("name_label")
			return name != uuid.Text && name != label.Text
		})
	}
	switch {
	case len(hosts) == 0:
		return nil, failure("No matching hosts found")
	case len(hosts) > 1 && !r.has("multiple"):
		return nil, failure("Multiple matching hosts found. Use --multiple to perform the operation on all of them")
	}
	return hosts, nil
}

func hostForget(ctx context.Context, r *run) error {
	host, err := r.refOf(ctx, "host", "uuid")
	if err != nil {
		return err
	}
	if err := r.confirm("WARNING: A host should only be forgotten if it is physically unrecoverable; forgetting it cannot be undone."); err != nil {
		return err
	}
	_, err = r.call(ctx, "host.destroy", host)
	return err
}

func poolJoin(ctx context.Context, r *run) error {
	message := "pool.join"
	if r.has("force") {
		message = "pool.join_force"
	}
	_, err := r.call(ctx, message, r.text("master-address", ""), r.text("master-username", ""), r.text("master-password", ""))
	return err
}

func poolEject(ctx context.Context, r *run) error {
	host, err := r.refOf(ctx, "host", "host-uuid")
	if err != nil {
		return err
	}
	if err := r.confirm("WARNING: The host leaves the pool and begins one of its own; what only its local storage has is lost to the pool."); err != nil {
		return err
	}
	_, err = r.call(ctx, "pool.eject", host)
	return err
}

func poolDesignate(ctx context.Context, r *run) error {
	host, err := r.refOf(ctx, "host", "host-uuid")
	if err != nil {
		return err
	}
	_, err = r.call(ctx, "pool.designate_new_master", host)
	return err
}

// send sends a message that takes nothing and gives nothing.
func send(message string) action {
	return func(ctx context.Context, r *run) error {
		_, err := r.call(ctx, message)
		return err
	}
}

// poolRecoverSlaves prints the UUIDs of the hosts that were recovered.
func poolRecoverSlaves(ctx context.Context, r *run) error {
	hosts, err := r.call(ctx, "pool.recover_slaves")
	if err != nil {
		return err
	}
	for _, host := range hosts.Items {
		if err := r.printUUID(ctx, "host", host.Text); err != nil {
			return err
		}
	}
	return nil
}

func poolMostFailures(ctx context.Context, r *run) error {
	most, err := r.call(ctx, "pool.ha_compute_max_host_failures_to_tolerate")
	if err != nil {
		return err
	}
	return r.out.line(r.scalar(ctx, most, nil))
}

// messageAbout are the parameters of which one says what a message is about.
var messageAbout = []struct{ param, class string }{{"pool-uuid", "pool"}, {"host-uuid", "host"}, {"sr-uuid", "SR"}}

func messageCreate(ctx context.Context, r *run) error {
	priority, err := parseSize("priority", r.text("priority", ""))
	if err != nil {
		return err
	}
	for _, about := range messageAbout {
		uuid, ok := r.lookup(about.param)
		if !ok {
			continue
		}
		if _, err := r.refOf(ctx, about.class, about.param); err != nil {
			return err
		}
		_, err := r.call(ctx, "message.create", r.text("name", ""), priority, about.class, uuid, r.text("body", ""))
		return err
	}
	return failure("Please specify what the message is about: pool-uuid, host-uuid or sr-uuid")
}

func changePassword(ctx context.Context, r *run) error {
	_, err := r.call(ctx, "session.change_password", r.text("old", ""), r.text("new", ""))
	return err
}

func poolEnableRedoLog(ctx context.Context, r *run) error {
	sr, err := r.refOf(ctx, "SR", "sr-uuid")
	if err != nil {
		return err
	}
	_, err = r.call(ctx, "pool.enable_redo_log", sr)
	return err
}
