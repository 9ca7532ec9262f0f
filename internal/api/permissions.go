package api

import (
	"context"
	"maps"
	"slices"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

type roleRef = xenapi.Ref[xenapi.Role]

// HandlerRoles are the permissions of the handlers that move bytes, each with the lowest role that has it.
var HandlerRoles = map[string]string{
	"http/put_pool_patch_upload":   xenapi.RolePoolOperator,
	"http/get_pool_patch_download": xenapi.RolePoolOperator,
	"http/put_import_raw_vdi":      xenapi.RoleVMAdmin,
	"http/get_export_raw_vdi":      xenapi.RoleVMAdmin,
	"http/get_host_rrd":            xenapi.RoleReadOnly,
	"http/get_sr_rrd":              xenapi.RoleReadOnly,
	"http/get_rrd_updates":         xenapi.RoleReadOnly,
	"http/get_system_status":       xenapi.RolePoolOperator,
}

// anyTask is the permission to touch what tasks other users have.
const anyTask, anyTaskRole = "task.destroy/any", xenapi.RolePoolOperator

// permissions says what the static roles allow, by the names that RBAC_PERMISSION_DENIED gives. A permission is a role
// too (facts, section 2): one without subroles. The static roles are rows of the database; the permissions follow from the
// method table, so they are found by their refs, UUIDs and names, and not listed among the rows.
type permissions struct {
	lowest map[string]string // by permission, the lowest role that has it
	names  map[roleRef]string
}

func newPermissions(table map[string]*method) permissions {
	p := permissions{maps.Clone(HandlerRoles), map[roleRef]string{}}
	p.lowest[anyTask] = anyTaskRole
	for name, m := range table {
		if !m.sig.NoSession {
			p.lowest[strings.ToLower(name)] = m.sig.Role
		}
	}
	for field, keys := range keyRoles {
		class, name, _ := strings.Cut(field, ".")
		for key, role := range keys {
			p.lowest[keyPermission(class, "add_to_"+name, key)] = role
			p.lowest[keyPermission(class, "remove_from_"+name, key)] = role
		}
	}
	// What the local superuser alone may do is no role's.
	maps.DeleteFunc(p.lowest, func(_, role string) bool { return len(xenapi.RolesWith(role)) == 0 })
	for name := range p.lowest {
		p.names[xenapi.RoleRef(name)] = name
	}
	return p
}

func keyPermission(class, message, key string) string {
	return strings.ToLower(class + "." + message + "/key:" + key)
}

// of lists what a static role allows, in order; nothing for what is none.
func (p permissions) of(role string) []string {
	names := []string{}
	for name, lowest := range p.lowest {
		if slices.Contains(xenapi.RolesWith(lowest), role) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// record is a permission as a role.
func (p permissions) record(ref string) (xenapi.Role, bool) {
	name, ok := p.names[roleRef(ref)]
	if !ok {
		return xenapi.Role{}, false
	}
	return xenapi.Role{UUID: xenapi.RoleUUID(name), NameLabel: name, NameDescription: "A single permission", IsInternal: true}, true
}

// byUUID is the permission with a UUID.
func (p permissions) byUUID(uuid string) (string, bool) {
	for ref, name := range p.names {
		if xenapi.RoleUUID(name) == strings.ToLower(uuid) {
			return ref.String(), true
		}
	}
	return "", false
}

// label is the name of a role or a permission.
func (a *API) roleLabel(ref roleRef) (label string, err error) {
	return label, a.view(func(tx *db.Tx) error {
		rec, err := a.record(tx, xenapi.ClassOf[xenapi.Role](), string(ref))
		if err == nil {
			label = rec.(xenapi.Role).NameLabel
		}
		return err
	})
}

func (a *API) roleGetPermissionNames(_ context.Context, _ *call, self roleRef) ([]string, error) {
	label, err := a.roleLabel(self)
	return a.permissions.of(label), err
}

func (a *API) roleGetPermissions(ctx context.Context, c *call, self roleRef) ([]roleRef, error) {
	names, err := a.roleGetPermissionNames(ctx, c, self)
	return roleRefs(names), err
}

// roleByPermissionName lists the static roles that have a permission, strongest first.
func (a *API) roleByPermissionName(_ context.Context, _ *call, label string) ([]roleRef, error) {
	lowest, ok := a.permissions.lowest[strings.ToLower(label)]
	if !ok {
		return []roleRef{}, nil
	}
	return roleRefs(xenapi.RolesWith(lowest)), nil
}

func (a *API) roleByPermission(ctx context.Context, c *call, permission roleRef) ([]roleRef, error) {
	label, err := a.roleLabel(permission)
	if err != nil {
		return nil, err
	}
	return a.roleByPermissionName(ctx, c, label)
}

func roleRefs(names []string) []roleRef {
	refs := make([]roleRef, len(names))
	for i, name := range names {
		refs[i] = xenapi.RoleRef(name)
	}
	return refs
}
