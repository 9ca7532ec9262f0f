package xenapi

// User is a record of class user.
type User struct {
	UUID        string            `json:"uuid" xenapi:"runtime,since=rio"`
	ShortName   string            `json:"short_name" xenapi:"constructor,since=rio"`
	Fullname    string            `json:"fullname" xenapi:"RW,role=pool-admin,since=rio"`
	OtherConfig map[string]string `json:"other_config" xenapi:"RW,role=pool-admin,since=orlando"`
}

// Class names the XenAPI class.
func (User) Class() string { return "user" }
