package patch

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"poolpatch/internal/hotfix"
	"poolpatch/xenapi"
)

// Verifier checks a signed file and extracts its program in one pass; [hotfix.Verifier] does.
type Verifier interface {
	Extract(ctx context.Context, patch io.Reader, dir hotfix.Directory) (hotfix.Verified, error)
	// ExtractImage is Extract of an image that begins with the signed file and goes on with zeroes.
	ExtractImage(ctx context.Context, image io.Reader, dir hotfix.Directory) (hotfix.Verified, error)
}

func (s *Service) runInfo(ctx context.Context, c content) (info hotfix.Info, err error) {
	err = s.runProgram(ctx, c, infoTimeout, nil, func(env hotfix.Env) (err error) {
		info, err = hotfix.RunInfo(ctx, c.program, env)
		return err
	})
	return info, err
}

func (s *Service) runPrecheck(ctx context.Context, ref xenapi.Ref[xenapi.PoolPatch], c content) (output string, err error) {
	log := s.openLog(ref, opPrecheck)
	defer log.Close()
	err = s.runProgram(ctx, c, precheckTimeout, log, func(env hotfix.Env) (err error) {
		output, err = hotfix.Precheck(ctx, c.program, env, ref)
		return err
	})
	return output, err
}

func (s *Service) runApply(ctx context.Context, ref xenapi.Ref[xenapi.PoolPatch], c content) (output string, err error) {
	log := s.openLog(ref, opApply)
	defer log.Close()
	err = s.runProgram(ctx, c, applyTimeout, log, func(env hotfix.Env) (err error) {
		output, err = hotfix.Apply(ctx, c.program, env)
		return err
	})
	return output, err
}

// openLog opens the file that keeps what a patch's program prints. Without it the program runs all the
// same: a full log disk must not keep a host from being patched.
func (s *Service) openLog(ref xenapi.Ref[xenapi.PoolPatch], op string) io.WriteCloser {
	name := fmt.Sprintf("%s-%s-%s.log", time.Now().UTC().Format("20060102T150405.000Z"), s.uuidOf(ref), op)
	file, err := os.OpenFile(filepath.Join(s.logs, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		s.log.Warn("output of a patch is not kept", "error", err)
		return discard{}
	}
	return file
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }
