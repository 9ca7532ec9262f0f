// Package harness runs the real poolpatch for the tests in test/: it builds the binary once per test run,
// starts daemons below fresh directories, signs patches with gpg, makes small file systems for SRs, and
// looks at the machine from outside to see whether something was left behind.
//
// It is no place for what a test claims: a test says that itself. And it is nothing for tests of one
// package, which have fakes.
//
// Its invariant: everything that it starts, mounts or makes ends with the test that asked for it, and with
// the test process at the latest. Daemons are killed with their parent, mounts are in a namespace of the
// test process, and directories that a killed run left are removed by the next one.
//
// Start with [Main], [Start] and [Daemon.Leftovers].
package harness
