package pool

import (
	"context"
	"fmt"
	"time"

	"poolpatch/internal/authority"
)

// reportTimeout bounds what is said in the database of a certificate that is there already. Follow says it again.
const reportTimeout = 10 * time.Second

// Renew gives this host a new certificate among its pool, before the one that it has needs it.
func (c *Credentials) Renew(ctx context.Context) error {
	pool := c.trust()
	signer, err := authority.Parse([]byte(pool.Authority))
	if err != nil {
		return fmt.Errorf("authority of the pool: %w", err)
	}
	trusted, err := authority.ParseTrust([]byte(pool.Trusted))
	if err != nil {
		return fmt.Errorf("authorities of the pool: %w", err)
	}
	if err := c.renew(signer, trusted, time.Now()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	if err := c.report(ctx); err != nil {
		c.log.Warn("the pool does not know this host's new certificate yet", "error", err)
	}
	return nil
}
