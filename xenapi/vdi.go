package xenapi

import "time"

// VDI is a disk image on an SR.
type VDI struct {
	UUID                string                  `json:"uuid" xenapi:"runtime,since=rio"`
	NameLabel           string                  `json:"name_label" xenapi:"constructor,since=rio"`
	NameDescription     string                  `json:"name_description" xenapi:"constructor,since=rio"`
	AllowedOperations   []VDIOperation          `json:"allowed_operations" xenapi:"runtime,since=rio"`
	CurrentOperations   map[string]VDIOperation `json:"current_operations" xenapi:"runtime,since=rio"`
	SR                  Ref[SR]                 `json:"SR" xenapi:"constructor,since=rio,required"`
	VBDs                []Ref[VBD]              `json:"VBDs" xenapi:"runtime,since=rio,inverse=VBD.VDI"`
	CrashDumps          []Ref[Crashdump]        `json:"crash_dumps" xenapi:"runtime,since=rio"`
	VirtualSize         int64                   `json:"virtual_size" xenapi:"constructor,since=rio,required"`
	PhysicalUtilisation int64                   `json:"physical_utilisation" xenapi:"runtime,since=rio"`
	Type                VDIType                 `json:"type" xenapi:"constructor,since=rio,required"`
	Sharable            bool                    `json:"sharable" xenapi:"constructor,since=rio,required"`
	ReadOnly            bool                    `json:"read_only" xenapi:"constructor,since=rio,required"`
	OtherConfig         map[string]string       `json:"other_config" xenapi:"RW,role=vm-admin,since=rio,required"`
	StorageLock         bool                    `json:"storage_lock" xenapi:"runtime,since=rio"`
	Location            string                  `json:"location" xenapi:"runtime,since=miami"`
	Managed             bool                    `json:"managed" xenapi:"runtime,since=rio"`
	Missing             bool                    `json:"missing" xenapi:"runtime,since=rio"`
	Parent              Ref[VDI]                `json:"parent" xenapi:"runtime,since=rio,deprecated"`
	XenstoreData        map[string]string       `json:"xenstore_data" xenapi:"RW,role=vm-admin,since=miami"`
	SMConfig            map[string]string       `json:"sm_config" xenapi:"RW,role=vm-admin,since=miami"`
	IsASnapshot         bool                    `json:"is_a_snapshot" xenapi:"runtime,since=orlando"`
	SnapshotOf          Ref[VDI]                `json:"snapshot_of" xenapi:"runtime,since=orlando"`
	Snapshots           []Ref[VDI]              `json:"snapshots" xenapi:"runtime,since=orlando,inverse=VDI.snapshot_of"`
	SnapshotTime        time.Time               `json:"snapshot_time" xenapi:"runtime,since=orlando"`
	Tags                []string                `json:"tags" xenapi:"RW,role=vm-operator,since=orlando"`
	AllowCaching        bool                    `json:"allow_caching" xenapi:"runtime,since=cowley"`
	OnBoot              OnBoot                  `json:"on_boot" xenapi:"runtime,since=cowley" default:"persist"`
	MetadataOfPool      Ref[Pool]               `json:"metadata_of_pool" xenapi:"runtime,since=boston"`
	MetadataLatest      bool                    `json:"metadata_latest" xenapi:"runtime,since=boston"`
	IsToolsISO          bool                    `json:"is_tools_iso" xenapi:"runtime,since=dundee"`
	CBTEnabled          bool                    `json:"cbt_enabled" xenapi:"runtime,since=inverness"`

	// Digest is the content digest of the image (docs/image-digest.md), recorded when it was written by
	// poolpatch; "" when anyone else may have written to it.
	Digest string `json:"digest" xenapi:"internal"`
}

// Class names the XenAPI class.
func (VDI) Class() string { return "VDI" }
