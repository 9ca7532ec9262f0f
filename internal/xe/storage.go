package xe

import (
	"context"
	"strings"
)

// maxLoaded bounds a file that becomes a value of a device configuration, in bytes.
const maxLoaded = 1 << 20

// deviceConfig reads device-config:key=value.
func (r *run) deviceConfig() (map[string]string, error) { return r.config("device-config") }

// config reads NAME:key=value. Of NAME:KEY-filename=F, KEY's value is what is in the client's file F.
func (r *run) config(name string) (map[string]string, error) {
	config := r.entries(name)
	for name, file := range config {
		key, ok := strings.CutSuffix(name, "-filename")
		if !ok || key == "" {
			continue
		}
		content, err := r.peer.Load(file, maxLoaded)
		if err != nil {
			return nil, failure("The file '" + file + "' could not be loaded: " + err.Error())
		}
		delete(config, name)
		config[key] = string(content)
	}
	return config, nil
}

// hostOrCoordinator is the host that host-uuid= names, or else the coordinator.
func (r *run) hostOrCoordinator(ctx context.Context) (string, error) {
	if _, ok := r.lookup("host-uuid"); ok {
		return r.refOf(ctx, "host", "host-uuid")
	}
	pools, err := r.rows(ctx, classOf("pool"))
	if err != nil || len(pools) == 0 {
		return "", err
	}
	master, _ := pools[0].record.Member("master")
	return master.Text, nil
}

func srCreate(ctx context.Context, r *run) error {
	shared, err := r.is("shared")
	if err != nil {
		return err
	}
	size, err := parseSize("physical-size", r.text("physical-size", "0"))
	if err != nil {
		return err
	}
	host, err := r.hostOrCoordinator(ctx)
	if err != nil {
		return err
	}
	config, err := r.deviceConfig()
	if err != nil {
		return err
	}
	_, err = r.made(ctx, "SR", "create", host, config, size, r.text("name-label", ""), r.text("name-description", ""), r.text("type", ""),
		r.text("content-type", ""), shared, r.entries("sm-config"))
	return err
}

func srIntroduce(ctx context.Context, r *run) error {
	shared, err := r.is("shared")
	if err != nil {
		return err
	}
	_, err = r.made(ctx, "SR", "introduce", r.text("uuid", ""), r.text("name-label", ""), r.text("name-description", ""), r.text("type", ""),
		r.text("content-type", ""), shared, r.entries("sm-config"))
	return err
}

func srProbe(ctx context.Context, r *run) error {
	host, err := r.hostOrCoordinator(ctx)
	if err != nil {
		return err
	}
	config, err := r.deviceConfig()
	if err != nil {
		return err
	}
	text, err := r.ask(ctx, "SR.probe", host, config, r.text("type", ""), r.entries("sm-config"))
	if err != nil {
		return err
	}
	return r.out.line(text)
}

func pbdCreate(ctx context.Context, r *run) error {
	host, err := r.refOf(ctx, "host", "host-uuid")
	if err != nil {
		return err
	}
	sr, err := r.refOf(ctx, "SR", "sr-uuid")
	if err != nil {
		return err
	}
	config, err := r.deviceConfig()
	if err != nil {
		return err
	}
	_, err = r.made(ctx, "PBD", "create", map[string]any{"host": host, "SR": sr, "device_config": config, "other_config": r.entries("other-config")})
	return err
}
