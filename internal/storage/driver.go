package storage

import (
	"context"
	"errors"
	"os"
	"time"

	"poolpatch/xenapi"
)

// Driver makes and attaches SRs of one type. It knows neither the database nor other hosts.
type Driver interface {
	// Describe says what the driver's SM record shows.
	Describe() Description
	// Create makes an empty SR. An SR that is already there and is this one (same UUID) is success;
	// another one is SR_DEVICE_IN_USE.
	Create(ctx context.Context, cfg Config) error
	// Attach makes an SR usable on this host. It probes what the SR can do.
	Attach(ctx context.Context, cfg Config) (SR, error)
}

// Prober is a driver that can tell which SR is at a place.
type Prober interface {
	// Probe gives the UUID of the SR that is there, "" when there is none.
	Probe(ctx context.Context, deviceConfig map[string]string) (uuid string, err error)
}

// Drivers is the driver table: SR type, in lower case, to driver.
type Drivers map[string]Driver

// Config says which SR, and how this host reaches it.
type Config struct {
	UUID         string
	DeviceConfig map[string]string // of the PBD
	Shared       bool
}

// Description is what a driver tells of itself.
type Description struct {
	Name, Text, Vendor, Copyright, Version string
	// Configuration names the device_config keys that the driver reads, each with a sentence.
	Configuration map[string]string
	// Features are the most that an SR of the type can do; see [SR.Capabilities] for what one does.
	Features Capabilities
}

// SR is an attached SR. Its methods may be called at the same time for different images; the caller
// serialises what concerns one image. Every change is on stable storage when the method returns, and a
// crash within a method leaves either nothing or something that Destroy of the same location removes.
//
// A full SR is SR_FULL, a location that is not there is ErrNoImage, a file system that reports
// an error is VDI_IO_ERROR.
type SR interface {
	// Capabilities says what this SR can do; it does not change while the SR is attached.
	Capabilities() Capabilities
	// Space says how large the SR is and how much of it is used.
	Space(ctx context.Context) (Space, error)
	// List finds every image on the SR, complete or not, in order of location. One that is damaged hides no other.
	List(ctx context.Context) ([]Image, error)
	// Create makes an image of zeroes. It may round the size up, and says so in what it returns.
	Create(ctx context.Context, img Image) (Image, error)
	// Clone makes an image with the content that another one has now, without copying it. Only with VDI_CLONE.
	Clone(ctx context.Context, from string, img Image) (Image, error)
	// Destroy removes an image and whatever a crash left of it; nothing there is success.
	Destroy(ctx context.Context, location string) error
	// Resize grows an image; what is added reads as zeroes. An attached image may be grown too.
	Resize(ctx context.Context, location string, size int64) (Image, error)
	// Describe replaces what is remembered of an image besides its content and size. Content whose description
	// is missing or damaged is a whole image again.
	Describe(ctx context.Context, img Image) error
	// Open gives the content: a regular file or block device of the image's size. The caller closes it.
	Open(ctx context.Context, location string, mode Mode) (*os.File, error)
	// Detach ends the use of the SR on this host.
	Detach(ctx context.Context) error
	// Wipe removes the SR itself, which must hold no image, and detaches it.
	Wipe(ctx context.Context) error
}

// Reducer is an SR that can replace the content of an image that nobody has open. An SR that implements it has
// VDI_CONFIG_CBT.
type Reducer interface {
	// Reduce replaces all of an image's content, and so its size, rounded up. A crash leaves the old content or the new.
	Reduce(ctx context.Context, location string, content []byte) (Image, error)
}

// Mode says what an image is opened for.
type Mode int

// The modes. The zero mode is the harmless one.
const (
	ReadOnly Mode = iota
	ReadWrite
)

// Image is a VDI as its SR remembers it: enough to rebuild the record after the database was lost.
type Image struct {
	Location string `json:"location"` // names the image within the SR
	UUID     string `json:"uuid"`
	Size     int64  `json:"virtual_size"` // bytes
	Used     int64  `json:"-"`            // bytes that it takes on the SR
	// Temporary marks an image that a task owns: a copy, or an upload that is not complete. A scan
	// makes no record of it.
	Temporary bool `json:"temporary,omitempty"`
	// Incomplete marks what a crash left of an image that was never made or is half destroyed. Its
	// UUID and Location are set all the same.
	Incomplete bool `json:"-"`
	// Vanished marks an incomplete image whose content is gone while its description is still there. No
	// method leaves one so: somebody has removed the content.
	Vanished bool `json:"-"`
	// Damaged says, of an incomplete image whose description cannot be understood, what is wrong with it and where it is.
	Damaged string `json:"-"`

	NameLabel       string            `json:"name_label"`
	NameDescription string            `json:"name_description"`
	Type            xenapi.VDIType    `json:"type"`
	CBTEnabled      bool              `json:"cbt_enabled,omitempty"`
	Sharable        bool              `json:"sharable,omitempty"`
	ReadOnly        bool              `json:"read_only,omitempty"`
	IsASnapshot     bool              `json:"is_a_snapshot,omitempty"`
	SnapshotOf      string            `json:"snapshot_of,omitempty"` // UUID
	SnapshotTime    time.Time         `json:"snapshot_time,omitzero"`
	OtherConfig     map[string]string `json:"other_config,omitempty"`
	SMConfig        map[string]string `json:"sm_config,omitempty"`
	// Digest is the content digest, "" when it is not known.
	Digest string `json:"digest,omitempty"`
}

// Space is an SR's size in bytes. A thin SR may promise more in virtual sizes than it has.
type Space struct {
	Size, Used int64
}

// Free is what is left.
func (s Space) Free() int64 { return s.Size - s.Used }

// Capabilities says what a driver or an SR can do. Zero is nothing.
type Capabilities struct {
	Create, Delete, Resize, ResizeOnline bool
	Clone, Snapshot                      bool
	CBT                                  bool // changed block tracking; the SR is a Reducer
	ThinProvisioning                     bool
}

// Names lists the capabilities in XenAPI's words.
func (c Capabilities) Names() []string {
	names := []string{"SR_ATTACH", "SR_CREATE", "SR_DELETE", "SR_DETACH", "SR_PROBE", "SR_SCAN", "SR_UPDATE"}
	for _, able := range []struct {
		name string
		can  bool
	}{
		{"THIN_PROVISIONING", c.ThinProvisioning},
		{"VDI_ATTACH", true},
		{"VDI_CLONE", c.Clone},
		{"VDI_CONFIG_CBT", c.CBT},
		{"VDI_CREATE", c.Create},
		{"VDI_DELETE", c.Delete},
		{"VDI_DETACH", true},
		{"VDI_INTRODUCE", true},
		{"VDI_RESIZE", c.Resize},
		{"VDI_RESIZE_ONLINE", c.ResizeOnline},
		{"VDI_SNAPSHOT", c.Snapshot},
		{"VDI_UPDATE", true},
	} {
		if able.can {
			names = append(names, able.name)
		}
	}
	return names
}

// ErrNoImage is a driver's word for an image that is not on the SR: drivers know no refs, so the caller
// makes VDI_MISSING of it.
var ErrNoImage = errors.New("no such image on the SR")
