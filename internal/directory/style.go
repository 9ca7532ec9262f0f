package directory

// namePlace is where a name belongs in a filter.
const namePlace = "%s"

// style is what the entries of a kind of directory look like.
type style struct {
	user  string // filter that finds a user by name
	group string // filter that finds a group by name
	// groups is true of every group that counts.
	groups string
	// name has the short name of a user, or of a group.
	name       []string
	attributes []string
}

// styles are those of Active Directory, and of OpenLDAP and its kin (RFC 2307, with groups of names as well as of users).
var styles = map[string]style{
	AD: {
		user:   "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName=%s)(userPrincipalName=%s)))",
		group:  "(|(sAMAccountName=%s)(cn=%s))",
		groups: "(&(objectClass=group)(groupType:1.2.840.113556.1.4.803:=2147483648))", // security groups, by the bit
		name:   []string{"sAMAccountName", "cn"},
		attributes: []string{
			"objectClass", "objectSid", "sAMAccountName", "userPrincipalName", "displayName", "cn", "primaryGroupID",
			"userAccountControl", "msDS-User-Account-Control-Computed", "accountExpires",
		},
	},
	LDAP: {
		user:   "(uid=%s)",
		group:  "(cn=%s)",
		groups: "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))",
		name:   []string{"uid", "cn"},
		attributes: []string{
			"objectClass", "entryUUID", "uid", "displayName", "cn", "gidNumber",
			"shadowExpire", "nsAccountLock", "pwdAccountLockedTime",
		},
	},
}
