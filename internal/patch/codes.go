package patch

import (
	"errors"

	"poolpatch/xenapi"
)

// twins are an update and the patch that it is a name of; null as long as there are none.
type twins struct {
	update xenapi.Ref[xenapi.PoolUpdate]
	patch  xenapi.Ref[xenapi.PoolPatch]
}

// updateErrors has the error of an update for each of a patch that updates have a word for; nil where it is about something
// else. Parameters that the error does not have are empty.
var updateErrors = map[string]func(t twins, params [3]string) *xenapi.Error{
	xenapi.CodeInvalidPatch:                     func(_ twins, p [3]string) *xenapi.Error { return xenapi.ErrInvalidUpdate(p[0]) },
	xenapi.CodeInvalidPatchWithLog:              func(_ twins, p [3]string) *xenapi.Error { return xenapi.ErrInvalidUpdate(p[0]) },
	xenapi.CodeCannotFindPatch:                  func(_ twins, _ [3]string) *xenapi.Error { return xenapi.ErrCannotFindUpdate() },
	xenapi.CodePatchAlreadyExists:               func(_ twins, p [3]string) *xenapi.Error { return xenapi.ErrUpdateAlreadyExists(p[0]) },
	xenapi.CodePatchAlreadyApplied:              func(t twins, _ [3]string) *xenapi.Error { return xenapi.ErrUpdateAlreadyApplied(t.update) },
	xenapi.CodePatchIsApplied:                   func(_ twins, _ [3]string) *xenapi.Error { return xenapi.ErrUpdateIsApplied() },
	xenapi.CodePatchApplyFailed:                 func(_ twins, p [3]string) *xenapi.Error { return xenapi.ErrUpdateApplyFailed(p[0]) },
	xenapi.CodePatchApplyFailedBackupFilesExist: func(_ twins, p [3]string) *xenapi.Error { return xenapi.ErrUpdateApplyFailed(p[0]) },
	xenapi.CodePatchPrecheckFailedUnknownError: func(t twins, p [3]string) *xenapi.Error {
		return xenapi.ErrUpdatePrecheckFailedUnknownError(t.update, p[1])
	},
	xenapi.CodePatchPrecheckFailedPrerequisiteMissing: func(t twins, p [3]string) *xenapi.Error {
		return xenapi.ErrUpdatePrecheckFailedPrerequisiteMissing(t.update, p[1])
	},
	xenapi.CodePatchPrecheckFailedWrongServerVersion: func(t twins, p [3]string) *xenapi.Error {
		return xenapi.ErrUpdatePrecheckFailedWrongServerVersion(t.update, p[1], p[2])
	},
	xenapi.CodePatchPrecheckFailedOutOfSpace: func(t twins, p [3]string) *xenapi.Error {
		return xenapi.ErrUpdatePrecheckFailedOutOfSpace(t.update, p[1], p[2])
	},
	xenapi.CodeHandleInvalid: func(t twins, p [3]string) *xenapi.Error {
		if p[1] != t.patch.String() {
			return nil
		}
		return xenapi.ErrHandleInvalid("pool_update", t.update.String()) // it went while it was called
	},
	xenapi.CodeOtherOperationInProgress: func(t twins, p [3]string) *xenapi.Error {
		if p[1] != t.patch.String() {
			return nil
		}
		return xenapi.ErrOtherOperationInProgress("Pool_update", t.update.String(), p[2])
	},
}

// tell says an error of the patch as one of its update. Others stay as they are.
func (t twins) tell(err error) error {
	domain, ok := errors.AsType[*xenapi.Error](err)
	if !ok {
		return err
	}
	return t.translate(domain)
}

func (t twins) translate(err *xenapi.Error) *xenapi.Error {
	say, ok := updateErrors[err.Code]
	if !ok {
		return err
	}
	var params [3]string
	copy(params[:], err.Params)
	if said := say(t, params); said != nil {
		return said.Because(err)
	}
	return err
}
