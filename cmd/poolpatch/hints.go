package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// hints names, for errors that a person can do something about, the command that helps.
var hints = map[string]string{
	xenapi.CodeSessionAuthenticationFailed:               "check --user and --password-file; on the host itself neither is needed",
	xenapi.CodeSessionInvalid:                            "try again: the daemon was started anew",
	xenapi.CodeRBACPermissionDenied:                      "log in as a user whose role is one of those named (poolpatch user add --role …)",
	xenapi.CodeHostIsSlave:                               "use --server https://ADDRESS of the coordinator, named above",
	xenapi.CodeHostHasNoPatchSR:                          "poolpatch sr list shows the SRs; poolpatch sr default SR chooses one for patches",
	xenapi.CodeSRFull:                                    "poolpatch vdi list --sr SR shows what fills it; poolpatch vdi destroy frees the content of patches that are applied",
	xenapi.CodeOutOfSpace:                                "poolpatch sr list shows the free space; poolpatch vdi destroy frees the content of patches that are applied",
	xenapi.CodePatchPrecheckFailedOutOfSpace:             "make room on the host's file system; the numbers are bytes found and required",
	xenapi.CodePatchAlreadyExists:                        "poolpatch patch show UUID; another content under the same UUID is taken after poolpatch patch destroy UUID",
	xenapi.CodePatchAlreadyApplied:                       "nothing to do: poolpatch patch show UUID says when it was applied",
	xenapi.CodePatchIsApplied:                            "the record stays while a host has the patch; poolpatch vdi destroy VDI frees its space",
	xenapi.CodeCannotFindPatch:                           "its content was cleaned: poolpatch patch upload FILE brings it back",
	xenapi.CodePatchApplyFailed:                          "the patch's own output is above; it is in var/log/poolpatch/patches of the host too",
	xenapi.CodePatchApplyFailedBackupFilesExist:          "an earlier attempt left its backup files on the host: look at them, then remove them",
	xenapi.CodePatchPrecheckFailedPrerequisiteMissing:    "apply the patches with these UUIDs first: poolpatch patch list",
	xenapi.CodePatchPrecheckFailedWrongServerVersion:     "poolpatch host list shows the hosts' versions",
	xenapi.CodePatchPrecheckFailedWrongServerBuild:       "poolpatch host list shows the hosts' versions",
	xenapi.CodePatchTrustUnreadable:                      "mend the file or remove it; poolpatch key list on the host shows them all",
	xenapi.CodeInvalidPatchWithLog:                       "poolpatch hotfix info FILE runs the same test on your machine",
	xenapi.CodeVDIInUse:                                  "poolpatch task list shows what uses it",
	xenapi.CodeOtherOperationInProgress:                  "poolpatch task list shows what is in progress",
	xenapi.CodeTaskCancelled:                             "somebody cancelled it; nothing is left of it",
	xenapi.CodeSRHasPBD:                                  "poolpatch pbd list --sr SR; unplug them first",
	xenapi.CodeSRHasNoPBDs:                               "poolpatch pbd list, then poolpatch pbd plug PBD",
	xenapi.CodeSRNotEmpty:                                "poolpatch vdi list --sr SR shows what is on it; poolpatch sr forget SR leaves it there",
	xenapi.CodeSRUnknownDriver:                           "the driver is --type: file is a directory",
	xenapi.CodeDefaultSRNotFound:                         "poolpatch sr default SR",
	xenapi.CodeHostIsLive:                                "poolpatch pool eject HOST",
	xenapi.CodePoolHostsNotHomogeneous:                   "poolpatch pool join --force, then poolpatch pool level HOST brings it what it lacks",
	xenapi.CodePoolJoiningHostCannotContainSharedSRs:     "poolpatch pbd list; poolpatch pbd unplug PBD of the shared SR, on this host",
	xenapi.CodePoolJoiningHostMustHaveSameProductVersion: "install the pool's version here: poolpatch host list shows it there",
	xenapi.CodeHostOffline:                               "poolpatch host list",
	xenapi.CodeCannotContactHost:                         "poolpatch host list",
	xenapi.CodeInternalError:                             "journalctl -u poolpatch shows the daemon's log, by the id above",
}

// hint finds what helps against an error; "" when nothing is known to.
func (c *cli) hint(cmd *cobra.Command, err error, code int) string {
	if h, ok := errors.AsType[hinted](err); ok {
		return h.hint
	}
	if code == exitUsage {
		return cmd.CommandPath() + " --help"
	}
	if code == exitUnreachable {
		return c.unreachableHint(err)
	}
	if _, cut := errors.AsType[*client.BrokenTransfer](err); cut {
		return "nothing is left of it: start again; journalctl -u poolpatch on the host says why it was cut off"
	}
	e, ok := errors.AsType[*xenapi.Error](err)
	if !ok {
		return ""
	}
	switch {
	case e.Code == xenapi.CodeInvalidPatch:
		return invalidPatchHint(strings.Join(e.Params, " "))
	case e.Code == xenapi.CodePatchApplyFailed && strings.HasPrefix(strings.Join(e.Params, " "), "interrupted:"):
		return "look at the host, and at what the program printed: var/log/poolpatch/patches there; then poolpatch patch apply UUID --host HOST"
	}
	return hints[e.Code]
}

// invalidPatchHint goes by the reason, which is a sentence.
func invalidPatchHint(reason string) string {
	switch {
	case strings.Contains(reason, "signed by key"), strings.Contains(reason, "trusts no key"):
		return "poolpatch key list shows the keys that this host trusts"
	case strings.Contains(reason, "not signed"):
		return "poolpatch hotfix sign FILE --key KEY, or gpg --sign FILE"
	case strings.Contains(reason, "cut off"), strings.Contains(reason, "too early"), strings.Contains(reason, "empty"):
		return "the file is not whole: fetch it again"
	}
	return "poolpatch hotfix verify FILE runs the same test on your machine"
}

// unreachableHint is for a connection that could not be made, or that has broken.
func (c *cli) unreachableHint(err error) string {
	switch {
	case c.server == "":
		return "systemctl status poolpatch; what was begun is undone when the daemon starts, but for a patch's program that runs"
	case strings.Contains(err.Error(), "certificate"):
		return "--ca-file FILE trusts the pool's certificate: etc/poolpatch/tls.crt on the host"
	}
	return "is the daemon running there, and does its --https name this address?"
}
