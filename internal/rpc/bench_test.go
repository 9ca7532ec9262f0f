package rpc

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"poolpatch/xenapi"
)

// vdiRecords is what VDI.get_all_records gives in a pool that has n images.
func vdiRecords(n int) map[xenapi.Ref[xenapi.VDI]]xenapi.VDI {
	recs := make(map[xenapi.Ref[xenapi.VDI]]xenapi.VDI, n)
	for i := range n {
		vdi := xenapi.New[xenapi.VDI]()
		vdi.UUID = xenapi.NewUUID()
		vdi.NameLabel = fmt.Sprintf("patch image %d", i)
		vdi.NameDescription = `holds "hotfix-1" & its scratch space`
		vdi.AllowedOperations = []xenapi.VDIOperation{"clone", "copy", "destroy", "snapshot"}
		vdi.SR = xenapi.NewRef[xenapi.SR]()
		vdi.VirtualSize = 4 << 30
		vdi.PhysicalUtilisation = int64(i) << 20
		vdi.Type = "user"
		vdi.Location = vdi.UUID
		vdi.Managed = true
		vdi.SMConfig = map[string]string{"type": "raw", "host": "host-1"}
		vdi.SnapshotTime = time.Unix(0, 0)
		recs[xenapi.NewRef[xenapi.VDI]()] = vdi
	}
	return recs
}

func BenchmarkEncodeXML(b *testing.B) {
	recs := vdiRecords(1000)
	b.ReportAllocs()
	for b.Loop() {
		text := toXML(func(w *xmlWriter) { encode(w, recs) })
		b.SetBytes(int64(len(text)))
	}
}

func BenchmarkEncodeJSON(b *testing.B) {
	recs := vdiRecords(1000)
	b.ReportAllocs()
	for b.Loop() {
		text := toJSON(func(w *jsonWriter) { encode(w, recs) })
		b.SetBytes(int64(len(text)))
	}
}

// BenchmarkPeerEncodingJSON writes the same records with encoding/json.
func BenchmarkPeerEncodingJSON(b *testing.B) {
	recs := vdiRecords(1000)
	b.ReportAllocs()
	for b.Loop() {
		text, err := json.Marshal(recs)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(text)))
	}
}

// largeCall is a call close to the longest that the server takes, 300 KiB.
func largeCall() []byte {
	member := "<member><name>key</name><value><string>some value</string></value></member>"
	return []byte("<methodCall><methodName>m</methodName><params><param><value><struct>" +
		strings.Repeat(member, 290<<10/len(member)) + "</struct></value></param></params></methodCall>")
}

func BenchmarkDecodeXML(b *testing.B) {
	body := largeCall()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := parseCall(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeJSON(b *testing.B) {
	_, params, err := parseCall(largeCall())
	if err != nil {
		b.Fatal(err)
	}
	w := &jsonWriter{}
	encode(w, params)
	b.SetBytes(int64(len(w.b)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseJSON(w.b); err != nil {
			b.Fatal(err)
		}
	}
}
