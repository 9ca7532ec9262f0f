package auth

import (
	"context"
	"errors"
	"strconv"

	"poolpatch/internal/directory"
	"poolpatch/xenapi"
)

// SubjectIdentifier is what a subject of a name has as its identifier: the name of a user of the pool, or what the directory knows
// a user or a group by. Errors: AUTH_IS_DISABLED, SUBJECT_CANNOT_BE_RESOLVED, AUTH_SERVICE_ERROR.
func (s *Service) SubjectIdentifier(ctx context.Context, name string) (string, error) {
	if _, own := s.user(name); own && name != Root {
		return name, nil
	}
	account, err := s.outside(ctx, name, func(d Directory) (directory.Account, error) { return d.Find(ctx, name) })
	return account.Identifier, err
}

// SubjectInformation is what is known of whoever has an identifier. Errors as those of SubjectIdentifier.
func (s *Service) SubjectInformation(ctx context.Context, identifier string) (map[string]string, error) {
	if user, own := s.user(identifier); own && identifier != Root {
		return map[string]string{"subject-name": identifier, "subject-displayname": user.Fullname, "subject-is-group": "false"}, nil
	}
	account, err := s.lookup(ctx, identifier)
	if err != nil {
		return nil, err
	}
	return information(account), nil
}

// GroupMembership lists the identifiers of the groups that somebody is in, also by way of others. The pool's own users are in
// none. Errors as those of SubjectIdentifier.
func (s *Service) GroupMembership(ctx context.Context, identifier string) ([]string, error) {
	if _, own := s.user(identifier); own && identifier != Root {
		return nil, nil
	}
	account, err := s.lookup(ctx, identifier)
	return account.Groups, err
}

func (s *Service) lookup(ctx context.Context, identifier string) (directory.Account, error) {
	return s.outside(ctx, identifier, func(d Directory) (directory.Account, error) { return d.Lookup(ctx, identifier) })
}

// outside asks the directory about somebody.
func (s *Service) outside(ctx context.Context, who string, ask func(Directory) (directory.Account, error)) (directory.Account, error) {
	d, err := s.external()
	if d == nil && err == nil {
		err = xenapi.ErrAuthIsDisabled()
	}
	if err == nil {
		err = s.lookups.enter(ctx, func() int { return maxLookups })
	}
	if err != nil {
		return directory.Account{}, err
	}
	defer s.lookups.leave()
	account, err := ask(d)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, directory.ErrNobody):
		err = xenapi.ErrSubjectCannotBeResolved()
	default:
		err = s.serviceError(who, err)
	}
	return account, err
}

// information is an account in the words that XenAPI's clients look for.
func information(a directory.Account) map[string]string {
	all := map[string]string{
		"subject-name": a.Name, "subject-displayname": a.DisplayName, "subject-is-group": strconv.FormatBool(a.IsGroup),
	}
	if a.IsGroup {
		return all
	}
	if a.Principal != "" {
		all["subject-upn"] = a.Principal
	}
	for key, value := range map[string]bool{
		"disabled": a.Disabled, "expired": a.Expired, "locked": a.Locked,
	} {
		all["subject-account-"+key] = strconv.FormatBool(value)
	}
	all["subject-password-expired"] = strconv.FormatBool(a.PasswordExpired)
	return all
}
