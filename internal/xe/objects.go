package xe

import "context"

// refOf is the reference of the object of a class of the API whose UUID a parameter gives.
func (r *run) refOf(ctx context.Context, class, param string) (string, error) {
	return r.ask(ctx, class+".get_by_uuid", r.text(param, ""))
}

// refIfGiven is refOf for a parameter that may be left off: then it is the null reference.
func (r *run) refIfGiven(ctx context.Context, class, param string) (string, error) {
	if _, ok := r.lookup(param); !ok {
		return "OpaqueRef:NULL", nil
	}
	return r.refOf(ctx, class, param)
}

// on sends a message to the object that uuid= names.
func on(class, message string) action {
	return func(ctx context.Context, r *run) error {
		ref, err := r.refOf(ctx, class, "uuid")
		if err != nil {
			return err
		}
		_, err = r.call(ctx, class+"."+message, ref)
		return err
	}
}

// made prints the UUID of an object that a message has made.
func (r *run) made(ctx context.Context, class string, message string, params ...any) (ref string, err error) {
	ref, err = r.ask(ctx, class+"."+message, params...)
	if err != nil {
		return "", err
	}
	return ref, r.printUUID(ctx, class, ref)
}

func (r *run) printUUID(ctx context.Context, class, ref string) error {
	uuid, err := r.ask(ctx, class+".get_uuid", ref)
	if err != nil {
		return err
	}
	return r.out.line(uuid)
}

// confirm asks a person whether to go on, unless --force says so.
func (r *run) confirm(warning string) error {
	if r.has("force") {
		return nil
	}
	if err := r.out.print(warning + "\nType 'yes' to continue"); err != nil {
		return err
	}
	answer, err := r.peer.Prompt()
	switch {
	case err != nil:
		return err
	case answer != "yes":
		return failure("Aborted")
	}
	return nil
}
