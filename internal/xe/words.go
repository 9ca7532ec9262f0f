package xe

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// pair is a key=value of the command line, or of a map.
type pair struct{ key, value string }

// words is a command line. A word without a value is a key with an empty one.
type words struct {
	command string
	pairs   []pair
}

// shortOptions take the next word as their value.
var shortOptions = map[string]string{"-u": "username", "-pw": "password", "-s": "server", "-h": "server", "-p": "port"}

// parse reads the lines that a client sent. The session that it may show comes before the command.
func parse(lines []string) words {
	var w words
	for i := 0; i < len(lines); i++ {
		word := strings.TrimRight(lines[i], "\r")
		option, isOption := shortOptions[word]
		key, value, hasValue := strings.Cut(word, "=")
		switch {
		case isOption && i+1 < len(lines):
			i++
			w.pairs = append(w.pairs, pair{option, strings.TrimRight(lines[i], "\r")})
		case len(word) > 2 && strings.HasPrefix(word, "--") && hasValue:
			w.pairs = append(w.pairs, pair{key[2:], value})
		case len(word) > 2 && strings.HasPrefix(word, "--"):
			w.pairs = append(w.pairs, pair{word[2:], "true"})
		case hasValue:
			w.pairs = append(w.pairs, pair{key, value})
		case word == "":
		case w.command == "":
			w.command = word
		default:
			w.pairs = append(w.pairs, pair{word, ""})
		}
	}
	return w
}

// lookup finds the first value of a key.
func (w words) lookup(key string) (string, bool) {
	for _, p := range w.pairs {
		if p.key == key {
			return p.value, true
		}
	}
	return "", false
}

// text is the value of a key, or what it is when it was not given.
func (w words) text(key, otherwise string) string {
	if value, ok := w.lookup(key); ok {
		return value
	}
	return otherwise
}

// is reads a boolean, which is false when it was not given.
func (w words) is(key string) (bool, error) {
	value, ok := w.lookup(key)
	if !ok {
		return false, nil
	}
	return parseBool(key, value)
}

// has reports whether a switch such as --force is on.
func (w words) has(key string) bool {
	on, err := w.is(key)
	return on && err == nil
}

// entries are the key=value pairs of a map parameter: map:key=value, or map-key=value as older scripts write it.
func (w words) entries(name string) map[string]string {
	m := map[string]string{}
	for _, p := range w.pairs {
		if key, ok := entryOf(name, p.key); ok {
			m[key] = p.value
		}
	}
	return m
}

func entryOf(name, word string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(word, name)
	if !ok || len(rest) < 2 || rest[0] != ':' && rest[0] != '-' {
		return "", false
	}
	return rest[1:], true
}

// set has the elements of a set parameter: set:element.
func (w words) set(name string) (set []string) {
	for _, p := range w.pairs {
		if element, ok := entryOf(name, p.key); ok {
			set = append(set, element)
		}
	}
	return set
}

func parseBool(name, text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "t", "yes", "y", "1":
		return true, nil
	case "false", "f", "no", "n", "0":
		return false, nil
	}
	return false, failure(fmt.Sprintf("Failed to parse parameter '%s': expecting 'true' or 'false'", name))
}

// units are the suffixes of sizes: all of them powers of 1024.
var units = []struct {
	letter string
	shift  int
}{{"K", 10}, {"M", 20}, {"G", 30}, {"T", 40}}

// parseSize reads bytes, with a suffix such as KiB, KB or K.
func parseSize(name, text string) (int64, error) {
	number, shift := strings.TrimSpace(text), 0
	for _, u := range units {
		for _, suffix := range []string{u.letter + "iB", u.letter + "B", u.letter} {
			if rest, ok := strings.CutSuffix(number, suffix); ok && shift == 0 {
				number, shift = strings.TrimSpace(rest), u.shift
			}
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n != n<<shift>>shift {
		return 0, failure(fmt.Sprintf("Failed to parse parameter '%s': expecting an integer (possibly with suffix)", name))
	}
	return n << shift, nil
}

// reserved are words that say how a command runs, and so filter nothing.
var reserved = []string{"server", "password", "port", "username", "minimal", "force", "multiple", "all", "message-priority", "trace", "params", "session_id"}

func isReserved(key string) bool {
	return slices.Contains(reserved, key) || strings.HasPrefix(key, "database:")
}
