package api

import (
	"context"

	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

// No virtual machine is protected here, so what XenAPI asks of a failover has an answer without a search: a plan starts nothing,
// and is there as long as one host is left.

type (
	vmRef    = xenapi.Ref[xenapi.VM]
	planStep = map[string]string // "host", or "error_code" and what belongs to it
)

// haMost is how many hosts may fail.
func (a *API) haMost(context.Context, *call) (int64, error) {
	hosts := int64(0)
	err := a.view(func(tx *db.Tx) error {
		hosts = int64(len(pool.InOrder(tx)))
		return nil
	})
	return max(hosts-1, 0), err
}

func (a *API) haPlanExists(ctx context.Context, c *call, n int64) (bool, error) {
	most, err := a.haMost(ctx, c)
	return 0 <= n && n <= most, err
}

// haHypotheticalMost is haMost where some virtual machines would be protected. Control domains, which are all that there are,
// cannot be.
func (a *API) haHypotheticalMost(ctx context.Context, c *call, protected map[vmRef]string) (int64, error) {
	if err := a.view(func(tx *db.Tx) error {
		for vm := range protected {
			if err := startable(tx, vm); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return 0, err
	}
	return a.haMost(ctx, c)
}

// haPlan says what becomes of virtual machines when hosts fail.
func (a *API) haPlan(_ context.Context, _ *call, failed []hostRef, vms []vmRef) (map[vmRef]planStep, error) {
	return map[vmRef]planStep{}, a.view(func(tx *db.Tx) error {
		for _, host := range failed {
			if _, err := db.Get(tx, host); err != nil {
				return err
			}
		}
		for _, vm := range vms {
			if err := startable(tx, vm); err != nil {
				return err
			}
		}
		return nil
	})
}

// startable refuses a control domain, which is started by its host alone.
func startable(tx *db.Tx, vm vmRef) error {
	if _, err := db.Get(tx, vm); err != nil {
		return err
	}
	return xenapi.ErrOperationNotAllowed("a control domain cannot be protected")
}
