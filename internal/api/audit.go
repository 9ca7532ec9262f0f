package api

import (
	"reflect"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// changes reports whether the log is to say who called a message: what anybody may read, and the bookkeeping of sessions,
// events and tasks, would only hide the rest.
func (m *method) changes() bool {
	switch m.sig.FullName() {
	case "task.cancel", "session.change_password", "session.logout_subject_identifier":
		return true
	}
	return !slices.Contains([]string{"task", "event", "session"}, m.sig.Class) && m.sig.Role != xenapi.RoleReadOnly
}

// audit says what the log is told of a call; nothing of what hosts ask one another for the pool itself, unless that is a
// task's work.
func (d dispatcher) audit(m *method, c *call, args []reflect.Value) *task.Audit {
	if !m.changes() || c.caller.Pool && d.caller.Task.IsNull() {
		return nil
	}
	a := &task.Audit{Originator: c.caller.Originator}
	for _, arg := range args {
		if a.Object = d.api.objectOf(arg); a.Object != "" {
			break
		}
	}
	return a
}

// objectOf names the object that a reference is of, "" where there is none.
func (a *API) objectOf(v reflect.Value) (object string) {
	if !v.IsValid() || v.Kind() != reflect.String {
		return ""
	}
	ref, ok := v.Interface().(interface{ Target() string })
	if !ok {
		return ""
	}
	class := ref.Target()
	_ = a.view(func(tx *db.Tx) error {
		rec, ok := tx.Record(class, v.String())
		if !ok {
			return nil
		}
		if uuid := reflect.ValueOf(rec).FieldByName("UUID"); uuid.IsValid() {
			object = class + " " + uuid.String()
		}
		return nil
	})
	return object
}
