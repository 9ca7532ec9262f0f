package api

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/patch"
	"poolpatch/internal/repository"
	"poolpatch/internal/storage"
	"poolpatch/xenapi"
)

// Classes whose objects are not listed to clients (facts, section 1): they call for the lists of all classes, whatever their role.
var unlisted = []string{"session", "user", "secret"}

// readers are the classes whose objects not everybody may read, by the lowest role that may.
var readers = map[string]string{"secret": xenapi.RolePoolOperator}

func readerOf(class string) string {
	if role, ok := readers[class]; ok {
		return role
	}
	return xenapi.RoleReadOnly
}

// roleClass is the class that has more objects than rows; see permissions.
const roleClass = "role"

// keyRoles are map keys that a weaker role than the map's own may write: clients keep notes there.
var keyRoles = map[string]map[string]string{
	"task.other_config": {
		"applies_to":                   xenapi.RoleVMOperator,
		"XenCenterUUID":                xenapi.RoleVMOperator,
		"XenCenterMeddlingActionTitle": xenapi.RoleVMOperator,
	},
}

// addImplicit derives the messages that every class has of itself.
func (a *API) addImplicit() {
	for _, class := range Classes() {
		a.addObjects(class)
		for _, f := range class.Fields {
			if f.Wire() {
				a.addField(class, f)
			}
		}
	}
}

type handler = func(ctx context.Context, c *call, args []reflect.Value) (any, error)

func (a *API) implicit(class *xenapi.Class, name, result, role string, params []xenapi.Param, types []reflect.Type, h handler) *method {
	m := &method{
		sig:    xenapi.Signature{Class: class.Name, Name: name, Params: params, Result: result, Role: role},
		params: types, handler: h, implicit: true,
	}
	a.table[m.sig.FullName()] = m
	return m
}

var (
	stringType = reflect.TypeFor[string]()
	refType    = reflect.TypeFor[xenapi.Ref[anyObject]]()
)

// anyObject stands for the class of a reference that only the table's row knows.
type anyObject struct{}

// Class is never asked for.
func (anyObject) Class() string { return "" }

func ref(v reflect.Value) string { return v.String() }

func self(class *xenapi.Class) xenapi.Param {
	return xenapi.Param{Name: "self", Type: class.Name + " ref"}
}

// addObjects adds the messages about whole objects.
func (a *API) addObjects(class *xenapi.Class) {
	name := class.Name
	read := readerOf(name)
	a.implicit(class, "get_record", name+" record", read, []xenapi.Param{self(class)}, []reflect.Type{refType},
		func(_ context.Context, c *call, args []reflect.Value) (any, error) {
			return inView(a, c, func(tx *db.Tx) (any, error) { return a.record(tx, class, ref(args[0])) })
		})
	a.implicit(class, "get_by_uuid", name+" ref", read, []xenapi.Param{{Name: "uuid", Type: "string"}}, []reflect.Type{stringType},
		func(_ context.Context, c *call, args []reflect.Value) (any, error) {
			return inView(a, c, func(tx *db.Tx) (any, error) {
				found, ok := tx.RefByUUID(name, args[0].String())
				if !ok && name == roleClass {
					found, ok = a.permissions.byUUID(args[0].String())
				}
				if !ok {
					return nil, xenapi.ErrUUIDInvalid(name, args[0].String())
				}
				return found, nil
			})
		})
	if slices.Contains(unlisted, name) {
		return
	}
	a.implicit(class, "get_all", name+" ref set", read, nil, nil,
		func(_ context.Context, c *call, _ []reflect.Value) (any, error) {
			return inView(a, c, func(tx *db.Tx) (any, error) { return tx.Refs(name), nil })
		})
	a.implicit(class, "get_all_records", "("+name+" ref -> "+name+" record) map", read, nil, nil,
		func(_ context.Context, c *call, _ []reflect.Value) (any, error) {
			return inView(a, c, func(tx *db.Tx) (any, error) { return a.allRecords(tx, class, everyone) })
		})
	a.addFilters(class)
	if _, ok := class.Field("name_label"); ok {
		a.implicit(class, "get_by_name_label", name+" ref set", read, []xenapi.Param{{Name: "label", Type: "string"}}, []reflect.Type{stringType},
			func(_ context.Context, c *call, args []reflect.Value) (any, error) {
				return inView(a, c, func(tx *db.Tx) (any, error) { return a.byLabel(tx, class, args[0].String()) })
			})
	}
}

func inView(a *API, c *call, fn func(*db.Tx) (any, error)) (result any, err error) {
	err = a.viewFor(c, func(tx *db.Tx) error {
		result, err = fn(tx)
		return err
	})
	return result, err
}

// record is an object as the wire shows it: computed fields filled in.
func (a *API) record(tx *db.Tx, class *xenapi.Class, ref string) (any, error) {
	stored, ok := tx.Record(class.Name, ref)
	if !ok && class.Name == roleClass {
		stored, ok = a.permissions.record(ref)
	}
	if !ok {
		return nil, xenapi.ErrHandleInvalid(class.Name, orNull(ref))
	}
	rec := reflect.New(class.Type).Elem()
	rec.Set(reflect.ValueOf(stored))
	for _, f := range class.Fields {
		if f.Computed() {
			fillComputed(tx, rec.Field(f.Index), f, ref)
		}
	}
	a.allow(tx, ref, rec.Addr().Interface())
	return rec.Interface(), nil
}

// allow fills in what follows from the state of the object and of others, and so is not stored: what may be done with it
// now, where an update is, how the object stands to what the repositories list.
func (a *API) allow(tx *db.Tx, ref string, rec any) {
	switch rec := rec.(type) {
	case *xenapi.SR:
		rec.AllowedOperations = a.services.Storage.AllowedOnSR(tx, xenapi.Ref[xenapi.SR](ref), *rec)
	case *xenapi.VDI:
		rec.AllowedOperations = a.services.Storage.AllowedOnVDI(tx, *rec)
	case *xenapi.VBD:
		rec.AllowedOperations = a.services.Storage.AllowedOnVBD(*rec)
	case *xenapi.PoolUpdate:
		rec.Hosts = patch.HostsOf(tx, xenapi.Ref[xenapi.PoolUpdate](ref))
	case *xenapi.Host:
		rec.Updates, rec.UpdatesRequiringReboot = patch.UpdatesOf(tx, xenapi.Ref[xenapi.Host](ref), *rec)
		rec.LatestSyncedUpdatesApplied = repository.Standing(tx, hostRef(ref))
	case *xenapi.Repository:
		rec.UpToDate = repository.UpToDate(tx, *rec)
	case *xenapi.Session:
		rec.RBACPermissions = a.permissions.of(rec.Role)
	}
}

// Concerned lists the objects that look different after a row of another class has changed, for what allow fills in.
func Concerned(tx *db.Tx, c db.RowChange) []db.Object {
	return slices.Concat(storage.Concerned(tx, c), patch.Concerned(tx, c), repository.Concerned(tx, c))
}

func orNull(ref string) string {
	if ref == "" {
		return xenapi.NullRef
	}
	return ref
}

func fillComputed(tx *db.Tx, dst reflect.Value, f xenapi.Field, ref string) {
	refs := tx.ReferrersOf(f.InverseClass, f.InverseField, ref)
	set := reflect.MakeSlice(dst.Type(), len(refs), len(refs))
	for i, r := range refs {
		set.Index(i).SetString(r)
	}
	dst.Set(set)
}

// everyone is the predicate that means every object.
func everyone(reflect.Value) bool { return true }

func (a *API) allRecords(tx *db.Tx, class *xenapi.Class, meant predicate) (map[string]any, error) {
	all := map[string]any{}
	for _, ref := range tx.Refs(class.Name) {
		rec, err := a.record(tx, class, ref)
		if err != nil {
			return nil, err
		}
		if meant(reflect.ValueOf(rec)) {
			all[ref] = rec
		}
	}
	return all, nil
}

// addFilters adds the messages that take an expression.
func (a *API) addFilters(class *xenapi.Class) {
	read := readerOf(class.Name)
	expr, text := []xenapi.Param{{Name: "expr", Type: "string"}}, []reflect.Type{stringType}
	matching := func(c *call, args []reflect.Value) (all map[string]any, err error) {
		meant, err := parseExpression(class, args[0].String())
		if err != nil {
			return nil, err
		}
		err = a.viewFor(c, func(tx *db.Tx) error { all, err = a.allRecords(tx, class, meant); return err })
		return all, err
	}
	a.implicit(class, "get_all_where", class.Name+" ref set", read, expr, text,
		func(_ context.Context, c *call, args []reflect.Value) (any, error) {
			all, err := matching(c, args)
			return slices.Sorted(maps.Keys(all)), err
		})
	a.implicit(class, "get_all_records_where", "("+class.Name+" ref -> "+class.Name+" record) map", read, expr, text,
		func(_ context.Context, c *call, args []reflect.Value) (any, error) { return matching(c, args) })
}

func (a *API) byLabel(tx *db.Tx, class *xenapi.Class, label string) (any, error) {
	f, _ := class.Field("name_label")
	found := []string{}
	for _, ref := range tx.Refs(class.Name) {
		if rec, ok := tx.Record(class.Name, ref); ok && reflect.ValueOf(rec).Field(f.Index).String() == label {
			found = append(found, ref)
		}
	}
	if _, ok := a.permissions.lowest[label]; ok && class.Name == roleClass {
		found = append(found, xenapi.RoleRef(label).String())
	}
	return found, nil
}

// addField adds the messages about one field.
func (a *API) addField(class *xenapi.Class, f xenapi.Field) {
	a.implicit(class, "get_"+f.Name, "", readerOf(class.Name), []xenapi.Param{self(class)}, []reflect.Type{refType},
		func(_ context.Context, c *call, args []reflect.Value) (any, error) {
			return inView(a, c, func(tx *db.Tx) (any, error) {
				rec, err := a.record(tx, class, ref(args[0]))
				if err != nil {
					return nil, err
				}
				return reflect.ValueOf(rec).Field(f.Index).Interface(), nil
			})
		})
	if f.Qualifier != xenapi.ReadWrite {
		return
	}
	a.addWrite(class, f, "set_"+f.Name, []xenapi.Param{{Name: "value"}}, []reflect.Type{f.Type},
		func(field reflect.Value, _ string, args []reflect.Value) error {
			field.Set(unique(args[0]))
			return nil
		})
	switch f.Type.Kind() {
	case reflect.Map:
		a.addMapWrites(class, f)
	case reflect.Slice:
		a.addSetWrites(class, f)
	}
}

// write changes a field of the object named ref in place.
type write func(field reflect.Value, ref string, args []reflect.Value) error

func (a *API) addWrite(class *xenapi.Class, f xenapi.Field, name string, params []xenapi.Param, types []reflect.Type, w write) *method {
	return a.implicit(class, name, "void", f.SetterRole, append([]xenapi.Param{self(class)}, params...), append([]reflect.Type{refType}, types...),
		func(ctx context.Context, c *call, args []reflect.Value) (any, error) {
			if err := a.mayWrite(c, class, ref(args[0])); err != nil {
				return nil, err
			}
			return nil, a.services.DB.Update(ctx, func(tx *db.Tx) error {
				return a.change(tx, class, f, ref(args[0]), args[1:], w)
			})
		})
}

func (a *API) change(tx *db.Tx, class *xenapi.Class, f xenapi.Field, ref string, args []reflect.Value, w write) error {
	stored, ok := tx.Record(class.Name, ref)
	if !ok {
		return xenapi.ErrHandleInvalid(class.Name, orNull(ref))
	}
	rec := reflect.New(class.Type).Elem()
	rec.Set(reflect.ValueOf(stored))
	field := rec.Field(f.Index)
	if err := w(field, ref, args); err != nil {
		return err
	}
	if err := a.checkField(tx, class.Name+"."+f.Name, field); err != nil {
		return err
	}
	return tx.PutRecord(class.Name, ref, rec.Interface())
}

func (a *API) addMapWrites(class *xenapi.Class, f xenapi.Field) {
	byKey := func(message string) func([]reflect.Value) (string, string) {
		return func(args []reflect.Value) (string, string) {
			key := args[1].String()
			if role, ok := keyRoles[class.Name+"."+f.Name][key]; ok {
				return keyPermission(class.Name, message, key), role
			}
			return class.Name + "." + message, f.SetterRole
		}
	}
	add, remove := "add_to_"+f.Name, "remove_from_"+f.Name
	key, value := xenapi.Param{Name: "key"}, xenapi.Param{Name: "value"}
	a.addWrite(class, f, add, []xenapi.Param{key, value}, []reflect.Type{f.Type.Key(), f.Type.Elem()},
		func(field reflect.Value, ref string, args []reflect.Value) error {
			if field.IsNil() {
				field.Set(reflect.MakeMap(f.Type))
			}
			if field.MapIndex(args[0]).IsValid() {
				return xenapi.ErrMapDuplicateKey(class.Name, f.Name, ref, args[0].String())
			}
			field.SetMapIndex(args[0], args[1])
			return nil
		}).permission = byKey(add)
	a.addWrite(class, f, remove, []xenapi.Param{key}, []reflect.Type{f.Type.Key()},
		func(field reflect.Value, _ string, args []reflect.Value) error {
			if !field.IsNil() {
				field.SetMapIndex(args[0], reflect.Value{})
			}
			return nil
		}).permission = byKey(remove)
}

func (a *API) addSetWrites(class *xenapi.Class, f xenapi.Field) {
	value := []xenapi.Param{{Name: "value"}}
	elem := []reflect.Type{f.Type.Elem()}
	a.addWrite(class, f, "add_"+f.Name, value, elem,
		func(field reflect.Value, _ string, args []reflect.Value) error {
			if indexOf(field, args[0]) < 0 {
				field.Set(reflect.Append(field, args[0]))
			}
			return nil
		})
	a.addWrite(class, f, "remove_"+f.Name, value, elem,
		func(field reflect.Value, _ string, args []reflect.Value) error {
			if i := indexOf(field, args[0]); i >= 0 {
				field.Set(reflect.AppendSlice(field.Slice(0, i), field.Slice(i+1, field.Len())))
			}
			return nil
		})
}

// unique drops from a set what it has already: on the wire it is an array, which may say a thing twice. Other values stay as
// they are.
func unique(value reflect.Value) reflect.Value {
	if value.Kind() != reflect.Slice || value.IsNil() {
		return value
	}
	set := reflect.MakeSlice(value.Type(), 0, value.Len())
	for i := range value.Len() {
		if indexOf(set, value.Index(i)) < 0 {
			set = reflect.Append(set, value.Index(i))
		}
	}
	return set
}

func indexOf(set, elem reflect.Value) int {
	for i := range set.Len() {
		if set.Index(i).Equal(elem) {
			return i
		}
	}
	return -1
}

// mayWrite adds what the role alone does not say: a task may be changed by its owner alone.
func (a *API) mayWrite(c *call, class *xenapi.Class, ref string) error {
	if class.Name == "task" {
		return a.ownsTask(c, xenapi.Ref[xenapi.Task](ref))
	}
	return nil
}

// checkField refuses values that the field's type allows but its meaning does not.
func (a *API) checkField(tx *db.Tx, field string, value reflect.Value) error {
	if field == "pool.default_SR" {
		if sr := xenapi.Ref[xenapi.SR](value.String()); !sr.IsNull() {
			_, err := db.Get(tx, sr)
			return err
		}
	}
	return nil
}
