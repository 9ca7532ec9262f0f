package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"poolpatch/internal/authority"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

const (
	// joinPatience is how long a host that joins may take until it is there.
	joinPatience = 3 * time.Minute
	joinPause    = 500 * time.Millisecond
)

func (c *cli) poolCommand() *cobra.Command {
	return c.connected(group("pool", "The pool: who is in it, how it fares, its backup",
		`The pool: who is in it, how it fares, its backup. docs/operations.md tells how a pool is run.`,
		c.poolShow(), c.poolStatus(), c.poolToken(), c.poolJoin(), c.poolEject(), c.poolDesignate(), c.poolLevel(), c.poolRotateAuthority(), c.poolBackup(), c.poolRestore(), c.poolRecover(), c.poolLeave()))
}

func (c *cli) poolShow() *cobra.Command {
	return c.outputFlag(&cobra.Command{
		Use: "show", Short: "Show the pool's record", Example: "  poolpatch pool show", Args: arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			ref, rec, err := poolRecord(ctx, p)
			if err != nil {
				return err
			}
			if c.output == "json" {
				return c.raw(ctx, p, "pool.get_record", ref)
			}
			members, err := all[xenapi.Host](ctx, p)
			if err != nil {
				return err
			}
			storage, err := all[xenapi.SR](ctx, p)
			if err != nil {
				return err
			}
			return c.properties("uuid", rec.UUID, "name", rec.NameLabel, "coordinator", hosts.label(members, rec.Master),
				"default SR", srs.label(storage, rec.DefaultSR), "hosts", fmt.Sprint(len(members)))
		}),
	})
}

func (c *cli) poolStatus() *cobra.Command {
	return c.listFlags(&cobra.Command{
		Use:   "status",
		Short: "Show how each host fares",
		Long: `Show how each host fares: whether it lives, what it still needs after a patch was applied, and whether
it has a copy of the pool's database. Without a majority of the copies nothing can be changed.`,
		Example: "  poolpatch pool status", Args: arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			if c.output == "json" {
				return c.raw(ctx, p, "host.get_all_records")
			}
			_, pool, err := poolRecord(ctx, p)
			if err != nil {
				return err
			}
			members, err := all[xenapi.Host](ctx, p)
			if err != nil {
				return err
			}
			metrics, err := all[xenapi.HostMetrics](ctx, p)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, o := range hosts.sorted(members) {
				rows = append(rows, statusOf(o, pool, metrics[o.Rec.Metrics].Live))
			}
			if err := c.table(statusColumns, rows); err != nil {
				return err
			}
			database, err := client.Call[map[string]string](ctx, p, "pool.get_database_state")
			if err != nil {
				return err
			}
			if database["writable"] == "false" {
				c.note("nothing can be changed: a majority of the database's copies is not reached, and this is what was known last")
			}
			replaced, err := authorityState(ctx, p)
			if err == nil && replaced != "" {
				c.note("%s", replaced)
			}
			return err
		}),
	})
}

const statusColumns = "NAME ADDRESS ROLE LIVE ENABLED DATABASE VERSION NEEDS"

func statusOf(o object[xenapi.Host], pool xenapi.Pool, live bool) []string {
	role := "member"
	if pool.Master == o.Ref {
		role = "coordinator"
	}
	needs := "nothing"
	for i, g := range o.Rec.PendingGuidances {
		if i == 0 {
			needs = ""
		} else {
			needs += ", "
		}
		needs += string(g)
	}
	return []string{o.Rec.NameLabel, o.Rec.Address, role, yesNo(live), yesNo(o.Rec.Enabled), o.Rec.OtherConfig["poolpatch:database"], productVersion(o.Rec), needs}
}

func (c *cli) poolToken() *cobra.Command {
	life := time.Hour
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a token with which one host may join",
		Long: `Make a token with which one host may join. It names the pool, so the host that has it knows whom it
meets; whoever has it can bring one machine into the pool, until it is used or expires.`,
		Example: "  poolpatch pool token --lifetime 10m", Args: arguments(),
		RunE: c.pool(func(ctx context.Context, p *client.Client, _ []string) error {
			token, err := client.Call[string](ctx, p, "pool.create_join_token", int64(life/time.Second))
			if err != nil {
				return err
			}
			fmt.Fprintln(c.stdout, token)
			return nil
		}),
	}
	cmd.Flags().DurationVar(&life, "lifetime", life, "`TIME` for which it counts, as 10m or 24h")
	return cmd
}

func (c *cli) poolJoin() *cobra.Command {
	var token, user, passwordFile string
	var force bool
	cmd := &cobra.Command{
		Use:   "join ADDRESS",
		Short: "Bring this host into the pool of the host at an address",
		Long: `Bring this host into the pool of the host at an address (10.0.0.1, or 10.0.0.1:8443 where the port is
not 443). The command talks to the daemon of the host that joins, and waits until that is in the pool.

The host brings its local SRs along. It must have no patches in VDIs of its own pool, no shared SR
plugged, and the same patches applied as the pool; --force admits one that has others.`,
		Example: `  poolpatch pool join 10.0.0.1 --token TOKEN       the token: poolpatch pool token, on a host of the pool
  poolpatch pool join 10.0.0.1 --as root --as-password-file /root/password`,
		Args: arguments("ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			who, err := introduction(token, user, passwordFile)
			if err != nil {
				return usageError{err}
			}
			return c.pool(func(ctx context.Context, p *client.Client, args []string) error {
				message := "pool.join"
				if force {
					message = "pool.join_force"
				}
				if err := p.Do(ctx, message, args[0], who.user, who.password); err != nil {
					return notJoined(err)
				}
				return c.awaitJoin(ctx)
			})(cmd, args)
		},
	}
	cmd.Flags().StringVar(&token, "token", "", "`TOKEN` of the pool")
	cmd.Flags().StringVar(&user, "as", "root", "`NAME` of a user of the pool, instead of a token")
	cmd.Flags().StringVar(&passwordFile, "as-password-file", "", "`FILE` with that user's password")
	cmd.Flags().BoolVar(&force, "force", false, "join whatever patches the host has")
	return cmd
}

// introduced is how a host that joins shows that it may: without a user by a token.
type introduced struct{ user, password string }

// introduction reads what the flags of a join say. What is no token is not sent as a password to whoever answers.
func introduction(token, user, passwordFile string) (introduced, error) {
	switch {
	case token != "" && passwordFile != "":
		return introduced{}, errors.New("--token and --as-password-file are two ways to the same: give one")
	case token != "":
		if _, err := authority.ParseToken(token); err != nil {
			return introduced{}, fmt.Errorf("--token: %w", err)
		}
		return introduced{password: token}, nil
	case passwordFile == "":
		return introduced{}, errors.New("--token, or --as with --as-password-file, is missing")
	}
	password, err := firstLine(passwordFile)
	if err == nil && password == "" {
		err = fmt.Errorf("--as-password-file %s: its first line is empty", passwordFile)
	}
	return introduced{user, password}, err
}

// notJoined adds to the error of a join what helps.
func notJoined(err error) error {
	domain, _ := errors.AsType[*xenapi.Error](err)
	switch {
	case domain == nil:
		return err
	case domain.Code == xenapi.CodeSessionAuthenticationFailed && len(domain.Params) == 2 && domain.Params[0] == "join token":
		return hinted{errors.New("pool join: " + domain.Params[1]), "poolpatch pool token, on a host of the pool, makes a new one"}
	case domain.Code == xenapi.CodeSessionAuthenticationFailed:
		return hinted{err, "check --as and --as-password-file: they are of the pool that is joined"}
	case domain.Code == xenapi.CodeCannotContactHost:
		return hinted{err, "is the daemon running there, and does its --address say this address and port?"}
	case domain.Code == xenapi.CodeHostIsLive:
		return hinted{err, "that pool has heard of this host within the last seconds: try again in ten; if it still lives then, another machine has its UUID, as a copy of its disk"}
	}
	return err
}

// awaitJoin waits until this host's daemon, which starts again, is in a pool with others. Until then it is alone in one: the
// pools' UUIDs may be the same, where one was restored from the other's backup.
func (c *cli) awaitJoin(ctx context.Context) error {
	c.note("the host is admitted; its daemon starts again in the pool")
	ctx, cancel := context.WithTimeoutCause(ctx, joinPatience, errors.New("the host has not come up in the pool; its log says why"))
	defer cancel()
	for {
		if hosts, coordinator, err := c.lookAt(ctx); err == nil && hosts > 1 {
			c.note("joined; the coordinator is %s", coordinator)
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(joinPause):
		}
	}
}

// lookAt says what this host's daemon knows of its pool: how many hosts, and which of them is the coordinator.
func (c *cli) lookAt(ctx context.Context) (count int, coordinator string, err error) {
	p, err := c.dial(ctx)
	if err != nil {
		return 0, "", err
	}
	defer p.Close(ctx)
	_, rec, err := poolRecord(ctx, p)
	if err != nil {
		return 0, "", err
	}
	members, err := all[xenapi.Host](ctx, p)
	return len(members), hosts.label(members, rec.Master), err
}

func (c *cli) poolEject() *cobra.Command {
	return c.hostVerb("eject HOST", "Take a host that lives out of the pool",
		`Take a host that lives out of the pool. It becomes a pool of its own, with its local SRs; the images on
them are forgotten here. A dead host is taken out by "poolpatch host destroy".`,
		"  poolpatch pool eject host2", "pool.eject", "is out of the pool")
}

func (c *cli) poolDesignate() *cobra.Command {
	return c.hostVerb("designate HOST", "Make a host the coordinator", `Make a host the coordinator. What only the coordinator does goes on there.`,
		"  poolpatch pool designate host2", "pool.designate_new_master", "is the coordinator")
}

func (c *cli) poolLevel() *cobra.Command {
	return &cobra.Command{
		Use: "level HOST", Short: "Apply on a host the patches that it lacks",
		Long: `Apply on a host the patches that the coordinator has and it lacks, in the order in which the
coordinator got them, until one fails.`,
		Example: "  poolpatch pool level host2", Args: arguments("HOST"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := hosts.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			before, err := countApplied(ctx, p, o.Ref)
			if err != nil {
				return err
			}
			if _, err := client.Run[string](ctx, p, nil, "pool.level", o.Ref); err != nil {
				return err
			}
			after, err := countApplied(ctx, p, o.Ref)
			if err != nil {
				return err
			}
			if after == before {
				c.note("nothing to do: %s has every patch that the coordinator has", oneLine(o.Rec.NameLabel))
				return nil
			}
			c.note("%d patches applied on %s", after-before, oneLine(o.Rec.NameLabel))
			return nil
		}),
	}
}

// countApplied is how many patches a host has.
func countApplied(ctx context.Context, p *client.Client, host xenapi.Ref[xenapi.Host]) (n int, err error) {
	rows, err := all[xenapi.HostPatch](ctx, p)
	for _, row := range rows {
		if row.Host == host && row.Applied {
			n++
		}
	}
	return n, err
}

// hostVerb is a command that sends a message about one host, and says what the host then is.
func (c *cli) hostVerb(use, short, long, example, message, done string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: arguments("HOST"),
		RunE: c.pool(func(ctx context.Context, p *client.Client, args []string) error {
			o, err := hosts.find(ctx, p, args[0])
			if err != nil {
				return err
			}
			if _, err = client.Run[string](ctx, p, nil, message, o.Ref); err == nil {
				c.note("%s %s", oneLine(o.Rec.NameLabel), done)
			}
			return err
		}),
	}
}

func (c *cli) poolRecover() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Make this host's copy of the database the only one, while its daemon is stopped",
		Long: `Make this host's copy of the database the only one, while its daemon is stopped: when the majority of
the copies is lost for good. It takes effect at the daemon's next start. Never do it on two hosts, and never
while the others may still run: that makes two pools of one.`,
		Example: `  systemctl stop poolpatch
  poolpatch pool recover
  systemctl start poolpatch`,
		Args: arguments(),
		RunE: func(*cobra.Command, []string) error {
			if err := recoverAlone(pathsBelow(c.root)); err != nil {
				return err
			}
			c.note("at its next start this host's copy of the database becomes the only one: start the daemon now, and never those of the lost hosts")
			return nil
		},
	}
	return cmd
}
