package main

import (
	"errors"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"poolpatch/docs"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// forAuthors begins the advice of docs/errors.md that nobody at a command line can follow.
const forAuthors = "For authors of clients:"

var link = regexp.MustCompile(`\[[^\]]*\]\(([^)]*)\)`)

// advice is what docs/errors.md says of a code that helps; "" where it has nothing for who sits at a command line.
func advice(code string) string {
	for row := range strings.Lines(docs.Errors) {
		cells := strings.Split(strings.Trim(row, "| \n"), " | ")
		if len(cells) == 4 && cells[0] == "`"+code+"`" && !strings.HasPrefix(cells[3], forAuthors) {
			return link.ReplaceAllString(strings.ReplaceAll(cells[3], "`", ""), "docs/$1")
		}
	}
	return ""
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
	case e.Code == xenapi.CodeHostHasNoPatchSR && strings.Contains(strings.Join(e.Params, " "), noSR):
		return "poolpatch sr create NAME --device-config location=DIR makes one"
	case e.Code == xenapi.CodePatchApplyFailed && strings.HasPrefix(strings.Join(e.Params, " "), "interrupted:"):
		return "look at the host, and at what the program printed: var/log/poolpatch/patches there; then poolpatch patch apply UUID --host HOST"
	}
	return advice(e.Code)
}

// noSR is the refusal of a host that sees no SR at all.
const noSR = "the host has no PBD of any SR"

// invalidPatchHint goes by the reason, which is a sentence.
func invalidPatchHint(reason string) string {
	switch {
	case strings.Contains(reason, "VDI is not what was uploaded"):
		return "poolpatch vdi destroy VDI, the one that poolpatch patch show UUID names; then poolpatch patch upload FILE"
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
