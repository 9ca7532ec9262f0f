package pool

import (
	"context"
	"log/slog"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// departed is a host that the pool knows no more, whose copy of the database may still be a member. It is recorded with the
// departure and goes when the copy has: until then no host is admitted at its address.
type departed struct {
	URL string `json:"url" xenapi:"internal"`
}

// Class names the table.
func (departed) Class() string { return "departed" }

func departedRef(url string) xenapi.Ref[departed] {
	return xenapi.Ref[departed](strings.TrimPrefix(url, "https://"))
}

// removeCopy takes away, on the coordinator, the copy of the database that a departed host had. It may be called again for
// one that has gone.
func (c *Cluster) removeCopy(ctx context.Context, url string) error {
	c.mu.Lock() // or one who looked before would take away the copy of the next host at this address
	defer c.mu.Unlock()
	there := false
	_ = c.DB.View(func(tx *db.Tx) error {
		_, there = db.Lookup(tx, departedRef(url))
		there = there && Coordinating(tx, c.Me) == nil
		return nil
	})
	if !there {
		return nil
	}
	if err := c.Keepers.RemoveKeeper(ctx, url); err != nil {
		return err
	}
	// A crash here leaves a row without a copy: the next call finds nothing to remove.
	return c.DB.Update(ctx, func(tx *db.Tx) error { return deleteIfThere(tx, departedRef(url)) })
}

// SettleDeparted takes away the copies of the database that departed hosts have left behind, on the coordinator, until ctx
// ends: whoever removed those hosts could not, or died.
func (c *Cluster) SettleDeparted(ctx context.Context, log *slog.Logger) error {
	for {
		var url string
		if err := c.DB.Wait(ctx, func(tx *db.Tx) (bool, error) {
			for _, rec := range db.All[departed](tx) {
				url = rec.URL
			}
			return url != "" && Coordinating(tx, c.Me) == nil, nil
		}); err != nil {
			return err
		}
		// Not at once: whoever removed the host is about to, and what fails is not tried in a hurry.
		if err := pause(ctx, grace); err != nil {
			return err
		}
		if err := c.removeCopy(ctx, url); err != nil && ctx.Err() == nil {
			log.Warn("remove the database of a host that has left", "url", url, "error", err)
		}
	}
}
