package pool

import (
	"fmt"
	"time"

	"poolpatch/internal/authority"
)

// Renew gives this host a new certificate among its pool, before the one that it has needs it.
func (c *Credentials) Renew() error {
	pool := c.trust()
	signer, err := authority.Parse([]byte(pool.Authority))
	if err != nil {
		return fmt.Errorf("authority of the pool: %w", err)
	}
	trusted, err := authority.ParseTrust([]byte(pool.Trusted))
	if err != nil {
		return fmt.Errorf("authorities of the pool: %w", err)
	}
	return c.renew(signer, trusted, time.Now())
}
