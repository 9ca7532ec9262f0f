package db

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"poolpatch/xenapi"
)

// Tx is a transaction: one state of the database and, in an update, the changes made to it so far, which
// it sees. It remembers what it read. It must not be used after its function has returned, nor by two
// goroutines at once.
type Tx struct {
	base     *snapshot
	tables   map[string]table // with the transaction's own writes
	reads    map[string]int64 // key → ModRevision in base; nil in a view
	writes   map[string][]byte
	leases   map[string]int64 // key → lease, of the writes that do not last
	writable bool
}

var errReadOnly = errors.New("write in a read-only transaction")

func view(base *snapshot) *Tx { return &Tx{base: base, tables: base.tables} }

func begin(base *snapshot) *Tx {
	return &Tx{
		base: base, tables: maps.Clone(base.tables), writable: true,
		reads: map[string]int64{}, writes: map[string][]byte{}, leases: map[string]int64{},
	}
}

// Get reads a record. A ref that names none is HANDLE_INVALID [class, ref].
func Get[T xenapi.Object](tx *Tx, ref xenapi.Ref[T]) (T, error) {
	rec, ok := Lookup(tx, ref)
	if !ok {
		return rec, xenapi.ErrHandleInvalid(ref.Target(), ref.String())
	}
	return rec, nil
}

// Lookup reads a record that may be missing.
func Lookup[T xenapi.Object](tx *Tx, ref xenapi.Ref[T]) (T, bool) {
	var none T
	r, ok := tx.row(tx.mustHave(none.Class()), string(ref))
	if !ok {
		return none, false
	}
	return xenapi.Clone(r.rec.(T)), true
}

// ByUUID finds a record by its uuid, in lower case. A uuid that names none is UUID_INVALID [class, uuid].
func ByUUID[T xenapi.Object](tx *Tx, uuid string) (xenapi.Ref[T], error) {
	var none T
	ref, ok := tx.refByUUID(tx.mustHave(none.Class()), uuid)
	if !ok {
		return "", xenapi.ErrUUIDInvalid(none.Class(), uuid)
	}
	return xenapi.Ref[T](ref), nil
}

// All gives every record of a class in the order of creation, as they are when the loop starts: it may
// change and delete them. In an update it conflicts with every other write to the class.
func All[T xenapi.Object](tx *Tx) iter.Seq2[xenapi.Ref[T], T] {
	return func(yield func(xenapi.Ref[T], T) bool) {
		var none T
		for r := range tx.scan(tx.mustHave(none.Class())) {
			if !yield(xenapi.Ref[T](r.ref), xenapi.Clone(r.rec.(T))) {
				return
			}
		}
	}
}

// Referrers lists the records of class T whose field, by its wire name, refers to target, in the order of
// creation. A null target has none. It panics when T has no such field. In an update it conflicts with
// every other write to T.
func Referrers[T, S xenapi.Object](tx *Tx, field string, target xenapi.Ref[S]) []xenapi.Ref[T] {
	var none T
	var refs []xenapi.Ref[T]
	for _, ref := range tx.referrers(tx.mustHave(none.Class()), field, string(target)) {
		refs = append(refs, xenapi.Ref[T](ref))
	}
	return refs
}

// Insert adds a record. A ref or a uuid that the class has already is DB_UNIQUENESS_CONSTRAINT_VIOLATION
// [class, field, value], where the ref's field is "_ref".
func Insert[T xenapi.Object](tx *Tx, ref xenapi.Ref[T], rec T) error {
	if _, ok := Lookup(tx, ref); ok {
		return xenapi.ErrDBUniquenessConstraintViolation(rec.Class(), "_ref", string(ref))
	}
	return Put(tx, ref, rec)
}

// Put writes a record, whether or not there is one. Another record's uuid is refused as by Insert.
func Put[T xenapi.Object](tx *Tx, ref xenapi.Ref[T], rec T) error {
	return tx.put(tx.mustHave(rec.Class()), string(ref), rec)
}

// PutUnder is Put of a record that goes with a lease. Its class must have no uuid. That it goes conflicts
// with updates that have read the record, not with those that have listed its class. A later Put without
// the lease makes the record a lasting one.
func PutUnder[T xenapi.Object](tx *Tx, lease Lease, ref xenapi.Ref[T], rec T) error {
	t := tx.mustHave(rec.Class())
	if _, ok := t.class.Field("uuid"); ok {
		return fmt.Errorf("a row of %s cannot be under a lease: its uuid would stay taken", rec.Class())
	}
	if err := Put(tx, ref, rec); err != nil {
		return err
	}
	tx.leases[rowKey(t.class.Name, string(ref))] = lease.ID()
	return nil
}

// Change reads a record, lets fn change it and writes it. A ref that names none is HANDLE_INVALID; fn's
// error writes nothing.
func Change[T xenapi.Object](tx *Tx, ref xenapi.Ref[T], fn func(*T) error) error {
	rec, err := Get(tx, ref)
	if err != nil {
		return err
	}
	if err := fn(&rec); err != nil {
		return err
	}
	return Put(tx, ref, rec)
}

// Delete removes a record. A ref that names none is HANDLE_INVALID.
func Delete[T xenapi.Object](tx *Tx, ref xenapi.Ref[T]) error {
	return tx.delete(tx.mustHave(ref.Target()), string(ref))
}

// Record reads a record of any class as a struct value.
func (tx *Tx) Record(class, ref string) (any, bool) {
	t, ok := tx.tables[class]
	if !ok {
		return nil, false
	}
	r, ok := tx.row(t, ref)
	if !ok {
		return nil, false
	}
	return t.clone(r.rec), true
}

// Refs lists the records of a class in the order of creation; an unknown class has none.
func (tx *Tx) Refs(class string) []string {
	t, ok := tx.tables[class]
	if !ok {
		return nil
	}
	var refs []string
	for r := range tx.scan(t) {
		refs = append(refs, r.ref)
	}
	return refs
}

// Count is how many records a class has; an unknown class has none.
func (tx *Tx) Count(class string) int {
	t, ok := tx.tables[class]
	if !ok {
		return 0
	}
	tx.guard(tableKey(class))
	return t.count
}

// ReferrersOf is Referrers for any class; an unknown class has none.
func (tx *Tx) ReferrersOf(class, field, target string) []string {
	t, ok := tx.tables[class]
	if !ok {
		return nil
	}
	return tx.referrers(t, field, target)
}

// RefByUUID finds a record of any class by its uuid.
func (tx *Tx) RefByUUID(class, uuid string) (string, bool) {
	t, ok := tx.tables[class]
	if !ok {
		return "", false
	}
	return tx.refByUUID(t, uuid)
}

// PutRecord is Put for any class; value is a struct of the class's type.
func (tx *Tx) PutRecord(class, ref string, value any) error {
	t, ok := tx.tables[class]
	if !ok {
		return fmt.Errorf("no table %q", class)
	}
	return tx.put(t, ref, value)
}

// Classes lists the classes that have a table, sorted.
func (tx *Tx) Classes() []string { return slices.Sorted(maps.Keys(tx.tables)) }

// mustHave finds a table. A program that uses a class which it did not give to Open is defective.
func (tx *Tx) mustHave(class string) table {
	t, ok := tx.tables[class]
	if !ok {
		panic("db: the table " + class + " was not given to Open")
	}
	return t
}

func (tx *Tx) row(t table, ref string) (*row, bool) {
	if isNull(ref) {
		return nil, false
	}
	tx.guard(rowKey(t.class.Name, ref))
	return t.rows.get(ref)
}

func (tx *Tx) refByUUID(t table, uuid string) (string, bool) {
	tx.guard(uuidKey(t.class.Name, uuid))
	return t.uuids.get(uuid)
}

func (tx *Tx) scan(t table) iter.Seq[*row] {
	tx.guard(tableKey(t.class.Name))
	return func(yield func(*row) bool) {
		for _, r := range t.order.below("") {
			if !yield(r) {
				return
			}
		}
	}
}

func (tx *Tx) referrers(t table, field, target string) []string {
	if !t.hasLink(field) {
		panic("db: " + t.class.Name + "." + field + " is no reference")
	}
	if isNull(target) {
		return nil
	}
	tx.guard(tableKey(t.class.Name))
	var refs []string
	for _, ref := range t.links.below(linkPrefix(field, target)) {
		refs = append(refs, ref)
	}
	return refs
}

// guard remembers that the transaction has read key as it is in the base state.
func (tx *Tx) guard(key string) {
	if tx.reads != nil {
		tx.reads[key], _ = tx.base.mods.get(key)
	}
}

func (tx *Tx) put(t table, ref string, rec any) error {
	if err := tx.mayWrite(t, ref); err != nil {
		return err
	}
	data, stored, err := t.encode(rec)
	if err != nil {
		return err
	}
	old, exists := tx.row(t, ref)
	r := &row{ref: ref, rec: stored, created: uncommitted}
	oldUUID := ""
	if exists {
		r.created, oldUUID = old.created, t.uuid(old.rec)
	}
	if t, err = tx.moveUUID(t, ref, oldUUID, t.uuid(stored)); err != nil {
		return err
	}
	key := rowKey(t.class.Name, ref)
	delete(tx.leases, key)
	tx.writes[key] = data
	tx.tables[t.class.Name] = t.with(r)
	return nil
}

func (tx *Tx) delete(t table, ref string) error {
	if err := tx.mayWrite(t, ref); err != nil {
		return err
	}
	old, ok := tx.row(t, ref)
	if !ok {
		return xenapi.ErrHandleInvalid(t.class.Name, ref)
	}
	t, err := tx.moveUUID(t, ref, t.uuid(old.rec), "")
	if err != nil {
		return err
	}
	tx.writes[rowKey(t.class.Name, ref)] = nil
	tx.tables[t.class.Name] = t.without(ref)
	return nil
}

func (tx *Tx) mayWrite(t table, ref string) error {
	if !tx.writable {
		return errReadOnly
	}
	if isNull(ref) {
		return xenapi.ErrHandleInvalid(t.class.Name, xenapi.Ref[xenapi.Pool](ref).String())
	}
	return nil
}

// moveUUID keeps the key that makes a uuid unique in its class: one key per uuid, so that two inserts
// conflict only when they claim the same one.
func (tx *Tx) moveUUID(t table, ref, old, uuid string) (table, error) {
	if old == uuid {
		return t, nil
	}
	if uuid != "" {
		if _, taken := tx.refByUUID(t, uuid); taken {
			return t, xenapi.ErrDBUniquenessConstraintViolation(t.class.Name, "uuid", uuid)
		}
		tx.writes[uuidKey(t.class.Name, uuid)] = []byte(ref)
		t.uuids = t.uuids.with(uuid, ref)
	}
	if old != "" {
		tx.writes[uuidKey(t.class.Name, old)] = nil
		t.uuids = t.uuids.without(old)
	}
	return t, nil
}

func (tx *Tx) guards() []Guard {
	guards := make([]Guard, 0, len(tx.reads))
	for _, key := range slices.Sorted(maps.Keys(tx.reads)) {
		guards = append(guards, Guard{key, tx.reads[key]})
	}
	return guards
}

// ops lists the writes, and a marker for each table that they touch, in key order.
func (tx *Tx) ops(id string) []Op {
	all := maps.Clone(tx.writes)
	for key := range tx.writes {
		if class, _, ok := splitKey(key, rowPrefix); ok {
			all[tableKey(class)] = []byte(id)
		}
	}
	ops := make([]Op, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		ops = append(ops, Op{Key: key, Value: all[key], Lease: tx.leases[key]})
	}
	return ops
}
