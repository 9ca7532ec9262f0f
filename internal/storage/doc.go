// Package storage is SRs, PBDs and VDIs: the SR driver contract, the life cycle of a VDI, and who uses
// which VDI on which host.
//
// Its invariants: a VDI row is written after the image is complete on its SR and removed after it is
// gone; until then the image belongs to a task (I2, I4). Nobody destroys, resizes or overwrites a VDI
// that is attached, and every attachment is a row of the database: a task's, or a VBD that is plugged.
//
// The package knows no patch and no HTTP. What is inside an image is internal/volume's business; how
// bytes are copied is internal/storage/image's; where they lie is a driver's (internal/storage/filesr).
// Start with driver.go, then vdi.go.
package storage
