package xe

import (
	"context"
	"sync"
)

// action is what a command does.
type action func(ctx context.Context, r *run) error

// command is a row of the table of commands.
type command struct {
	name               string
	required, optional string // names of parameters, parted by spaces; NAME: is a map, <x-selectors> are filters
	help               string
	do                 action
	more               *extra
}

// extra is what few commands need.
type extra struct {
	deprecated string // what to use instead
	common     bool   // help shows it even when it is not asked for all
	anybody    bool   // it needs no session
}

// offered is a command as it is looked up.
type offered struct {
	name               string
	required, optional []string
	help               string
	do                 action
	extra
}

// catalogue is filled when a command is looked up first: help is one of them, and lists them.
var catalogue struct {
	once sync.Once
	all  map[string]offered
}

// commands are those of commands.go and those that each class has of itself, by name.
func commands() map[string]offered {
	catalogue.once.Do(func() {
		catalogue.all = map[string]offered{}
		for _, c := range declared() {
			catalogue.all[c.name] = offer(c)
		}
		for _, c := range classes {
			for _, derived := range derive(c) {
				catalogue.all[derived.name] = offer(derived)
			}
		}
	})
	return catalogue.all
}
