package xenapi

// Repository is a place from which the pool fetches patches by itself.
type Repository struct {
	UUID            string           `json:"uuid" xenapi:"runtime,since=1.301.0"`
	NameLabel       string           `json:"name_label" xenapi:"RW,role=pool-operator,since=1.301.0"`
	NameDescription string           `json:"name_description" xenapi:"RW,role=pool-operator,since=1.301.0"`
	BinaryURL       string           `json:"binary_url" xenapi:"constructor,since=1.301.0"`
	SourceURL       string           `json:"source_url" xenapi:"constructor,since=1.301.0"`
	Update          bool             `json:"update" xenapi:"constructor,since=1.301.0"`
	Hash            string           `json:"hash" xenapi:"runtime,since=1.301.0"`
	UpToDate        bool             `json:"up_to_date" xenapi:"runtime,since=1.301.0"`
	GPGKeyPath      string           `json:"gpgkey_path" xenapi:"runtime,since=22.12.0"`
	Origin          RepositoryOrigin `json:"origin" xenapi:"runtime,since=24.23.0" default:"remote"`

	// Serial is that of the newest index that was synced: an older one is not taken any more.
	Serial int64 `json:"serial" xenapi:"internal"`
	// Fingerprint is the SHA-256 of the JSON text of the index with that serial number, also when Hash was forgotten.
	Fingerprint string `json:"fingerprint" xenapi:"internal"`
	// Patches are the UUIDs that the index lists, in the order of application.
	Patches []string `json:"patches" xenapi:"internal"`
}

// Class names the XenAPI class.
func (Repository) Class() string { return "Repository" }

// Secret is a word that the pool needs and only who runs the pool may read.
type Secret struct {
	UUID        string            `json:"uuid" xenapi:"runtime,since=midnight-ride"`
	Value       string            `json:"value" xenapi:"RW,role=pool-operator,since=midnight-ride,required"`
	OtherConfig map[string]string `json:"other_config" xenapi:"RW,role=pool-operator,since=midnight-ride"`
}

// Class names the XenAPI class.
func (Secret) Class() string { return "secret" }
