package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// Directory is one that is reached. It holds no connection: each question has its own.
type Directory struct {
	config Config
	trust  func() *tls.Config
}

// New makes a directory of a configuration. trust says whose certificates its servers may have.
func New(config Config, trust func() *tls.Config) *Directory {
	return &Directory{config: config, trust: trust}
}

// Check reaches every server, logs in as the user of the configuration, and finds the base. Errors: ErrUnavailable, ErrUser.
func (d *Directory) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, s := range d.config.servers {
		if err := d.askServer(ctx, s, (*conversation).hasBase); err != nil {
			return fmt.Errorf("%s: %w", s.url, err)
		}
	}
	return nil
}

// Authenticate finds the user whom a name is of, if the password is that user's. Errors: ErrRefused, ErrUnavailable and others of
// the directory.
func (d *Directory) Authenticate(ctx context.Context, name, password string) (Account, error) {
	if password == "" || len(password) > maxPassword {
		return Account{}, ErrRefused
	}
	return d.read(ctx, func(c *conversation) (*ldap.Entry, error) {
		e, err := c.userNamed(name)
		if errors.Is(err, ErrNobody) {
			return nil, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		if err != nil {
			return nil, err
		}
		if err := c.prove(e.DN, password); err != nil {
			return nil, err
		}
		return e, c.logIn() // who logs in need not be allowed to read of groups
	})
}

// Lookup reads who has an identifier, which may also be a distinguished name below the base. Errors: ErrNobody, ErrUnavailable
// and others of the directory.
func (d *Directory) Lookup(ctx context.Context, identifier string) (Account, error) {
	return d.read(ctx, func(c *conversation) (*ldap.Entry, error) { return c.entryOf(identifier) })
}

// Find reads the user of a name, or else the group. Errors as those of Lookup.
func (d *Directory) Find(ctx context.Context, name string) (Account, error) {
	return d.read(ctx, func(c *conversation) (*ldap.Entry, error) {
		e, err := c.userNamed(name)
		if errors.Is(err, ErrNobody) {
			return c.groupNamed(name)
		}
		return e, err
	})
}

// read makes an account of the entry that is found, with its groups.
func (d *Directory) read(ctx context.Context, find func(*conversation) (*ldap.Entry, error)) (a Account, err error) {
	err = d.ask(ctx, func(c *conversation) error {
		e, err := find(c)
		if err != nil {
			return err
		}
		if a = c.account(e, time.Now()); a.Identifier == "" {
			return fmt.Errorf("%s has no identifier, or none that may be read", e.DN)
		}
		a.Groups, err = c.groups(e)
		return err
	})
	if err != nil {
		return Account{}, err
	}
	return a, nil
}
