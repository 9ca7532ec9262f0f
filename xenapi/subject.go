package xenapi

// Subject is somebody whom the pool lets in, with the roles that say what for. Where users come from is another matter: here
// SubjectIdentifier is the name of one of the pool's own, or what the pool's directory knows a user or a group by.
type Subject struct {
	UUID              string            `json:"uuid" xenapi:"runtime,since=rio"`
	SubjectIdentifier string            `json:"subject_identifier" xenapi:"constructor,since=george"`
	OtherConfig       map[string]string `json:"other_config" xenapi:"constructor,since=george"`
	Roles             []Ref[Role]       `json:"roles" xenapi:"runtime,since=midnight-ride"`

	// External says that the subject is of the directory, not one of the pool's own users.
	External bool `json:"external" xenapi:"internal"`
}

// Class names the XenAPI class.
func (Subject) Class() string { return "subject" }
