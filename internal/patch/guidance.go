package patch

import (
	"slices"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// guidance says what a patch's guidance leaves pending on the host.
var guidance = map[xenapi.AfterApplyGuidance]xenapi.UpdateGuidance{
	xenapi.AfterApplyGuidanceRestartHost: xenapi.UpdateGuidanceRebootHost,
	xenapi.AfterApplyGuidanceRestartXAPI: xenapi.UpdateGuidanceRestartToolstack,
	xenapi.AfterApplyGuidanceRestartHVM:  xenapi.UpdateGuidanceRestartVM,
	xenapi.AfterApplyGuidanceRestartPV:   xenapi.UpdateGuidanceRestartVM,
}

// ask makes what a patch asks for, whose row this is, pending on this host.
func (s *Service) ask(tx *db.Tx, row xenapi.Ref[xenapi.HostPatch], words []xenapi.AfterApplyGuidance) error {
	bootID := ""
	err := db.Change(tx, s.host, func(host *xenapi.Host) error {
		for _, g := range words {
			if pending := guidance[g]; !slices.Contains(host.PendingGuidances, pending) {
				host.PendingGuidances = append(host.PendingGuidances, pending)
			}
		}
		if slices.Contains(words, xenapi.AfterApplyGuidanceRestartHost) {
			bootID = host.BootID
		}
		return nil
	})
	if err != nil {
		return err
	}
	return db.Change(tx, row, func(rec *xenapi.HostPatch) error { rec.BootID = bootID; return nil })
}

// unfollowed is what a stamp asks for and has not been followed since it was written: what the database learns of an apply
// from its stamp alone, after a crash or in another pool, it learns with that.
func (s *Service) unfollowed(st stamp) []xenapi.AfterApplyGuidance {
	return slices.DeleteFunc(slices.Clone(st.info.AfterApplyGuidance), func(g xenapi.AfterApplyGuidance) bool {
		return st.applied.Before(s.booted) ||
			guidance[g] == xenapi.UpdateGuidanceRestartToolstack && st.applied.Before(s.started)
	})
}
