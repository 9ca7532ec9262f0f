package repository_test

import (
	"fmt"
	"iter"
	"maps"
	"os"
	"strings"
	"testing"

	"poolpatch/internal/repository"
)

func values[K comparable, V any](m map[K]V) iter.Seq[V] { return maps.Values(m) }

func touch(t testing.TB, name string) {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestIndexes: what docs/repository.md allows is read, all else is refused.
func TestIndexes(t *testing.T) {
	t.Parallel()
	sum, uuid := strings.Repeat("0a", 32), uuidOf(1)
	patch := func(file string, size int64, sum, uuid string) string {
		return fmt.Sprintf(`{"file":%q,"size":%d,"sha256":%q,"uuid":%q}`, file, size, sum, uuid)
	}
	index := func(patches ...string) string {
		return `{"format":"poolpatch-repository","version":1,"serial":1,"patches":[` + strings.Join(patches, ",") + `]}`
	}
	many := make([]string, repository.MaxPatches+1)
	for i := range many {
		many[i] = patch(fmt.Sprintf("p%d", i), 1, sum, fmt.Sprintf("3fa85f64-5717-4562-b3fc-%012d", i))
	}
	for what, c := range map[string]struct{ text, says string }{
		"empty":            {index(), ""},
		"one":              {index(patch("a-1_~.gpg", 1, sum, uuid)), ""},
		"as many as go":    {index(many[1:]...), ""},
		"too many":         {index(many...), "more than 1000"},
		"not JSON":         {"#!/bin/sh", "not the JSON"},
		"unknown field":    {strings.Replace(index(), `"serial"`, `"expires":1,"serial"`, 1), "not the JSON"},
		"something after":  {index() + "{}", "follows"},
		"other format":     {strings.Replace(index(), "-repository", "-x", 1), "is no index"},
		"other version":    {strings.Replace(index(), `"version":1`, `"version":2`, 1), "version 2"},
		"no serial":        {strings.Replace(index(), `"serial":1`, `"serial":0`, 1), "serial number 0"},
		"huge serial":      {strings.Replace(index(), `"serial":1`, `"serial":9007199254740992`, 1), "serial number"},
		"path":             {index(patch("../a", 1, sum, uuid)), "file name"},
		"directory":        {index(patch("a/b", 1, sum, uuid)), "file name"},
		"escape":           {index(patch("%2e%2e", 1, sum, uuid)), "file name"},
		"dot":              {index(patch(".a", 1, sum, uuid)), "file name"},
		"query":            {index(patch("a?b", 1, sum, uuid)), "file name"},
		"the index itself": {index(patch(repository.IndexName, 1, sum, uuid)), "file name"},
		"long name":        {index(patch(strings.Repeat("a", 256), 1, sum, uuid)), "file name"},
		"no size":          {index(patch("a", 0, sum, uuid)), "0 bytes"},
		"short digest":     {index(patch("a", 1, sum[1:], uuid)), "SHA-256"},
		"capital digest":   {index(patch("a", 1, strings.ToUpper(sum), uuid)), "SHA-256"},
		"capital UUID":     {index(patch("a", 1, sum, strings.ToUpper(uuid))), "UUID"},
		"file twice":       {index(patch("a", 1, sum, uuid), patch("a", 1, sum, uuidOf(2))), "twice"},
		"patch twice":      {index(patch("a", 1, sum, uuid), patch("b", 1, sum, uuid)), "twice"},
	} {
		_, err := repository.ParseIndex([]byte(c.text))
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
}

// What is written is read as the same, also where there is nothing to list.
func TestIndexText(t *testing.T) {
	t.Parallel()
	for _, entries := range [][]repository.Entry{nil, {entry(1, "a", []byte("x"))}} {
		x, err := repository.NewIndex(3, entries)
		if err != nil {
			t.Fatal(err)
		}
		text, err := x.Text()
		if err != nil {
			t.Fatal(err)
		}
		got, err := repository.ParseIndex(text)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(x) {
			t.Errorf("%s is read as %v, %v", text, got, err)
		}
	}
	if _, err := repository.NewIndex(0, nil); err == nil {
		t.Error("an index without a serial number")
	}
}
