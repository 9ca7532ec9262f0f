package xenapi

import "time"

// Session is a logged-in caller. Its ref is the secret that the caller shows.
type Session struct {
	UUID              string            `json:"uuid" xenapi:"runtime,since=rio"`
	ThisHost          Ref[Host]         `json:"this_host" xenapi:"runtime,since=rio"`
	ThisUser          Ref[User]         `json:"this_user" xenapi:"runtime,since=rio"`
	LastActive        time.Time         `json:"last_active" xenapi:"runtime,since=rio"`
	Pool              bool              `json:"pool" xenapi:"runtime,since=rio"`
	OtherConfig       map[string]string `json:"other_config" xenapi:"RW,role=pool-admin,since=miami"`
	IsLocalSuperuser  bool              `json:"is_local_superuser" xenapi:"runtime,since=george"`
	Subject           Ref[Subject]      `json:"subject" xenapi:"runtime,since=george"`
	ValidationTime    time.Time         `json:"validation_time" xenapi:"runtime,since=george"`
	AuthUserSID       string            `json:"auth_user_sid" xenapi:"runtime,since=george"`
	AuthUserName      string            `json:"auth_user_name" xenapi:"runtime,since=midnight-ride"`
	RBACPermissions   []string          `json:"rbac_permissions" xenapi:"constructor,since=midnight-ride"`
	Tasks             []Ref[Task]       `json:"tasks" xenapi:"runtime,since=midnight-ride,inverse=task.session"`
	Parent            Ref[Session]      `json:"parent" xenapi:"constructor,since=midnight-ride"`
	Originator        string            `json:"originator" xenapi:"runtime,since=clearwater"`
	ClientCertificate bool              `json:"client_certificate" xenapi:"runtime,since=21.2.0"`

	// Role is the strongest role of the session's user; the local superuser has none and may do everything.
	Role string `json:"role" xenapi:"internal"`
	// Kind tells the limits that apply: one of internal/auth's kinds.
	Kind string `json:"kind" xenapi:"internal"`
	// Shown is the chain of certificates that opened the session, without the last, in PEM, the client's own first; "" where it was
	// no certificate. The session ends with what it rests on.
	Shown string `json:"shown" xenapi:"internal"`
	// ValidUntil is when the first of the chain's certificates expires.
	ValidUntil time.Time `json:"valid_until" xenapi:"internal"`
	// Subjects are those that let a user of a directory in: the user's own, and those of the user's groups.
	Subjects []Ref[Subject] `json:"subjects" xenapi:"internal"`
}

// Class names the XenAPI class.
func (Session) Class() string { return "session" }
