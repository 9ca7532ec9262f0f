package xe

import (
	"context"

	"poolpatch/internal/rpc"
)

// hostSources prints what is measured of the hosts that the command line selects.
func hostSources(ctx context.Context, r *run) error {
	return r.eachHost(ctx, func(host string) error { return r.sources(ctx, "host", host) }, "data-source")
}

func hostSource(ctx context.Context, r *run) error {
	return r.eachHost(ctx, func(host string) error { return r.source(ctx, "host", host) }, "data-source")
}

func srSources(ctx context.Context, r *run) error {
	sr, err := r.refOf(ctx, "SR", "uuid")
	if err != nil {
		return err
	}
	return r.sources(ctx, "SR", sr)
}

func srSource(ctx context.Context, r *run) error {
	sr, err := r.refOf(ctx, "SR", "uuid")
	if err != nil {
		return err
	}
	return r.source(ctx, "SR", sr)
}

// onHostSource sends a message about a source of the hosts that the command line selects.
func onHostSource(message string) action {
	return func(ctx context.Context, r *run) error {
		return r.eachHost(ctx, func(host string) error {
			_, err := r.call(ctx, "host."+message, host, r.text("data-source", ""))
			return err
		}, "data-source")
	}
}

func onSRSource(message string) action {
	return func(ctx context.Context, r *run) error {
		sr, err := r.refOf(ctx, "SR", "uuid")
		if err != nil {
			return err
		}
		_, err = r.call(ctx, "SR."+message, sr, r.text("data-source", ""))
		return err
	}
}

// hostBackupRRDs has hosts write down what they have recorded.
func hostBackupRRDs(ctx context.Context, r *run) error {
	return r.eachHost(ctx, func(host string) error {
		_, err := r.call(ctx, "host.backup_rrds", host, 0.0)
		return err
	})
}

// sourceFields are what is printed of a data source.
var sourceFields = []string{"name_label", "name_description", "enabled", "standard", "min", "max", "units"}

// sources prints what is measured of an object.
func (r *run) sources(ctx context.Context, class, ref string) error {
	all, err := r.call(ctx, class+".get_data_sources", ref)
	if err != nil {
		return err
	}
	for _, s := range all.Items {
		if err := r.out.record(r.sourceCells(ctx, s)); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) sourceCells(ctx context.Context, source rpc.Value) []cell {
	var cells []cell
	for _, name := range sourceFields {
		v, _ := source.Member(name)
		cells = append(cells, cell{name, r.scalar(ctx, v, nil)})
	}
	return cells
}

func (r *run) source(ctx context.Context, class, ref string) error {
	value, err := r.call(ctx, class+".query_data_source", ref, r.text("data-source", ""))
	if err != nil {
		return err
	}
	return r.out.line(r.scalar(ctx, value, nil))
}
