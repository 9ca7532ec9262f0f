// Package docs holds the pages that the program itself quotes, so that what it says and what they say is one text. It is for
// nothing else; start with errors.md.
package docs

import _ "embed"

// Errors is errors.md: a table row of each error, whose last cell says what to do.
//
//go:embed errors.md
var Errors string
