package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

// kind says how objects of a class are named on the command line.
type kind[T xenapi.Object] struct {
	noun, plural string // in messages
	list         string // the command that lists them
	uuid         func(T) string
	name         func(T) string
	// byName: the name is as good as the UUID.
	byName bool
}

var (
	patches = kind[xenapi.PoolPatch]{"patch", "patches", "poolpatch patch list",
		func(r xenapi.PoolPatch) string { return r.UUID }, func(r xenapi.PoolPatch) string { return r.NameLabel }, false}
	vdis = kind[xenapi.VDI]{"VDI", "VDIs", "poolpatch vdi list",
		func(r xenapi.VDI) string { return r.UUID }, func(r xenapi.VDI) string { return r.NameLabel }, false}
	srs = kind[xenapi.SR]{"SR", "SRs", "poolpatch sr list",
		func(r xenapi.SR) string { return r.UUID }, func(r xenapi.SR) string { return r.NameLabel }, true}
	pbds = kind[xenapi.PBD]{"PBD", "PBDs", "poolpatch pbd list",
		func(r xenapi.PBD) string { return r.UUID }, func(xenapi.PBD) string { return "" }, false}
	hosts = kind[xenapi.Host]{"host", "hosts", "poolpatch host list",
		func(r xenapi.Host) string { return r.UUID }, func(r xenapi.Host) string { return r.NameLabel }, true}
	users = kind[xenapi.User]{"user", "users", "poolpatch user list",
		func(r xenapi.User) string { return r.UUID }, func(r xenapi.User) string { return r.ShortName }, true}
	tasks = kind[xenapi.Task]{"task", "tasks", "poolpatch task list",
		func(r xenapi.Task) string { return r.UUID }, func(r xenapi.Task) string { return r.NameLabel }, false}
)

// object is a record and its reference.
type object[T xenapi.Object] struct {
	Ref xenapi.Ref[T]
	Rec T
}

// all gives the objects of a class by reference.
func all[T xenapi.Object](ctx context.Context, p *client.Client) (map[xenapi.Ref[T]]T, error) {
	return client.Call[map[xenapi.Ref[T]]T](ctx, p, classOf[T]()+".get_all_records")
}

func classOf[T xenapi.Object]() string {
	var t T
	return t.Class()
}

// sorted gives the objects of a class in the order of their names, then UUIDs.
func (k kind[T]) sorted(records map[xenapi.Ref[T]]T) []object[T] {
	var list []object[T]
	for ref := range maps.Keys(records) {
		list = append(list, object[T]{ref, records[ref]})
	}
	slices.SortFunc(list, func(a, b object[T]) int {
		return cmp.Or(cmp.Compare(k.name(a.Rec), k.name(b.Rec)), cmp.Compare(k.uuid(a.Rec), k.uuid(b.Rec)))
	})
	return list
}

// find gives the one object that a word of the command line names: by its UUID in either case, by the
// beginning of it, or by its name where names are taken.
func (k kind[T]) find(ctx context.Context, p *client.Client, word string) (object[T], error) {
	records, err := all[T](ctx, p)
	if err != nil {
		return object[T]{}, err
	}
	return k.pick(k.sorted(records), word)
}

func (k kind[T]) pick(list []object[T], word string) (object[T], error) {
	var named, begun []object[T]
	for _, o := range list {
		switch {
		case word == "":
		case strings.EqualFold(k.uuid(o.Rec), word):
			return o, nil
		case k.byName && k.name(o.Rec) == word:
			named = append(named, o)
		case strings.HasPrefix(k.uuid(o.Rec), strings.ToLower(word)):
			begun = append(begun, o)
		}
	}
	if len(named) > 0 {
		begun = named // a name is exact, the beginning of a UUID a guess
	}
	switch len(begun) {
	case 1:
		return begun[0], nil
	case 0:
		return object[T]{}, hinted{fmt.Errorf("there is no %s %q", k.noun, word), k.list}
	}
	text := fmt.Sprintf("%q could be %d %s:", word, len(begun), k.plural)
	for _, o := range begun {
		text += fmt.Sprintf("\n       %s  %s", k.uuid(o.Rec), oneLine(k.name(o.Rec)))
	}
	return object[T]{}, hinted{fmt.Errorf("%s", text), "write more of the UUID"}
}

// reference is find for whom the record does not matter.
func (k kind[T]) reference(ctx context.Context, p *client.Client, word string) (xenapi.Ref[T], error) {
	o, err := k.find(ctx, p, word)
	return o.Ref, err
}

// label names an object that a record refers to, for a column of a table.
func (k kind[T]) label(records map[xenapi.Ref[T]]T, ref xenapi.Ref[T]) string {
	rec, ok := records[ref]
	switch {
	case ref.IsNull():
		return "-"
	case !ok:
		return "(gone)"
	case k.byName && k.name(rec) != "":
		return k.name(rec)
	}
	return k.uuid(rec)
}

// onHost gives the host that a command is for: the one that is named, else the only one, else the one
// whose unix socket the command came through.
func (c *cli) onHost(ctx context.Context, p *client.Client, word string) (object[xenapi.Host], error) {
	records, err := all[xenapi.Host](ctx, p)
	if err != nil {
		return object[xenapi.Host]{}, err
	}
	list := hosts.sorted(records)
	switch {
	case word != "":
		return hosts.pick(list, word)
	case len(list) == 1:
		return list[0], nil
	case c.server != "":
		return object[xenapi.Host]{}, hinted{usagef("the pool has %d hosts: --host says which", len(list)), hosts.list}
	}
	here, err := client.Call[xenapi.Ref[xenapi.Host]](ctx, p, "session.get_this_host", p.Session())
	return object[xenapi.Host]{Ref: here, Rec: records[here]}, err
}
