package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"poolpatch/internal/durable"
	"poolpatch/xenapi"
)

const (
	// maxInitiator is how long the name of an iSCSI node may be, in bytes (RFC 3720, section 3.2.6.1).
	maxInitiator = 223
	// maxInitiatorFile bounds what is read of the file that has it.
	maxInitiatorFile = 64 << 10
	initiatorKey     = "InitiatorName="
)

// initiator is the name of an iSCSI node: an iqn., eui. or naa. name (RFC 3720, RFC 3980).
var initiator = regexp.MustCompile(`^(iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[A-Za-z0-9._:-]+)?|eui\.[0-9A-Fa-f]{16}|naa\.([0-9A-Fa-f]{16}|[0-9A-Fa-f]{32}))$`)

// Initiator is the name of this host among iSCSI nodes; "" where it has none.
func (m *Machine) Initiator() (string, error) {
	lines, err := m.initiatorLines()
	if err != nil {
		return "", err
	}
	for _, line := range lines {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), initiatorKey); ok {
			return name, nil
		}
	}
	return "", nil
}

// SetInitiator gives this host another name among iSCSI nodes. An iscsid that runs learns it at its next start: sessions that it has keep the
// name that they were made under. Errors: INVALID_VALUE.
func (m *Machine) SetInitiator(name string) error {
	if len(name) > maxInitiator || !initiator.MatchString(name) {
		return xenapi.ErrInvalidValue("value", name)
	}
	lines, err := m.initiatorLines()
	if err != nil {
		return err
	}
	named := false
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), initiatorKey) {
			lines[i], named = initiatorKey+name, true
		}
	}
	if !named {
		lines = append(lines, initiatorKey+name)
	}
	file := m.options.Initiator
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("directory of iSCSI: %w", err)
	}
	return durable.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (m *Machine) initiatorLines() ([]string, error) {
	info, err := os.Stat(m.options.Initiator)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && (info.Size() > maxInitiatorFile || !info.Mode().IsRegular()) {
		err = errors.New("it is no file of a few lines")
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(m.options.Initiator)
	}
	if err != nil {
		return nil, fmt.Errorf("name among iSCSI nodes in %s: %w", m.options.Initiator, err)
	}
	if len(text) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), nil
}
