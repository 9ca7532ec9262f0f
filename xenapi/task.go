package xenapi

import "time"

// Task is a call that runs or has ended.
type Task struct {
	UUID              string                          `json:"uuid" xenapi:"runtime,since=rio"`
	NameLabel         string                          `json:"name_label" xenapi:"runtime,since=rio"`
	NameDescription   string                          `json:"name_description" xenapi:"runtime,since=rio"`
	AllowedOperations []TaskAllowedOperation          `json:"allowed_operations" xenapi:"runtime,since=rio"`
	CurrentOperations map[string]TaskAllowedOperation `json:"current_operations" xenapi:"runtime,since=rio"`
	Created           time.Time                       `json:"created" xenapi:"runtime,since=rio"`
	Finished          time.Time                       `json:"finished" xenapi:"runtime,since=rio"`
	Status            TaskStatus                      `json:"status" xenapi:"runtime,since=rio"`
	ResidentOn        Ref[Host]                       `json:"resident_on" xenapi:"runtime,since=rio"`
	Progress          float64                         `json:"progress" xenapi:"runtime,since=rio"`
	Type              string                          `json:"type" xenapi:"runtime,since=rio"`
	Result            string                          `json:"result" xenapi:"runtime,since=rio"`
	ErrorInfo         []string                        `json:"error_info" xenapi:"runtime,since=rio"`
	OtherConfig       map[string]string               `json:"other_config" xenapi:"RW,role=pool-operator,since=miami"`
	SubtaskOf         Ref[Task]                       `json:"subtask_of" xenapi:"runtime,since=orlando"`
	Subtasks          []Ref[Task]                     `json:"subtasks" xenapi:"runtime,since=orlando,inverse=task.subtask_of"`
	Backtrace         string                          `json:"backtrace" xenapi:"runtime,since=dundee" default:"()"`

	// Session created the task; AuthUser is that session's user, who alone may touch it without a higher role.
	Session  Ref[Session] `json:"session" xenapi:"internal"`
	AuthUser string       `json:"auth_user" xenapi:"internal"`
	// ByClient marks a task that a client made with task.create: only the client destroys it.
	ByClient bool `json:"by_client" xenapi:"internal"`
	// CancelRequested is set by task.cancel; whoever runs the task notices it.
	CancelRequested bool `json:"cancel_requested" xenapi:"internal"`
	// CancelReason is the error, code and parameters, that the task ends with then; empty for TASK_CANCELLED.
	CancelReason []string `json:"cancel_reason" xenapi:"internal"`
	// KillRequested is set when even a step that is not interrupted is to be ended.
	KillRequested bool `json:"kill_requested" xenapi:"internal"`
	// Roams: no host runs the task. It waits for one to take it, or whichever host is the coordinator sees to it; so the
	// death of a host does not end it.
	Roams bool `json:"roams" xenapi:"internal"`
}

// Class names the XenAPI class.
func (Task) Class() string { return "task" }
