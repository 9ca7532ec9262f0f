package hotfix

import (
	"errors"
	"fmt"
	"strings"

	"poolpatch/xenapi"
)

var (
	//lint:ignore ST1005 clients know the text as it is
	errMalformed = errors.New("Unknown error code or malformed xml")
	//lint:ignore ST1005 clients know the text as it is
	errPrerequisites = errors.New("Malformed prerequisite list")
)

type patchRef = xenapi.Ref[xenapi.PoolPatch]

// form makes a precheck's error of the XML that describes it.
type form func(patch patchRef, e *element) (*xenapi.Error, error)

// forms are the errors that a precheck can report, by the errorcode of its XML (facts, section 7).
var forms = map[string]form{
	xenapi.CodePatchPrecheckFailedUnknownError:        infoForm(xenapi.ErrPatchPrecheckFailedUnknownError),
	xenapi.CodePatchPrecheckFailedISOMounted:          infoForm(xenapi.ErrPatchPrecheckFailedISOMounted),
	xenapi.CodePatchPrecheckFailedPrerequisiteMissing: prerequisiteForm,
	xenapi.CodePatchPrecheckFailedWrongServerVersion:  foundForm(xenapi.ErrPatchPrecheckFailedWrongServerVersion),
	xenapi.CodePatchPrecheckFailedWrongServerBuild:    foundForm(xenapi.ErrPatchPrecheckFailedWrongServerBuild),
	xenapi.CodePatchPrecheckFailedOutOfSpace:          foundForm(xenapi.ErrPatchPrecheckFailedOutOfSpace),
	xenapi.CodePatchPrecheckFailedVMRunning: func(patch patchRef, _ *element) (*xenapi.Error, error) {
		return xenapi.ErrPatchPrecheckFailedVMRunning(patch), nil
	},
}

// infoForm reads <error errorcode="…"><info>text</info></error>, and nothing more.
func infoForm(make func(patchRef, string) *xenapi.Error) form {
	return func(patch patchRef, e *element) (*xenapi.Error, error) {
		text, ok := infoText(e)
		if !ok {
			return nil, errMalformed
		}
		return make(patch, text), nil
	}
}

func infoText(e *element) (string, bool) {
	if len(e.children) != 1 || e.children[0].name != "info" || len(e.text) != 0 {
		return "", false
	}
	return e.children[0].content()
}

// foundForm reads the children found and required, in any order.
func foundForm(make func(patch patchRef, found, required string) *xenapi.Error) form {
	return func(patch patchRef, e *element) (*xenapi.Error, error) {
		found, ok1 := e.child("found")
		required, ok2 := e.child("required")
		if !ok1 || !ok2 {
			return nil, errMalformed
		}
		return make(patch, found, required), nil
	}
}

// prerequisiteForm reads any number of <prerequisite uuid="…"/>.
func prerequisiteForm(patch patchRef, e *element) (*xenapi.Error, error) {
	var uuids []string
	for _, c := range e.children {
		uuid, ok := c.attrs["uuid"]
		if c.name != "prerequisite" || len(c.attrs) != 1 || !ok {
			return nil, errPrerequisites
		}
		uuids = append(uuids, uuid)
	}
	return xenapi.ErrPatchPrecheckFailedPrerequisiteMissing(patch, strings.Join(uuids, ";")), nil
}

// precheckError says what a precheck reported that ended with exit code 1: one of the forms, or
// INVALID_PATCH_WITH_LOG when its output is none of them.
func precheckError(patch patchRef, output []byte) error {
	e, err := parseXML(output)
	if err != nil {
		return xenapi.ErrInvalidPatchWithLog("error parsing patch precheck xml: " + err.Error()).Because(printed(output))
	}
	code, ok := errorCode(e)
	read := forms[code]
	if !ok || read == nil {
		return xenapi.ErrInvalidPatchWithLog(errMalformed.Error()).Because(printed(output))
	}
	reported, err := read(patch, e)
	if err != nil {
		return xenapi.ErrInvalidPatchWithLog(err.Error()).Because(printed(output))
	}
	return reported
}

// errorCode reads the one attribute of the element error.
func errorCode(e *element) (string, bool) {
	code, ok := e.attrs["errorcode"]
	return code, ok && e.name == "error" && len(e.attrs) == 1
}

// printed is the cause of an error whose parameters cannot carry the program's output.
func printed(output []byte) error {
	const limit = 4 << 10
	if len(output) > limit {
		output = output[:limit]
	}
	return fmt.Errorf("the program printed %q", output)
}
