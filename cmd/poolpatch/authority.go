package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

const (
	// rotationPatience is how long every host together may take to follow a new authority.
	rotationPatience = 3 * time.Minute
	rotationPause    = 500 * time.Millisecond
)

func (c *cli) poolRotateAuthority() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-authority",
		Short: "Replace the authority by whose certificates hosts know one another",
		Long: `Replace the authority by whose certificates hosts know one another, while the pool runs: first every
host trusts the new one too, then every host gets a certificate of it, then the old one counts no more.
Join tokens that were not used count no more either.

Every host must be there. One that is lost on the way holds it up until it is back, or is destroyed; the
pool works meanwhile, and "pool status" shows what is waited for. When the command ends early, the
replacement goes on.`,
		Example: "  poolpatch pool rotate-authority", Args: arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			if _, err := client.Run[string](ctx, p, nil, "pool.rotate_authority"); err != nil {
				return err
			}
			return c.awaitRotation(ctx, p)
		}),
	}
}

// awaitRotation waits until the authority is replaced, and says who is waited for whenever that changes.
func (c *cli) awaitRotation(ctx context.Context, p *client.Client) error {
	ctx, cancel := context.WithTimeoutCause(ctx, rotationPatience, hinted{
		errors.New("not every host has followed yet; the replacement goes on"), "poolpatch pool status shows what it waits for"})
	defer cancel()
	said := ""
	for {
		now, err := authorityState(ctx, p)
		switch {
		case err != nil && !startsAgain(err):
			return err
		case err != nil: // its database knows the new authority only then
			if again, err := c.dial(ctx); err == nil {
				defer again.Close(context.WithoutCancel(ctx))
				p = again
			}
		case now == "":
			c.note("the pool's authority is replaced")
			return nil
		case now != said:
			c.note("%s", now)
			said = now
		}
		if sleep(ctx, rotationPause) != nil {
			return context.Cause(ctx)
		}
	}
}

// startsAgain tells a daemon that is about to start again, or has just done so and forgotten its sessions.
func startsAgain(err error) bool {
	_, unreached := errors.AsType[*client.ConnectionError](err)
	return unreached || slices.Contains([]string{xenapi.CodeSessionInvalid, xenapi.CodeHostStillBooting, xenapi.CodePoolDatabaseUnavailable}, xenapi.CodeOf(err))
}

// authorityState is a sentence about the replacement of the pool's authority; "" when none is going on.
func authorityState(ctx context.Context, p *client.Client) (string, error) {
	state, err := client.Call[map[string]string](ctx, p, "pool.get_authority_state")
	if err != nil {
		return "", err
	}
	members, err := all[xenapi.Host](ctx, p)
	if err != nil {
		return "", err
	}
	return describeRotation(state, members), nil
}

func describeRotation(state map[string]string, members map[xenapi.Ref[xenapi.Host]]xenapi.Host) string {
	step := map[string]string{
		"spread": "hosts come to trust the new authority",
		"renew":  "hosts get certificates of the new authority",
		"retire": "hosts forget the old authority",
	}[state["phase"]]
	if step == "" {
		return ""
	}
	var names []string
	for _, o := range hosts.sorted(members) {
		switch {
		case strings.Contains(state["offline"], o.Rec.UUID):
			names = append(names, o.Rec.NameLabel+" (offline: start it, or destroy the host)")
		case strings.Contains(state["waiting"], o.Rec.UUID):
			names = append(names, o.Rec.NameLabel)
		}
	}
	return fmt.Sprintf("the pool's authority is being replaced: %s; waiting for %s", step, strings.Join(names, ", "))
}
