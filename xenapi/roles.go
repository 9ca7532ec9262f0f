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

// RoleClientCert is what a session may do that a certificate has opened. It is nobody's to give, so it is not one of Roles.
const RoleClientCert = "client-cert"

// RoleLocalRoot stands where a message is for the local superuser alone: no role includes it.
const RoleLocalRoot = "local-root-only"

// Roles lists the static roles, strongest first.
func Roles() []string {
	return []string{RolePoolAdmin, RolePoolOperator, RoleVMPowerAdmin, RoleVMAdmin, RoleVMOperator, RoleReadOnly}
}

// RolesWith lists the roles that satisfy the lowest role allowed, strongest first. The table also
// writes "pool-operator+client-cert" for what a client certificate may besides. Such a client may read what everybody may.
func RolesWith(lowest string) []string {
	base, besides, _ := strings.Cut(lowest, "+")
	i := slices.Index(Roles(), base)
	with := Roles()[:i+1]
	switch {
	case base == RoleReadOnly:
		return slices.Insert(with, i, RoleClientCert)
	case besides == RoleClientCert:
		return append(with, RoleClientCert)
	}
	return with
}

// RoleUUID is the fixed UUID of a role or permission: the MD5 of its name.
func RoleUUID(name string) string { return NamedUUID(name) }

// RoleRef is the fixed reference of a role.
func RoleRef(name string) Ref[Role] { return Ref[Role](refPrefix + RoleUUID(name)) }
