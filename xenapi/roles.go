package xenapi

import (
	"slices"
	"strings"
)

// The static roles, strongest first; each includes the weaker ones.
const (
	RolePoolAdmin    = "pool-admin"
	RolePoolOperator = "pool-operator"
	RoleVMPowerAdmin = "vm-power-admin"
	RoleVMAdmin      = "vm-admin"
	RoleVMOperator   = "vm-operator"
	RoleReadOnly     = "read-only"
)

// RoleLocalRoot stands where a message is for the local superuser alone: no role includes it.
const RoleLocalRoot = "local-root-only"

// Roles lists the static roles, strongest first.
func Roles() []string {
	return []string{RolePoolAdmin, RolePoolOperator, RoleVMPowerAdmin, RoleVMAdmin, RoleVMOperator, RoleReadOnly}
}

// RolesWith lists the roles that satisfy the lowest role allowed, strongest first. The table also
// writes "pool-operator+client-cert" for a role that a client certificate has besides.
func RolesWith(lowest string) []string {
	base, _, _ := strings.Cut(lowest, "+")
	i := slices.Index(Roles(), base)
	return Roles()[:i+1]
}

// RoleUUID is the fixed UUID of a role or permission: the MD5 of its name.
func RoleUUID(name string) string { return NamedUUID(name) }

// RoleRef is the fixed reference of a role.
func RoleRef(name string) Ref[Role] { return Ref[Role](refPrefix + RoleUUID(name)) }
