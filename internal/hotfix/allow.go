package hotfix

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

const maxAllowFile = 1 << 20 // bytes

// AllowList is the set of unsigned programs that are patches all the same, by the SHA-256 of the file in
// lower-case hex. It is for the development of patches, and empty on a host in service.
type AllowList map[string]bool

// LoadAllowList reads a list: words of 64 hex digits, and comments from # to the end of the line. A file that
// does not exist, and the name "", are an empty list; one that is not understood is PATCH_TRUST_UNREADABLE.
func LoadAllowList(file string) (AllowList, error) {
	if file == "" {
		return nil, nil
	}
	data, err := readBounded(file, maxAllowFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unreadable(file, err)
	}
	list := AllowList{}
	for n, line := range strings.Split(string(data), "\n") {
		line, _, _ = strings.Cut(line, "#")
		for _, word := range strings.Fields(line) {
			if sum, err := hex.DecodeString(word); err != nil || len(sum) != 32 {
				return nil, unreadable(file, fmt.Errorf("line %d: %q is not a SHA-256", n+1, word))
			}
			list[strings.ToLower(word)] = true
		}
	}
	return list, nil
}
