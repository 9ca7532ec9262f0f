package xe_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"poolpatch/internal/api"
	"poolpatch/internal/xe"
)

// What a row of the tables sends is a message that the API has, and what it shows a field.
func TestTheTablesFitTheAPI(t *testing.T) {
	t.Parallel()
	known := api.New(api.Services{}, slog.New(slog.DiscardHandler)).Methods()
	for _, problem := range xe.Unfit(func(message string) bool { return slices.Contains(known, message) }) {
		t.Error(problem)
	}
	if problems := xe.Unfit(func(message string) bool { return !strings.HasPrefix(message, "VDI.set_") }); len(problems) == 0 {
		t.Error("missing messages are not noticed")
	}
}
