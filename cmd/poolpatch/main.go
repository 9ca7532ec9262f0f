// Command poolpatch keeps a server pool's signed patches in disk images on shared storage and applies
// them on every host. "poolpatch serve" is the daemon of a host; every other verb talks to it over XenAPI.
//
// There is one file per verb; start with serve.go, whose function assemble wires the daemon.
package main

import (
	"os"
)

func main() {
	args := os.Args[1:]
	if startedAsXE(os.Args[0]) {
		args = append([]string{"xe"}, args...)
	}
	os.Exit(run(args, os.Stdin, os.Stdout, os.Stderr))
}
