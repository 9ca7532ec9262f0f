// Package srtest is the conformance suite of SR drivers: what every implementation of the contract in
// internal/storage obeys, the ones for tests included.
//
// A driver's test calls [Run] with a fixture. The suite tests the contract alone; how a driver lays its images
// out, what it refuses as device_config and which faults of its backing store it classifies is tested beside it.
// The package also mounts small file systems for such tests: [XFS], [Ext4], [Tmpfs].
//
// Invariant: when a test ends, nothing that it made is left, mounts included; what a killed one left, the next
// one removes.
//
// Start with [Fixture], then [Run], which names the rules.
package srtest
