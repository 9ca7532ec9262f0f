package hotfix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"poolpatch/internal/sandbox"
	"poolpatch/xenapi"
)

// How long the calls may take when Env does not say.
const (
	DefaultInfoDeadline     = 1 * time.Minute
	DefaultPrecheckDeadline = 10 * time.Minute
	DefaultApplyDeadline    = 6 * time.Hour
)

// Env is what a program is run with.
type Env struct {
	Root     string        // of the host's file system that the patch changes; POOLPATCH_ROOT
	Scratch  string        // working directory and TMPDIR; "" is where the program was extracted
	Deadline time.Duration // of the call; 0 is its default
	Log      io.Writer     // gets the output as it comes; nil for none
}

const (
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	home       = "/root"
)

// vars is the whole environment, apart from the sandbox's mark.
func (e Env) vars() []string {
	return []string{"PATH=" + searchPath, "HOME=" + home, "LANG=C", "TMPDIR=" + e.Scratch, "POOLPATCH_ROOT=" + e.Root}
}

// run calls the program. An error is one that the program cannot be blamed for, or not as this call's result.
func (v Verified) run(ctx context.Context, call string, deadline time.Duration, e Env) (sandbox.Result, error) {
	path, err := v.executable()
	if err != nil {
		return sandbox.Result{}, err
	}
	if e.Deadline > 0 {
		deadline = e.Deadline
	}
	if e.Scratch == "" {
		e.Scratch = filepath.Dir(path)
	}
	r, err := sandbox.Run(ctx, sandbox.Command{
		Path: path, Args: []string{call}, Env: e.vars(), Dir: e.Scratch,
		Deadline: deadline, Log: e.Log,
	})
	switch {
	case errors.Is(err, syscall.ENOENT):
		// The file is there: what is missing is its interpreter, named with a carriage return more often than not.
		return r, xenapi.ErrInvalidPatchWithLog("Bad line endings?").Because(err)
	case errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.EACCES):
		return r, xenapi.ErrInvalidPatch("the signed file is not a program that this host can execute").Because(err)
	case err != nil:
		return r, fmt.Errorf("run the patch's %s: %w", call, err)
	}
	return r, nil
}

// RunInfo asks the program what it is. Errors: INVALID_PATCH, INVALID_PATCH_WITH_LOG, INTERNAL_ERROR.
func RunInfo(ctx context.Context, v Verified, e Env) (Info, error) {
	r, err := v.run(ctx, "info", DefaultInfoDeadline, e)
	switch {
	case err != nil:
		return Info{}, err
	case r.TimedOut:
		return Info{}, xenapi.ErrInvalidPatchWithLog("the patch's info " + ended(r)).Because(printed(r.Output))
	case r.ExitCode == 2:
		return Info{}, xenapi.ErrInvalidPatchWithLog("Bad line endings?").Because(printed(r.Output))
	case r.ExitCode != 0:
		return Info{}, xenapi.ErrInternalError("the patch's info " + ended(r)).Because(printed(r.Output))
	}
	return ParseInfo(r.Output)
}

// Precheck asks the program whether it can be applied, and gives what it printed. Errors: the
// PATCH_PRECHECK_FAILED family, INVALID_PATCH_WITH_LOG.
func Precheck(ctx context.Context, v Verified, e Env, patch xenapi.Ref[xenapi.PoolPatch]) (string, error) {
	r, err := v.run(ctx, "precheck", DefaultPrecheckDeadline, e)
	switch {
	case err != nil:
		return "", err
	case r.TimedOut || r.ExitCode != 0 && r.ExitCode != 1:
		text := fmt.Sprintf("Error running prechecks on patch %s: %s", patch, r.Output)
		if r.TimedOut || r.Signal != 0 {
			text = fmt.Sprintf("Error running prechecks on patch %s: %s", patch, withEnd("it "+ended(r), r.Output))
		}
		return "", xenapi.ErrPatchPrecheckFailedUnknownError(patch, text).Because(errors.New("the patch's precheck " + ended(r)))
	case r.ExitCode == 1:
		return "", precheckError(patch, r.Output)
	}
	return string(r.Output), nil
}

// backupMark is what patches print when an earlier attempt's backup files stand in their way.
const backupMark = "Backup files already present"

// ErrTorn is in the chain of an apply's error when the program did not end by itself: nobody knows how far it came.
var ErrTorn = errors.New("the patch's apply was ended by force")

// Apply has the program change the host, and gives what it printed. Errors: PATCH_APPLY_FAILED,
// PATCH_APPLY_FAILED_BACKUP_FILES_EXIST, INTERNAL_ERROR when the program reports backup files in another form
// than the contract's; with ErrTorn when the program did not end by itself.
func Apply(ctx context.Context, v Verified, e Env) (string, error) {
	r, err := v.run(ctx, "apply", DefaultApplyDeadline, e)
	switch {
	case ctx.Err() == nil && xenapi.CodeOf(err) != "":
		return "", err // it was not started
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrTorn, err)
	case r.TimedOut || r.Signal != 0:
		return "", xenapi.ErrPatchApplyFailed(withEnd("the patch's apply "+ended(r), r.Output)).Because(ErrTorn)
	case r.ExitCode == 0:
		return string(r.Output), nil
	case strings.Contains(string(r.Output), backupMark):
		return "", backupError(r.Output)
	}
	return "", xenapi.ErrPatchApplyFailed(string(r.Output)).Because(errors.New("the patch's apply " + ended(r)))
}

// withEnd says how a program ended before what it printed, which may be nothing.
func withEnd(how string, output []byte) string {
	if len(output) == 0 {
		return how
	}
	return how + ": " + string(output)
}

// backupError reads the form of PATCH_PRECHECK_FAILED_UNKNOWN_ERROR that such a patch prints.
func backupError(output []byte) error {
	e, err := parseXML(output)
	if err == nil {
		code, ok := errorCode(e)
		if text, isText := infoText(e); ok && isText && code == xenapi.CodePatchPrecheckFailedUnknownError {
			return xenapi.ErrPatchApplyFailedBackupFilesExist(text)
		}
	}
	return xenapi.ErrInternalError("the patch found backup files of an earlier attempt, and reported them in an unknown form").Because(printed(output))
}

// ended says how a program ended.
func ended(r sandbox.Result) string {
	switch {
	case r.TimedOut:
		return "did not end in time"
	case r.Signal != 0:
		return "was ended by signal " + r.Signal.String()
	}
	return fmt.Sprintf("ended with exit code %d", r.ExitCode)
}
