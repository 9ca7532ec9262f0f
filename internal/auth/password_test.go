package auth

import (
	"strings"
	"testing"
)

func TestHash(t *testing.T) {
	t.Parallel()
	hash := hashPassword("s3cret")
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") || strings.Contains(hash, "s3cret") {
		t.Errorf("the hash is %s", hash)
	}
	if again := hashPassword("s3cret"); again == hash {
		t.Error("two hashes of one password are the same: the salt is not random")
	}
	// Of another cost than today's: a published vector of the reference implementation of Argon2.
	cheap := "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	for _, tt := range []struct {
		name, hash, password string
		want                 bool
	}{
		{"right", hash, "s3cret", true},
		{"wrong", hash, "s3cret ", false},
		{"empty password", hash, "", false},
		{"another cost", cheap, "password", true},
		{"another cost, wrong", cheap, "passwore", false},
		{"no hash", "", "", false},
		{"no hash, some password", "", "s3cret", false},
		{"other algorithm", strings.Replace(hash, "argon2id", "argon2i", 1), "s3cret", false},
		{"other version", strings.Replace(hash, "v=19", "v=16", 1), "s3cret", false},
		{"no parameters", strings.Replace(hash, "m=19456,t=2,p=1", "m", 1), "s3cret", false},
		{"salt that is no base64", strings.Replace(cheap, "c29tZXNhbHQ", "!", 1), "password", false},
		{"sum that is no base64", hash + "!", "s3cret", false},
		{"empty sum", hash[:strings.LastIndex(hash, "$")+1], "s3cret", false},
		{"something behind", hash + "$", "s3cret", false},
		{"plain text", "s3cret", "s3cret", false},
	} {
		if got := verifyPassword(tt.hash, tt.password); got != tt.want {
			t.Errorf("%s: verified %t, want %t", tt.name, got, tt.want)
		}
	}
}
