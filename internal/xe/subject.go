package xe

import (
	"context"

	"poolpatch/internal/rpc"
)

// subjectAdd has the pool find out who is called so, among its own users and in its directory.
func subjectAdd(ctx context.Context, r *run) error {
	identifier, err := r.ask(ctx, "auth.get_subject_identifier", r.text("subject-name", ""))
	if err != nil {
		return err
	}
	information, err := r.call(ctx, "auth.get_subject_information_from_identifier", identifier)
	if err != nil {
		return err
	}
	_, err = r.made(ctx, "subject", "create", map[string]any{"subject_identifier": identifier, "other_config": information})
	return err
}

func subjectRemove(ctx context.Context, r *run) error {
	subject, err := r.refOf(ctx, "subject", "subject-uuid")
	if err != nil {
		return err
	}
	_, err = r.call(ctx, "subject.destroy", subject)
	return err
}

// subjectRole sends a message about a subject and a role, which has a name and a UUID.
func subjectRole(message string) action {
	return func(ctx context.Context, r *run) error {
		role, err := r.role(ctx)
		if err != nil {
			return err
		}
		subject, err := r.refOf(ctx, "subject", "uuid")
		if err != nil {
			return err
		}
		_, err = r.call(ctx, "subject."+message, subject, role)
		return err
	}
}

func (r *run) role(ctx context.Context) (string, error) {
	name, named := r.lookup("role-name")
	_, numbered := r.lookup("role-uuid")
	switch {
	case named == numbered:
		return "", failure("Please specify the role: either role-name or role-uuid")
	case numbered:
		return r.refOf(ctx, "role", "role-uuid")
	}
	roles, err := r.call(ctx, "role.get_by_name_label", name)
	if err != nil {
		return "", err
	}
	if len(roles.Items) == 0 {
		return "", failure("There is no role " + name)
	}
	return roles.Items[0].Text, nil
}

func sessionSubjects(ctx context.Context, r *run) error {
	return r.eachSubject(ctx, func(identifier string) error { return r.out.line(identifier) })
}

func sessionLogoutSubject(ctx context.Context, r *run) error {
	_, err := r.call(ctx, "session.logout_subject_identifier", r.text("subject-identifier", ""))
	return err
}

func sessionLogoutAll(ctx context.Context, r *run) error {
	return r.eachSubject(ctx, func(identifier string) error {
		_, err := r.call(ctx, "session.logout_subject_identifier", identifier)
		return err
	})
}

// eachSubject goes over those who are logged in.
func (r *run) eachSubject(ctx context.Context, do func(identifier string) error) error {
	identifiers, err := r.call(ctx, "session.get_all_subject_identifiers")
	if err != nil {
		return err
	}
	for _, identifier := range identifiers.Items {
		if err := do(identifier.Text); err != nil {
			return err
		}
	}
	return nil
}

// roleNames are the names of a subject's roles.
func roleNames(ctx context.Context, r *run, subject rpc.Value) (rpc.Value, bool) {
	names := rpc.Value{Kind: rpc.Array}
	roles, _ := subject.Member("roles")
	for _, ref := range roles.Items {
		if role, ok := r.record(ctx, "role", ref.Text); ok {
			name, _ := role.Member("name_label")
			names.Items = append(names.Items, name)
		}
	}
	return names, true
}
