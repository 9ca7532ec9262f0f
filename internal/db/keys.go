package db

import "strings"

// The layout of the store; docs/database.md is its specification.
const (
	prefix       = "/poolpatch/"
	schemaKey    = prefix + "schema"
	identityKey  = prefix + "identity"
	rowPrefix    = prefix + "row/"
	uuidPrefix   = prefix + "uuid/"
	tablePrefix  = prefix + "table/"
	commitPrefix = prefix + "commit/"
)

// SchemaVersion is the layout that this program reads and writes.
const SchemaVersion = 1

func rowKey(class, ref string) string   { return rowPrefix + class + "/" + ref }
func uuidKey(class, uuid string) string { return uuidPrefix + class + "/" + uuid }
func tableKey(class string) string      { return tablePrefix + class }

// splitKey takes a key apart that has the class and a name behind kind. Names may contain slashes,
// classes never do.
func splitKey(key, kind string) (class, name string, ok bool) {
	rest, ok := strings.CutPrefix(key, kind)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}
