package rrd

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// Average is the one consolidation function that is kept, in rrdtool's words.
const Average = "AVERAGE"

// Object names something that is measured: its kind, host or sr, and its UUID.
type Object struct{ Kind, UUID string }

// Updates is what was measured from some time on.
type Updates struct {
	Start, End int64    // of the first and the last row, in seconds since the epoch
	Step       int64    // between two rows, in seconds
	Legend     []string // what the columns are: function, kind, UUID and name, with colons between them
	Rows       []Row    // the newest first
}

// Row is what was measured until a time.
type Row struct {
	Time   int64 // in seconds since the epoch
	Values []float64
}

// Since gives the rows of some objects that end after start, as finely as they are kept since then, but not more so than interval.
func (r *Recorder) Since(start time.Time, interval time.Duration, now time.Time, objects ...Object) Updates {
	r.mu.Lock()
	defer r.mu.Unlock()
	chosen := choose(now.Sub(start), interval)
	steps, rows := archives[chosen].steps, archives[chosen].rows
	u := Updates{Step: steps * int64(Step/time.Second)}
	var columns []*Archive
	for _, o := range objects {
		series := r.kept[o.UUID]
		for _, name := range slices.Sorted(maps.Keys(series)) {
			series[name].advance(stepOf(now))
			u.Legend = append(u.Legend, Average+":"+o.Kind+":"+o.UUID+":"+name)
			columns = append(columns, series[name].Archives[chosen])
		}
	}
	current := stepOf(now) / steps // is being measured
	for row := current - 1; row >= current-rows && (row+1)*u.Step > start.Unix(); row-- {
		values := make([]float64, len(columns))
		for i, a := range columns {
			values[i] = a.at(row)
		}
		u.Rows = append(u.Rows, Row{(row + 1) * u.Step, values})
	}
	u.Start, u.End = start.Unix(), current*u.Step
	if n := len(u.Rows); n > 0 {
		u.Start = u.Rows[n-1].Time
	}
	return u
}

// choose is the first archive that is not finer than interval and goes back far enough, or the last.
func choose(back, interval time.Duration) int {
	for i, a := range archives {
		if row := time.Duration(a.steps) * Step; row >= interval && row*time.Duration(a.rows) >= back {
			return i
		}
	}
	return len(archives) - 1
}

// number writes a value as rrdtool does.
func number(v float64) string {
	if math.IsNaN(v) {
		return "NaN"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// WriteXML writes what rrdtool xport does.
func (u Updates) WriteXML(w io.Writer) error {
	type row struct {
		Time   int64    `xml:"t"`
		Values []string `xml:"v"`
	}
	var export struct {
		XMLName xml.Name `xml:"xport"`
		Start   int64    `xml:"meta>start"`
		Step    int64    `xml:"meta>step"`
		End     int64    `xml:"meta>end"`
		Rows    int      `xml:"meta>rows"`
		Columns int      `xml:"meta>columns"`
		Legend  []string `xml:"meta>legend>entry"`
		Data    []row    `xml:"data>row"`
	}
	export.Start, export.Step, export.End, export.Rows, export.Columns, export.Legend = u.Start, u.Step, u.End, len(u.Rows), len(u.Legend), u.Legend
	for _, r := range u.Rows {
		values := make([]string, len(r.Values))
		for i, v := range r.Values {
			values[i] = number(v)
		}
		export.Data = append(export.Data, row{r.Time, values})
	}
	return xml.NewEncoder(w).Encode(export)
}

// WriteJSON writes the same in JSON. What is not a number is null.
func (u Updates) WriteJSON(w io.Writer) error {
	type row struct {
		Time   int64      `json:"t"`
		Values []*float64 `json:"values"`
	}
	data := make([]row, len(u.Rows))
	for i, r := range u.Rows {
		data[i] = row{r.Time, make([]*float64, len(r.Values))}
		for j := range r.Values {
			if !math.IsNaN(r.Values[j]) {
				data[i].Values[j] = &r.Values[j]
			}
		}
	}
	meta := map[string]any{
		"start": u.Start, "step": u.Step, "end": u.End, "rows": len(u.Rows), "columns": len(u.Legend), "legend": append([]string{}, u.Legend...),
	}
	return json.NewEncoder(w).Encode(map[string]any{"meta": meta, "data": data})
}

// Dump writes all that is kept of an object, as rrdtool dump does, so that rrdtool restore takes it.
func (r *Recorder) Dump(w io.Writer, uuid string, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	series := r.kept[uuid]
	names := slices.Sorted(maps.Keys(series))
	p := printer{w: w}
	p.line(`<rrd><version>0003</version><step>%d</step><lastupdate>%d</lastupdate>`, int64(Step/time.Second), now.Unix())
	for _, name := range names {
		series[name].advance(stepOf(now))
		p.line(`<ds><name>%s</name><type>GAUGE</type><minimal_heartbeat>300</minimal_heartbeat><min>0</min><max>NaN</max>`, name)
		p.line(`<last_ds>%s</last_ds><value>0</value><unknown_sec>0</unknown_sec></ds>`, number(series[name].Last))
	}
	for i, a := range archives {
		p.line(`<rra><cf>%s</cf><pdp_per_row>%d</pdp_per_row><params><xff>0.5</xff></params><cdp_prep>`, Average, a.steps)
		for range names {
			p.line(`<ds><primary_value>NaN</primary_value><secondary_value>NaN</secondary_value><value>NaN</value><unknown_datapoints>0</unknown_datapoints></ds>`)
		}
		p.line(`</cdp_prep><database>`)
		for row := stepOf(now)/a.steps - a.rows; row < stepOf(now)/a.steps; row++ {
			p.row(series, names, i, row)
		}
		p.line(`</database></rra>`)
	}
	p.line(`</rrd>`)
	return p.err
}

// printer writes until it fails. The names of sources need no escaping.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) row(series map[string]*Series, names []string, archive int, row int64) {
	text := "<row>"
	for _, name := range names {
		text += "<v>" + number(series[name].Archives[archive].at(row)) + "</v>"
	}
	p.line("%s</row>", text)
}
