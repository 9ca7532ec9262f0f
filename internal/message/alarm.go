package message

import (
	"fmt"
	"time"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// alarm is a condition that lasts and has had its message.
type alarm struct {
	Cls   xenapi.MessageClass `json:"cls" xenapi:"internal"`
	UUID  string              `json:"object" xenapi:"internal"` // of the object that it is about
	Since time.Time           `json:"since" xenapi:"internal"`
}

// Class names the table.
func (alarm) Class() string { return "alarm" }

func alarmOf(name, uuid string) xenapi.Ref[alarm] { return xenapi.Ref[alarm](name + " " + uuid) }

// Raised reports whether a condition of an object has had its message and is not over.
func Raised(tx *db.Tx, name, uuid string) bool {
	_, ok := db.Lookup(tx, alarmOf(name, uuid))
	return ok
}

// Raise makes the message of a condition that begins, and nothing where it lasts. The message names condition and object.
func Raise(tx *db.Tx, m xenapi.Message) error {
	if Raised(tx, m.Name, m.ObjUUID) {
		return nil
	}
	if err := db.Put(tx, alarmOf(m.Name, m.ObjUUID), alarm{Cls: m.Cls, UUID: m.ObjUUID, Since: time.Now().UTC()}); err != nil {
		return err
	}
	_, err := Post(tx, m)
	return err
}

// Clear says that a condition is over: when it comes again there is another message.
func Clear(tx *db.Tx, name, uuid string) error {
	if !Raised(tx, name, uuid) {
		return nil
	}
	return db.Delete(tx, alarmOf(name, uuid))
}

// tables names the class of the objects of a class of messages.
var tables = map[xenapi.MessageClass]string{
	xenapi.MessageClassHost: xenapi.Host{}.Class(), xenapi.MessageClassSR: xenapi.SR{}.Class(), xenapi.MessageClassPool: xenapi.Pool{}.Class(),
	xenapi.MessageClassCertificate: xenapi.Certificate{}.Class(),
	xenapi.MessageClassVDI:         xenapi.VDI{}.Class(),
}

func collectAlarms(tx *db.Tx) error {
	for ref, a := range db.All[alarm](tx) {
		if _, ok := tx.RefByUUID(tables[a.Cls], a.UUID); !ok {
			if err := db.Delete(tx, ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// stages are the days that a certificate still has when a message is made of it, the most urgent first. Names of messages
// end as XenAPI's do.
var stages = []struct {
	days     int
	name     string
	priority int64
}{{0, "_EXPIRED", Critical}, {7, "_EXPIRING_07", Critical}, {14, "_EXPIRING_14", Major}, {30, "_EXPIRING_30", Warning}}

// Expiring makes a message of a certificate whose end is near: one at each stage. About gives the message's class, object
// and, for a name like HOST_SERVER_CERTIFICATE, its beginning.
func Expiring(tx *db.Tx, about xenapi.Message, end, now time.Time) error {
	due := false
	for _, stage := range stages {
		m := about
		m.Name, m.Priority = about.Name+stage.name, stage.priority
		if now.AddDate(0, 0, stage.days).Before(end) {
			if err := Clear(tx, m.Name, m.ObjUUID); err != nil {
				return err
			}
			continue
		}
		if due {
			continue // a more urgent stage has the word
		}
		due = true
		m.Body = fmt.Sprintf("<body><message>%s</message><date>%s</date></body>", sentence(about.Body, stage.days), end.UTC().Format("20060102T15:04:05Z"))
		if err := Raise(tx, m); err != nil {
			return err
		}
	}
	return nil
}

func sentence(what string, days int) string {
	if days == 0 {
		return what + " has expired."
	}
	return what + " is expiring soon."
}
