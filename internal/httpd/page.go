package httpd

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"strings"

	"poolpatch/xenapi"
)

// page answers with a small HTML page and closes the connection, as XenAPI's servers do.
func page(w http.ResponseWriter, status int, title, text string) {
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache, no-store")
	w.WriteHeader(status)
	writePage(w, title, text)
}

func writePage(w io.Writer, title, text string) {
	fmt.Fprintf(w, "<!doctype html><html><head><title>%s</title></head><body><h1>%s</h1><p>%s</p></body></html>\n",
		html.EscapeString(title), html.EscapeString(title), html.EscapeString(text))
}

// errorPage is the page of an API error that escaped before the status line was written.
func errorPage(w http.ResponseWriter, err *xenapi.Error) {
	page(w, http.StatusInternalServerError, "Internal Error", errorText(err))
}

// errorText has the form CODE: [ p1; p2 ], which clients look for, and then what it means.
func errorText(err *xenapi.Error) string {
	text := fmt.Sprintf("%s: [ %s ]", err.Code, strings.Join(err.Params, "; "))
	if sentence := err.Sentence(); sentence != "" {
		text += " " + sentence
	}
	return text
}

func unauthorised(w http.ResponseWriter, realm string) {
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", realm))
	page(w, http.StatusUnauthorized, "Unauthorised", "Log in with a session_id, or with a user name and password")
}

func forbidden(w http.ResponseWriter, err *xenapi.Error) {
	page(w, http.StatusForbidden, "Forbidden", errorText(err))
}

func welcome(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	writePage(w, "poolpatch", "This host keeps its pool's signed patches in disk images and applies them. "+
		"It speaks XenAPI: XML-RPC at /, JSON-RPC at /jsonrpc; /api says what there is to call. On the host itself, try: poolpatch patch list")
}

// preflight answers the question of a browser whether scripts of other origins may call.
func preflight(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/", "/json", "/jsonrpc":
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Headers", strings.TrimPrefix(r.Header.Get("Access-Control-Request-Headers")+", X-Requested-With", ", "))
		h.Set("Access-Control-Allow-Methods", "PUT")
		w.WriteHeader(http.StatusOK)
	default:
		page(w, http.StatusNotFound, "Not Found", "There is nothing at "+r.URL.Path)
	}
}
