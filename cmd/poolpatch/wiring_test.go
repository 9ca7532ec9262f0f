package main

import (
	"regexp"
	"slices"
	"testing"
)

// harmless are fields that only sound secret.
var harmless = []string{
	"trust.trusted",                                                                                                                                 // certificates
	"trust_followed.trusted",                                                                                                                        // a digest of those
	"trust_followed.signer", "pool_update.key", "pool.repository_proxy_password", "pool.telemetry_uuid", "host.last_update_hash", "Repository.hash", // references, and names
}

// TestNothingSecretIsReplicated: a field that opens doors is marked so, or its class is left out of what is written to SRs.
func TestNothingSecretIsReplicated(t *testing.T) {
	t.Parallel()
	sounds := regexp.MustCompile(`(?i)secret|passw|hash|private|\.key$|token|trust|authority|^next$|credential`)
	marked := 0
	for _, table := range tables() {
		class := table.Class()
		for _, f := range class.Fields {
			name := class.Name + "." + f.Name
			if f.Secret {
				marked++
			}
			if sounds.MatchString(name) && !f.Secret && !slices.Contains(guarded, class.Name) && !slices.Contains(harmless, name) {
				t.Errorf("%s sounds secret, and is written to SRs: mark it, or say that it is harmless", name)
			}
		}
	}
	if marked < 5 {
		t.Errorf("only %d fields are marked as secret", marked)
	}
}
