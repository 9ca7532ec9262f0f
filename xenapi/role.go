package xenapi

// Role is a set of permissions that a session may have.
type Role struct {
	UUID            string      `json:"uuid" xenapi:"runtime,since=rio"`
	NameLabel       string      `json:"name_label" xenapi:"constructor,since=midnight-ride"`
	NameDescription string      `json:"name_description" xenapi:"constructor,since=midnight-ride"`
	Subroles        []Ref[Role] `json:"subroles" xenapi:"constructor,since=midnight-ride"`
	IsInternal      bool        `json:"is_internal" xenapi:"runtime,since=22.5.0"`
}

// Class names the XenAPI class.
func (Role) Class() string { return "role" }
