package directory_test

import (
	"crypto/tls"
	"encoding/binary"
	"testing"

	"poolpatch/internal/directory"
	"poolpatch/internal/directory/ldaptest"
)

const (
	domain = "example.com"
	base   = "dc=example,dc=com"
	reader = "cn=reader," + base
	annID  = "0d3fbc2e-5c1a-103e-8f5d-1b2c3d4e5f60"
)

type attributes = map[string][]string

// unix is a directory as OpenLDAP has them: ann is in staff by name, in ops by way of staff, in wheel by her user name, in
// users by her number.
func unix() []ldaptest.Entry {
	group := func(name, class string, more attributes) ldaptest.Entry {
		more["objectClass"], more["cn"], more["entryUUID"] = []string{class}, []string{name}, []string{groupID(name)}
		return ldaptest.Entry{DN: "cn=" + name + ",ou=groups," + base, Attributes: more}
	}
	return []ldaptest.Entry{
		{DN: base, Attributes: attributes{"objectClass": {"domain"}}},
		{DN: reader, Password: "secret"},
		{DN: "uid=ann,ou=people," + base, Password: "a", Attributes: attributes{
			"objectClass": {"inetOrgPerson", "posixAccount"}, "uid": {"ann"}, "cn": {"Ann Other"}, "entryUUID": {annID}, "gidNumber": {"100"},
		}},
		{DN: "uid=bob,ou=people," + base, Password: "b", Attributes: attributes{
			"objectClass": {"inetOrgPerson"}, "uid": {"bob"}, "entryUUID": {"0d3fbc2e-5c1a-103e-8f5d-1b2c3d4e5f61"},
		}},
		{DN: "uid=eve@else.where,ou=people," + base, Password: "e", Attributes: attributes{"objectClass": {"inetOrgPerson"}, "uid": {"eve@else.where"}}},
		group("staff", "groupOfNames", attributes{"member": {"uid=ann,ou=people," + base}}),
		group("ops", "groupOfUniqueNames", attributes{"uniqueMember": {"cn=staff,ou=groups," + base}}),
		group("ring", "groupOfNames", attributes{"member": {"cn=ops,ou=groups," + base, "cn=ring,ou=groups," + base}}),
		group("wheel", "posixGroup", attributes{"memberUid": {"ann"}, "gidNumber": {"10"}}),
		group("users", "posixGroup", attributes{"gidNumber": {"100"}}),
		group("others", "groupOfNames", attributes{"member": {"uid=bob,ou=people," + base}}),
	}
}

// groupID is the entryUUID of a group.
func groupID(name string) string {
	return map[string]string{
		"staff": "10000000-0000-4000-8000-000000000001", "ops": "10000000-0000-4000-8000-000000000002", "ring": "10000000-0000-4000-8000-000000000003",
		"wheel": "10000000-0000-4000-8000-000000000004", "users": "10000000-0000-4000-8000-000000000005", "others": "10000000-0000-4000-8000-000000000006",
	}[name]
}

// sid is S-1-5-21-1-2-3-N in binary.
func sid(n uint32) string {
	b := []byte{1, 5, 0, 0, 0, 0, 0, 5}
	for _, part := range []uint32{21, 1, 2, 3, n} {
		b = binary.LittleEndian.AppendUint32(b, part)
	}
	return string(b)
}

// windows is a directory as Active Directory has them: ann is in staff, in ops by way of staff, in users by her primary group,
// and in all by way of that; mail is no security group.
func windows(control attributes) []ldaptest.Entry {
	group := func(name string, n uint32, kind string, members ...string) ldaptest.Entry {
		return ldaptest.Entry{DN: "CN=" + name + "," + base, Attributes: attributes{
			"objectClass": {"top", "group"}, "cn": {name}, "sAMAccountName": {name}, "groupType": {kind}, "member": members, "objectSid": {sid(n)},
		}}
	}
	const security, distribution = "-2147483646", "2"
	ann := attributes{
		"objectClass": {"top", "person", "user"}, "objectCategory": {"person"}, "sAMAccountName": {"ann"}, "userPrincipalName": {"ann.other@example.com"},
		"cn": {"Ann (Other)"}, "displayName": {"Ann Other"}, "objectSid": {sid(1001)}, "primaryGroupID": {"513"}, "userAccountControl": {"512"},
	}
	for name, values := range control {
		ann[name] = values
	}
	return []ldaptest.Entry{
		{DN: base, Attributes: attributes{"objectClass": {"domain"}}},
		{DN: "CN=reader," + base, Password: "secret", Attributes: attributes{"userPrincipalName": {"reader@example.com"}}},
		{DN: "CN=Ann (Other)," + base, Password: "a", Attributes: ann},
		group("staff", 2001, security, "CN=Ann (Other),"+base),
		group("ops", 2002, security, "CN=staff,"+base),
		group("users", 513, security),
		group("all", 2003, security, "CN=users,"+base),
		group("mail", 2004, distribution, "CN=Ann (Other),"+base),
	}
}

// at makes the directory of a server, and of others.
func at(t *testing.T, kind, servers string, trust *tls.Config, more ...string) *directory.Directory {
	t.Helper()
	config := map[string]string{"servers": servers, "user": reader, "pass": "secret"}
	if kind == directory.AD {
		config["user"] = "reader"
	}
	for i := 0; i < len(more); i += 2 {
		config[more[i]] = more[i+1]
	}
	c, err := directory.Parse(kind, domain, config)
	if err != nil {
		t.Fatal(err)
	}
	return directory.New(c, func() *tls.Config { return trust })
}
