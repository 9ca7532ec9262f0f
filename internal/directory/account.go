package directory

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// Account is a user or a group of the directory.
type Account struct {
	// Identifier is what stays when the name changes: a SID, an entryUUID, or where there is none the distinguished name.
	Identifier  string
	Name        string // NAME@DOMAIN
	DisplayName string
	Principal   string // Active Directory's userPrincipalName
	IsGroup     bool
	Groups      []string // their identifiers: all, also those that a group is in; nil where nobody asked

	// Why the account must not come in.
	Disabled, Expired, Locked, PasswordExpired bool
}

// Suspended says why the account must not come in, "" when it may.
func (a Account) Suspended() string {
	switch {
	case a.Disabled:
		return "The account is disabled"
	case a.Expired:
		return "The account has expired"
	case a.Locked:
		return "The account is locked"
	case a.PasswordExpired:
		return "The account's password has expired"
	}
	return ""
}

// Bits of userAccountControl and msDS-User-Account-Control-Computed (MS-ADTS 2.2.16, 3.1.1.4.5.17).
const (
	uacDisabled        = 0x2
	uacLocked          = 0x10
	uacPasswordExpired = 0x800000
)

// account reads an entry.
func (c Config) account(e *ldap.Entry, now time.Time) Account {
	a := Account{Identifier: c.identifier(e), DisplayName: value(e, "displayName"), Principal: value(e, "userPrincipalName"), IsGroup: isGroup(e)}
	for _, attribute := range styles[c.Type].name {
		if a.Name = value(e, attribute); a.Name != "" {
			break
		}
	}
	if a.Name != "" && !strings.Contains(a.Name, "@") {
		a.Name += "@" + c.Domain
	}
	if a.DisplayName == "" {
		a.DisplayName = value(e, "cn")
	}
	switch {
	case a.IsGroup: // no group logs in
	case c.Type == AD:
		readControl(&a, e, now)
	default:
		readShadow(&a, e, now)
	}
	return a
}

func isGroup(e *ldap.Entry) bool {
	return slices.ContainsFunc(e.GetEqualFoldAttributeValues("objectClass"), func(class string) bool {
		return slices.ContainsFunc([]string{"group", "groupOfNames", "groupOfUniqueNames", "posixGroup"}, func(g string) bool { return strings.EqualFold(g, class) })
	})
}

func readControl(a *Account, e *ldap.Entry, now time.Time) {
	control, computed := number(e, "userAccountControl"), number(e, "msDS-User-Account-Control-Computed")
	a.Disabled = control&uacDisabled != 0
	a.Locked = computed&uacLocked != 0
	a.PasswordExpired = computed&uacPasswordExpired != 0
	// 0 and the greatest number are never; otherwise units of 100 ns since 1601.
	const ticks, unixEpoch = 10_000_000, 11_644_473_600
	if expires := number(e, "accountExpires"); expires > 0 {
		a.Expired = expires/ticks-unixEpoch <= now.Unix()
	}
}

// lockedForGood is the time of pwdAccountLockedTime that only somebody who administers the directory sets. Where it is another
// one, the directory knows when it is over, and refuses until then.
const lockedForGood = "000001010000Z"

func readShadow(a *Account, e *ldap.Entry, now time.Time) {
	a.Disabled = strings.EqualFold(value(e, "nsAccountLock"), "true")
	a.Locked = value(e, "pwdAccountLockedTime") == lockedForGood
	if days := value(e, "shadowExpire"); days != "" {
		const day = 24 * 60 * 60
		expires := number(e, "shadowExpire")
		a.Expired = expires >= 0 && expires*day <= now.Unix() // -1 is never
	}
}

// identifier is what a subject of the pool is known by.
func (c Config) identifier(e *ldap.Entry) string {
	if c.Type == AD {
		return sidText(e.GetEqualFoldRawAttributeValue("objectSid"))
	}
	if uuid := value(e, "entryUUID"); uuid != "" {
		return strings.ToLower(uuid)
	}
	return normalDN(e.DN)
}

// normalDN is a distinguished name in the one form that it has here.
func normalDN(dn string) string {
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return strings.ToLower(dn)
	}
	return strings.ToLower(parsed.String())
}

func value(e *ldap.Entry, attribute string) string { return e.GetEqualFoldAttributeValue(attribute) }

func number(e *ldap.Entry, attribute string) int64 {
	n, _ := strconv.ParseInt(value(e, attribute), 10, 64)
	return n
}

// A SID in binary is a revision, the number of its parts, an authority of six bytes and the parts (MS-DTYP 2.4.2.2).
const (
	sidHead  = 8
	sidParts = 15
)

func sidText(sid []byte) string {
	if len(sid) < sidHead || sid[0] != 1 || len(sid) != sidHead+4*int(sid[1]) {
		return ""
	}
	text := fmt.Sprintf("S-1-%d", uint64(binary.BigEndian.Uint16(sid[2:]))<<32|uint64(binary.BigEndian.Uint32(sid[4:])))
	for part := sid[sidHead:]; len(part) > 0; part = part[4:] {
		text += fmt.Sprintf("-%d", binary.LittleEndian.Uint32(part))
	}
	return text
}

// sidBytes is the binary form of a SID's text.
func sidBytes(text string) ([]byte, bool) {
	rest, ok := strings.CutPrefix(text, "S-1-")
	words := strings.Split(rest, "-")
	if !ok || len(words) < 2 || len(words) > sidParts+1 {
		return nil, false
	}
	authority, err := strconv.ParseUint(words[0], 10, 48)
	if err != nil {
		return nil, false
	}
	sid := binary.BigEndian.AppendUint64(nil, authority)
	sid[0], sid[1] = 1, byte(len(words)-1)
	for _, word := range words[1:] {
		part, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return nil, false
		}
		sid = binary.LittleEndian.AppendUint32(sid, uint32(part))
	}
	return sid, true
}

// inDomain is the SID of which a user's differs in the last part alone: primaryGroupID is a part of such a one.
func inDomain(sid []byte, part int64) []byte {
	if len(sid) < sidHead+4 || part <= 0 {
		return nil
	}
	return binary.LittleEndian.AppendUint32(slices.Clone(sid[:len(sid)-4]), uint32(part))
}
