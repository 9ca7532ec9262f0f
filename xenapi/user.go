package xenapi

// User is a local user.
type User struct {
	UUID        string            `json:"uuid" xenapi:"runtime,since=rio"`
	ShortName   string            `json:"short_name" xenapi:"constructor,since=rio,required"`
	Fullname    string            `json:"fullname" xenapi:"RW,role=pool-admin,since=rio,required"`
	OtherConfig map[string]string `json:"other_config" xenapi:"RW,role=pool-admin,since=orlando"`

	// PasswordHash is the hash that internal/auth made of the password.
	PasswordHash string `json:"password_hash" xenapi:"internal,secret"`
	// Role was the user's role before the user's subject had it: it is moved there when a daemon starts.
	Role string `json:"role" xenapi:"internal"`
}

// Class names the XenAPI class.
func (User) Class() string { return "user" }
