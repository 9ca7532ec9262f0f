package clients

import (
	"strings"
	"testing"

	"poolpatch/test/harness"
)

// python drives the standard library of Python: XML-RPC and HTTP as they come.
func python(t *testing.T, d *harness.Daemon) {
	program := &harness.Program{Guidance: "restartXAPI", Tail: strings.Repeat("p", 3<<20)}
	file := signed(t, program)[0]
	drive(t, "python3", "python/mission.py", "https://"+d.Address(), d.Socket(), harness.Password, program.UUID, file)
	ran(t, d, program)
}

// pythonUpdates drives the standard library of Python as a client does that knows no pool_patch.
func pythonUpdates(t *testing.T, d *harness.Daemon) {
	program := &harness.Program{Guidance: "restartHost", Tail: strings.Repeat("u", 3<<20)}
	file := signed(t, program)[0]
	drive(t, "python3", "python/update.py", "https://"+d.Address(), harness.Password, program.UUID, file)
	ran(t, d, program)
}
