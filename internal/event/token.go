package event

import (
	"fmt"
	"hash/fnv"
	"strconv"

	"poolpatch/xenapi"
)

// position is how far a client has come: all commits up to a revision, and all events that were injected on this host up
// to a number.
type position struct {
	database int64 // a name of it
	revision int64
	injected int64
}

// The second number of a token is a name of the database and the number of injected events, ten decimals each.
const (
	injectedLimit = 10_000_000_000
	nameLimit     = 900_000_000 // so that the number fits into 63 bits
)

// tokenLength is that of two numbers of twenty decimals and a comma.
const tokenLength = 41

// token is a position as clients hold it. Later ones are greater, as text.
func (p position) token() string {
	return fmt.Sprintf("%020d,%020d", p.revision, p.database*injectedLimit+p.injected%injectedLimit)
}

// parseToken gives the position of a token. Errors: EVENT_FROM_TOKEN_PARSE_FAILURE.
func parseToken(text string) (position, error) {
	bad := xenapi.ErrEventFromTokenParseFailure(text)
	if len(text) != tokenLength || text[20] != ',' {
		return position{}, bad
	}
	first, ok := number(text[:20])
	second, also := number(text[21:])
	if !ok || !also {
		return position{}, bad
	}
	return position{database: second / injectedLimit, revision: first, injected: second % injectedLimit}, nil
}

// number reads decimals alone: no sign, no space.
func number(text string) (int64, bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err == nil
}

// nameOf makes a number of a database's identity.
func nameOf(identity string) int64 {
	h := fnv.New64a()
	h.Write([]byte(identity))
	return int64(h.Sum64() % nameLimit)
}
