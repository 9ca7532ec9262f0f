package xenapi

// PoolPatch is a patch that the pool knows: what its info said, where its content is (M2: a VDI, or a
// legacy file on the coordinator), and on which hosts it is applied.
type PoolPatch struct {
	UUID               string               `json:"uuid" xenapi:"runtime,since=rio"`
	NameLabel          string               `json:"name_label" xenapi:"constructor,since=rio"`
	NameDescription    string               `json:"name_description" xenapi:"constructor,since=rio"`
	Version            string               `json:"version" xenapi:"constructor,since=miami"`
	Size               int64                `json:"size" xenapi:"runtime,since=miami"`
	PoolApplied        bool                 `json:"pool_applied" xenapi:"runtime,since=miami"`
	HostPatches        []Ref[HostPatch]     `json:"host_patches" xenapi:"runtime,since=miami,inverse=host_patch.pool_patch"`
	AfterApplyGuidance []AfterApplyGuidance `json:"after_apply_guidance" xenapi:"runtime,since=miami"`
	PoolUpdate         Ref[PoolUpdate]      `json:"pool_update" xenapi:"constructor,since=ely"`
	OtherConfig        map[string]string    `json:"other_config" xenapi:"RW,role=pool-operator,since=miami"`
	VDI                Ref[VDI]             `json:"VDI" xenapi:"runtime,since=patches-in-vdis"`

	// Filename is the legacy file below /var/patch; clean keeps it.
	Filename string `json:"filename" xenapi:"internal"`
	// ImageDigest is the content digest of the VDI (docs/image-digest.md), taken when the patch was
	// written; a copy that has another one is not mounted.
	ImageDigest string `json:"image_digest" xenapi:"internal"`
	// Digest is the digest of the signed file, computed as that of an image with its bytes (docs/image-digest.md): two
	// uploads are the same patch when it is equal.
	Digest string `json:"digest" xenapi:"internal"`
	// Signer is the fingerprint of the key that signed the file.
	Signer string `json:"signer" xenapi:"internal"`
	// Claims are the operations that run on the patch now, by the task that runs them.
	Claims map[Ref[Task]]PatchClaim `json:"claims" xenapi:"internal"`
}

// PatchClaim is one operation on a patch and the host that it concerns ("" is every host).
type PatchClaim struct {
	Operation string    `json:"operation"`
	Host      Ref[Host] `json:"host"`
	// Update is the one by which the patch was called; null where it was called itself.
	Update Ref[PoolUpdate] `json:"update,omitempty"`
}

// Class names the XenAPI class.
func (PoolPatch) Class() string { return "pool_patch" }
