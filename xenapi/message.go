package xenapi

import "time"

// Message tells administrators of something that happened.
type Message struct {
	UUID      string       `json:"uuid" xenapi:"runtime,since=rio"`
	Name      string       `json:"name" xenapi:"runtime,since=rio"`
	Priority  int64        `json:"priority" xenapi:"runtime,since=rio"`
	Cls       MessageClass `json:"cls" xenapi:"runtime,since=orlando"`
	ObjUUID   string       `json:"obj_uuid" xenapi:"runtime,since=rio"`
	Timestamp time.Time    `json:"timestamp" xenapi:"runtime,since=rio"`
	Body      string       `json:"body" xenapi:"runtime,since=rio"`
}

// Class names the XenAPI class.
func (Message) Class() string { return "message" }
